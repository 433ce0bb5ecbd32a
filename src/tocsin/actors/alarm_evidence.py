"""Facts that tell why an alarm was silent, or rang for nobody: its way to people, and what it had to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tocsin.context import RunContext
from tocsin.errors import NotFound, TargetError
from tocsin.iam import Arns, Grant
from tocsin.model.events import AlarmDatapoints, AlarmPath, TopicPath
from tocsin.model.system import System
from tocsin.target import Target, aws_errors


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What telling why an alarm was silent needs of IAM."""
    yield Grant(sid="Observe", actions=("cloudwatch:GetMetricData",))
    if system.notifications is not None:
        yield Grant(sid="ReadSubscriptions", actions=("sns:ListSubscriptionsByTopic",), resources=(arns("sns", "*"),))
        # A subscription is no resource of IAM.
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
        yield Grant(sid="Observe", actions=("sns:GetSubscriptionAttributes",))


def read_path(ctx: RunContext, name: str, described: Mapping[str, Any]) -> AlarmPath:
    """How an alarm, as CloudWatch describes it, would tell somebody. What cannot be read is recorded as unknown."""
    actions = tuple(described.get("AlarmActions", ()))
    queue = ctx.system.notifications.queue if ctx.system.notifications else None
    topics = [arn for arn in actions if ":sns:" in arn] if queue else []
    return AlarmPath(
        at=ctx.now(),
        alarm=name,
        actions_enabled=described.get("ActionsEnabled", True),
        actions=actions,
        topics=tuple(read_topic(ctx.target, topic, queue) for topic in topics if queue),
    )


def read_topic(target: Target, topic: str, queue: str) -> TopicPath:
    """The way from a topic to a queue of that name, as far as SNS tells it."""
    sns = target.client("sns")
    try:
        with aws_errors(f"reading the subscriptions of {topic}"):
            pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
            found = next((one for page in pages for one in page["Subscriptions"] if _is_queue(one, queue)), None)
    except NotFound:
        return TopicPath(topic=topic, subscribed=False, detail="there is no such topic")
    except TargetError as error:
        return TopicPath(topic=topic, detail=str(error))
    if found is None:
        return TopicPath(topic=topic, subscribed=False)
    arn = found["SubscriptionArn"]
    if not arn.startswith("arn:"):
        # In place of an ARN stands "PendingConfirmation".
        return TopicPath(topic=topic, subscribed=True, confirmed=False)
    try:
        with aws_errors(f"reading the subscription {arn}"):
            attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    except TargetError as error:
        return TopicPath(topic=topic, subscribed=True, detail=str(error))
    return TopicPath(
        topic=topic,
        subscribed=True,
        confirmed=attributes.get("PendingConfirmation", "false") == "false",
        filter_policy=attributes.get("FilterPolicy") or None,
        filter_scope=attributes.get("FilterPolicyScope") or "MessageAttributes",
    )


def _is_queue(subscription: Mapping[str, str], queue: str) -> bool:
    return subscription["Protocol"] == "sqs" and subscription["Endpoint"].rpartition(":")[2] == queue


def read_datapoints(
    ctx: RunContext, name: str, described: Mapping[str, Any], since: float, until: float
) -> AlarmDatapoints:
    """The datapoints of a metric alarm in a stretch of wall-clock time, of its own period and statistic."""
    values, detail = None, ""
    try:
        values = _values(ctx, described, since, until)
    except TargetError as error:
        detail = str(error)
    periods = described["EvaluationPeriods"]
    return AlarmDatapoints(
        at=ctx.now(),
        alarm=name,
        since=since,
        until=until,
        values=values,
        threshold=described["Threshold"],
        comparison_operator=described["ComparisonOperator"],
        datapoints_to_alarm=described.get("DatapointsToAlarm", periods),
        evaluation_periods=periods,
        treat_missing_data=described.get("TreatMissingData", "missing"),
        detail=detail,
    )


def _values(ctx: RunContext, described: Mapping[str, Any], since: float, until: float) -> tuple[float, ...]:
    with aws_errors(f"reading the datapoints of {described['AlarmName']}"):
        pages = (
            ctx.target.client("cloudwatch")
            .get_paginator("get_metric_data")
            .paginate(
                MetricDataQueries=list(_queries(described)),
                StartTime=datetime.fromtimestamp(since, UTC),
                EndTime=datetime.fromtimestamp(until, UTC),
                ScanBy="TimestampAscending",
            )
        )
        return tuple(value for page in pages for result in page["MetricDataResults"] for value in result["Values"])


def _queries(described: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    if described.get("Metrics"):
        yield from described["Metrics"]
        return
    metric = {field: described[field] for field in ("Namespace", "MetricName", "Dimensions") if field in described}
    statistic = described.get("ExtendedStatistic") or described["Statistic"]
    yield {"Id": "alarm", "MetricStat": {"Metric": metric, "Period": described["Period"], "Stat": statistic}}
