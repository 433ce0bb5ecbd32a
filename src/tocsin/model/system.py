"""What a system under test is and promises: `systems/<system>.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tocsin.model.base import Model
from tocsin.model.duration import Duration, Share
from tocsin.model.experiment import SystemName


class Dimension(Model):
    """A CloudWatch dimension."""

    name: str = Field(alias="Name")
    value: str = Field(alias="Value")


class MetricRef(Model):
    """The `Metric` of a `MetricStat`."""

    namespace: str = Field(alias="Namespace")
    metric_name: str = Field(alias="MetricName")
    dimensions: tuple[Dimension, ...] = Field(default=(), alias="Dimensions")


class MetricStat(Model):
    """One metric of a metric-math alarm."""

    metric: MetricRef = Field(alias="Metric")
    period: int = Field(alias="Period")
    stat: str = Field(alias="Stat")


class MetricDataQuery(Model):
    """One element of `Metrics`."""

    id: str = Field(alias="Id")
    metric_stat: MetricStat | None = Field(default=None, alias="MetricStat")
    expression: str | None = Field(default=None, alias="Expression")
    return_data: bool = Field(default=True, alias="ReturnData")


TreatMissingData = Literal["missing", "ignore", "breaching", "notBreaching"]
ComparisonOperator = Literal[
    "GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold"
]


class MetricAlarm(Model):
    """A CloudWatch metric alarm with the field names of `PutMetricAlarm`."""

    alarm_name: str = Field(alias="AlarmName")
    alarm_description: str | None = Field(default=None, alias="AlarmDescription")
    namespace: str | None = Field(default=None, alias="Namespace")
    metric_name: str | None = Field(default=None, alias="MetricName")
    dimensions: tuple[Dimension, ...] = Field(default=(), alias="Dimensions")
    statistic: Literal["SampleCount", "Average", "Sum", "Minimum", "Maximum"] | None = Field(
        default=None, alias="Statistic"
    )
    extended_statistic: str | None = Field(default=None, alias="ExtendedStatistic")
    metrics: tuple[MetricDataQuery, ...] = Field(default=(), alias="Metrics")
    period: int | None = Field(default=None, alias="Period")
    evaluation_periods: int = Field(alias="EvaluationPeriods", ge=1)
    datapoints_to_alarm: int | None = Field(default=None, alias="DatapointsToAlarm", ge=1)
    threshold: float = Field(alias="Threshold")
    comparison_operator: ComparisonOperator = Field(alias="ComparisonOperator")
    treat_missing_data: TreatMissingData = Field(default="missing", alias="TreatMissingData")
    evaluate_low_sample_count_percentile: Literal["evaluate", "ignore"] | None = Field(
        default=None, alias="EvaluateLowSampleCountPercentile"
    )
    actions_enabled: bool = Field(default=True, alias="ActionsEnabled")
    alarm_actions: tuple[str, ...] = Field(default=(), alias="AlarmActions")
    ok_actions: tuple[str, ...] = Field(default=(), alias="OKActions")
    insufficient_data_actions: tuple[str, ...] = Field(default=(), alias="InsufficientDataActions")

    @property
    def period_s(self) -> int:
        """The alarm's period in seconds; for metric math the largest period of its operands."""
        if self.period is not None:
            return self.period
        return max((query.metric_stat.period for query in self.metrics if query.metric_stat), default=60)

    @property
    def metric_refs(self) -> tuple[MetricRef, ...]:
        """Every metric the alarm looks at: one, or the operands of its metric math."""
        if self.metric_name is not None:
            return (
                MetricRef(namespace=self.namespace or "", metric_name=self.metric_name, dimensions=self.dimensions),
            )
        return tuple(query.metric_stat.metric for query in self.metrics if query.metric_stat)


class CompositeAlarm(Model):
    """A CloudWatch composite alarm with the field names of `PutCompositeAlarm`."""

    alarm_name: str = Field(alias="AlarmName")
    alarm_rule: str = Field(alias="AlarmRule")
    alarm_description: str | None = Field(default=None, alias="AlarmDescription")
    actions_enabled: bool = Field(default=True, alias="ActionsEnabled")
    alarm_actions: tuple[str, ...] = Field(default=(), alias="AlarmActions")
    ok_actions: tuple[str, ...] = Field(default=(), alias="OKActions")
    insufficient_data_actions: tuple[str, ...] = Field(default=(), alias="InsufficientDataActions")


class CloudWatchAlarm(Model):
    """One documented alarm of CloudWatch: what the runbook calls it, and its exact definition."""

    title: str
    runbook: str | None = Field(default=None, description="where the runbook promises it")
    note: str | None = Field(default=None, description="what was chosen or corrected, and why")
    untested: str | None = Field(default=None, description="why no experiment makes it ring")
    cloudwatch: MetricAlarm | CompositeAlarm


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

    url: str | None = None
    http_api: str | None = None
    load_balancer: str | None = None


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


class Objectives(Model):
    """What healthy means for callers; used for baseline and recovery."""

    max_error_share: Share = 0.01
    p95_ms: float = 1000.0


class CanaryPlan(Model):
    """The file of canaries and how often each runs."""

    file: str
    every: Duration = 60.0


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
    canaries: CanaryPlan | None = None
    load: str | None = Field(default=None, description="Locust file")
    objectives: Objectives = Objectives()
    prometheus: PrometheusServer | None = Field(default=None, description="its Prometheus, for alarms of that kind")
    alarms: dict[str, Alarm] = Field(default_factory=dict)
    conservation: dict[str, Conservation] = Field(default_factory=dict)
    promises: dict[str, Promise] = Field(default_factory=dict, description="what the runbook says beyond its alarms")

    @model_validator(mode="after")
    def _has_a_server_for_its_alerts(self) -> System:
        if self.prometheus_alarms and self.prometheus is None:
            raise ValueError(f"expected `prometheus` (url, rules) for the alarms {', '.join(self.prometheus_alarms)}")
        return self

    @property
    def cloudwatch_alarms(self) -> dict[str, CloudWatchAlarm]:
        """The alarms that CloudWatch evaluates, by name."""
        return {name: alarm for name, alarm in self.alarms.items() if isinstance(alarm, CloudWatchAlarm)}

    @property
    def prometheus_alarms(self) -> dict[str, PrometheusAlarm]:
        """The alarms that Prometheus evaluates, by name."""
        return {name: alarm for name, alarm in self.alarms.items() if isinstance(alarm, PrometheusAlarm)}

    def can_tell(self, alarm: str) -> bool:
        """Whether a notification of this alarm can be seen arriving."""
        return self.notifications is not None and alarm in self.cloudwatch_alarms


AlarmState = Annotated[Literal["OK", "ALARM", "INSUFFICIENT_DATA"], Field(description="CloudWatch alarm state")]
