"""Many alarms and many metrics are read whole: chunks of names, and every page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from tocsin.aws.cloudwatch import alarm_states, definition_changes, definition_drift, is_listed, put_alarms
from tocsin.aws.target import Target
from tocsin.model.alarm_fields import Dimension, MetricRef
from tocsin.model.system import CloudWatchAlarm, System

NAMES = [f"alarm-{number:03}" for number in range(130)]
METRIC = MetricRef(namespace="Shop", metric_name="orders", dimensions=(Dimension(name="desk", value="1"),))


def described(*names: str) -> list[dict[str, Any]]:
    return [
        {"AlarmName": name, "StateValue": "OK", "StateUpdatedTimestamp": datetime(2026, 1, 1, tzinfo=UTC)}
        for name in names
    ]


def asked(*names: str, **more: str) -> dict[str, Any]:
    kinds = ["MetricAlarm", "CompositeAlarm", "LogAlarm"]
    return {"AlarmNames": list(names), "AlarmTypes": kinds, "MaxRecords": 100, **more}


def test_alarms_are_described_a_hundred_names_a_call_and_to_the_last_page(target: Target) -> None:
    with Stubber(target.client("cloudwatch")) as cloudwatch:
        first = {"MetricAlarms": described(*NAMES[:60]), "NextToken": "more"}
        cloudwatch.add_response("describe_alarms", first, asked(*NAMES[:100]))
        rest = {"MetricAlarms": described(*NAMES[60:99]), "CompositeAlarms": described(NAMES[99])}
        cloudwatch.add_response("describe_alarms", rest, asked(*NAMES[:100], NextToken="more"))
        cloudwatch.add_response("describe_alarms", {"MetricAlarms": described(*NAMES[100:])}, asked(*NAMES[100:]))
        assert alarm_states(NAMES, target) == dict.fromkeys(NAMES, "OK")
        cloudwatch.assert_no_pending_responses()


def test_no_alarm_is_no_call(target: Target) -> None:
    with Stubber(target.client("cloudwatch")):
        assert alarm_states([], target) == {}


def listed(*desks: str) -> list[dict[str, Any]]:
    """Metrics of a desk each, and of a till at it: those are listed with the metric of the desk alone."""
    return [{"Dimensions": [{"Name": "desk", "Value": desk}, {"Name": "till", "Value": "1"}]} for desk in desks]


def test_a_metric_on_the_second_page_is_listed(target: Target) -> None:
    of_itself = {"Dimensions": [{"Name": "desk", "Value": "1"}]}
    with Stubber(target.client("cloudwatch")) as cloudwatch:
        for pages in ([listed("1"), [of_itself]], [listed("1"), listed("1")]):
            request = {"Namespace": "Shop", "MetricName": "orders", "Dimensions": ANY}
            cloudwatch.add_response("list_metrics", {"Metrics": pages[0], "NextToken": "more"}, request)
            cloudwatch.add_response("list_metrics", {"Metrics": pages[1]}, {**request, "NextToken": "more"})
        assert is_listed(METRIC, target)
        assert not is_listed(METRIC, target), "metrics with further dimensions are others"


DEFINITION: dict[str, Any] = {
    "AlarmName": "orders",
    "Namespace": "Shop",
    "MetricName": "orders",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 5.0,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "Tags": [{"Key": "team", "Value": "shop"}],
}


def test_composite_alarms_are_put_when_those_that_they_look_at_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[str] = []

    class Client:
        def put_metric_alarm(self, **definition: object) -> None:
            put.append(str(definition["AlarmName"]))

        put_composite_alarm = put_metric_alarm

    monkeypatch.setattr(Target, "client", lambda _target, _service: Client())
    metric: dict[str, object] = {
        "Namespace": "Shop",
        "MetricName": "x",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
    }
    metric |= {"AlarmName": "child", "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold"}
    rule: dict[str, object] = {"AlarmName": "page", "AlarmRule": "ALARM(child)", "ActionsSuppressor": "child"}
    rule |= {"ActionsSuppressorWaitPeriod": 0, "ActionsSuppressorExtensionPeriod": 0}
    alarms = {"page": {"title": "p", "cloudwatch": rule}, "child": {"title": "c", "cloudwatch": metric}}
    system = System.model_validate({"system": "shop", "title": "Shop", "endpoint": {"http_api": "a"}, "alarms": alarms})
    put_alarms(system, Target(name="t", region="us-east-1"))
    assert put == ["child", "page"]


def test_an_alarm_differs_in_what_cloudwatch_tells_of_it() -> None:
    alarm = CloudWatchAlarm.model_validate({"title": "Orders", "cloudwatch": DEFINITION})
    told = {name: value for name, value in DEFINITION.items() if name != "Tags"} | {"ActionsEnabled": True}
    assert definition_drift(alarm, told) == ()
    assert definition_drift(alarm, told | {"Period": 300}) == ("Period is 300.0, documented 60.0",)
    assert definition_drift(alarm, told | {"Unit": "Count"}) == ("Unit is 'Count', documented None",)
    assert definition_drift(alarm, told | {"EvaluationWindow": {"SlidingWindow": {}}}) == ()
    assert definition_drift(alarm, told | {"ThresholdMetricId": "band"}) == (
        "it is an alarm on anomaly detection (ThresholdMetricId)",
    )
    assert definition_drift(alarm, told | {"EvaluationWindow": {"WallClockWindow": {}}}) == (
        "EvaluationWindow is {'WallClockWindow': {}}, documented None",
    )
    assert definition_drift(alarm, told | {"EvaluateLowSampleCountPercentile": "evaluate"}) == ()


def test_what_somebody_changes_in_an_alarm_is_told_and_what_its_state_does_is_not() -> None:
    before = {**DEFINITION, "AlarmConfigurationUpdatedTimestamp": datetime(2026, 1, 1, tzinfo=UTC), "StateValue": "OK"}
    written = {"AlarmConfigurationUpdatedTimestamp": datetime(2026, 1, 1, 1, tzinfo=UTC)}
    assert definition_changes(before, before | {"StateValue": "ALARM", "EvaluationState": "PARTIAL_DATA"}) is None
    assert definition_changes(before, before | written | {"Threshold": 0}) == ("Threshold was 5.0, is 0.0",)
    assert definition_changes(before, before | {"ActionsEnabled": False}) == ("ActionsEnabled was None, is False",)
    assert definition_changes(before, before | written) == (), "meanwhile it may have been another"
