"""Parts that the definitions of CloudWatch's alarms are made of, with the field names and limits of its API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tocsin.model import alarm_limits as limits
from tocsin.model.base import Model

_HOUR_S = 3_600
Unit = Literal[
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
]
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html"""
MetricName = Annotated[str, Field(min_length=1, max_length=255)]
Namespace = Annotated[str, Field(min_length=1, max_length=255, pattern="^[^:]")]
Action = Annotated[str, Field(min_length=1, max_length=1024)]
Actions = Annotated[tuple[Action, ...], Field(max_length=limits.ACTIONS.most)]
AlarmName = Annotated[str, Field(min_length=1, max_length=limits.NAME.most, pattern=r"^[^\x00-\x1f\x7f]*$")]
AlarmDescription = Annotated[str, Field(max_length=limits.DESCRIPTION.most)]


def check_period(period: int) -> int:
    """The period itself; raises ValueError where no alarm has such a one."""
    if period in (10, 20, 30) or (period > 0 and period % 60 == 0):
        return period
    raise ValueError(f"expected a Period of 10, 20, 30 or a multiple of 60 seconds, found {period}")


Period = Annotated[int, AfterValidator(check_period)]


class Dimension(Model):
    """A CloudWatch dimension."""

    name: str = Field(alias="Name", min_length=1, max_length=255)
    value: str = Field(alias="Value", min_length=1, max_length=1024)


Dimensions = Annotated[tuple[Dimension, ...], Field(max_length=limits.DIMENSIONS.most)]


class MetricRef(Model):
    """The `Metric` of a `MetricStat`."""

    namespace: Namespace = Field(alias="Namespace")
    metric_name: MetricName = Field(alias="MetricName")
    dimensions: Dimensions = Field(default=(), alias="Dimensions")


class MetricStat(Model):
    """One metric of a metric-math alarm."""

    metric: MetricRef = Field(alias="Metric")
    period: Period = Field(alias="Period")
    stat: str = Field(alias="Stat")
    unit: Unit | None = Field(default=None, alias="Unit", description="only datapoints of this unit are looked at")


class MetricDataQuery(Model):
    """One element of `Metrics`."""

    id: str = Field(alias="Id", max_length=255, pattern="^[a-z][a-zA-Z0-9_]*$")
    metric_stat: MetricStat | None = Field(default=None, alias="MetricStat")
    expression: str | None = Field(default=None, alias="Expression", min_length=1, max_length=limits.EXPRESSION.most)
    label: str | None = Field(default=None, alias="Label", description="for people; no part of the evaluation")
    return_data: bool = Field(default=True, alias="ReturnData")
    period: Period | None = Field(default=None, alias="Period")
    account_id: str | None = Field(default=None, alias="AccountId")

    @model_validator(mode="after")
    def _one_of_both(self) -> MetricDataQuery:
        if (self.metric_stat is None) == (self.expression is None):
            found = "neither" if self.expression is None else "both"
            raise ValueError(f"expected MetricStat or Expression in '{self.id}', found {found}")
        return self


class Tag(Model):
    """A tag of an alarm."""

    key: str = Field(alias="Key", min_length=1, max_length=128)
    value: str = Field(alias="Value", max_length=256)


TreatMissingData = Literal["missing", "ignore", "breaching", "notBreaching"]
_ALWAYS_IGNORES = "AWS/DynamoDB"
"""Alarms on metrics of this namespace ignore missing data "even if you choose a different option".
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html (TreatMissingData)
"""


def treated_missing_data(chosen: TreatMissingData, namespaces: Iterable[str]) -> TreatMissingData:
    """How an alarm on metrics of these namespaces treats missing data, whatever was chosen."""
    return "ignore" if _ALWAYS_IGNORES in namespaces else chosen


ComparisonOperator = Literal[
    "GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold"
]


class HasActions(Model):
    """What every kind of alarm has: a name, a description, and whom it tells."""

    alarm_name: AlarmName = Field(alias="AlarmName")
    alarm_description: AlarmDescription | None = Field(default=None, alias="AlarmDescription")
    actions_enabled: bool = Field(default=True, alias="ActionsEnabled")
    alarm_actions: Actions = Field(default=(), alias="AlarmActions")
    ok_actions: Actions = Field(default=(), alias="OKActions")
    insufficient_data_actions: Actions = Field(default=(), alias="InsufficientDataActions")
    tags: tuple[Tag, ...] = Field(default=(), alias="Tags", max_length=limits.TAGS.most)

    def check_actions(self, can: Callable[[str], bool], what: str) -> None:
        """Raises ValueError where an action is one of a service that such an alarm does not call."""
        for action in (*self.alarm_actions, *self.ok_actions, *self.insufficient_data_actions):
            # What is no ARN yet is a ${...}.
            if action.startswith("arn:") and not can(action.split(":")[2]):
                raise ValueError(f"expected an action that {what} can do, found {action}")


def check_queries(queries: Sequence[MetricDataQuery]) -> None:
    """Raises ValueError where `Metrics` has one Id twice, or more than CloudWatch takes."""
    ids = [query.id for query in queries]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise ValueError(f"expected every Id of Metrics once, found '{twice[0]}' twice")
    metrics = sum(query.metric_stat is not None for query in queries)
    for limit, count in ((limits.METRICS, metrics), (limits.EXPRESSIONS, len(queries) - metrics)):
        limit.check(count)


def check_window(evaluation_periods: int, datapoints_to_alarm: int | None, period_s: int) -> None:
    """Raises ValueError where M of N can never ring, or looks back further than CloudWatch does."""
    if datapoints_to_alarm is not None and datapoints_to_alarm > evaluation_periods:
        raise ValueError(
            f"expected DatapointsToAlarm of at most EvaluationPeriods ({evaluation_periods}), found "
            f"{datapoints_to_alarm}: such an alarm could never ring"
        )
    longest_s = (limits.SHORT_WINDOW_S if period_s < _HOUR_S else limits.LONG_WINDOW_S).most
    if period_s * evaluation_periods > longest_s:
        raise ValueError(
            f"expected EvaluationPeriods x Period of at most {longest_s} seconds, found "
            f"{evaluation_periods} x {period_s}"
        )
