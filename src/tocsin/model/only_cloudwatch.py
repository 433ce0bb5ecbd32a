"""Alarms that nobody but CloudWatch evaluates: on anomaly detection, of PromQL, of logs.

They can be written down, and are judged from their history on an account; the sandbox does not have them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from tocsin.model import alarm_limits as limits
from tocsin.model.alarm_fields import (
    ComparisonOperator,
    HasActions,
    MetricDataQuery,
    MetricRef,
    Tag,
    TreatMissingData,
    check_period,
    check_queries,
    check_window,
)
from tocsin.model.base import Model

BandOperator = Literal[
    "LessThanLowerOrGreaterThanUpperThreshold", "LessThanLowerThreshold", "GreaterThanUpperThreshold"
]
"""Operators "used only for alarms based on anomaly detection models".
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html (ComparisonOperator)
"""
_BAND = re.compile(r"\s*ANOMALY_DETECTION_BAND\s*\(", re.IGNORECASE)
_NOT_OF_BANDS = ("autoscaling", *limits.EC2_ACTIONS)
"""Services of actions: "If your alarm uses this parameter [ThresholdMetricId], it cannot have Auto Scaling actions"."""
_OF_LOGS = ("sns", "lambda", "ssm")
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutLogAlarm.html (AlarmActions)"""


def is_band(query: MetricDataQuery) -> bool:
    """Whether an element of `Metrics` is an anomaly detection band, and not calculated from one."""
    return _BAND.match(query.expression or "") is not None


class OnlyCloudWatch(HasActions):
    """An alarm that nobody here evaluates."""

    kind: ClassVar[str]
    """What it is, in words."""
    known_by: ClassVar[str]
    """The field that says so."""

    @property
    def metric_refs(self) -> tuple[MetricRef, ...]:
        """Every metric it is known to look at: none where it asks by a query."""
        return ()

    @property
    def may_lack_data(self) -> bool:
        """Whether it may stay in INSUFFICIENT_DATA although it is evaluated."""
        return self._treats_missing_data in ("missing", "ignore")

    @property
    def _treats_missing_data(self) -> TreatMissingData | None:
        """None: it knows no missing data."""
        return None


class BandAlarm(OnlyCloudWatch):
    """A metric alarm on an anomaly detection band: it has `ThresholdMetricId` and no `Threshold`.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """

    kind: ClassVar[str] = "an alarm on anomaly detection"
    known_by: ClassVar[str] = "ThresholdMetricId"
    metrics: tuple[MetricDataQuery, ...] = Field(alias="Metrics", min_length=1)
    threshold_metric_id: str = Field(
        alias="ThresholdMetricId", description="Id of the element of Metrics that is the band"
    )
    comparison_operator: BandOperator = Field(alias="ComparisonOperator")
    evaluation_periods: int = Field(alias="EvaluationPeriods", ge=1)
    datapoints_to_alarm: int | None = Field(default=None, alias="DatapointsToAlarm", ge=1)
    treat_missing_data: TreatMissingData = Field(default="missing", alias="TreatMissingData")
    evaluate_low_sample_count_percentile: Literal["evaluate", "ignore"] | None = Field(
        default=None, alias="EvaluateLowSampleCountPercentile"
    )
    evaluation_window: dict[str, Any] | None = Field(default=None, alias="EvaluationWindow")
    warm_up_configuration: dict[str, Any] | None = Field(default=None, alias="WarmUpConfiguration")

    @model_validator(mode="before")
    @classmethod
    def _has_no_static_threshold(cls, definition: Any) -> Any:
        if isinstance(definition, Mapping) and definition.get("Threshold") is not None:
            # Required "for alarms based on static thresholds, but should not be used for alarms based on anomaly
            # detection models": PutMetricAlarm (Threshold).
            raise ValueError(
                "expected no Threshold: ThresholdMetricId and the ComparisonOperator compare with an anomaly detection "
                f"band; found {definition['Threshold']}"
            )
        return definition

    @model_validator(mode="after")
    def _has_a_band(self) -> BandAlarm:
        check_queries(self.metrics)
        check_window(self.evaluation_periods, self.datapoints_to_alarm, self._period_s)
        band = next((query for query in self.metrics if query.id == self.threshold_metric_id), None)
        if band is None or not is_band(band):
            found = "none of that Id" if band is None else f"'{band.expression or band.id}'"
            raise ValueError(
                f"expected ThresholdMetricId '{self.threshold_metric_id}' to be the Id of an ANOMALY_DETECTION_BAND in "
                f"Metrics, found {found}"
            )
        # The band itself may be returned or not: both are in AWS's examples.
        watched = sum(query.return_data for query in self.metrics if query is not band)
        if watched != 1:
            raise ValueError(f"expected one element of Metrics beside the band with ReturnData true, found {watched}")
        self.check_actions(lambda service: service not in _NOT_OF_BANDS, self.kind)
        return self

    @property
    def _treats_missing_data(self) -> TreatMissingData:
        return self.treat_missing_data

    @property
    def _period_s(self) -> int:
        return max((query.metric_stat.period for query in self.metrics if query.metric_stat), default=60)

    @property
    def metric_refs(self) -> tuple[MetricRef, ...]:
        """The metrics that it and its band look at."""
        return tuple(query.metric_stat.metric for query in self.metrics if query.metric_stat)


class PromQlCriteria(Model):
    """What a PromQL alarm asks."""

    query: str = Field(alias="Query", min_length=1, max_length=10_000)
    pending_period: int = Field(
        default=0, alias="PendingPeriod", ge=0, le=86_400, description="seconds for which it must hold to ring"
    )
    recovery_period: int = Field(
        default=0, alias="RecoveryPeriod", ge=0, le=86_400, description="seconds without it to be OK again"
    )


class EvaluationCriteria(Model):
    """`EvaluationCriteria` of PutMetricAlarm: of PromQL, the one kind that there is."""

    prom_ql_criteria: PromQlCriteria = Field(alias="PromQLCriteria")


def _at_most_an_hour(interval: int) -> int:
    if interval > 3_600:
        raise ValueError(f"expected an EvaluationInterval of at most 3600 seconds, found {interval}")
    return check_period(interval)


class PromQlAlarm(OnlyCloudWatch):
    """A metric alarm whose expression is PromQL: it has `EvaluationCriteria`, and no threshold beside it.

    It is born OK, and is OK while its query finds nothing.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """

    kind: ClassVar[str] = "a PromQL alarm"
    known_by: ClassVar[str] = "EvaluationCriteria"
    evaluation_criteria: EvaluationCriteria = Field(alias="EvaluationCriteria")
    evaluation_interval: Annotated[int, AfterValidator(_at_most_an_hour)] = Field(
        alias="EvaluationInterval", description="seconds between two evaluations"
    )


class LogSchedule(Model):
    """When the query of a log alarm runs, and over which time."""

    schedule_expression: str = Field(
        alias="ScheduleExpression", max_length=256, pattern=r"^(rate\(.+\)|.*\$\{.*)$", description="rate(...)"
    )
    start_time_offset: int = Field(alias="StartTimeOffset", ge=1, le=2_592_000)
    end_time_offset: int = Field(default=0, alias="EndTimeOffset", ge=0, le=2_592_000)

    @model_validator(mode="after")
    def _looks_at_some_time(self) -> LogSchedule:
        if self.end_time_offset >= self.start_time_offset:
            raise ValueError(
                f"expected EndTimeOffset below StartTimeOffset ({self.start_time_offset}), found {self.end_time_offset}"
            )
        return self


class ScheduledQuery(Model):
    """`ScheduledQueryConfiguration` of PutLogAlarm: what a log alarm asks of CloudWatch Logs."""

    query_string: str = Field(alias="QueryString", max_length=10_000)
    log_group_identifiers: tuple[str, ...] | None = Field(
        default=None, alias="LogGroupIdentifiers", min_length=1, max_length=50
    )
    scheduled_query_role_arn: str = Field(alias="ScheduledQueryRoleARN", min_length=1, max_length=1024)
    schedule_configuration: LogSchedule = Field(alias="ScheduleConfiguration")
    aggregation_expression: str = Field(alias="AggregationExpression", min_length=1, max_length=2048)
    query_arn: str | None = Field(default=None, alias="QueryARN", description="CloudWatch fills it in")
    tags: tuple[Tag, ...] = Field(default=(), alias="Tags", description="of the scheduled query")


class LogAlarm(OnlyCloudWatch):
    """An alarm on the results of a scheduled query of CloudWatch Logs, with the field names of `PutLogAlarm`.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutLogAlarm.html
    """

    kind: ClassVar[str] = "a log alarm"
    known_by: ClassVar[str] = "ScheduledQueryConfiguration"
    scheduled_query_configuration: ScheduledQuery = Field(alias="ScheduledQueryConfiguration")
    query_results_to_evaluate: int = Field(alias="QueryResultsToEvaluate", ge=1, le=100)
    query_results_to_alarm: int = Field(alias="QueryResultsToAlarm", ge=1)
    threshold: float = Field(alias="Threshold")
    comparison_operator: ComparisonOperator = Field(alias="ComparisonOperator")
    treat_missing_data: TreatMissingData = Field(default="missing", alias="TreatMissingData")
    action_log_line_count: int | None = Field(default=None, alias="ActionLogLineCount", ge=0, le=50)
    action_log_line_role_arn: str | None = Field(default=None, alias="ActionLogLineRoleArn")
    warm_up_configuration: dict[str, Any] | None = Field(default=None, alias="WarmUpConfiguration")

    @property
    def _treats_missing_data(self) -> TreatMissingData:
        return self.treat_missing_data

    @model_validator(mode="after")
    def _can_ring(self) -> LogAlarm:
        if self.query_results_to_alarm > self.query_results_to_evaluate:
            raise ValueError(
                f"expected QueryResultsToAlarm of at most QueryResultsToEvaluate ({self.query_results_to_evaluate}), "
                f"found {self.query_results_to_alarm}: such an alarm could never ring"
            )
        if self.action_log_line_count and self.action_log_line_role_arn is None:
            raise ValueError(f"expected ActionLogLineRoleArn with ActionLogLineCount {self.action_log_line_count}")
        self.check_actions(lambda service: service in _OF_LOGS, self.kind)
        return self
