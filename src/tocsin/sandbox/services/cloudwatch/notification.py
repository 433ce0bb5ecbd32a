"""What an alarm says to its topic."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.sandbox.metrics import Scope

_TRIGGER_FIELDS = (
    "MetricName",
    "Namespace",
    "Period",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "ComparisonOperator",
    "Threshold",
    "TreatMissingData",
    "EvaluateLowSampleCountPercentile",
    "Metrics",
    "Unit",
)


def stamp(epoch: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch))
    return f"{whole}.{int(epoch * 1000) % 1000:03d}+0000"


def notification(scope: Scope, alarm: Mapping[str, Any], old: str, now: float) -> dict[str, Any]:
    """The message that CloudWatch sends to SNS."""
    message: dict[str, Any] = {
        "AlarmName": alarm["AlarmName"],
        "AlarmDescription": alarm.get("AlarmDescription"),
        "AWSAccountId": scope[0],
        "AlarmConfigurationUpdatedTimestamp": stamp(float(alarm.get("AlarmConfigurationUpdatedTimestamp", now))),
        "NewStateValue": alarm["StateValue"],
        "NewStateReason": alarm["StateReason"],
        "StateChangeTime": stamp(now),
        "Region": scope[1],
        "AlarmArn": alarm["AlarmArn"],
        "OldStateValue": old,
        "OKActions": alarm.get("OKActions") or [],
        "AlarmActions": alarm.get("AlarmActions") or [],
        "InsufficientDataActions": alarm.get("InsufficientDataActions") or [],
    }
    if "AlarmRule" in alarm:
        return message | {"AlarmRule": alarm["AlarmRule"]}
    return message | {"Trigger": _trigger(alarm)}


@dataclass(frozen=True)
class HistoryItem:
    """One item of an alarm's history."""

    summary: str
    data: Mapping[str, Any]


def action_item(action: str, message: str, error: str | None, now: float) -> HistoryItem:
    """What CloudWatch writes down of an action, with the error that it received.

    The fields are those of https://github.com/aws/aws-sdk-java/issues/1723, the words of a failure those of
    https://github.com/aws/aws-cdk/issues/11121
    """
    summary = f"Successfully executed action {action}"
    if error is not None:
        summary = f'Failed to execute action {action}. Received error: "{error}"'
    data = {
        "actionState": "Succeeded" if error is None else "Failed",
        "stateUpdateTimestamp": int(now * 1000),
        "notificationResource": action,
        "publishedMessage": json.dumps({"default": message}),
        "error": error,
    }
    return HistoryItem(summary, data)


def _trigger(alarm: Mapping[str, Any]) -> dict[str, Any]:
    trigger: dict[str, Any] = {name: alarm[name] for name in _TRIGGER_FIELDS if alarm.get(name) is not None}
    trigger["Dimensions"] = [
        {"name": dimension["Name"], "value": dimension["Value"]} for dimension in alarm.get("Dimensions") or ()
    ]
    if alarm.get("ExtendedStatistic"):
        return trigger | {"StatisticType": "ExtendedStatistic", "ExtendedStatistic": alarm["ExtendedStatistic"]}
    if alarm.get("Statistic"):
        return trigger | {"StatisticType": "Statistic", "Statistic": alarm["Statistic"].upper()}
    return trigger
