"""What a system under test is and promises: `systems/<system>.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

import pydantic
from pydantic import Discriminator, Field, model_validator

from tocsin.model import alarm_limits as limits
from tocsin.model.alarm_fields import (
    ComparisonOperator,
    Dimensions,
    HasActions,
    MetricDataQuery,
    MetricName,
    MetricRef,
    Namespace,
    Period,
    TreatMissingData,
    Unit,
    check_queries,
    check_window,
    treated_missing_data,
)
from tocsin.model.base import Model
from tocsin.model.duration import Duration, Share
from tocsin.model.experiment import SystemName
from tocsin.model.messages import Messages
from tocsin.model.only_cloudwatch import BandAlarm, BandOperator, LogAlarm, PromQlAlarm, is_band
from tocsin.model.synthetic import SyntheticData, Writer

SimpleStatistic = Literal["SampleCount", "Average", "Sum", "Minimum", "Maximum"]


class MetricAlarm(HasActions):
    """A CloudWatch metric alarm with the field names of `PutMetricAlarm`, refused where that call refuses it.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """

    namespace: Namespace | None = Field(default=None, alias="Namespace")
    metric_name: MetricName | None = Field(default=None, alias="MetricName")
    dimensions: Dimensions = Field(default=(), alias="Dimensions")
    statistic: SimpleStatistic | None = Field(default=None, alias="Statistic")
    extended_statistic: str | None = Field(default=None, alias="ExtendedStatistic")
    metrics: tuple[MetricDataQuery, ...] = Field(default=(), alias="Metrics")
    period: Period | None = Field(default=None, alias="Period")
    unit: Unit | None = Field(default=None, alias="Unit", description="only datapoints of this unit are looked at")
    evaluation_periods: int = Field(alias="EvaluationPeriods", ge=1)
    datapoints_to_alarm: int | None = Field(default=None, alias="DatapointsToAlarm", ge=1)
    threshold: float = Field(alias="Threshold")
    comparison_operator: ComparisonOperator = Field(alias="ComparisonOperator")
    treat_missing_data: TreatMissingData = Field(default="missing", alias="TreatMissingData")
    evaluate_low_sample_count_percentile: Literal["evaluate", "ignore"] | None = Field(
        default=None, alias="EvaluateLowSampleCountPercentile"
    )
    evaluation_window: dict[str, Any] | None = Field(
        default=None,
        alias="EvaluationWindow",
        description="evaluated by CloudWatch only, if it is one on the wall clock",
    )
    warm_up_configuration: dict[str, Any] | None = Field(
        default=None, alias="WarmUpConfiguration", description="evaluated by CloudWatch only"
    )

    @model_validator(mode="after")
    def _metric_or_metrics(self) -> MetricAlarm:
        if self.metrics:
            self._check_metrics()
        else:
            self._check_metric()
        return self

    @model_validator(mode="after")
    def _window(self) -> MetricAlarm:
        check_window(self.evaluation_periods, self.datapoints_to_alarm, self.period_s)
        return self

    def _check_metric(self) -> None:
        missing = [
            name
            for name, value in (
                ("MetricName", self.metric_name),
                ("Namespace", self.namespace),
                ("Period", self.period),
                ("Statistic or ExtendedStatistic", self.statistic or self.extended_statistic),
            )
            if value is None
        ]
        if missing:
            raise ValueError(f"expected {', '.join(missing)}, or Metrics; found neither")
        if self.statistic is not None and self.extended_statistic is not None:
            raise ValueError("expected Statistic or ExtendedStatistic, found both")
        if self.extended_statistic in get_args(SimpleStatistic):
            raise ValueError(
                f"expected Statistic {self.extended_statistic}, found it as ExtendedStatistic, which is a percentile "
                "or a trimmed statistic"
            )

    def _check_metrics(self) -> None:
        beside = {
            "MetricName": self.metric_name,
            "Namespace": self.namespace,
            "Dimensions": self.dimensions or None,
            "Period": self.period,
            "Unit": self.unit,
            "Statistic": self.statistic,
            "ExtendedStatistic": self.extended_statistic,
        }
        found = [name for name, value in beside.items() if value is not None]
        if found:
            raise ValueError(f"expected Metrics or {found[0]}, found both")
        check_queries(self.metrics)
        returned = sum(query.return_data for query in self.metrics)
        if returned != 1:
            raise ValueError(f"expected exactly one element of Metrics with ReturnData true, found {returned}")
        for query in self.metrics:
            if query.return_data and is_band(query):
                # A band is two series, and Threshold "should not be used for alarms based on anomaly detection models".
                raise ValueError(
                    f"expected ThresholdMetricId '{query.id}' and an operator of bands in place of Threshold, found "
                    f"ComparisonOperator {self.comparison_operator}: '{query.id}' is an anomaly detection band"
                )
        self.check_actions(lambda service: service not in limits.EC2_ACTIONS, "an alarm on metric math")

    @property
    def period_s(self) -> int:
        """The alarm's period in seconds; for metric math the largest period of its operands."""
        if self.period is not None:
            return self.period
        return max((query.metric_stat.period for query in self.metrics if query.metric_stat), default=60)

    @property
    def missing_data(self) -> TreatMissingData:
        """How missing data is treated in truth, which is not always what `TreatMissingData` says."""
        return treated_missing_data(self.treat_missing_data, (ref.namespace for ref in self.metric_refs))

    @property
    def metric_refs(self) -> tuple[MetricRef, ...]:
        """Every metric the alarm looks at: one, or the operands of its metric math."""
        if self.metric_name is not None:
            return (
                MetricRef(namespace=self.namespace or "", metric_name=self.metric_name, dimensions=self.dimensions),
            )
        return tuple(query.metric_stat.metric for query in self.metrics if query.metric_stat)


class CompositeAlarm(HasActions):
    """A CloudWatch composite alarm with the field names of `PutCompositeAlarm`, refused where that call refuses it.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
    """

    alarm_rule: str = Field(alias="AlarmRule", min_length=1, max_length=limits.RULE.most)
    actions_suppressor: str | None = Field(
        default=None,
        alias="ActionsSuppressor",
        min_length=1,
        max_length=limits.SUPPRESSOR.most,
        description="name or ARN of the alarm that, in ALARM, holds the actions back",
    )
    actions_suppressor_wait_period: int | None = Field(default=None, alias="ActionsSuppressorWaitPeriod", ge=0)
    actions_suppressor_extension_period: int | None = Field(
        default=None, alias="ActionsSuppressorExtensionPeriod", ge=0
    )

    @model_validator(mode="after")
    def _does_what_it_can(self) -> CompositeAlarm:
        self.check_actions(lambda service: service in limits.COMPOSITE_ACTIONS, "a composite alarm")
        return self

    @model_validator(mode="after")
    def _has_periods(self) -> CompositeAlarm:
        if self.actions_suppressor is None:
            return self
        if self.suppressor == self.alarm_name:
            # "an AlarmName or an Amazon Resource Name (ARN) from an existing alarm": PutCompositeAlarm. Itself is none
            # yet, and in ALARM it would hold its own actions back: nobody would ever be told.
            raise ValueError(
                f"expected ActionsSuppressor to name another alarm, which is there before this one, found "
                f"'{self.actions_suppressor}', the alarm itself"
            )
        for name, value in (
            ("ActionsSuppressorWaitPeriod", self.actions_suppressor_wait_period),
            ("ActionsSuppressorExtensionPeriod", self.actions_suppressor_extension_period),
        ):
            if value is None:
                raise ValueError(f"expected {name} with ActionsSuppressor, found none")
        return self

    @property
    def suppressor(self) -> str | None:
        """The name of the alarm that, in ALARM, holds the actions back."""
        return None if self.actions_suppressor is None else self.actions_suppressor.rpartition(":alarm:")[2]


def _kind_of_alarm(definition: Any) -> str:
    """Which kind of alarm a definition is, by what only that kind has."""
    if not isinstance(definition, Mapping):
        return type(definition).__name__
    if "AlarmRule" in definition or "alarm_rule" in definition:
        return "CompositeAlarm"
    if "ScheduledQueryConfiguration" in definition or "QueryResultsToEvaluate" in definition:
        return "LogAlarm"
    if definition.get("EvaluationCriteria") is not None or definition.get("EvaluationInterval") is not None:
        return "PromQlAlarm"
    of_band = definition.get("ComparisonOperator") in get_args(BandOperator)
    return "BandAlarm" if of_band or definition.get("ThresholdMetricId") is not None else "MetricAlarm"


Definition = MetricAlarm | CompositeAlarm | BandAlarm | PromQlAlarm | LogAlarm
"""Any kind of alarm of CloudWatch."""
_Kinds = Annotated[
    Annotated[MetricAlarm, pydantic.Tag("MetricAlarm")]
    | Annotated[CompositeAlarm, pydantic.Tag("CompositeAlarm")]
    | Annotated[BandAlarm, pydantic.Tag("BandAlarm")]
    | Annotated[PromQlAlarm, pydantic.Tag("PromQlAlarm")]
    | Annotated[LogAlarm, pydantic.Tag("LogAlarm")],
    Discriminator(
        _kind_of_alarm,
        custom_error_type="alarm",
        custom_error_message="expected the fields of PutMetricAlarm, PutCompositeAlarm or PutLogAlarm",
    ),
]


class CloudWatchAlarm(Model):
    """One documented alarm of CloudWatch: what the runbook calls it, and its exact definition."""

    title: str
    runbook: str | None = Field(default=None, description="where the runbook promises it")
    note: str | None = Field(default=None, description="what was chosen or corrected, and why")
    untested: str | None = Field(default=None, description="why no experiment makes it ring")
    cloudwatch: _Kinds


class PrometheusAlert(Model):
    """An alert of the system's Prometheus rules; it rings when any instance with these labels is firing."""

    alert: str = Field(description="name in the rules file")
    labels: dict[str, str] = Field(default_factory=dict, description="labels that an instance must have")


class PrometheusAlarm(Model):
    """One documented alarm of Prometheus; its exact definition is in the rules file."""

    title: str
    runbook: str | None = Field(default=None, description="where the runbook promises it")
    note: str | None = Field(default=None, description="what was chosen or corrected, and why")
    untested: str | None = Field(default=None, description="why no experiment makes it ring")
    prometheus: PrometheusAlert


Alarm = CloudWatchAlarm | PrometheusAlarm


class PrometheusServer(Model):
    """Where the Prometheus of a system answers, and the rules that it is documented to evaluate."""

    url: str = Field(description="base URL of its HTTP API; may hold ${...}")
    rules: str = Field(description="the rules file, in Prometheus' own format")


class HttpApiLookup(Model):
    """The id of an API Gateway HTTP API, found by its name."""

    http_api: str


class UserPoolLookup(Model):
    """The id of a Cognito user pool, found by its name."""

    user_pool: str


class UserPoolClientLookup(Model):
    """The id of an app client of a user pool, both by name."""

    user_pool: str
    client: str


class TopicLookup(Model):
    """The ARN of an SNS topic, found by its name."""

    topic: str


class LoadBalancerLookup(Model):
    """The name that `AWS/ApplicationELB` metrics give a load balancer (`app/<name>/<id>`), found by its own."""

    load_balancer: str


class TargetGroupLookup(Model):
    """The name that `AWS/ApplicationELB` metrics give a target group (`targetgroup/<name>/<id>`), found by its own."""

    target_group: str


class ParameterLookup(Model):
    """The value of an SSM parameter, for what has no AWS resource of its own."""

    parameter: str


Lookup = (
    HttpApiLookup
    | UserPoolClientLookup
    | UserPoolLookup
    | TopicLookup
    | LoadBalancerLookup
    | TargetGroupLookup
    | ParameterLookup
)


class Endpoint(Model):
    """Where the API answers: a fixed URL, or an HTTP API or a load balancer found by its name."""

    url: str | None = Field(default=None, description="a fixed URL; may hold ${...}")
    http_api: str | None = None
    stage: str | None = Field(default=None, description="stage of the HTTP API; else `$default`, or its only one")
    load_balancer: str | None = None

    @model_validator(mode="after")
    def _is_one_place(self) -> Endpoint:
        named = [name for name in ("url", "http_api", "load_balancer") if getattr(self, name)]
        if len(named) != 1:
            raise ValueError(f"expected one of url, http_api and load_balancer, found {' and '.join(named) or 'none'}")
        if self.stage is not None and self.http_api is None:
            raise ValueError(f"expected `stage` beside `http_api`, found it beside `{named[0]}`")
        return self


class CognitoIdentity(Model):
    """A synthetic user of a Cognito user pool; name and password come from a secret (JSON `username`, `password`)."""

    secret: str
    user_pool: str
    client: str


class LoginIdentity(Model):
    """A synthetic user that signs in at the system itself, with `username` and `password` as JSON."""

    secret: str
    login: str = Field(pattern=r"^/", description="path that takes the credentials and answers a token")
    token: str = Field(default="token", description="field of the answer with the bearer token")
    expires_in: str = Field(default="expiresIn", description="field of the answer with its life in seconds")


Identity = CognitoIdentity | LoginIdentity


class Notifications(Model):
    """Where alarm notifications can be seen arriving: an SQS queue subscribed to the alarm topic."""

    queue: str


class LogCount(Model):
    """A count of distinct keys in JSON log lines."""

    log_group: str
    event: str = Field(description="value of the field `event` of a JSON log line")
    key: str = Field(description="field that identifies one piece of work")


class Conservation(Model):
    """Everything accepted is processed exactly once, as told by the system's own logs."""

    title: str
    accepted: tuple[LogCount, ...]
    processed: LogCount


AskedInEveryDrill = Literal["baseline:errors", "baseline:latency", "contract:baseline"]
"""Judgements that are not about the fault: any drill of the system answers them."""


class Promise(Model):
    """What a runbook says beyond its alarms, and how it is shown to be true; experiments add themselves by `covers`."""

    title: str
    kind: Literal["procedure", "check", "figure"]
    runbook: str = Field(description="where the runbook says it")
    note: str | None = Field(default=None, description="what was chosen or corrected, and why")
    canaries: tuple[str, ...] = Field(default=(), description="canaries that walk it")
    judgements: tuple[AskedInEveryDrill, ...] = Field(default=(), description="answered by every drill of the system")
    untested: str | None = Field(default=None, description="why nothing shows it")
    wrong: str | None = Field(default=None, description="why it is wrong as written, and what is right")

    @model_validator(mode="after")
    def _is_not_both_shown_and_untested(self) -> Promise:
        if self.untested is not None and (self.wrong is not None or self.canaries or self.judgements):
            raise ValueError(
                "expected either `untested` or what shows it (`canaries`, `judgements`, `wrong`), not both"
            )
        return self


SLOW_SHARE = 0.05
"""Share of the answers that may be slower than the p95 of the objectives: that is what p95 means."""


class Objectives(Model):
    """What healthy means for callers; used for baseline and recovery."""

    max_error_share: Share = Field(default=0.01, description="share of answers that may be 5xx or no answer")
    p95_ms: float = Field(
        default=1000.0, description="latency that 95 % of the answers may not exceed, in milliseconds"
    )
    shown_in_drills: Share | None = Field(
        default=None,
        description="what a drill has to show where its answers are too few for the objectives: at most this share of "
        "them failed, or slow. None: the objectives themselves",
    )

    @property
    def errors_to_show(self) -> float:
        """The share of failed answers that a drill has to show to be the largest that there can be."""
        return self.max_error_share if self.shown_in_drills is None else self.shown_in_drills

    @property
    def slow_to_show(self) -> float:
        """The same of answers that are slower than p95 may be."""
        return max(SLOW_SHARE, self.shown_in_drills or 0.0)

    @model_validator(mode="after")
    def _shows_no_more_than_it_promises(self) -> Objectives:
        shown, promised = self.shown_in_drills, self.max_error_share
        if shown is not None and shown < promised:
            raise ValueError(
                f"expected `shown_in_drills` of at least `max_error_share` ({promised:.3g}), found {shown:.3g}: "
                "fewer answers show less, never more"
            )
        return self


EcsServiceName = Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")]


class CanaryPlan(Model):
    """The file of canaries and how often each runs."""

    file: str
    every: Duration = Field(default=60.0, gt=0)


class ThirdParty(Model):
    """Somebody else's API that the system calls, under a base URL in an environment variable, or that SNS posts to."""

    stub: str = Field(description="the stub that stands in for it in the sandbox")
    env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="environment variable that holds its base URL; needed with `functions` or `services`",
    )
    functions: tuple[str, ...] = Field(default=(), description="Lambda functions that have the variable")
    services: tuple[EcsServiceName, ...] = Field(
        default=(), description="ECS services whose task definition has it, as `cluster/service`"
    )
    topics: tuple[str, ...] = Field(
        default=(), description="names of SNS topics to which it is subscribed over HTTP, as who is told of alarms is"
    )

    @model_validator(mode="after")
    def _has_callers(self) -> ThirdParty:
        calls = bool(self.functions or self.services)
        if not calls and not self.topics:
            raise ValueError("expected `functions` or `services` that call the third party, or `topics`, found none")
        if calls != (self.env is not None):
            raise ValueError("expected `env` with `functions` or `services`, and only with them")
        return self


class System(Model):
    """One application under test."""

    system: SystemName
    title: str
    region: str = "us-east-1"
    runbook: str | None = None
    lookups: dict[str, Lookup] = Field(default_factory=dict, description="names for ${...} in alarm definitions")
    endpoint: Endpoint
    identities: dict[str, Identity] = Field(default_factory=dict)
    notifications: Notifications | None = None
    contract: str | None = Field(default=None, description="OpenAPI document")
    contract_as: str | None = Field(
        default=None,
        description="identity whose token contract tests send with generated data: one that can do no harm; "
        "without it no token is sent",
    )
    messages: Messages | None = Field(default=None, description="contract of its messages, and where they are tapped")
    canaries: CanaryPlan | None = None
    load: str | None = Field(default=None, description="Locust file")
    objectives: Objectives = Objectives()
    prometheus: PrometheusServer | None = Field(default=None, description="its Prometheus, for alarms of that kind")
    alarms: dict[str, Alarm] = Field(default_factory=dict)
    conservation: dict[str, Conservation] = Field(default_factory=dict)
    third_parties: dict[str, ThirdParty] = Field(default_factory=dict, description="APIs of others that it calls")
    promises: dict[str, Promise] = Field(default_factory=dict, description="what the runbook says beyond its alarms")
    test_data: SyntheticData | None = Field(
        default=None, description="what drills write, how it is told apart and how it goes: needed on an account"
    )

    @model_validator(mode="after")
    def _has_a_server_for_its_alerts(self) -> System:
        if self.prometheus_alarms and self.prometheus is None:
            raise ValueError(f"expected `prometheus` (url, rules) for the alarms {', '.join(self.prometheus_alarms)}")
        return self

    @model_validator(mode="after")
    def _reads_a_queue_once(self) -> System:
        told = self.notifications.queue if self.notifications is not None else None
        for channel, tap in (self.messages.taps if self.messages is not None else {}).items():
            if tap.queue == told:
                raise ValueError(
                    f"expected a queue of its own for the tap of {channel}, found {told}, which `notifications` reads: "
                    "each would take messages from the other"
                )
        return self

    @model_validator(mode="after")
    def _names_an_alarm_once(self) -> System:
        known: dict[str, str] = {}
        for name, alarm in self.cloudwatch_alarms.items():
            other = known.setdefault(alarm.cloudwatch.alarm_name, name)
            if other != name:
                raise ValueError(
                    f"expected an AlarmName for each alarm, found {alarm.cloudwatch.alarm_name} of both {other} and "
                    f"{name}: what one of them does would be told of the other"
                )
        return self

    @property
    def cloudwatch_alarms(self) -> dict[str, CloudWatchAlarm]:
        """The alarms that CloudWatch evaluates, by name."""
        return {name: alarm for name, alarm in self.alarms.items() if isinstance(alarm, CloudWatchAlarm)}

    @property
    def prometheus_alarms(self) -> dict[str, PrometheusAlarm]:
        """The alarms that Prometheus evaluates, by name."""
        return {name: alarm for name, alarm in self.alarms.items() if isinstance(alarm, PrometheusAlarm)}

    def writers(self, *, load: bool, activities: bool = False) -> tuple[Writer, ...]:
        """The parts of a drill of this system by which something may come to be in it.

        `load`: whether it comes with load; `activities`: whether its experiment has some that may write.
        """
        parts: dict[Writer, object] = {
            "identities": self.identities,
            "load": load and self.load,
            "canaries": self.canaries,
            "contract": self.contract,
            "activities": activities,
        }
        return tuple(writer for writer, there in parts.items() if there)

    def marks(self, writer: Writer | None) -> tuple[str, ...]:
        """By what the data is told that a part of a drill, any for None, writes; none where nothing is said of it."""
        return () if self.test_data is None else self.test_data.marks(writer)

    def can_tell(self, alarm: str) -> bool:
        """Whether a notification of this alarm can be seen arriving."""
        return self.notifications is not None and alarm in self.cloudwatch_alarms


AlarmState = Annotated[Literal["OK", "ALARM", "INSUFFICIENT_DATA"], Field(description="CloudWatch alarm state")]
