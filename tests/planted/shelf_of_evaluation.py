"""Alarms that nobody evaluates, that have nothing to look at, or that the watcher misses: silence is no health."""

from __future__ import annotations

from typing import Any

from tests.planted.bench import Bench
from tests.planted.shelf import begins, planted

from tocsin.aws.lookups import resolve_system
from tocsin.model.events import Act
from tocsin.model.verdict import Reason
from tocsin.project.documents import load_system


def documented(bench: Bench, name: str) -> dict[str, Any]:
    """An alarm of the system file, as PutMetricAlarm takes it."""
    system = resolve_system(load_system(bench.root, "bell"), bench.target)
    definition = system.cloudwatch_alarms[name].cloudwatch.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {field: value for field, value in definition.items() if value not in ([], ())}


def replace(bench: Bench, name: str, **fields: Any) -> None:
    """Another alarm of the same name, for as long as the drill lasts; nobody waits until it was evaluated."""
    definition = {**documented(bench, name), **fields}
    bench.client("cloudwatch").delete_alarms(AlarmNames=[definition["AlarmName"]])
    bench.client("cloudwatch").put_metric_alarm(**definition)
    bench.after(bench.alarm, name)


def replace_unchecked(bench: Bench, name: str, **fields: Any) -> None:
    """The same with a definition that no request can put: it is changed where the sandbox keeps it."""
    replace(bench, name)
    bench.spoil_alarm(name, **fields)


@planted(
    "a quiet alarm that nobody can evaluate",
    "outage",
    "quiet:backlog",
    Reason.NOT_EVALUATED,
    "did not evaluate it .EVALUATION_ERROR: .*Middling",
)
def quiet_and_never_evaluated(bench: Bench) -> None:
    replace_unchecked(bench, "backlog", Statistic="Middling")


@planted(
    "an alarm that must ring and that nobody can evaluate",
    "poison",
    "must:dead-letters",
    Reason.NOT_EVALUATED,
    "did not evaluate it .EVALUATION_ERROR: ComparisonOperator",
)
def must_and_never_evaluated(bench: Bench) -> None:
    replace_unchecked(bench, "dead-letters", ComparisonOperator="GreaterThanUpperThreshold")


@planted(
    "one bad alarm among many", "unheard outage", "gap", Reason.NOT_EVALUATED, "silence: .*EVALUATION_ERROR: .*Period"
)
def one_bad_alarm(bench: Bench) -> None:
    replace_unchecked(bench, "silence", Period=0)


@planted(
    "a quiet alarm without any data",
    "outage",
    "quiet:backlog",
    Reason.NOT_EVALUATED,
    "INSUFFICIENT_DATA all the while.*Dimensions",
)
def quiet_without_data(bench: Bench) -> None:
    nothing = [{"Name": "QueueName", "Value": "bell-nothing"}]
    replace(bench, "backlog", Dimensions=nothing, TreatMissingData="missing")


@planted(
    "an alarm that the watcher misses", "outage", "quiet:backlog", Reason.NOT_WATCHED, "for .* nobody looked at it"
)
def alarm_is_missed(bench: Bench) -> None:
    name = documented(bench, "backlog")["AlarmName"]
    bench.when(begins(Act.BASELINE), lambda: bench.client("cloudwatch").delete_alarms(AlarmNames=[name]))
    bench.after(bench.alarm, "backlog")


_BACKLOG = """Namespace: AWS/SQS
      MetricName: ApproximateNumberOfMessagesVisible
      Dimensions: [{Name: QueueName, Value: bell-orders}]
      Statistic: Minimum
      Period: 240
"""
_INSIGHTS = """Metrics:
        - Id: q
          Expression: SELECT MIN(ApproximateNumberOfMessagesVisible) FROM SCHEMA("AWS/SQS", QueueName)
          Period: 60
"""


@planted(
    "an alarm that only CloudWatch evaluates",
    "outage",
    "quiet:backlog",
    Reason.NOT_EVALUATED,
    "nobody evaluates it in this target.*Metrics Insights",
)
def only_cloudwatch_evaluates(bench: Bench) -> None:
    bench.edit("systems/bell.yaml", _BACKLOG, _INSIGHTS)


_OF_LOGS = """ScheduledQueryConfiguration:
        QueryString: filter event = 'order' | stats count(*) as waiting
        LogGroupIdentifiers: [/bell/orders]
        ScheduledQueryRoleARN: arn:aws:iam::000000000000:role/bell-queries
        ScheduleConfiguration: {ScheduleExpression: rate(4 minutes), StartTimeOffset: 240}
        AggregationExpression: max(waiting)
      QueryResultsToEvaluate: 1
      QueryResultsToAlarm: 1
"""


@planted(
    "an alarm of a kind that only CloudWatch has",
    "outage",
    "quiet:backlog",
    Reason.NOT_EVALUATED,
    "nobody evaluates it in this target.*a log alarm is not evaluated here",
)
def only_cloudwatch_has(bench: Bench) -> None:
    bench.edit("systems/bell.yaml", f"{_BACKLOG}      EvaluationPeriods: 1\n", _OF_LOGS)
