"""One event on its way to one target of a rule."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.services.events import inputs
from tocsin.sandbox.services.events.api_destinations import ApiDestinations
from tocsin.sandbox.services.events.deadletters import DeliveryError, ErrorCode, Failure, attributes
from tocsin.sandbox.services.events.metrics import RuleMetrics
from tocsin.sandbox.services.events.permissions import Permissions, Sender
from tocsin.sandbox.services.events.retries import RetryPolicy
from tocsin.sandbox.services.events.rules import bus_name, is_api_destination, is_bus
from tocsin.sandbox.services.events.targets import Targets
from tocsin.sandbox.world import World

Json = dict[str, Any]

Forward = Callable[[str, Json, Scope, str, str | None], bool]
"""(bus, event, account and region, key of the rule, other detail) -> whether there is such a bus."""

_PRINCIPAL = "events.amazonaws.com"
_logger = logging.getLogger("tocsin.sandbox")


@dataclass(frozen=True)
class Delivery:
    """What it takes to reach targets."""

    world: World
    targets: Targets
    api_destinations: ApiDestinations
    permissions: Permissions
    forward: Forward


@dataclass(frozen=True)
class RuleParcel:
    """An event for a target of a rule."""

    delivery: Delivery
    rule: Mapping[str, Any]
    target: Mapping[str, Any]
    event: Json
    """As it is kept."""
    delivered: Mapping[str, Any]
    """As targets and patterns see it."""
    scope: Scope
    metrics: RuleMetrics

    @property
    def policy(self) -> RetryPolicy:
        """That of the target."""
        return RetryPolicy.kept(self.target)

    @property
    def taken_in(self) -> float:
        """When the bus took the event in."""
        return float(self.event["TakenIn"])

    async def attempt(self, number: int) -> None:
        """Try to hand it over, and count."""
        self.metrics.count("InvocationAttempts")
        if number == 1:
            self.metrics.count("InvocationsCreated")
            self.metrics.started(self._age_ms())
        else:
            self.metrics.count("RetryInvocationAttempts")
        try:
            with self.delivery.world.ministack.scope(self.scope):
                await self._send()
        except DeliveryError:
            raise
        except Exception as error:  # what stumbles in the sandbox is, to a rule, a service that has a bad moment
            _logger.exception("rule %s to %s", self.rule["Name"], self.target["Arn"])
            raise DeliveryError(ErrorCode.INTERNAL_ERROR, str(error)) from error
        self.metrics.count("SuccessfulInvocationAttempts", "Invocations")
        self.metrics.delivered(self._age_ms())

    def gave_up(self, failure: Failure) -> None:
        """Count, and bury it where the target has a dead-letter queue."""
        self.metrics.count("Invocations", "FailedInvocations")
        queue = (self.target.get("DeadLetterConfig") or {}).get("Arn")
        if not queue:
            return
        said = attributes(failure, RULE_ARN=self.rule["Arn"], TARGET_ARN=self.target["Arn"])
        sender = Sender(_PRINCIPAL, self.rule["Arn"], self.scope)
        try:
            with self.delivery.world.ministack.scope(self.scope):
                self.delivery.targets.bury(sender, queue, json.dumps(self.delivered), said)
        except DeliveryError as error:
            _logger.warning("rule %s: no dead letter in %s: %s", self.rule["Name"], queue, error)
            self.metrics.count("InvocationsFailedToBeSentToDlq")
        else:
            self.metrics.count("InvocationsSentToDlq")

    async def _send(self) -> None:
        arn = self.target["Arn"]
        sender = Sender(_PRINCIPAL, self.rule["Arn"], self.scope, self.target.get("RoleArn"))
        text = self._text()
        if is_bus(arn):
            self._to_bus(sender, arn, text)
        elif is_api_destination(arn):
            await self.delivery.api_destinations.send(sender, self.target, text, self.delivered)
        elif arn.split(":")[2] in self.delivery.targets.services:
            self.delivery.targets.send(sender, self.target, text)
        else:
            raise DeliveryError(ErrorCode.INVALID_PARAMETER, f"the sandbox does not deliver to {arn}")

    def _to_bus(self, sender: Sender, arn: str, text: str) -> None:
        """A bus of the same account needs no policy; a role that is given must be allowed to.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-bus-to-bus.html
        """
        if sender.role is not None:
            self.delivery.permissions.check(sender, "events:PutEvents", arn)
        changed = any(self.target.get(name) for name in ("Input", "InputPath", "InputTransformer"))
        key = f"{self.rule['EventBusName']}|{self.rule['Name']}"
        account, region = arn.split(":")[4], arn.split(":")[3]
        known = (account, region) == self.scope and self.delivery.forward(
            bus_name(arn), self.event, self.scope, key, text if changed else None
        )
        if not known:
            raise DeliveryError(ErrorCode.NO_RESOURCE, f"Event bus does not exist: {arn}")

    def _text(self) -> str:
        ingested = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.taken_in))
        return inputs.payload(
            self.target, self.delivered, inputs.Occasion(self.rule["Name"], self.rule["Arn"], ingested)
        )

    def _age_ms(self) -> float:
        """Real milliseconds: what takes time here is no more scaled than any other request."""
        return (time.time() - self.taken_in) * 1000
