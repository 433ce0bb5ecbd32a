"""Reads the queue that is subscribed to the alarm topic: what a person would have been told, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tocsin.actors.context import RunContext
from tocsin.alarms.delivery import parse_page
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.sqs import queue_url
from tocsin.aws.target import aws_errors
from tocsin.model.events import AlarmNotified, NotificationIgnored
from tocsin.model.system import System

_MESSAGES_A_CALL = 10
"""The most that ReceiveMessage gives.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
"""
_LONG_POLL_S = 1
"""A short poll asks some of SQS's servers, and may find nothing where there is something; then `absent_at` would lie.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
"""


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What reading the notifications of this system needs of IAM."""
    if system.notifications is not None:
        yield Grant(
            sid="ReadNotifications",
            actions=("sqs:GetQueueUrl", "sqs:ReceiveMessage", "sqs:DeleteMessage"),
            resources=(arns("sqs", system.notifications.queue),),
        )


class Pager:
    """Reads the queue that is subscribed to the alarm topic: what a person would have been told."""

    def __init__(self, ctx: RunContext) -> None:
        assert ctx.system.notifications is not None
        self._ctx = ctx
        self._names = {alarm.cloudwatch.alarm_name: name for name, alarm in ctx.system.cloudwatch_alarms.items()}
        self._queue = ctx.system.notifications.queue
        self._url = queue_url(ctx.target, self._queue)
        self._read_at: float | None = None

    def drain(self) -> None:
        """Take away what was delivered before this drill."""
        while self._take():
            pass
        self._read_at = self._ctx.now()

    def read(self, described: Mapping[str, Mapping[str, Any]]) -> None:
        """Record the notifications that have arrived; `described` are the target's alarms, by AlarmName."""
        while messages := self._take():
            arrived_at = self._ctx.now()
            for message in messages:
                self._record(message, described, arrived_at)
            if len(messages) < _MESSAGES_A_CALL:
                break
        self._read_at = self._ctx.now()

    def _take(self) -> list[dict[str, Any]]:
        sqs = self._ctx.target.client("sqs")
        with aws_errors(f"reading the notification queue {self._queue}"):
            answer = sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_MESSAGES_A_CALL,
                AttributeNames=["SentTimestamp"],
                WaitTimeSeconds=_LONG_POLL_S,
            )
            messages: list[dict[str, Any]] = answer.get("Messages", [])
            for message in messages:
                sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return messages

    def _record(
        self, message: Mapping[str, Any], described: Mapping[str, Mapping[str, Any]], arrived_at: float
    ) -> None:
        page = parse_page(message["Body"])
        name = self._names.get(page.alarm_name)
        if name is None or page.state is None:
            return
        strange = page.stranger_to(described.get(page.alarm_name, {}))
        if strange is not None:
            self._ctx.history.record(NotificationIgnored(at=arrived_at, alarm=name, detail=strange))
            return
        self._ctx.history.record(
            AlarmNotified(
                at=float(message["Attributes"]["SentTimestamp"]) / 1000,
                alarm=name,
                state=page.state,
                via=f"queue {self._queue}",
                arrived_at=arrived_at,
                absent_at=self._read_at,
            )
        )
