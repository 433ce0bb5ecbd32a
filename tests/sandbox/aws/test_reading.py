"""What `tocsin.aws` reads of an account, on the running sandbox: many alarms, subscriptions, queues and their kin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

import pytest
from tests.sandbox.aws.shop import Shop

from tocsin.alarms.delivery import obstacle
from tocsin.aws.cloudwatch import alarm_states, is_listed
from tocsin.aws.sns import read_topic
from tocsin.aws.sqs import dead_letter_queue, queue_attributes, queue_url, source_queues
from tocsin.errors import NotFound
from tocsin.model.alarm_fields import Dimension, MetricRef

_numbers = count()


@pytest.fixture
def many(shop: Shop) -> Iterator[list[str]]:
    """More alarms of both kinds than one call can name."""
    prefix = f"many-{next(_numbers)}"
    names = [f"{prefix}-{number:03}" for number in range(105)]
    for name in names:
        shop.put_alarm(name)
    both = [f"{prefix}-both-{number}" for number in range(3)]
    for name in both:
        shop.client("cloudwatch").put_composite_alarm(AlarmName=name, AlarmRule=f"ALARM({names[0]})")
    yield [*names, *both]
    for name in both:  # one composite alarm a call
        shop.client("cloudwatch").delete_alarms(AlarmNames=[name])
    for first in range(0, len(names), 100):
        shop.client("cloudwatch").delete_alarms(AlarmNames=names[first : first + 100])


def test_every_alarm_is_read_however_many_there_are(shop: Shop, many: list[str]) -> None:
    assert set(alarm_states([*many, "no-such-alarm"], shop.account.target)) == set(many)


def test_a_metric_is_listed_by_exactly_its_dimensions(shop: Shop) -> None:
    shop.publish("sold", 1, desk="1", till="1")
    assert is_listed(metric("sold", desk="1", till="1"), shop.account.target)
    assert not is_listed(metric("sold", desk="1"), shop.account.target)


def metric(name: str, **dimensions: str) -> MetricRef:
    named = tuple(Dimension(name=name, value=value) for name, value in dimensions.items())
    return MetricRef(namespace="Shop", metric_name=name, dimensions=named)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({}, None),
        ({"FilterPolicy": '{"team": ["nobody"]}'}, "on MessageAttributes drops it"),
        ({"FilterPolicyScope": "MessageBody", "FilterPolicy": '{"AlarmName": ["other"]}'}, "on MessageBody drops it"),
        ({"FilterPolicyScope": "MessageBody", "FilterPolicy": '{"NewStateValue": ["ALARM"]}'}, None),
    ],
)
def test_a_filter_that_is_planted_is_read_and_judged(shop: Shop, policy: dict[str, str], words: str | None) -> None:
    sns, sqs, queue = shop.client("sns"), shop.client("sqs"), f"pager-{next(_numbers)}"
    topic, url = sns.create_topic(Name=queue)["TopicArn"], sqs.create_queue(QueueName=queue)["QueueUrl"]
    endpoint = queue_attributes(shop.account.target, url, "QueueArn")["QueueArn"]
    try:
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=endpoint, Attributes=policy)
        found = obstacle(read_topic(shop.account.target, topic, queue), "shop-5xx", queue)
    finally:
        sns.delete_topic(TopicArn=topic)
        sqs.delete_queue(QueueUrl=url)
    assert (found is None) == (words is None)
    assert found is None or (words or "") in found.words


def test_queues_are_found_by_name_with_their_kin(shop: Shop) -> None:
    sqs, target, prefix = shop.client("sqs"), shop.account.target, f"kin-{next(_numbers)}"
    dead = sqs.create_queue(QueueName=f"{prefix}-dead")["QueueUrl"]
    redrive = {"deadLetterTargetArn": queue_attributes(target, dead, "QueueArn")["QueueArn"], "maxReceiveCount": 3}
    live = sqs.create_queue(QueueName=prefix, Attributes={"RedrivePolicy": json.dumps(redrive)})["QueueUrl"]
    try:
        assert queue_url(target, prefix) == live
        assert dead_letter_queue(target, prefix) == dead
        assert source_queues(target, dead) == [live]
        with pytest.raises(NotFound):
            dead_letter_queue(target, f"{prefix}-dead")
    finally:
        sqs.delete_queue(QueueUrl=live)
        sqs.delete_queue(QueueUrl=dead)
