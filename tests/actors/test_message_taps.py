"""Taps read copies of messages and take nothing from anybody; each message is judged in the act that it was sent in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.stubbed import Error, Request, Stubbed, refused

from tocsin.actors import message_taps
from tocsin.actors.context import RunContext
from tocsin.actors.message_taps import MessageTap, check_taps, grants, open_taps, unwrapped
from tocsin.aws.iam import Arns
from tocsin.aws.target import Target
from tocsin.errors import NotFound, Refused
from tocsin.model.events import Act, ActorDied, ActStarted, Event, MessagesTapped, TapsOpened
from tocsin.model.experiment import Expect, Experiment, Extension, RecoveryTarget
from tocsin.model.messages import Messages
from tocsin.model.system import System
from tocsin.project.histories import read_history
from tocsin.record.history import History

DOCUMENT = """\
asyncapi: 3.0.0
channels:
  done: {messages: {Done: {payload: {type: object, required: [order], properties: {order: {type: string}}}}}}
  audit: {messages: {Seen: {payload: {type: string}}}}
"""
TAPS = {"document": "desk.asyncapi.yaml", "taps": {"done": {"queue": "done-tap", "topic": "done"}}}
SYSTEM = {"system": "shop", "title": "Shop", "endpoint": {"url": "x"}, "messages": TAPS}
ARN = "arn:aws:sqs:eu-west-1:123456789012:done-tap"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:done"
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/done-tap"


@dataclass
class Queue:
    """A queue of SQS; what was received and deleted is gone."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    forever: bool = False
    broken: bool = False
    sent: int = 0

    def send(self, body: object, at: float | None = None, **more: Any) -> None:
        sent = str(int((time.time() if at is None else at) * 1000))
        text = body if isinstance(body, str) else json.dumps(body)
        handle = {"MessageId": f"message-{self.sent}", "ReceiptHandle": text}
        self.messages.append({"Body": text, "Attributes": {"SentTimestamp": sent}, **handle, **more})
        self.sent += 1

    def receive(self, asked: Request) -> Mapping[str, Any]:
        if self.broken:
            raise Error("ServiceUnavailable", status=503)
        assert asked["MaxNumberOfMessages"] == 10
        return {"Messages": self.messages[:10]}

    def delete(self, asked: Request) -> Mapping[str, Any]:
        if not self.forever:
            del self.messages[: len(asked["Entries"])]
        return {"Successful": [], "Failed": []}


@dataclass
class Desk:
    """A context of a drill, with a queue and what else the account answers."""

    ctx: RunContext
    queue: Queue
    api: Stubbed

    def begin(self, act: Act, ago_s: float = 0.0) -> None:
        self.ctx.history.record(ActStarted(at=time.time() - ago_s, act=act))

    def events(self) -> list[Event]:
        return read_history(self.ctx.root / "history.jsonl")

    def tapped(self) -> list[MessagesTapped]:
        return [event for event in self.events() if isinstance(event, MessagesTapped)]

    def died(self) -> list[str]:
        return [event.detail for event in self.events() if isinstance(event, ActorDied)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "desk.asyncapi.yaml").write_text(DOCUMENT)
    extension = Extension(system="shop", expect=Expect(gap="nothing rings", recovery=RecoveryTarget(within=60)))
    ctx = RunContext(
        drill="d",
        root=tmp_path,
        directory=tmp_path,
        experiment=Experiment(slug="s", path="s", title="s", method=(), rollbacks=(), extension=extension),
        system=System.model_validate(SYSTEM),
        target=Target("none", "eu-west-1", account="123456789012", access_key_id="x", secret_access_key="x"),
        history=History(tmp_path / "history.jsonl"),
        base_url="http://127.0.0.1:9",
        seed=1,
    )
    queue, api = Queue(), Stubbed(ctx.target)
    api.answers("sqs", "GetQueueUrl", {"QueueUrl": URL})
    api.answers("sqs", "GetQueueAttributes", {"Attributes": {"QueueArn": ARN}})
    api.answers("sqs", "ListDeadLetterSourceQueues", {"queueUrls": []})
    api.answers("sqs", "ReceiveMessage", queue.receive)
    api.answers("sqs", "DeleteMessageBatch", queue.delete)
    api.answers("lambda", "ListEventSourceMappings", {"EventSourceMappings": []})
    subscription = {"Protocol": "sqs", "Endpoint": ARN, "SubscriptionArn": f"{TOPIC}:1"}
    api.answers("sns", "ListSubscriptionsByTopic", {"Subscriptions": [subscription]})
    api.answers("sns", "GetSubscriptionAttributes", {"Attributes": {}})
    yield Desk(ctx, queue, api)
    ctx.history.close()


# --- what may be tapped -----------------------------------------------------------------------------------------------


def test_a_queue_of_ones_own_may_be_tapped_and_nothing_is_read_from_it(desk: Desk) -> None:
    told = check_taps(desk.ctx.target, Messages.model_validate(TAPS))
    assert told == "done is tapped by done-tap, subscribed to done"
    assert desk.api.calls("ListSubscriptionsByTopic")[0]["TopicArn"] == TOPIC
    assert desk.api.calls("ListEventSourceMappings")[0]["EventSourceArn"] == ARN
    assert not desk.api.calls("ReceiveMessage")


def worked_on(api: Stubbed) -> None:
    function = "arn:aws:lambda:eu-west-1:123456789012:function:packer"
    api.answers("lambda", "ListEventSourceMappings", {"EventSourceMappings": [{"FunctionArn": function}]})


def dead_letters(api: Stubbed) -> None:
    api.answers("sqs", "ListDeadLetterSourceQueues", {"queueUrls": [URL.replace("done-tap", "orders")]})


def unsubscribed(api: Stubbed) -> None:
    api.answers("sns", "ListSubscriptionsByTopic", {"Subscriptions": []})


def unconfirmed(api: Stubbed) -> None:
    pending = {"Protocol": "sqs", "Endpoint": ARN, "SubscriptionArn": "PendingConfirmation"}
    api.answers("sns", "ListSubscriptionsByTopic", {"Subscriptions": [pending]})


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (worked_on, "found done-tap, the queue that packer works on: a drill would take messages away"),
        (dead_letters, "found done-tap, the dead-letter queue of orders, whose messages somebody needs"),
        (unsubscribed, "expected the queue done-tap to be subscribed to the topic done, found it not subscribed"),
        (unconfirmed, "found it subscribed, and not confirmed"),
    ],
)
def test_what_somebody_needs_or_nothing_fills_is_refused(
    desk: Desk, plant: Callable[[Stubbed], None], told: str
) -> None:
    plant(desk.api)
    with pytest.raises(Refused) as refusal:
        check_taps(desk.ctx.target, Messages.model_validate(TAPS))
    assert refusal.value.guard == "taps"
    assert told in str(refusal.value)


def test_a_queue_that_is_not_there_is_told(desk: Desk) -> None:
    desk.api.answers("sqs", "GetQueueUrl", refused("AWS.SimpleQueueService.NonExistentQueue"))
    with pytest.raises(NotFound, match="done-tap"):
        check_taps(desk.ctx.target, Messages.model_validate(TAPS))


def test_a_filter_is_told(desk: Desk) -> None:
    desk.api.answers("sns", "GetSubscriptionAttributes", {"Attributes": {"FilterPolicy": '{"kind": ["urgent"]}'}})
    assert 'a filter lets through what it likes: {"kind"' in check_taps(desk.ctx.target, Messages.model_validate(TAPS))


def test_a_tap_needs_what_it_asks_for() -> None:
    declared = {action for grant in grants(System.model_validate(SYSTEM), Arns()) for action in grant.actions}
    assert {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sns:ListSubscriptionsByTopic"} <= declared
    without = {name: value for name, value in SYSTEM.items() if name != "messages"}
    assert list(grants(System.model_validate(without), Arns())) == []


# --- what a message says ----------------------------------------------------------------------------------------------


def test_a_message_of_sns_is_taken_out_of_its_envelope() -> None:
    attributes = {
        "attempt": {"Type": "Number", "Value": "2"},
        "kinds": {"Type": "String.Array", "Value": '["a"]'},
        "trace": {"Type": "String", "Value": "7"},
    }
    body = json.dumps({"Type": "Notification", "TopicArn": TOPIC, "Message": "{}", "MessageAttributes": attributes})
    assert unwrapped(body, {}) == ("{}", {"attempt": 2, "kinds": ["a"], "trace": "7"})


def test_any_other_message_is_its_own_payload_and_its_attributes_are_headers() -> None:
    attributes = {
        "attempt": {"DataType": "Number", "StringValue": "2"},
        "key": {"DataType": "Binary", "BinaryValue": b"\x00"},
    }
    assert unwrapped('{"Type": "Notification"}', attributes) == (
        '{"Type": "Notification"}',
        {"attempt": 2, "key": "AA=="},
    )
    assert unwrapped("no JSON", {}) == ("no JSON", {})


# --- taps -------------------------------------------------------------------------------------------------------------


def opened(desk: Desk) -> MessageTap:
    desk.begin(Act.PREFLIGHT, ago_s=100)
    (tap,) = open_taps(desk.ctx)
    return tap


def test_a_tap_throws_away_what_was_there_and_tells_what_it_looks_for(desk: Desk) -> None:
    for _ in range(25):
        desk.queue.send("old", at=time.time() - 500)
    opened(desk)
    assert desk.queue.messages == []
    (told,) = [event for event in desk.events() if isinstance(event, TapsOpened)]
    assert told.channels == {"done": ("Done",)}
    assert told.untapped == ("audit",)
    assert desk.tapped() == []


def test_each_message_is_judged_in_the_act_in_which_it_was_sent(desk: Desk) -> None:
    tap = opened(desk)
    desk.begin(Act.BASELINE, ago_s=50)
    desk.begin(Act.FAULT, ago_s=20)
    now = time.time()
    desk.queue.send({"order": "1"}, at=now - 60)  # still preflight: nobody's question
    desk.queue.send({"order": "2"}, at=now - 40)
    desk.queue.send({"order": "3"}, at=now - 30)
    for number in range(12):
        desk.queue.send({"order": number}, at=now - 10)
    tap.poll()
    baseline, fault = desk.tapped()
    assert (baseline.act, baseline.kept, baseline.broken) == (Act.BASELINE, {"Done": 2}, 0)
    assert (fault.act, fault.kept, fault.broken) == (Act.FAULT, {}, 12)
    (failure,) = fault.failures
    assert (failure.pointer, failure.found, failure.count) == ("/order", "a number", 12)
    assert desk.queue.messages == []


def test_no_more_than_ten_kinds_of_failure_are_told(desk: Desk) -> None:
    document = desk.ctx.root / "desk.asyncapi.yaml"
    document.write_text(DOCUMENT.replace("required: [order]", "additionalProperties: {type: string}"))
    tap = opened(desk)
    desk.begin(Act.BASELINE, ago_s=1)
    for number in range(30):
        desk.queue.send({f"field{number}": number})
    tap.poll()
    (told,) = desk.tapped()
    assert (told.broken, len(told.failures)) == (30, 10)


def test_what_comes_after_the_last_poll_is_read_at_the_end(desk: Desk) -> None:
    tap = opened(desk)
    desk.begin(Act.BASELINE, ago_s=1)
    tap.start()
    desk.queue.send({"order": "1"})
    tap.stop()
    assert [event.kept for event in desk.tapped()] == [{"Done": 1}]
    assert desk.api.calls("ReceiveMessage")[-1]["WaitTimeSeconds"] == 1
    assert desk.died() == []


def test_messages_that_were_left_are_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_taps, "_READING_WALL_S", 0.0)
    tap = opened(desk)
    desk.begin(Act.BASELINE, ago_s=1)
    tap.start()
    desk.queue.forever = True
    desk.queue.send({"order": "1"})
    tap.stop()
    assert desk.died() == ["messages were left in done-tap: more came than could be read"]


def test_a_last_poll_that_was_not_answered_is_told(desk: Desk) -> None:
    tap = opened(desk)
    tap.start()
    desk.queue.broken = True
    desk.ctx.target.client("sqs")
    tap.stop()
    (detail,) = desk.died()
    assert detail.startswith("the last messages were not read: ")


def test_a_queue_that_cannot_be_emptied_ends_the_drill_before_it_begins(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_taps, "_EMPTYING_WALL_S", 0.0)
    desk.queue.forever = True
    desk.queue.send("old", at=time.time() - 500)
    with pytest.raises(Refused, match="an almost empty queue done-tap"):
        open_taps(desk.ctx)
