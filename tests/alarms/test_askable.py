"""What an experiment asks of an alarm that its own definition rules out."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.alarms.askable import cannot_be
from tocsin.model.experiment import MustAlarm
from tocsin.model.system import System

TOPIC = "arn:aws:sns:us-east-1:000000000000:bells"
HEARTBEAT: dict[str, Any] = {
    "AlarmName": "heartbeat",
    "Namespace": "Shop",
    "MetricName": "beats",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 1,
    "ComparisonOperator": "LessThanThreshold",
    "TreatMissingData": "missing",
    "AlarmActions": [TOPIC],
    "InsufficientDataActions": [TOPIC],
    "OKActions": [TOPIC],
}


def problems(entry: dict[str, Any], alarm: dict[str, Any] | None = None, **system: Any) -> dict[str, str]:
    definition = {"title": "t", "cloudwatch": alarm or HEARTBEAT}
    document: dict[str, Any] = {
        "system": "shop",
        "title": "Shop",
        "endpoint": {"url": "http://127.0.0.1:1"},
        "notifications": {"queue": "oncall"},
        "alarms": {"heartbeat": definition},
        **system,
    }
    asked = MustAlarm.model_validate({"alarm": "heartbeat", "within": "5m", **entry})
    return dict(cannot_be(asked, System.model_validate(document)))


GONE = {"by": "INSUFFICIENT_DATA"}


def test_a_heartbeat_can_be_asked_for_both() -> None:
    assert problems({**GONE, "all_clear": True, "notified_within": "9m"}) == {}


@pytest.mark.parametrize("treated", ["breaching", "notBreaching", "ignore"])
def test_an_alarm_that_never_lacks_data_cannot_tell_of_it(treated: str) -> None:
    found = problems(GONE, {**HEARTBEAT, "TreatMissingData": treated})
    assert found == {
        "by": f"expected an alarm that can go to INSUFFICIENT_DATA, found heartbeat with TreatMissingData {treated}"
    }


_ONE_METRIC = ("Namespace", "MetricName", "Statistic", "Period")


def math_of(expression: str, **others: str) -> dict[str, Any]:
    """The heartbeat, watched by metric math of `m` and of other expressions."""
    stat = {"Metric": {"Namespace": "Shop", "MetricName": "beats"}, "Period": 60, "Stat": "Sum"}
    beside = [{"Id": name, "Expression": text, "ReturnData": False} for name, text in others.items()]
    metrics = [{"Id": "e", "Expression": expression}, {"Id": "m", "MetricStat": stat, "ReturnData": False}, *beside]
    return {name: value for name, value in HEARTBEAT.items() if name not in _ONE_METRIC} | {"Metrics": metrics}


COMPOSITE = {"AlarmName": "page", "AlarmRule": "ALARM(a)", "AlarmActions": [TOPIC]}
ALERTS = {
    "prometheus": {"url": "http://127.0.0.1:2", "rules": "rules.yaml"},
    "alarms": {"heartbeat": {"title": "t", "prometheus": {"alert": "Beats"}}},
}


@pytest.mark.parametrize(
    ("entry", "alarm", "system", "words"),
    [
        (GONE, COMPOSITE, {}, {"by": "a composite"}),
        (GONE, None, ALERTS, {"by": "Prometheus evaluates"}),
        (GONE, {**HEARTBEAT, "Namespace": "AWS/DynamoDB"}, {}, {"by": "AWS/DynamoDB metrics ignore missing data"}),
        (GONE, math_of("FILL(m, 0)"), {}, {"by": "metric math gives a value for every period"}),
        (GONE, math_of("f + 1", f="FILL(m, 0)"), {}, {"by": "metric math gives a value for every period"}),
        (GONE, math_of("FILL(m, REPEAT)"), {}, {}),
        (GONE, math_of("10 / FILL(m, 0)"), {}, {}),
        (GONE, {**HEARTBEAT, "InsufficientDataActions": []}, {}, {"by": "without InsufficientDataActions"}),
        (GONE, {**HEARTBEAT, "InsufficientDataActions": []}, {"notifications": None}, {}),
        (GONE, {**HEARTBEAT, "ActionsEnabled": False}, {}, {"by": "with ActionsEnabled false"}),
        ({"all_clear": True}, {**HEARTBEAT, "OKActions": []}, {}, {"all_clear": "without OKActions"}),
        ({"all_clear": True}, None, {"notifications": None}, {"all_clear": "`notifications`"}),
        ({"all_clear": True}, None, ALERTS, {"all_clear": "alarm of CloudWatch"}),
        ({"notified_within": "9m"}, None, {"notifications": None}, {"notified_within": "a system without them"}),
        ({"notified_within": "9m"}, None, ALERTS, {"notified_within": "of Prometheus"}),
    ],
)
def test_what_its_definition_rules_out(
    entry: dict[str, Any], alarm: dict[str, Any] | None, system: dict[str, Any], words: dict[str, str]
) -> None:
    found = problems(entry, alarm, **system)
    assert set(found) == set(words)
    assert all(words[field] in complaint for field, complaint in found.items())


def test_people_cannot_be_told_before_it_rings() -> None:
    with pytest.raises(ValueError, match="`notified_within` of at least `within`, found 4m of 5m"):
        MustAlarm.model_validate({"alarm": "heartbeat", "within": "5m", "notified_within": "4m"})
