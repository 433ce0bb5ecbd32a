"""Who is told of alarms: Slack and PagerDuty behind a topic of the sandbox, healthy and broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from tests.sandbox.aws.shop import Shop, eventually

from tocsin.actors.canaries import EmulatedPages
from tocsin.errors import TargetError
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.third_parties import ThirdParty
from tocsin.model.events import Event, FaultChanged, FaultStage
from tocsin.record.ledger import Ledger

KEY = "not-a-secret-of-thirty-two-chars"
OPTIONS = {"slack": {"webhook": "T0/B0/not-a-secret"}, "pagerduty": {"routing_key": KEY}}
PATHS = {"slack": "/chatbot", "pagerduty": f"/integration/{KEY}/enqueue"}
NAME = "told"


@dataclass
class Pager:
    """A topic with both of them behind it, and the life of faults on them."""

    shop: Shop
    topic: str
    urls: dict[str, str]
    lifecycle: FaultLifecycle
    events: list[Event]

    def publish(self, alarm: str, state: str = "ALARM") -> None:
        """As CloudWatch publishes the change of an alarm."""
        changed = {"AlarmName": alarm, "NewStateValue": state, "NewStateReason": "as asked"}
        self.shop.client("sns").publish(TopicArn=self.topic, Message=json.dumps(changed), Subject=state)

    def told(self, alarm: str) -> set[str]:
        """Who was told of it so far."""
        return {one.stub for one in self.shop.account.received() if one.alarm == alarm}

    def failed(self) -> float:
        """Notifications of the topic that nobody took: each attempt counts."""
        return self.shop.total("AWS/SNS", "NumberOfNotificationsFailed", TopicName=NAME)

    def stage(self) -> FaultStage:
        return [event.stage for event in self.events if isinstance(event, FaultChanged)][-1]


def confirmed(shop: Shop, topic: str) -> list[str]:
    listed = shop.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    return [one["Endpoint"] for one in listed if one["SubscriptionArn"].startswith("arn:")]


@pytest.fixture(scope="module")
def behind(shop: Shop) -> Iterator[tuple[str, dict[str, str]]]:
    """The topic, and where they listen."""
    sns = shop.client("sns")
    topic = sns.create_topic(Name=NAME)["TopicArn"]
    urls = {kind: shop.account.start_stub(kind, options) for kind, options in OPTIONS.items()}
    for kind, url in urls.items():
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=url + PATHS[kind])
    eventually(lambda: len(confirmed(shop, topic)) == len(urls))
    yield topic, urls
    sns.delete_topic(TopicArn=topic)


@pytest.fixture
def pager(shop: Shop, behind: tuple[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pager:
    parties = {kind: {"stub": kind, "topics": [NAME]} for kind in OPTIONS}
    system = {"system": "shop", "title": "Shop", "endpoint": {"http_api": "shop"}, "third_parties": parties}
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems" / "shop.yaml").write_text(yaml.safe_dump(system))
    monkeypatch.chdir(tmp_path)
    target, events = shop.account.target, list[Event]()
    ledger = Ledger(tmp_path / "ledger.sqlite", target.name)
    return Pager(shop, *behind, FaultLifecycle(target=target, ledger=ledger, drill="d", record=events.append), events)


def broken(name: str, **wrong: Any) -> ThirdParty:
    return ThirdParty.model_validate({"system": "shop", "name": name, **wrong})


def test_an_alarm_is_told_to_both(pager: Pager) -> None:
    pager.shop.put_alarm(
        "told-by-cloudwatch", MetricName="told", AlarmActions=[pager.topic], TreatMissingData="notBreaching"
    )
    pager.shop.client("cloudwatch").set_alarm_state(
        AlarmName="told-by-cloudwatch", StateValue="ALARM", StateReason="as asked"
    )
    eventually(lambda: pager.told("told-by-cloudwatch") == {"slack", "pagerduty"})
    (first, *_) = [one for one in pager.shop.account.received() if one.alarm == "told-by-cloudwatch"]
    assert (first.state, first.topic) == ("ALARM", pager.topic)
    assert "told-by-cloudwatch" in first.text
    pages = EmulatedPages(pager.shop.account.target)
    assert pages.find("slack", "told-by-cloudwatch", 1.0)
    assert not pages.find("slack", "nobody-said-so", 1.0)
    assert pager.shop.account.received(since=first.at + 3600) == []


def test_one_that_refuses_is_told_nothing_and_the_other_is(pager: Pager) -> None:
    assert pager.lifecycle.inject(broken("slack", case="refuses")) is FaultStage.EFFECTIVE
    before = pager.failed()
    pager.publish("refused")
    eventually(lambda: pager.failed() > before)
    eventually(lambda: pager.told("refused") == {"pagerduty"})
    assert pager.lifecycle.undo_all() == []
    assert pager.stage() is FaultStage.VERIFIED
    pager.publish("refused no longer")
    eventually(lambda: pager.told("refused no longer") == {"slack", "pagerduty"})
    # 4xx is an error of the client: SNS tries no more, and what it said then is never told.
    # https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
    assert pager.told("refused") == {"pagerduty"}


def test_one_that_is_down_is_told_nothing_until_it_is_back(pager: Pager) -> None:
    assert pager.lifecycle.inject(broken("pagerduty", case="down")) is FaultStage.EFFECTIVE
    before = pager.failed()
    pager.publish("unheard")
    eventually(lambda: pager.failed() > before)
    eventually(lambda: pager.told("unheard") == {"slack"})
    assert pager.lifecycle.undo_all() == []
    pager.publish("heard")
    eventually(lambda: pager.told("heard") == {"slack", "pagerduty"})


def test_a_slow_one_is_broken_and_mended(pager: Pager) -> None:
    assert pager.lifecycle.inject(broken("slack", case="slow")) is FaultStage.EFFECTIVE
    assert pager.lifecycle.undo_all() == []
    pager.publish("in time")
    eventually(lambda: pager.told("in time") == {"slack", "pagerduty"})


def test_the_topic_is_what_must_have_opted_in(pager: Pager) -> None:
    asked: list[tuple[str, ...]] = []
    pager.lifecycle.permit = lambda change, aws: asked.append(change.arns(aws))
    assert pager.lifecycle.inject(broken("slack", status=503)) is FaultStage.EFFECTIVE
    assert pager.lifecycle.undo_all() == []
    assert asked == [(pager.topic,)]


def test_a_webhook_that_is_subscribed_itself_is_never_confirmed(pager: Pager) -> None:
    sns = pager.shop.client("sns")
    topic = sns.create_topic(Name="told-directly")["TopicArn"]
    calls = pager.urls["slack"] + "/services/T0/B0/not-a-secret"
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=calls)
    knock = {"x-tocsin-token": pager.shop.account.target.door_token or ""}

    def refused() -> list[Any]:
        told = httpx.get(pager.urls["slack"] + "/_tocsin/calls", headers=knock).json()["value"]
        return [one for one in told if one["path"] == urlsplit(calls).path and one["status"] == 400]

    eventually(refused)
    assert confirmed(pager.shop, topic) == []
    sns.delete_topic(TopicArn=topic)


def test_a_topic_to_which_it_is_not_subscribed(pager: Pager) -> None:
    sns = pager.shop.client("sns")
    (subscription,) = [
        one["SubscriptionArn"]
        for one in sns.list_subscriptions_by_topic(TopicArn=pager.topic)["Subscriptions"]
        if one["Endpoint"].startswith(pager.urls["slack"])
    ]
    sns.unsubscribe(SubscriptionArn=subscription)
    try:
        with pytest.raises(TargetError, match="expected the stub slack to be subscribed to the topic told over HTTP"):
            pager.lifecycle.inject(broken("slack", status=503))
        assert pager.lifecycle.ledger.entries() == []
    finally:
        sns.subscribe(TopicArn=pager.topic, Protocol="http", Endpoint=pager.urls["slack"] + PATHS["slack"])
        eventually(lambda: len(confirmed(pager.shop, pager.topic)) == len(OPTIONS))
