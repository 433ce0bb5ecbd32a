"""What CloudWatch says of a transition: on which evidence it was made, if on any. Pure functions.

`StateReasonData` holds the datapoints that an evaluation looked at, or the alarms that made a composite change. Whoever
sets a state by hand gives a reason in words, and none of these.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_SetAlarmState.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from dateutil.parser import isoparse

from tocsin.alarms.cloudwatch import breaches
from tocsin.model.alarm_fields import ComparisonOperator
from tocsin.model.events import Evidence
from tocsin.model.system import AlarmState

_ASKS_BY_QUERY = {"EvaluationCriteria", "ScheduledQueryConfiguration"}
"""What only a PromQL alarm and a log alarm have. AWS's pages do not show the `StateReasonData` of theirs."""


@dataclass(frozen=True)
class Grounds:
    """On what a transition was made."""

    evidence: Evidence | None
    """None: CloudWatch does not say how it writes down on what such an alarm changes."""
    breached_at: float | None = None
    """Start of the oldest breaching datapoint, epoch seconds."""
    triggered_by: tuple[str, ...] = ()
    """Names of the alarms that made a composite change."""


def grounds(described: Mapping[str, Any], after: AlarmState, reason_data: Any) -> Grounds:
    """The grounds of a transition of an alarm, as DescribeAlarms describes it, to the state `after`."""
    data = _parsed(reason_data)
    if "AlarmRule" in described:
        return _of_composite(data)
    if "evaluatedDatapoints" not in data and "recentDatapoints" not in data:
        return Grounds(None if _ASKS_BY_QUERY & described.keys() else "none")
    points = [point for point in data.get("evaluatedDatapoints") or () if point.get("value") is not None]
    values = [point["value"] for point in points] or list(data.get("recentDatapoints") or ())
    if after != "ALARM":
        return Grounds("datapoints" if values else "silence")
    operator = described.get("ComparisonOperator", "")
    if operator not in get_args(ComparisonOperator):
        # Of a band CloudWatch says only that the values were outside.
        return Grounds("datapoints" if values else "none")
    threshold = data.get("threshold", described.get("Threshold"))
    if any(breaches(value, operator, threshold) for value in values):
        began = (isoparse(point["timestamp"]) for point in points if breaches(point["value"], operator, threshold))
        return Grounds("datapoints", min((at.timestamp() for at in began), default=None))
    asked = described.get("EvaluationPeriods") or described.get("QueryResultsToEvaluate") or 0
    silence_rings = described.get("TreatMissingData") == "breaching" and len(values) < asked
    return Grounds("silence" if silence_rings else "none")


def _of_composite(data: Mapping[str, Any]) -> Grounds:
    arns = [str(alarm.get("arn", "")) for alarm in data.get("triggeringAlarms") or ()]
    names = tuple(arn.rpartition(":alarm:")[2] for arn in arns)
    return Grounds("children" if names else "none", triggered_by=names)


def _parsed(reason_data: Any) -> Mapping[str, Any]:
    """It is JSON, or text that holds JSON; whoever sets a state may give any text."""
    try:
        data = json.loads(reason_data) if isinstance(reason_data, str) else reason_data
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
