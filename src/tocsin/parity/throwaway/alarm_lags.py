"""How long it takes from a datapoint to a state, to its history, to a notification; and how finely times are told."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tocsin.alarms.delivery import parse_page
from tocsin.aws.cloudwatch import alarm_history, describe_named
from tocsin.aws.sqs import queue_url
from tocsin.aws.target import aws_errors
from tocsin.errors import NotFound
from tocsin.model.duration import format_duration
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway.kinds.alarm import DIMENSION, METRIC, NAMESPACE, ParityAlarm
from tocsin.parity.throwaway.kinds.messaging import ParityQueue, ParityTopic, received
from tocsin.parity.throwaway.workshop import NotSeen, Workshop, figure

STATE_AT, STATE_SEEN = "the time that CloudWatch gives its state", "the first DescribeAlarms that shows it"
HISTORY_SEEN = "the first history that holds it, after DescribeAlarms did"
SENT, READ = "its SentTimestamp in a queue", "a long poll that brings it"
DESCRIBED, TOLD, APART = "DescribeAlarms", "DescribeAlarmHistory", "transitions set one right after the other"
LAGS = (
    (Key.METRIC_LAG, STATE_AT),
    (Key.METRIC_LAG, STATE_SEEN),
    (Key.HISTORY_LAG, HISTORY_SEEN),
    (Key.NOTIFICATION_LAG, SENT),
    (Key.NOTIFICATION_LAG, READ),
)
RESOLUTIONS = ((Key.TIMESTAMPS, DESCRIBED), (Key.TIMESTAMPS, TOLD), (Key.TIMESTAMPS, APART))

_SETTLED_S, _RINGS_S, _TOLD_S = 300.0, 600.0, 300.0
_LONG_POLL_S = 1
_TRANSITIONS = 6
_WHOLE_S, _FINER_S = 1.0, 0.001
"""What times can be told in: AWS's have whole seconds, or milliseconds."""


def lags(shop: Workshop) -> Iterator[Measured]:
    """Of one alarm on one minute, from one datapoint on."""
    topic = shop.make(ParityTopic(name=shop.name("pages")))
    topic_arn = topic.arns(shop.aws)[0]
    queue = shop.make(ParityQueue(name=shop.name("pages"), topic=topic_arn))
    with aws_errors(f"subscribing {queue.resource} to {topic.resource}"):
        shop.aws.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=queue.arns(shop.aws)[0])
    alarm = shop.make(ParityAlarm(name=shop.name("rings"), topic=topic_arn)).name
    _put(shop, alarm, 0.0)
    shop.seen(f"alarm {alarm} is OK", lambda: _in_state(shop, alarm, "OK"), _SETTLED_S)

    put_at = shop.ctx.clock.now()
    _put(shop, alarm, 1.0)
    described = shop.seen(f"alarm {alarm} rings", lambda: _in_state(shop, alarm, "ALARM"), _RINGS_S)
    seen_at, changed_at = shop.ctx.clock.now(), _changed(described).timestamp()
    yield figure(Key.METRIC_LAG, STATE_AT, shop.between(put_at, changed_at), "our clock against CloudWatch's")
    yield figure(Key.METRIC_LAG, STATE_SEEN, shop.between(put_at, seen_at))
    shop.seen("its history says so", lambda: _rang(shop, alarm), _TOLD_S)
    yield figure(Key.HISTORY_LAG, HISTORY_SEEN, shop.since(seen_at))
    message = shop.seen(f"{queue.resource} holds its notification", lambda: _page(shop, queue.name, alarm), _TOLD_S)
    sent_at = float(message["Attributes"]["SentTimestamp"]) / 1000
    yield figure(Key.NOTIFICATION_LAG, SENT, shop.between(changed_at, sent_at))
    yield figure(Key.NOTIFICATION_LAG, READ, shop.since(changed_at))


def _put(shop: Workshop, alarm: str, value: float) -> None:
    with aws_errors(f"putting a datapoint for alarm {alarm}"):
        shop.aws.client("cloudwatch").put_metric_data(
            Namespace=NAMESPACE,
            MetricData=[{"MetricName": METRIC, "Dimensions": [{"Name": DIMENSION, "Value": alarm}], "Value": value}],
        )


def _in_state(shop: Workshop, alarm: str, state: str) -> Mapping[str, Any] | None:
    described = _describe(shop, alarm)
    return described if described["StateValue"] == state else None


def _describe(shop: Workshop, alarm: str) -> Mapping[str, Any]:
    found = describe_named([alarm], shop.ctx.target).get(alarm)
    if found is None:
        raise NotFound(f"expected alarm {alarm}, found none")
    return found


def _changed(described: Mapping[str, Any]) -> datetime:
    """When it went to its state. StateUpdatedTimestamp also moves when only its evaluation changed."""
    when: datetime = described.get("StateTransitionedTimestamp") or described["StateUpdatedTimestamp"]
    return when


def _history(shop: Workshop, alarm: str) -> list[tuple[datetime, Mapping[str, Any]]]:
    """Time and data of each StateUpdate, the oldest first."""
    with aws_errors(f"reading the history of alarm {alarm}"):
        items = alarm_history(shop.ctx.target, "StateUpdate", alarm)
        return [(item["Timestamp"], json.loads(item["HistoryData"])) for item in items]


def _rang(shop: Workshop, alarm: str) -> bool | None:
    return any(data["newState"]["stateValue"] == "ALARM" for _, data in _history(shop, alarm)) or None


def _page(shop: Workshop, queue: str, alarm: str) -> Mapping[str, Any] | None:
    """The message in our own queue that tells of the alarm."""
    url = queue_url(shop.ctx.target, queue)
    pages = ((message, parse_page(message["Body"])) for message in received(shop.aws, url, _LONG_POLL_S))
    return next((message for message, page in pages if (page.alarm_name, page.state) == (alarm, "ALARM")), None)


def resolutions(shop: Workshop) -> Iterator[Measured]:
    """Of an alarm whose state is set, back and forth, as fast as CloudWatch takes it."""
    alarm = shop.make(ParityAlarm(name=shop.name("times"))).name
    described: list[datetime] = []
    for number in range(_TRANSITIONS):
        state = "OK" if number % 2 else "ALARM"
        with aws_errors(f"setting alarm {alarm}"):
            shop.aws.client("cloudwatch").set_alarm_state(
                AlarmName=alarm, StateValue=state, StateReason=_reason(alarm, number)
            )
        described.append(_changed(_describe(shop, alarm)))
    yield figure(Key.TIMESTAMPS, DESCRIBED, resolution(described), looks=len(described))
    told = sorted(_told(shop, alarm))
    if told:
        yield figure(Key.TIMESTAMPS, TOLD, resolution(told), looks=len(told))
    yield _apart(told)


def _told(shop: Workshop, alarm: str) -> list[datetime]:
    """When each transition was, as far as the history tells within its time."""
    try:
        return shop.seen("its history holds every transition", lambda: _all_set(shop, alarm), _TOLD_S)
    except NotSeen:
        return _set_by_us(shop, alarm)


def _apart(told: Sequence[datetime]) -> Measured:
    """Whether those of one second are two, and told apart by their times."""
    if len(told) < _TRANSITIONS:
        detail = f"{len(told)} of {_TRANSITIONS} transitions are in the history after {format_duration(_TOLD_S)}"
        return Measured(key=Key.TIMESTAMPS, about=APART, here="some are lost", holds=False, detail=detail)
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(told)]
    close, alike = sum(gap < 1 for gap in gaps), sum(gap == 0 for gap in gaps)
    detail = f"all {len(told)} are in the history; {close} within a second of the one before, {alike} at its very time"
    return figure(Key.TIMESTAMPS, APART, resolution(told) if alike else min(gaps), detail, looks=len(gaps))


def _all_set(shop: Workshop, alarm: str) -> list[datetime] | None:
    held = _set_by_us(shop, alarm)
    return held if len(held) >= _TRANSITIONS else None


def _set_by_us(shop: Workshop, alarm: str) -> list[datetime]:
    reasons = {_reason(alarm, number) for number in range(_TRANSITIONS)}
    return [at for at, data in _history(shop, alarm) if data["newState"].get("stateReason") in reasons]


def _reason(alarm: str, number: int) -> str:
    return f"{alarm}: {number + 1} of {_TRANSITIONS}"


def resolution(moments: Sequence[datetime]) -> float:
    """Seconds by which two times must differ to be told apart, as far as these times show it."""
    return _WHOLE_S if all(one.microsecond == 0 for one in moments) else _FINER_S
