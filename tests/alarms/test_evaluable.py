"""Which alarms only CloudWatch itself can evaluate."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.alarms.cloudwatch import AlarmEvaluator
from tocsin.alarms.evaluable import not_evaluated
from tocsin.errors import InvalidInput, NotEvaluated
from tocsin.model.system import CloudWatchAlarm, CompositeAlarm, MetricAlarm

INSIGHTS = {"Id": "q", "Expression": 'SELECT SUM(Errors) FROM SCHEMA("AWS/Lambda", FunctionName)', "Period": 60}


def metric(name: str, *metrics: dict[str, Any]) -> CloudWatchAlarm:
    definition = {
        "AlarmName": f"desk-{name}",
        "Metrics": metrics,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    return CloudWatchAlarm(title=name, cloudwatch=MetricAlarm.model_validate(definition))


def composite(name: str, rule: str) -> CloudWatchAlarm:
    return CloudWatchAlarm(title=name, cloudwatch=CompositeAlarm(alarm_name=f"desk-{name}", alarm_rule=rule))


STATISTIC = {
    "Id": "m",
    "MetricStat": {"Metric": {"Namespace": "Desk", "MetricName": "x"}, "Period": 60, "Stat": "Sum"},
    "ReturnData": False,
}


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("MAX(ANOMALY_DETECTION_BAND(m, 2))", "model that CloudWatch trains"),
        ("INSIGHT_RULE_METRIC('r', 'Sum')", "Contributor"),
    ],
)
def test_what_only_cloudwatch_evaluates_is_told(expression: str, why: str) -> None:
    alarm = metric("band", STATISTIC, {"Id": "e", "Expression": expression})
    found = not_evaluated({"band": alarm, "good": metric("good", {**STATISTIC, "ReturnData": True})})
    assert list(found) == ["band"]
    assert why in found["band"]


def test_what_is_composed_of_it_is_not_evaluated_either() -> None:
    alarms = {
        "top": composite("top", "ALARM(desk-middle)"),
        "middle": composite("middle", "ALARM(desk-insights) OR ALARM(desk-good)"),
        "other": composite("other", "ALARM(desk-good)"),
        "good": metric("good", {**STATISTIC, "ReturnData": True}),
        "insights": metric("insights", INSIGHTS),
    }
    assert set(not_evaluated(alarms)) == {"insights", "middle", "top"}


def test_what_cloudwatch_refuses_is_another_matter() -> None:
    search = metric("search", {"Id": "e", "Expression": "SEARCH('{Desk,Name} x', 'Sum', 60)"})
    assert not_evaluated({"search": search}) == {}
    assert isinstance(search.cloudwatch, MetricAlarm)
    with pytest.raises(InvalidInput, match="allows it in no alarm") as refused:
        AlarmEvaluator(search.cloudwatch)
    assert not isinstance(refused.value, NotEvaluated)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("EvaluationWindow", {"WallClockWindow": {}}, "window on the wall clock"),
        ("WarmUpConfiguration", {"WarmUpPeriodDurationInMinutes": 5}, "warm-up period"),
    ],
)
def test_what_only_cloudwatch_does_can_be_written_down(field: str, value: dict[str, Any], why: str) -> None:
    plain = metric("plain", {**STATISTIC, "ReturnData": True})
    definition = {**plain.cloudwatch.model_dump(by_alias=True), field: value}
    alarm = CloudWatchAlarm.model_validate({"title": "special", "cloudwatch": definition})
    found = not_evaluated({"special": alarm, "plain": plain})
    assert list(found) == ["special"]
    assert why in found["special"]


def test_a_sliding_window_is_evaluated() -> None:
    plain = metric("plain", {**STATISTIC, "ReturnData": True}).cloudwatch.model_dump(by_alias=True)
    AlarmEvaluator(MetricAlarm.model_validate({**plain, "EvaluationWindow": {"SlidingWindow": {}}}))
