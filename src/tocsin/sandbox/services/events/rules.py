"""What PutRule and PutTargets accept, besides what ministack checks. Pure.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html and
https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutTargets.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.services.events import inputs
from tocsin.sandbox.services.events.due import rate_s
from tocsin.sandbox.services.events.retries import RetryPolicy

MAX_TARGETS = 5
"""Of one rule: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html"""

_BUS = "event-bus/"
_API_DESTINATION = "api-destination/"


def rule_problem(request: Mapping[str, Any]) -> str | None:
    """Why a rule is refused; None when it is not."""
    schedule = request.get("ScheduleExpression")
    if not schedule and not request.get("EventPattern"):
        return "Parameter(s) EventPattern or ScheduleExpression must be specified."
    if schedule and request.get("EventBusName", "default") != "default":
        return "ScheduleExpression is supported only on the default event bus."
    if schedule and schedule.startswith("rate(") and rate_s(schedule) is None:
        return "Parameter ScheduleExpression is not valid."
    return None


def is_bus(arn: str) -> bool:
    """Whether a target is an event bus."""
    return _resource(arn).startswith(_BUS)


def is_api_destination(arn: str) -> bool:
    """Whether a target is an API destination."""
    return _resource(arn).startswith(_API_DESTINATION)


def bus_name(arn: str) -> str:
    """The name of a target that is a bus."""
    return _resource(arn).removeprefix(_BUS)


def target_problem(target: Mapping[str, Any], scope: Scope, services: Iterable[str]) -> str | None:
    """Why a target is refused; None when it is not.

    `services` are those to which the sandbox delivers besides event buses and API destinations.
    """
    identity, arn = target.get("Id"), str(target.get("Arn", ""))
    checks = (
        _destination_problem(arn, scope, services),
        inputs.problem(target),
        _policy_problem(target),
        _needs(target, arn),
    )
    found = next((problem for problem in checks if problem is not None), None)
    return None if found is None else f"{found} (target {identity})"


def _destination_problem(arn: str, scope: Scope, services: Iterable[str]) -> str | None:
    service, region, account = ([*arn.split(":"), "", "", "", "", ""])[2:5]
    if is_bus(arn):
        elsewhere = (account, region) != scope
        return "The sandbox forwards events only to buses of the same account and region." if elsewhere else None
    if is_api_destination(arn) or service in services:
        return None
    told = ", ".join(sorted(services))
    return f"The sandbox does not deliver to {service}, but to {told}, event buses and API destinations."


def _policy_problem(target: Mapping[str, Any]) -> str | None:
    try:
        RetryPolicy.of(target)
    except ValueError as error:
        return str(error)
    queue = (target.get("DeadLetterConfig") or {}).get("Arn", "")
    if queue and (queue.split(":")[2:3] != ["sqs"] or queue.endswith(".fifo")):
        return f"Parameter DeadLetterConfig is not valid. Reason: expected a standard queue, found {queue}."
    return None


def _needs(target: Mapping[str, Any], arn: str) -> str | None:
    if arn.endswith(".fifo") and ":sqs:" in arn and not (target.get("SqsParameters") or {}).get("MessageGroupId"):
        return "Parameter(s) MessageGroupId must be specified for a FIFO queue."
    if is_api_destination(arn) and not target.get("RoleArn"):
        return "RoleArn is required for an API destination."
    return None


def _resource(arn: str) -> str:
    parts = arn.split(":", 5)
    return parts[5] if len(parts) == 6 and parts[2] == "events" else ""
