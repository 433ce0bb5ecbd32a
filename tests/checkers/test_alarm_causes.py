"""A verdict names the cause, as far as the history tells it, and never claims more than that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.checkers.histories import (
    EXPECT,
    START,
    SYSTEM,
    TOPIC,
    Scene,
    add,
    datapoints,
    drop,
    forecast,
    passing,
    path,
    tweak,
)

from tocsin.checkers import judge
from tocsin.model.events import AlarmNotified, AlarmSeen, Event, Mute
from tocsin.model.experiment import MustAlarm
from tocsin.model.system import CloudWatchAlarm, CompositeAlarm
from tocsin.model.verdict import Judgement, Outcome, Reason

ALARM = "api-5xx"
HEARTBEAT: dict[str, object] = {
    "comparison_operator": "LessThanThreshold",
    "treat_missing_data": "breaching",
    "evaluation_periods": 3,
    "datapoints_to_alarm": 2,
}

LATE = Scene().end - 0.2
"""After it rang."""


def silent() -> list[Event]:
    return Scene(rings={"api-latency": (312.0, 301.0)}).history()


def untold() -> list[Event]:
    return drop(passing(), lambda event: isinstance(event, AlarmNotified) and event.alarm == ALARM)


def judged(history: list[Event], question: str = f"must:{ALARM}") -> Judgement:
    return next(judgement for judgement in judge(history).judgements if judgement.id == question)


SILENT: list[tuple[str, list[Event], str]] = [
    (
        "threshold out of reach",
        [datapoints(ALARM, 1, 4, 2)],
        "none of the 3 datapoints during the fault breached: the highest was 4, >= 5 is needed",
    ),
    (
        "the other way round",
        [datapoints(ALARM, 9, 7, comparison_operator="LessThanThreshold")],
        "the lowest was 7, < 5 is needed",
    ),
    (
        "one period too many",
        [datapoints(ALARM, 2, 9, 7, datapoints_to_alarm=3, evaluation_periods=3)],
        "2 of the 3 datapoints during the fault breached, 3 of 3 are needed",
    ),
    (
        "silence was health",
        [datapoints(ALARM)],
        "had no datapoint during the fault, and missing data counts as not breaching: silence was health",
    ),
    ("silence kept the state", [datapoints(ALARM, treat_missing_data="ignore")], "missing data is ignored"),
    (
        "silence of DynamoDB",
        [datapoints(ALARM, treat_missing_data="ignore", always_ignored=True)],
        "missing data of AWS/DynamoDB metrics is always ignored, whatever TreatMissingData says: it kept its state",
    ),
    (
        "silence of DynamoDB after some data",
        [datapoints(ALARM, 1, treat_missing_data="ignore", always_ignored=True)],
        "the highest was 1, >= 5 is needed, and missing data of AWS/DynamoDB metrics is always ignored",
    ),
    ("silence rings nothing", [datapoints(ALARM, treat_missing_data="missing")], "missing data cannot ring"),
    (
        "silence was not old enough",
        [datapoints(ALARM, treat_missing_data="breaching")],
        "no data during the fault, and older data still in its evaluation range",
    ),
    (
        "silence was not old enough, and the datapoints are of before and after",
        [datapoints(ALARM, 10, 7, whole=(), **HEARTBEAT)],
        "breaching only when 4 of the 5 periods that CloudWatch looks at are empty",
    ),
    (
        "a heartbeat that was heard",
        [datapoints(ALARM, 10, 8, 7, whole=(8.0,), **HEARTBEAT)],
        "none of the 1 datapoints during the fault breached: the lowest was 8, < 5 is needed",
    ),
    (
        "a heartbeat of a history that does not tell which datapoints are whole",
        [datapoints(ALARM, 10, 7, **HEARTBEAT)],
        "none of the 2 datapoints during the fault breached: the lowest was 7, < 5 is needed",
    ),
    (
        "not readable",
        [datapoints(ALARM, values=None, detail="AccessDenied: no")],
        "its datapoints could not be read (AccessDenied: no)",
    ),
    ("nobody looked", [], "stayed OK"),
]


@pytest.mark.parametrize(("evidence", "cause"), [row[1:] for row in SILENT], ids=[row[0] for row in SILENT])
def test_a_silent_alarm_says_why(evidence: list[Event], cause: str) -> None:
    found = judged(add(silent(), *evidence))
    assert (found.outcome, found.reason) == (Outcome.FAIL, Reason.DID_NOT_RING)
    assert cause in found.message


def test_a_metric_that_never_had_data_is_named_before_anything_else() -> None:
    seen = tweak(silent(), lambda e: isinstance(e, AlarmSeen) and e.alarm == ALARM, has_data=False)
    assert judged(add(seen, datapoints(ALARM))).message.endswith("its metric has never had a datapoint")


def test_a_silent_composite_names_the_children_that_did_not_ring() -> None:
    composite = CompositeAlarm(alarm_name="dev-both", alarm_rule="ALARM(api-5xx) AND ALARM(api-latency)")
    both = CloudWatchAlarm(title="both", cloudwatch=composite)
    scene = Scene(
        system=SYSTEM.model_copy(update={"alarms": {**SYSTEM.alarms, "both": both}}),
        expect=EXPECT.model_copy(update={"must": (MustAlarm(alarm="both", within=660),)}),
    )
    silent_child = replace(scene, rings={"api-latency": (312.0, 301.0)})
    message = judged(silent_child.history(), "must:both").message
    assert "did not hold: api-5xx did not ring, api-latency rang" in message


def filtered(policy: str, scope: str = "MessageBody") -> Event:
    return path(ALARM, TOPIC.model_copy(update={"filter_policy": policy, "filter_scope": scope}))


UNTOLD: list[tuple[str, list[Event], str]] = [
    ("actions disabled", [path(ALARM, TOPIC, actions_enabled=False)], "its actions are disabled"),
    (
        "disabled only during the fault",
        [path(ALARM, TOPIC), path(ALARM, TOPIC, actions_enabled=False)],
        "its actions are disabled",
    ),
    ("no action", [path(ALARM)], "it has no AlarmActions"),
    (
        "another kind of action",
        [path(ALARM, actions=("arn:aws:automate:eu-west-1:ec2:reboot",))],
        "none of its AlarmActions is an SNS topic (arn:aws:automate:eu-west-1:ec2:reboot)",
    ),
    (
        "queue not subscribed",
        [path(ALARM, TOPIC.model_copy(update={"subscribed": False}))],
        "oncall is not subscribed to bells",
    ),
    (
        "topic gone",
        [path(ALARM, TOPIC.model_copy(update={"subscribed": False, "detail": "there is no such topic"}))],
        "not subscribed to bells (there is no such topic)",
    ),
    (
        "not confirmed",
        [path(ALARM, TOPIC.model_copy(update={"confirmed": False}))],
        "the subscription of oncall to bells is not confirmed",
    ),
    (
        "filtered by attributes that alarms do not have",
        [filtered('{"severity": ["critical"]}', "MessageAttributes")],
        "the filter policy of oncall at bells on MessageAttributes drops it",
    ),
    ("filtered by name", [filtered('{"AlarmName": ["another"]}')], "on MessageBody drops it"),
    ("filtered by what nobody knows", [filtered('{"Region": ["Europe (Ireland)"]}')], "on MessageBody may drop it"),
    (
        "subscriptions not readable",
        [path(ALARM, TOPIC.model_copy(update={"subscribed": None, "detail": "AccessDenied"}))],
        "whether oncall is subscribed to bells is unknown (AccessDenied)",
    ),
    (
        "filter not readable",
        [path(ALARM, TOPIC.model_copy(update={"confirmed": None, "detail": "AccessDenied"}))],
        "the filter policy of oncall at bells is unknown (AccessDenied)",
    ),
    ("whole", [path(ALARM, TOPIC)], "look at the policies of topic and queue"),
    (
        "one of two ways is whole",
        [path(ALARM, TOPIC.model_copy(update={"subscribed": False}), TOPIC)],
        "look at the policies of topic and queue",
    ),
    (
        "suppressed when it rang",
        [path(ALARM, TOPIC), path(ALARM, TOPIC, at=LATE, suppressor="maintenance", suppressed_by="Alarm")],
        "its actions were suppressed by maintenance, which was in ALARM (ActionsSuppressor)",
    ),
    (
        "waiting for its suppressor",
        [path(ALARM, TOPIC, at=LATE, suppressor="maintenance", suppressed_by="WaitPeriod")],
        "its actions waited for its suppressor maintenance",
    ),
    (
        "muted now, whoever knows for how long",
        [path(ALARM, TOPIC, at=LATE, mutes=(Mute(rule="nightly", active=True),))],
        "its actions were muted by the alarm mute rule nightly",
    ),
    (
        "muted by a window that began after it was read",
        [path(ALARM, TOPIC, mutes=(Mute(rule="nightly", active=False, starts=START + 1, ends=LATE),))],
        "its actions were muted by the alarm mute rule nightly",
    ),
    ("not recorded", [], "how it would tell somebody was not recorded"),
]


@pytest.mark.parametrize(("evidence", "cause"), [row[1:] for row in UNTOLD], ids=[row[0] for row in UNTOLD])
def test_an_alarm_that_told_nobody_says_why(evidence: list[Event], cause: str) -> None:
    found = judged(add(untold(), *evidence))
    assert (found.outcome, found.reason) == (Outcome.FAIL, Reason.NOT_NOTIFIED)
    assert cause in found.message


@pytest.mark.parametrize(
    "held",
    [
        [path(ALARM, TOPIC, suppressor="maintenance", suppressed_by="Alarm"), path(ALARM, TOPIC, at=LATE)],
        [path(ALARM, TOPIC, mutes=(Mute(rule="nightly", active=True, starts=START - 900, ends=START + 1),))],
        [path(ALARM, TOPIC, mutes=(Mute(rule="nightly", active=False, starts=LATE, ends=LATE + 60),))],
    ],
    ids=["suppressed before", "muted before", "muted later"],
)
def test_what_held_the_actions_back_at_another_time_is_no_cause(held: list[Event]) -> None:
    message = judged(add(untold(), *held)).message
    assert "muted" not in message
    assert "suppressed" not in message


@pytest.mark.parametrize(
    "evidence",
    [
        [path(ALARM, TOPIC, actions_enabled=False)],
        [path(ALARM)],
        [datapoints(ALARM)],
        [forecast(ALARM, feasible=False)],
    ],
)
def test_what_was_seen_counts_more_than_what_could_be_expected(evidence: list[Event]) -> None:
    assert judged(add(passing(), *evidence)).outcome == Outcome.PASS


def test_the_estimate_stands_beside_the_time_to_detect() -> None:
    found = next(one for one in judge(add(passing(), forecast(ALARM))).detections if one.alarm == ALARM)
    assert (found.typical_s, found.worst_s) == (145, 660)
