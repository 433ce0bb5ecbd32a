"""What PutMetricAlarm refuses, a system file may not say.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tocsin.model.alarm_limits import ALARM_LIMITS
from tocsin.model.system import CompositeAlarm, MetricAlarm

REBOOT = "arn:aws:automate:eu-west-1:ec2:reboot"
ONE_METRIC: Mapping[str, Any] = {
    "AlarmName": "kiosk-errors",
    "Namespace": "AWS/Lambda",
    "MetricName": "Errors",
    "Dimensions": [{"Name": "FunctionName", "Value": "kiosk"}],
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 5,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
}


def _stat(name: str, metric: str, **more: Any) -> dict[str, Any]:
    return {
        "Id": name,
        "ReturnData": False,
        "MetricStat": {
            "Metric": {"Namespace": "AWS/Lambda", "MetricName": metric},
            "Period": 60,
            "Stat": "Sum",
            **more,
        },
    }


SHARE = {"Id": "share", "Expression": "100 * failed / all", "Label": "Share of failed sales"}
MATH: Mapping[str, Any] = {
    "AlarmName": "kiosk-share",
    "Metrics": [SHARE, _stat("failed", "Errors", Unit="Count"), _stat("all", "Invocations")],
    "EvaluationPeriods": 1,
    "Threshold": 10,
    "ComparisonOperator": "GreaterThanThreshold",
}


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The definition with changes; None takes a field out."""
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"Period": 10},
        {"Period": 3600, "EvaluationPeriods": 168},
        {"Period": 60, "EvaluationPeriods": 1440},
        {"DatapointsToAlarm": 3},
        {"Unit": "Count"},
        {"Statistic": None, "ExtendedStatistic": "TM(10%:90%)"},
        {"Tags": [{"Key": "team", "Value": "kiosk"}]},
        {"AlarmActions": ["arn:aws:sns:eu-west-1:123456789012:a"] * 5},
        {"Threshold": -3.5},
    ],
    ids=str,
)
def test_what_the_call_takes_can_be_written_down(changes: Mapping[str, Any]) -> None:
    definition = changed(ONE_METRIC, changes)
    alarm = MetricAlarm.model_validate(definition)
    assert definition.items() <= alarm.model_dump(mode="json", by_alias=True, exclude_none=True).items()


def test_metric_math_as_templates_write_it() -> None:
    queries = [
        SHARE,
        _stat("failed", "Errors", Unit="Count"),
        {**_stat("all", "Invocations"), "AccountId": "123456789012"},
    ]
    alarm = MetricAlarm.model_validate(changed(MATH, {"Metrics": queries}))
    assert alarm.metrics[0].label == "Share of failed sales"
    assert alarm.metrics[1].metric_stat is not None
    assert alarm.metrics[1].metric_stat.unit == "Count"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"Period": 0}, "Period"),
        ({"Period": 45}, "multiple of 60"),
        ({"Period": -60}, "Period"),
        ({"Period": None}, "Period"),
        ({"Period": 60, "EvaluationPeriods": 1441}, "86400"),
        ({"Period": 3600, "EvaluationPeriods": 169}, "604800"),
        ({"EvaluationPeriods": 0}, "EvaluationPeriods"),
        ({"EvaluationPeriods": 2, "DatapointsToAlarm": 3}, "could never ring"),
        ({"DatapointsToAlarm": 0}, "DatapointsToAlarm"),
        ({"Statistic": None}, "Statistic"),
        ({"ExtendedStatistic": "p99"}, "both"),
        ({"Statistic": None, "ExtendedStatistic": "Sum"}, "expected Statistic Sum"),
        ({"Statistic": "Median"}, "Statistic"),
        ({"MetricName": None}, "MetricName"),
        ({"MetricName": ""}, "MetricName"),
        ({"Namespace": None}, "Namespace"),
        ({"Namespace": ":mine"}, "Namespace"),
        ({"Dimensions": [{"Name": "FunctionName", "Value": ""}]}, "Value"),
        ({"Dimensions": [{"Name": f"d{n}", "Value": "v"} for n in range(31)]}, "Dimensions"),
        ({"Threshold": math.nan}, "Threshold"),
        ({"Threshold": math.inf}, "Threshold"),
        ({"Threshold": None}, "Threshold"),
        ({"ComparisonOperator": ">"}, "ComparisonOperator"),
        ({"TreatMissingData": "breach"}, "TreatMissingData"),
        ({"AlarmActions": ["arn:aws:sns:eu-west-1:123456789012:a"] * 6}, "AlarmActions"),
        ({"OKActions": [""]}, "OKActions"),
        ({"AlarmName": ""}, "AlarmName"),
        ({"AlarmName": "two\nlines"}, "AlarmName"),
        ({"AlarmName": "n" * 256}, "AlarmName"),
        ({"AlarmDescription": "d" * 1025}, "AlarmDescription"),
        ({"Unit": "Apples"}, "Unit"),
        ({"Metrics": MATH["Metrics"]}, "found both"),
        ({"Metrics": []}, None),
    ],
    ids=str,
)
def test_what_the_call_refuses_of_one_metric(changes: Mapping[str, Any], named: str | None) -> None:
    definition = changed(ONE_METRIC, changes)
    if named is None:
        assert MetricAlarm.model_validate(definition).metrics == ()
        return
    with pytest.raises(ValidationError) as refused:
        MetricAlarm.model_validate(definition)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("queries", "named"),
    [
        ([_stat("failed", "Errors")], "ReturnData true, found 0"),
        ([{**SHARE}, {**SHARE, "Id": "other"}, _stat("failed", "Errors")], "ReturnData true, found 2"),
        ([SHARE, _stat("failed", "Errors"), _stat("failed", "Invocations")], "twice"),
        ([{"Id": "share"}], "neither"),
        ([{**_stat("failed", "Errors"), "Expression": "1"}], "found both"),
        ([{**SHARE, "Id": "Share"}], "Id"),
        ([{**SHARE, "Expression": ""}], "Expression"),
        ([SHARE, _stat("failed", "Errors", Period=45)], "multiple of 60"),
        ([SHARE, *(_stat(f"m{n}", "Errors") for n in range(11))], "at most 10 metrics"),
        ([SHARE, *({"Id": f"e{n}", "Expression": "1", "ReturnData": False} for n in range(10))], "at most 10 expr"),
    ],
    ids=["none returned", "two returned", "twice", "neither", "both", "id", "empty", "period", "many", "expressions"],
)
def test_what_the_call_refuses_of_metric_math(queries: list[Any], named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        MetricAlarm.model_validate(changed(MATH, {"Metrics": queries}))
    assert named in str(refused.value)


NO_WAIT = {"ActionsSuppressorWaitPeriod": 0, "ActionsSuppressorExtensionPeriod": 0}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"AlarmRule": ""}, "AlarmRule"),
        ({"AlarmName": ""}, "AlarmName"),
        ({"AlarmActions": ["a"] * 6}, "AlarmActions"),
        ({"AlarmActions": [REBOOT]}, "a composite alarm can do"),
        ({"ActionsSuppressor": "m"}, "ActionsSuppressorWaitPeriod"),
        ({"ActionsSuppressor": "m", "ActionsSuppressorWaitPeriod": 0}, "ActionsSuppressorExtensionPeriod"),
        ({"ActionsSuppressor": "m", "ActionsSuppressorWaitPeriod": -1}, "ActionsSuppressorWaitPeriod"),
        ({"ActionsSuppressor": "m" * 1601}, "ActionsSuppressor"),
        ({"ActionsSuppressor": "both", **NO_WAIT}, "found 'both', the alarm itself"),
        ({"ActionsSuppressor": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:both", **NO_WAIT}, "the alarm itself"),
    ],
)
def test_what_the_call_refuses_of_a_composite_alarm(changes: Mapping[str, Any], named: str) -> None:
    base = {"AlarmName": "both", "AlarmRule": "ALARM(a) AND ALARM(b)"}
    CompositeAlarm.model_validate(base)
    with pytest.raises(ValidationError) as refused:
        CompositeAlarm.model_validate({**base, **changes})
    assert named in str(refused.value)


def test_an_alarm_on_one_metric_may_act_on_ec2_and_one_on_metric_math_may_not() -> None:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-data-queries.html
    MetricAlarm.model_validate(changed(ONE_METRIC, {"AlarmActions": [REBOOT]}))
    with pytest.raises(ValidationError, match="an alarm on metric math can do, found arn:aws:automate"):
        MetricAlarm.model_validate(changed(MATH, {"AlarmActions": [REBOOT]}))
    MetricAlarm.model_validate(changed(MATH, {"AlarmActions": ["${topic}"]}))


def test_a_composite_alarm_with_a_suppressor_can_be_written_down() -> None:
    definition = {
        "AlarmName": "till-page",
        "AlarmRule": 'ALARM("till-fails") AND NOT ALARM("till-deploying")',
        "ActionsSuppressor": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:till-maintenance",
        "ActionsSuppressorWaitPeriod": 60,
        "ActionsSuppressorExtensionPeriod": 120,
        "AlarmActions": ["arn:aws:sns:eu-west-1:123456789012:pager"],
    }
    alarm = CompositeAlarm.model_validate(definition)
    assert alarm.suppressor == "till-maintenance"
    assert definition.items() <= alarm.model_dump(mode="json", by_alias=True, exclude_none=True).items()


def test_the_documents_tell_every_limit() -> None:
    page = (Path(__file__).parents[2] / "docs" / "SANDBOX.md").read_text(encoding="utf-8")
    for limit in ALARM_LIMITS:
        assert f"| {limit.most:,} | [{limit.of}]({limit.source}) |" in page
