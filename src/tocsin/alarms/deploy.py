"""Alarms of a system file in a target: put them there, and compare what is there with what is documented."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tocsin.iam import Grant
from tocsin.model.system import CloudWatchAlarm, CompositeAlarm, MetricAlarm, System
from tocsin.target import Target, aws_errors

_DEFAULTS: Mapping[str, Any] = {
    "Dimensions": [],
    "Metrics": [],
    "AlarmActions": [],
    "OKActions": [],
    "InsufficientDataActions": [],
    "TreatMissingData": "missing",
}


DESCRIBE_GRANT = Grant(sid="Observe", actions=("cloudwatch:DescribeAlarms",))
"""What `describe_alarms` needs of IAM. Limited to some alarms it would leave out every composite alarm.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
"""


def put_alarms(system: System, target: Target) -> None:
    """Create or replace every CloudWatch alarm of a resolved system.

    Raises:
        TargetError: CloudWatch refused one.
    """
    client = target.client("cloudwatch")
    for name, alarm in system.cloudwatch_alarms.items():
        definition = alarm.cloudwatch.model_dump(by_alias=True, exclude_none=True)
        with aws_errors(f"putting the alarm {name}"):
            if isinstance(alarm.cloudwatch, CompositeAlarm):
                client.put_composite_alarm(**definition)
            else:
                client.put_metric_alarm(**_without_empty(definition))


def _without_empty(definition: Mapping[str, Any]) -> dict[str, Any]:
    """PutMetricAlarm takes either one metric or `Metrics`, and refuses the other one even when it is empty."""
    return {name: value for name, value in definition.items() if value not in ([], ())}


def describe_alarms(alarms: Iterable[CloudWatchAlarm], target: Target) -> dict[str, dict[str, Any]]:
    """Those of the alarms that exist in the target, by AlarmName, as CloudWatch describes them.

    Raises:
        TargetError: CloudWatch did not answer.
    """
    return _describe([alarm.cloudwatch.alarm_name for alarm in alarms], target)


def alarm_states(names: Iterable[str], target: Target) -> dict[str, str]:
    """The state of those of the alarms that exist in the target, by AlarmName.

    Raises:
        TargetError: CloudWatch did not answer.
    """
    return {name: str(alarm["StateValue"]) for name, alarm in _describe(list(names), target).items()}


def _describe(names: Sequence[str], target: Target) -> dict[str, dict[str, Any]]:
    if not names:
        return {}
    with aws_errors("describing alarms"):
        pages = target.client("cloudwatch").get_paginator("describe_alarms")
        found = [
            alarm
            for page in pages.paginate(AlarmNames=list(names), AlarmTypes=["MetricAlarm", "CompositeAlarm"])
            for alarm in (*page.get("MetricAlarms", []), *page.get("CompositeAlarms", []))
        ]
    return {alarm["AlarmName"]: alarm for alarm in found}


def definition_drift(alarm: CloudWatchAlarm, described: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields of the account's alarm that differ from the documented definition, in words."""
    documented = alarm.cloudwatch.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(alarm.cloudwatch, MetricAlarm):
        documented.setdefault("DatapointsToAlarm", documented["EvaluationPeriods"])
        described = {"DatapointsToAlarm": described.get("EvaluationPeriods"), **described}
    return tuple(
        f"{field} is {_plain(described.get(field, _DEFAULTS.get(field)))!r}, documented {_plain(value)!r}"
        for field, value in documented.items()
        if field != "AlarmDescription" and _plain(described.get(field, _DEFAULTS.get(field))) != _plain(value)
    )


def _plain(value: Any) -> Any:
    """Comparable: dimensions and actions have no order, thresholds come back as floats."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item not in (None, [], ())}
    if isinstance(value, list | tuple):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value
