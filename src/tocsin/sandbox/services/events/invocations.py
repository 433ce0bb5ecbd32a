"""One invocation of the target of a schedule.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets.html
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.services.events import metrics, plans, universal
from tocsin.sandbox.services.events.deadletters import DeliveryError, ErrorCode, Failure, attributes
from tocsin.sandbox.services.events.permissions import Permissions, Sender
from tocsin.sandbox.services.events.retries import RetryPolicy
from tocsin.sandbox.services.events.rules import bus_name, is_bus
from tocsin.sandbox.services.events.service import Events
from tocsin.sandbox.services.events.targets import Targets
from tocsin.sandbox.world import World

_PRINCIPAL = "scheduler.amazonaws.com"
_TEMPLATED = frozenset({"lambda", "sns", "sqs"})
_logger = logging.getLogger("tocsin.sandbox")


@dataclass(frozen=True)
class Reach:
    """What it takes to reach the targets of schedules."""

    world: World
    targets: Targets
    permissions: Permissions
    events: Events

    @property
    def services(self) -> frozenset[str]:
        """Service names in the ARNs of templated targets."""
        return _TEMPLATED | {"events"}


@dataclass(frozen=True)
class Invocation:
    """What a schedule does at one of its times."""

    reach: Reach
    schedule: Mapping[str, Any]
    scope: Scope
    due: float
    """Wall-clock epoch seconds for which it was scheduled."""
    taken_in: float = field(default_factory=time.time)
    execution: str = field(default_factory=lambda: uuid.uuid4().hex[:16])

    @property
    def policy(self) -> RetryPolicy:
        """That of the target."""
        return RetryPolicy.kept(self.schedule["Target"])

    async def attempt(self, number: int) -> None:
        """Try once, and count."""
        self._count("InvocationAttemptCount")
        try:
            with self.reach.world.ministack.scope(self.scope):
                await self._send(self._text(number))
        except DeliveryError:
            self._count("TargetErrorCount")
            raise
        except Exception as error:  # what stumbles in the sandbox is, to a schedule, a service that has a bad moment
            _logger.exception("schedule %s", self.schedule["Arn"])
            self._count("TargetErrorCount")
            raise DeliveryError(ErrorCode.INTERNAL_ERROR, str(error)) from error

    def gave_up(self, failure: Failure) -> None:
        """Count, and bury it where the target has a dead-letter queue.

        https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html
        """
        self._count("InvocationDroppedCount")
        target = self.schedule["Target"]
        queue = (target.get("DeadLetterConfig") or {}).get("Arn")
        _logger.warning("schedule %s gave up: %s: %s", self.schedule["Name"], failure.code, failure.message)
        if not queue:
            return
        said = attributes(
            failure,
            SCHEDULE_ARN=self.schedule["Arn"],
            TARGET_ARN=target["Arn"],
            EXECUTION_ID=self.execution,
            SCHEDULED_TIME=_iso(self.due),
            IS_PAYLOAD_TRUNCATED="false",
        )
        try:
            with self.reach.world.ministack.scope(self.scope):
                self.reach.targets.bury(self._sender(), queue, self._text(failure.retries + 1), said)
        except DeliveryError as error:
            _logger.warning("schedule %s: no dead letter in %s: %s", self.schedule["Name"], queue, error)
            self._count("InvocationsFailedToBeSentToDeadLetterCount")
        else:
            self._count("InvocationsSentToDeadLetterCount")

    async def _send(self, text: str) -> None:
        target = self.schedule["Target"]
        called = plans.universal(target["Arn"])
        if called is not None:
            await self._call(called, text)
        elif is_bus(target["Arn"]):
            self._put_event(target, text)
        else:
            self.reach.targets.send(self._sender(), target, text)

    async def _call(self, called: tuple[str, str], text: str) -> None:
        """Where IAM is enforced the call is made, and judged, in the role; elsewhere as the account."""
        credentials = self.reach.permissions.credentials(self._sender())
        await asyncio.to_thread(universal.call, self.reach.world.endpoint_url, self.scope[1], credentials, called, text)

    def _put_event(self, target: Mapping[str, Any], text: str) -> None:
        self.reach.permissions.check(self._sender(), "events:PutEvents", target["Arn"])
        entry = {**target["EventBridgeParameters"], "Detail": text, "EventBusName": bus_name(target["Arn"])}
        answer = self.reach.events.put(entry)
        if "ErrorCode" in answer:
            raise DeliveryError(answer["ErrorCode"], answer["ErrorMessage"])

    def _text(self, number: int) -> str:
        """The input, with AWS's words for what only the schedule knows put in; without one, a notification.

        https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
        """
        text = self.schedule["Target"].get("Input")
        if text is None:
            return json.dumps(self._notification())
        for name, value in (
            ("schedule-arn", self.schedule["Arn"]),
            ("scheduled-time", _iso(self.due)),
            ("execution-id", self.execution),
            ("attempt-number", str(number)),
        ):
            text = text.replace(f"<aws.scheduler.{name}>", value)
        return str(text)

    def _notification(self) -> dict[str, Any]:
        return {
            "version": "0",
            "id": self.execution,
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": self.scope[0],
            "time": _iso(self.due),
            "region": self.scope[1],
            "resources": [self.schedule["Arn"]],
            "detail": "{}",
        }

    def _sender(self) -> Sender:
        return Sender(_PRINCIPAL, self.schedule["Arn"], self.scope, self.schedule["Target"].get("RoleArn"))

    def _count(self, name: str) -> None:
        metrics.schedule(self.reach.world.store, self.scope, self.schedule["GroupName"], name)


def _iso(epoch: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
