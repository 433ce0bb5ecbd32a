"""Facts that tell why an alarm was silent, or rang for nobody: its way to people, and what it had to look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from tocsin.actors.alarm_mutes import read_mutes, suppressor_of
from tocsin.actors.context import RunContext
from tocsin.alarms.delivery import ACTIONS
from tocsin.aws.cloudwatch import alarm_history, definition_changes
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.mutes import GRANT
from tocsin.aws.pages import listed
from tocsin.aws.sns import read_topic, topics_of
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import TargetError
from tocsin.model.alarm_fields import ComparisonOperator, treated_missing_data
from tocsin.model.events import AlarmActed, AlarmDatapoints, AlarmPath, AlarmRedefined
from tocsin.model.system import AlarmState, System


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What telling why an alarm was silent needs of IAM."""
    yield Grant(sid="Observe", actions=("cloudwatch:GetMetricData",))
    yield GRANT
    if system.notifications is not None:
        yield Grant(sid="ReadSubscriptions", actions=("sns:ListSubscriptionsByTopic",), resources=(arns("sns", "*"),))
        # A subscription is no resource of IAM.
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
        yield Grant(sid="Observe", actions=("sns:GetSubscriptionAttributes",))


def read_path(ctx: RunContext, name: str, described: Mapping[str, Any], state: AlarmState) -> AlarmPath:
    """How an alarm, as CloudWatch describes it, would tell somebody of a state. What cannot be read is unknown."""
    extension = ctx.experiment.extension
    longest_s = extension.baseline + extension.longest_hold_s
    path = path_to_people(ctx.target, name, described, state, ctx.now(), ctx.now() + ctx.wall(longest_s))
    if ctx.system.notifications is None:
        return path
    queue = ctx.system.notifications.queue
    topics = tuple(read_topic(ctx.target, topic, queue) for topic in topics_of(path.actions))
    return path.model_copy(update={"topics": topics})


def path_to_people(
    target: Target, name: str, described: Mapping[str, Any], state: AlarmState, now: float, until: float
) -> AlarmPath:
    """The actions of an alarm, and what holds them back between two wall-clock times; not where its topics lead."""
    mutes = read_mutes(target, described["AlarmName"], until)
    return AlarmPath(
        at=now,
        alarm=name,
        state=state,
        actions_enabled=described.get("ActionsEnabled", True),
        actions=tuple(described.get(ACTIONS[state], ())),
        suppressor=suppressor_of(described),
        suppressed_by=described.get("ActionsSuppressedBy"),
        mutes=mutes.found,
        mutes_unknown=mutes.unknown,
    )


def redefined(ctx: RunContext, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> AlarmRedefined | None:
    """What somebody changed in an alarm between two answers of DescribeAlarms; None: nothing."""
    changes = definition_changes(before, after)
    if changes is None:
        return None
    # To enable or disable actions does not count as an update of the configuration.
    was, written = (described.get("AlarmConfigurationUpdatedTimestamp") for described in (before, after))
    at = written.timestamp() if written is not None and written != was else ctx.now()
    return AlarmRedefined(at=at, alarm=name, changes=changes)


def read_actions(ctx: RunContext, name: str, alarm_name: str, since: float) -> Iterator[AlarmActed]:
    """What CloudWatch says of the actions that it executed since a wall-clock time, or could not.

    Raises:
        TargetError: CloudWatch did not answer.
    """
    with aws_errors(f"reading the actions of {alarm_name}"):
        items = alarm_history(ctx.target, "Action", alarm_name, since)
    for item in items:
        data = json.loads(item["HistoryData"])
        error, summary = data.get("error"), item["HistorySummary"]
        yield AlarmActed(
            at=item["Timestamp"].timestamp(),
            alarm=name,
            succeeded=data.get("actionState") == "Succeeded",
            # A summary is cut after 255 characters; the error is whole.
            summary=f"{summary} ({error})" if error and str(error) not in summary else summary,
        )


def has_datapoints(described: Mapping[str, Any]) -> bool:
    """Whether an alarm, as CloudWatch describes it, compares datapoints of metrics with a threshold."""
    of_metrics = "MetricName" in described or bool(described.get("Metrics"))
    return of_metrics and described.get("ComparisonOperator") in get_args(ComparisonOperator)


def read_datapoints(
    ctx: RunContext, name: str, described: Mapping[str, Any], since: float, until: float
) -> AlarmDatapoints:
    """The datapoints of a metric alarm in a stretch of wall-clock time, of its own period and statistic."""
    values, whole, detail = None, None, ""
    try:
        points = list(_points(ctx, described, since, until))
        values = tuple(value for _, value in points)
        last = until - ctx.wall(_period(described))
        whole = tuple(value for start, value in points if since <= start <= last)
    except TargetError as error:
        detail = str(error)
    periods, chosen = described["EvaluationPeriods"], described.get("TreatMissingData", "missing")
    treated = treated_missing_data(chosen, _namespaces(described))
    return AlarmDatapoints(
        at=ctx.now(),
        alarm=name,
        since=since,
        until=until,
        values=values,
        whole=whole,
        threshold=described["Threshold"],
        comparison_operator=described["ComparisonOperator"],
        datapoints_to_alarm=described.get("DatapointsToAlarm", periods),
        evaluation_periods=periods,
        treat_missing_data=treated,
        always_ignored=treated != chosen,
        detail=detail,
    )


def _points(ctx: RunContext, described: Mapping[str, Any], since: float, until: float) -> Iterator[tuple[float, float]]:
    """(start of the period, value); also of periods that one of the two instants cuts through."""
    with aws_errors(f"reading the datapoints of {described['AlarmName']}"):
        results = listed(
            ctx.target.client("cloudwatch"),
            "get_metric_data",
            "MetricDataResults",
            MetricDataQueries=list(_queries(described)),
            StartTime=datetime.fromtimestamp(since, UTC),
            EndTime=datetime.fromtimestamp(until, UTC),
            ScanBy="TimestampAscending",
        )
        for result in results:
            starts = (start.timestamp() for start in result["Timestamps"])
            yield from zip(starts, result["Values"], strict=True)


def _period(described: Mapping[str, Any]) -> float:
    """Production seconds of a datapoint of the alarm."""
    if "Period" in described:
        return float(described["Period"])
    periods = (query["MetricStat"]["Period"] for query in described["Metrics"] if "MetricStat" in query)
    return float(max(periods, default=60))


def _queries(described: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    if described.get("Metrics"):
        yield from described["Metrics"]
        return
    metric = {field: described[field] for field in ("Namespace", "MetricName", "Dimensions") if field in described}
    statistic = described.get("ExtendedStatistic") or described["Statistic"]
    unit = {"Unit": described["Unit"]} if "Unit" in described else {}
    yield {"Id": "alarm", "MetricStat": {"Metric": metric, "Period": described["Period"], "Stat": statistic, **unit}}


def _namespaces(described: Mapping[str, Any]) -> Iterator[str]:
    yield described.get("Namespace", "")
    for query in described.get("Metrics", ()):
        yield query.get("MetricStat", {}).get("Metric", {}).get("Namespace", "")
