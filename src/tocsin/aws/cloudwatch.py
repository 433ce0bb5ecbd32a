"""Alarms of a system file in a target: put them there, and compare what is there with what is documented."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from tocsin.aws.iam import Grant
from tocsin.aws.pages import listed, pages
from tocsin.aws.target import Target, aws_errors
from tocsin.model.alarm_fields import MetricRef
from tocsin.model.alarm_limits import not_judged
from tocsin.model.only_cloudwatch import BandAlarm, LogAlarm
from tocsin.model.system import CloudWatchAlarm, CompositeAlarm, MetricAlarm, System

NAMES_A_CALL = 100
RECORDS_A_PAGE = 100
"""The most that DescribeAlarms and DescribeAlarmHistory take, of any kind of alarm; without a number a page holds 50.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
"""
ALARM_TYPES = ("MetricAlarm", "CompositeAlarm", "LogAlarm")
"""Every kind that DescribeAlarms and DescribeAlarmHistory tell of, and only where they are asked about it."""
_DEFAULTS: Mapping[str, Any] = {
    "Dimensions": [],
    "Metrics": [],
    "AlarmActions": [],
    "OKActions": [],
    "InsufficientDataActions": [],
    "TreatMissingData": "missing",
    "EvaluateLowSampleCountPercentile": "evaluate",
    "ActionLogLineCount": 0,
}
_NOT_COMPARED = ("AlarmDescription", "Tags")
"""What people write as they like, and what DescribeAlarms does not tell.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricAlarm.html
"""
_FOR_PEOPLE = ("Label", "QueryARN", "Tags")
"""Inside of a definition; `QueryARN` is what CloudWatch itself fills in."""
_NOUGHT_UNSAID = ("EndTimeOffset", "PendingPeriod", "RecoveryPeriod")
"""Inside of a definition: nought where nothing is said."""
_OF_ITS_STATE = (
    "AlarmArn",
    "AlarmConfigurationUpdatedTimestamp",
    "ActionsSuppressedBy",
    "ActionsSuppressedReason",
    "EvaluationState",
    "StateReason",
    "StateReasonData",
    "StateTransitionedTimestamp",
    "StateUpdatedTimestamp",
    "StateValue",
)
"""What DescribeAlarms tells of an alarm beside its definition."""


DESCRIBE_GRANT = Grant(sid="Observe", actions=("cloudwatch:DescribeAlarms",))
"""What `describe_alarms` needs of IAM. Limited to some alarms it would leave out every composite alarm.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
"""


def alarm_history(
    target: Target, kind: Literal["Action", "StateUpdate"], alarm_name: str | None = None, since: float | None = None
) -> list[Mapping[str, Any]]:
    """Items of the history of an alarm, or of all in the account, oldest first; call it in `aws_errors`.

    `since`: epoch seconds; CloudWatch keeps thirty days.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
    """
    of = {} if alarm_name is None else {"AlarmName": alarm_name}
    begins = {} if since is None else {"StartDate": datetime.fromtimestamp(since, UTC)}
    items = listed(
        target.client("cloudwatch"),
        "describe_alarm_history",
        "AlarmHistoryItems",
        PaginationConfig={"PageSize": RECORDS_A_PAGE},
        **of,
        **begins,
        AlarmTypes=list(ALARM_TYPES),
        HistoryItemType=kind,
        ScanBy="TimestampAscending",
    )
    return list(items)


def put_alarms(system: System, target: Target) -> None:
    """Create or replace every CloudWatch alarm of a resolved system: composite alarms last, in the order of the file.

    CloudWatch takes a composite alarm only when the alarms that it looks at are there, and its suppressor.

    Raises:
        TargetError: CloudWatch refused one.
    """
    client = target.client("cloudwatch")
    last = sorted(system.cloudwatch_alarms.items(), key=lambda item: isinstance(item[1].cloudwatch, CompositeAlarm))
    for name, alarm in last:
        definition = alarm.cloudwatch.model_dump(by_alias=True, exclude_none=True)
        with aws_errors(f"putting the alarm {name}"):
            if isinstance(alarm.cloudwatch, CompositeAlarm):
                client.put_composite_alarm(**definition)
            elif isinstance(alarm.cloudwatch, LogAlarm):
                client.put_log_alarm(**_without_empty(definition))
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
    return describe_named([alarm.cloudwatch.alarm_name for alarm in alarms], target)


def alarm_states(names: Iterable[str], target: Target) -> dict[str, str]:
    """The state of those of the alarms that exist in the target, by AlarmName.

    Raises:
        TargetError: CloudWatch did not answer.
    """
    described = describe_named(list(names), target)
    with aws_errors("reading the states of alarms"):
        return {name: str(alarm["StateValue"]) for name, alarm in described.items()}


def describe_named(names: Sequence[str], target: Target) -> dict[str, dict[str, Any]]:
    """As `describe_alarms`, of alarms of any kind by their AlarmName.

    Raises:
        TargetError: CloudWatch did not answer.
    """
    found: dict[str, dict[str, Any]] = {}
    for first in range(0, len(names), NAMES_A_CALL):
        found |= _describe_some(names[first : first + NAMES_A_CALL], target)
    return found


def _describe_some(names: Sequence[str], target: Target) -> dict[str, dict[str, Any]]:
    with aws_errors("describing alarms"):
        described = pages(
            target.client("cloudwatch"),
            "describe_alarms",
            PaginationConfig={"PageSize": RECORDS_A_PAGE},
            AlarmNames=list(names),
            AlarmTypes=list(ALARM_TYPES),
        )
        found = (alarm for page in described for kind in ALARM_TYPES for alarm in page.get(f"{kind}s", []))
        return {alarm["AlarmName"]: alarm for alarm in found}


def why_not_evaluated(described: Mapping[str, Any]) -> str:
    """Why CloudWatch did not evaluate an alarm, or not from all its data, as DescribeAlarms tells; empty when it did.

    Whatever `EvaluationState` says counts: PARTIAL_DATA, IN_WARM_UP, EVALUATION_ERROR, EVALUATION_FAILURE.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
    """
    state = described.get("EvaluationState")
    return f"{state}: {described.get('StateReason') or 'no reason given'}" if state else ""


def is_listed(metric: MetricRef, target: Target) -> bool:
    """Whether CloudWatch lists a metric of exactly these dimensions: it had data in the last two weeks.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListMetrics.html

    Raises:
        TargetError: CloudWatch did not answer.
    """
    dimensions = {dimension.name: dimension.value for dimension in metric.dimensions}
    with aws_errors(f"listing the metric {metric.metric_name}"):
        metrics = listed(
            target.client("cloudwatch"),
            "list_metrics",
            "Metrics",
            Namespace=metric.namespace,
            MetricName=metric.metric_name,
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        )
        # Metrics that have further dimensions are listed too.
        return any({one["Name"]: one["Value"] for one in found["Dimensions"]} == dimensions for found in metrics)


def definition_drift(alarm: CloudWatchAlarm, described: Mapping[str, Any]) -> tuple[str, ...]:
    """Fields of the account's alarm that differ from the documented definition, in words."""
    documented = alarm.cloudwatch.model_dump(mode="json", by_alias=True)
    if isinstance(alarm.cloudwatch, MetricAlarm | BandAlarm):
        documented["DatapointsToAlarm"] = documented["DatapointsToAlarm"] or documented["EvaluationPeriods"]
        described = {"DatapointsToAlarm": described.get("EvaluationPeriods"), **described}
    differing = [
        f"{field} is {_compared(described, field)!r}, documented {_compared(documented, field)!r}"
        for field in documented
        if field not in _NOT_COMPARED and _compared(described, field) != _compared(documented, field)
    ]
    kinds = [f"it is {kind} ({field})" for field, kind in not_judged(described).items() if field not in documented]
    return (*kinds, *differing)


def definition_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...] | None:
    """What somebody changed in an alarm between two answers of DescribeAlarms, in words; None: it was left alone.

    Empty when it was written anew with what was there already: meanwhile it may have been another one.
    """
    fields = [field for field in dict.fromkeys((*before, *after)) if field not in _OF_ITS_STATE]
    changes = tuple(
        f"{field} was {_compared(before, field)!r}, is {_compared(after, field)!r}"
        for field in fields
        # The first question is asked of every alarm in every poll, and nearly always the only one.
        if before.get(field) != after.get(field) and _compared(before, field) != _compared(after, field)
    )
    written = "AlarmConfigurationUpdatedTimestamp"
    return None if not changes and before.get(written) == after.get(written) else changes


def _compared(definition: Mapping[str, Any], field: str) -> Any:
    value = definition.get(field)
    if field == "EvaluationWindow" and not not_judged({field: value}):
        return None  # a sliding one, which is what every alarm has
    return _plain(_DEFAULTS.get(field) if value is None else value)


def _says_nothing(key: str, value: Any) -> bool:
    return value in (None, [], ()) or key in _FOR_PEOPLE or (key in _NOUGHT_UNSAID and value == 0)


def _plain(value: Any) -> Any:
    """Comparable: dimensions and actions have no order, thresholds come back as floats, labels are for people."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if not _says_nothing(key, item)}
    if isinstance(value, list | tuple):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value


def definition_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """The definition in an answer of DescribeAlarms, without what the alarm's state adds."""
    return {field: value for field, value in described.items() if field not in _OF_ITS_STATE and value is not None}
