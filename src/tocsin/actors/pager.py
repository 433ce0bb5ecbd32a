"""Reads the queue that is subscribed to the alarm topic: what a person would have been told, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from tocsin.actors.context import RunContext
from tocsin.alarms.delivery import parse_page
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.inbox import MESSAGES_A_CALL, Inbox, Message, sent_at
from tocsin.model.events import AlarmNotified, NotificationIgnored
from tocsin.model.system import System


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What reading the notifications of this system needs of IAM."""
    if system.notifications is not None:
        yield Grant(
            sid="ReadNotifications",
            # Whether SNS may write to it, `tocsin doctor` reads in its policy.
            actions=("sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:DeleteMessage"),
            resources=(arns("sqs", system.notifications.queue),),
        )


class Pager:
    """Reads the queue that is subscribed to the alarm topic: what a person would have been told."""

    def __init__(self, ctx: RunContext) -> None:
        assert ctx.system.notifications is not None
        self._ctx = ctx
        self._names = {alarm.cloudwatch.alarm_name: name for name, alarm in ctx.system.cloudwatch_alarms.items()}
        self._queue = ctx.system.notifications.queue
        self._inbox = Inbox(ctx.target, self._queue)
        self._read_at: float | None = None

    def drain(self) -> None:
        """Take away what was delivered before this drill."""
        while self._inbox.take(_nobody_looks):
            pass
        self._read_at = self._ctx.now()

    def read(self, described: Mapping[str, Mapping[str, Any]]) -> None:
        """Record the notifications that have arrived; `described` are the target's alarms, by AlarmName.

        Raises:
            TargetError: SQS did not answer. What it gave before is recorded.
        """
        while self._inbox.take(partial(self._record, described)) == MESSAGES_A_CALL:
            pass
        self._read_at = self._ctx.now()

    def _record(self, described: Mapping[str, Mapping[str, Any]], message: Message) -> None:
        arrived_at = self._ctx.now()
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
                at=sent_at(message),
                alarm=name,
                state=page.state,
                via=f"queue {self._queue}",
                arrived_at=arrived_at,
                absent_at=self._read_at,
            )
        )


def _nobody_looks(message: Message) -> None:
    """What is older than the drill is nobody's question."""
