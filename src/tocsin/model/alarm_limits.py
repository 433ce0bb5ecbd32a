"""The limits of CloudWatch's alarms in one table: `tocsin validate`, the sandbox and docs/SANDBOX.md are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_API = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/"
_PUT_METRIC_ALARM = f"{_API}API_PutMetricAlarm.html"
_PUT_COMPOSITE_ALARM = f"{_API}API_PutCompositeAlarm.html"
_PUT_MUTE_RULE = f"{_API}API_PutAlarmMuteRule.html"
_QUERY = f"{_API}API_MetricDataQuery.html"


@dataclass(frozen=True)
class Limit:
    """The most of something that CloudWatch takes."""

    most: int
    of: str
    source: str

    def check(self, found: int) -> None:
        """Raises ValueError where there are more."""
        if found > self.most:
            raise ValueError(f"expected at most {self.most} {self.of}, found {found}")


NAME = Limit(255, "characters of an AlarmName", _PUT_METRIC_ALARM)
DESCRIPTION = Limit(1024, "characters of an AlarmDescription", _PUT_METRIC_ALARM)
ACTIONS = Limit(5, "actions for one state", _PUT_METRIC_ALARM)
DIMENSIONS = Limit(30, "dimensions of a metric", f"{_API}API_MetricDatum.html")
TAGS = Limit(50, "tags", _PUT_METRIC_ALARM)
METRICS = Limit(10, "metrics in Metrics", _QUERY)
EXPRESSIONS = Limit(10, "expressions in Metrics", _QUERY)
EXPRESSION = Limit(2048, "characters of an Expression", _QUERY)
SHORT_WINDOW_S = Limit(86_400, "seconds of EvaluationPeriods x Period, periods below an hour", _PUT_METRIC_ALARM)
LONG_WINDOW_S = Limit(604_800, "seconds of EvaluationPeriods x Period, other periods", _PUT_METRIC_ALARM)
RULE = Limit(10_240, "characters of an AlarmRule", _PUT_COMPOSITE_ALARM)
CHILDREN = Limit(100, "alarms in an AlarmRule", _PUT_COMPOSITE_ALARM)
ELEMENTS = Limit(500, "alarms, TRUE, FALSE and parentheses in an AlarmRule", _PUT_COMPOSITE_ALARM)
PARENTS = Limit(150, "composite alarms that look at one alarm", _PUT_COMPOSITE_ALARM)
SUPPRESSOR = Limit(1600, "characters of an ActionsSuppressor", _PUT_COMPOSITE_ALARM)
MUTE_TARGETS = Limit(100, "alarms of one mute rule", _PUT_MUTE_RULE)
MUTE_DAYS = Limit(15, "days of a mute rule's Duration", _PUT_MUTE_RULE)

ALARM_LIMITS = (
    *(NAME, DESCRIPTION, ACTIONS, DIMENSIONS, TAGS, METRICS, EXPRESSIONS, EXPRESSION, SHORT_WINDOW_S, LONG_WINDOW_S),
    *(RULE, CHILDREN, ELEMENTS, PARENTS, SUPPRESSOR, MUTE_TARGETS, MUTE_DAYS),
)
"""All of them, in the order of the documentation."""
EC2_ACTIONS = ("automate", "swf")
"""Services in the ARNs of EC2 actions. "Alarms based on math expressions can't perform Amazon EC2 actions":
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-data-queries.html
"""
COMPOSITE_ACTIONS = ("sns", "lambda", "ssm", "ssm-incidents", "aiops")
"""Services in the ARNs of what a composite alarm can do.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
"""
_NOT_JUDGED: Mapping[str, str] = {
    "EvaluationCriteria": "a PromQL alarm",
    "EvaluationInterval": "a PromQL alarm",
    "EvaluationWindow": "an alarm with a window on the wall clock",
    "ScheduledQueryConfiguration": "a log alarm",
    "ThresholdMetricId": "an alarm on anomaly detection",
    "WarmUpConfiguration": "an alarm with a warm-up period",
}


def not_judged(definition: Mapping[str, Any]) -> dict[str, str]:
    """Fields of a definition that nobody here knows how to evaluate, and what kind of alarm has them."""
    return {
        field: kind
        for field, kind in _NOT_JUDGED.items()
        if (value := definition.get(field)) is not None
        # A sliding window is what every alarm has.
        and not (field == "EvaluationWindow" and isinstance(value, Mapping) and "WallClockWindow" not in value)
    }
