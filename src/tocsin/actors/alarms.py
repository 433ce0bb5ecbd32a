"""Watches the CloudWatch alarms of a system: every transition with the time CloudWatch gives it, every notification."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from dateutil.parser import isoparse

from tocsin.actors.alarm_evidence import read_datapoints, read_path
from tocsin.actors.base import PollingActor
from tocsin.alarms.cloudwatch import breaches
from tocsin.alarms.deploy import DESCRIBE_GRANT, definition_drift, describe_alarms
from tocsin.context import RunContext
from tocsin.errors import TargetError
from tocsin.iam import Arns, Grant
from tocsin.model.events import AlarmChanged, AlarmNotified, AlarmSeen, AlarmsPolled
from tocsin.model.system import AlarmState, CloudWatchAlarm, CompositeAlarm, MetricAlarm, MetricRef, System
from tocsin.target import aws_errors


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What watching the alarms of this system, and their notifications, needs of IAM."""
    yield DESCRIBE_GRANT
    yield Grant(sid="Observe", actions=("cloudwatch:DescribeAlarmHistory", "cloudwatch:ListMetrics"))
    if system.notifications is not None:
        yield Grant(
            sid="ReadNotifications",
            actions=("sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:DeleteMessage"),
            resources=(arns("sqs", system.notifications.queue),),
        )


class AlarmWatcher(PollingActor):
    """Polls DescribeAlarms; reads an alarm's history whenever its state has been updated.

    The time of a transition is the time of its StateUpdate in the alarm's history, never the time of the poll, and
    an alarm that rang and cleared between two polls is seen.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
    """

    def __init__(self, ctx: RunContext) -> None:
        super().__init__("alarms", ctx)
        self._cloudwatch = ctx.target.client("cloudwatch")
        self._names = {alarm.cloudwatch.alarm_name: name for name, alarm in ctx.system.cloudwatch_alarms.items()}
        self._since = ctx.now()
        self._updated: dict[str, datetime] = {}
        self._told: set[tuple[str, float]] = set()
        self._pager = Pager(ctx, self._names) if ctx.system.notifications else None

    def look(self) -> None:
        """Read and record every alarm once, before the watching starts.

        Raises:
            TargetError: CloudWatch did not answer.
        """
        described = describe_alarms(self._ctx.system.cloudwatch_alarms.values(), self._ctx.target)
        for alarm_name, name in self._names.items():
            if alarm_name in described:
                self._history.record(self._seen(name, described[alarm_name], has_data=None))
                self._updated[alarm_name] = described[alarm_name]["StateUpdatedTimestamp"]
        self._record_paths(described)
        if self._pager is not None:
            self._pager.drain()

    def poll(self) -> None:
        """Record the transitions and the notifications since the last poll, and the state of every alarm."""
        described = describe_alarms(self._ctx.system.cloudwatch_alarms.values(), self._ctx.target)
        states: dict[str, AlarmState] = {}
        for alarm_name, alarm in described.items():
            states[self._names[alarm_name]] = alarm["StateValue"]
            if alarm["StateUpdatedTimestamp"] != self._updated.get(alarm_name):
                self._updated[alarm_name] = alarm["StateUpdatedTimestamp"]
                self._read_history(alarm_name)
        if self._pager is not None:
            self._pager.read()
        self._history.record(AlarmsPolled(at=self._ctx.now(), polls=1, states=states))

    def record_paths(self) -> None:
        """Record whom the alarms that must ring would tell, as it is now."""
        with contextlib.suppress(TargetError):
            self._record_paths(describe_alarms(self._ctx.system.cloudwatch_alarms.values(), self._ctx.target))

    def _record_paths(self, described: Mapping[str, Mapping[str, Any]]) -> None:
        for name, alarm in self._must(described).items():
            self._history.record(read_path(self._ctx, name, alarm))

    def _must(self, described: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """Those that must ring, by their name in the system file, as CloudWatch describes them."""
        must = {entry.alarm for entry in self._ctx.experiment.extension.expect.must_alarms}
        return {
            name: described[alarm_name]
            for alarm_name, name in self._names.items()
            if name in must and alarm_name in described
        }

    def record_data(self, since: float | None, until: float | None) -> None:
        """Record what there was to see for the alarms, after traffic has been offered.

        Whether the metric of each has ever had a datapoint; and of those that must ring the datapoints from `since`
        to `until`, the fault's wall-clock times, if there was one.
        """
        with contextlib.suppress(TargetError):
            described = describe_alarms(self._ctx.system.cloudwatch_alarms.values(), self._ctx.target)
            if since is not None and until is not None:
                for name, alarm in self._must(described).items():
                    if "ComparisonOperator" in alarm:
                        self._history.record(read_datapoints(self._ctx, name, alarm, since, until))
            for alarm_name, name in self._names.items():
                if alarm_name in described:
                    has_data = self._has_data(self._ctx.system.cloudwatch_alarms[name])
                    self._history.record(self._seen(name, described[alarm_name], has_data=has_data))

    def _read_history(self, alarm_name: str) -> None:
        with aws_errors(f"reading the history of {alarm_name}"):
            pages = self._cloudwatch.get_paginator("describe_alarm_history").paginate(
                AlarmName=alarm_name,
                AlarmTypes=["MetricAlarm", "CompositeAlarm"],
                HistoryItemType="StateUpdate",
                StartDate=datetime.fromtimestamp(self._since, UTC),
                ScanBy="TimestampAscending",
            )
            items = [item for page in pages for item in page["AlarmHistoryItems"]]
        for item in items:
            self._tell(alarm_name, item)

    def _tell(self, alarm_name: str, item: Mapping[str, Any]) -> None:
        at = item["Timestamp"].timestamp()
        if at < self._since or (alarm_name, at) in self._told:
            return
        self._told.add((alarm_name, at))
        data = json.loads(item["HistoryData"])
        before, after = data["oldState"]["stateValue"], data["newState"]["stateValue"]
        if before == after:
            return
        self._history.record(
            AlarmChanged(
                at=at,
                alarm=self._names[alarm_name],
                before=before,
                after=after,
                breached_at=self._breached_at(self._names[alarm_name], data["newState"].get("stateReasonData"), after),
                reason=data["newState"].get("stateReason", ""),
            )
        )

    def _breached_at(self, name: str, reason_data: Any, after: str) -> float | None:
        """Start of the oldest datapoint of the breach, from StateReasonData; datapoints that are well do not count."""
        if after != "ALARM" or not reason_data:
            return None
        data = json.loads(reason_data) if isinstance(reason_data, str) else reason_data
        alarm = self._ctx.system.cloudwatch_alarms[name].cloudwatch
        points = [point for point in data.get("evaluatedDatapoints", []) if point.get("value") is not None]
        if isinstance(alarm, MetricAlarm):
            threshold = data.get("threshold", alarm.threshold)
            points = [p for p in points if breaches(p["value"], alarm.comparison_operator, threshold)] or points
        return min((isoparse(point["timestamp"]).timestamp() for point in points), default=None)

    def _seen(self, name: str, described: Mapping[str, Any], *, has_data: bool | None) -> AlarmSeen:
        changed = described.get("StateTransitionedTimestamp") or described["StateUpdatedTimestamp"]
        return AlarmSeen(
            at=self._ctx.now(),
            alarm=name,
            state=described["StateValue"],
            since=changed.timestamp(),
            has_data=has_data,
            definition_drift=definition_drift(self._ctx.system.cloudwatch_alarms[name], described),
        )

    def _has_data(self, alarm: CloudWatchAlarm) -> bool | None:
        """Whether CloudWatch knows every metric of the alarm; it lists those with data in the last two weeks."""
        if isinstance(alarm.cloudwatch, CompositeAlarm):
            return None
        return all(self._is_listed(metric) for metric in alarm.cloudwatch.metric_refs)

    def _is_listed(self, metric: MetricRef) -> bool:
        dimensions = {dimension.name: dimension.value for dimension in metric.dimensions}
        with aws_errors(f"listing the metric {metric.metric_name}"):
            answer = self._cloudwatch.list_metrics(
                Namespace=metric.namespace,
                MetricName=metric.metric_name,
                Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
            )
        return any({d["Name"]: d["Value"] for d in listed["Dimensions"]} == dimensions for listed in answer["Metrics"])


class Pager:
    """Reads the queue that is subscribed to the alarm topic: what a person would have been told."""

    def __init__(self, ctx: RunContext, names: Mapping[str, str]) -> None:
        assert ctx.system.notifications is not None
        self._ctx = ctx
        self._names = names
        self._queue = ctx.system.notifications.queue
        self._sqs = ctx.target.client("sqs")
        with aws_errors(f"looking for the notification queue {self._queue}"):
            self._url = self._sqs.get_queue_url(QueueName=self._queue)["QueueUrl"]

    def drain(self) -> None:
        """Take away what was delivered before this drill."""
        while self._take():
            pass

    def read(self) -> None:
        """Record the notifications that have arrived."""
        for message in self._take():
            self._record(message)

    def _take(self) -> list[dict[str, Any]]:
        with aws_errors(f"reading the notification queue {self._queue}"):
            answer = self._sqs.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=10, AttributeNames=["SentTimestamp"], WaitTimeSeconds=0
            )
            messages: list[dict[str, Any]] = answer.get("Messages", [])
            for message in messages:
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return messages

    def _record(self, message: Mapping[str, Any]) -> None:
        alarm = _alarm_message(message["Body"])
        name = self._names.get(alarm.get("AlarmName", ""))
        if name is None:
            return
        sent = float(message["Attributes"]["SentTimestamp"]) / 1000
        self._ctx.history.record(
            AlarmNotified(at=sent, alarm=name, state=alarm["NewStateValue"], via=f"queue {self._queue}")
        )


def _alarm_message(body: str) -> Mapping[str, Any]:
    """The alarm's JSON, with or without the SNS envelope around it (raw message delivery)."""
    try:
        outer = json.loads(body)
        inner = json.loads(outer["Message"]) if "Message" in outer else outer
    except (ValueError, TypeError):
        return {}
    return inner if isinstance(inner, dict) else {}
