"""What CreateSchedule and UpdateSchedule accept, besides what ministack checks. Pure.

https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tocsin.sandbox.services.events.due import at_wall, rate_s
from tocsin.sandbox.services.events.retries import RetryPolicy

UNIVERSAL = "arn:aws:scheduler:::aws-sdk:"
"""https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html"""

_READING = ("get", "describe", "list", "poll", "receive", "search", "scan", "query", "select", "read", "lookup")
_LONGEST_WINDOW_MIN = 1440


def zone(schedule: Mapping[str, Any]) -> tzinfo:
    """The time zone in which the expression of a schedule is read.

    Raises:
        ValueError: there is none of that name.
    """
    name = schedule.get("ScheduleExpressionTimezone") or "UTC"
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f"Invalid time zone: {name}") from None


def window_s(schedule: Mapping[str, Any]) -> int:
    """Production seconds within which an invocation may come later than its time."""
    window = schedule.get("FlexibleTimeWindow") or {}
    return int(window.get("MaximumWindowInMinutes") or 0) * 60 if window.get("Mode") == "FLEXIBLE" else 0


def universal(arn: str) -> tuple[str, str] | None:
    """Service and operation of a universal target, such as ("rds", "startDBInstance"); None for another target."""
    parts = arn.removeprefix(UNIVERSAL).split(":")
    return (parts[0], parts[1]) if arn.startswith(UNIVERSAL) and len(parts) == 2 and all(parts) else None


def problem(request: Mapping[str, Any], is_cron: Callable[[str], bool], services: Iterable[str]) -> str | None:
    """Why a schedule is refused; None when it is not, or when ministack finds what is missing.

    `services` are those whose ARNs can be templated targets here.
    """
    expression = str(request.get("ScheduleExpression") or "")
    try:
        zone(request)
        RetryPolicy.of(request.get("Target") or {})
    except ValueError as error:
        return str(error)
    if expression and rate_s(expression) is None and at_wall(expression) is None and not is_cron(expression):
        return f"Invalid Schedule Expression {expression}."
    return _window_problem(request) or _target_problem(request.get("Target") or {}, services)


def _window_problem(request: Mapping[str, Any]) -> str | None:
    window = request.get("FlexibleTimeWindow") or {}
    mode, minutes = window.get("Mode"), window.get("MaximumWindowInMinutes")
    if not window or (mode == "OFF" and minutes is None):
        return None
    if mode == "FLEXIBLE" and str(minutes).isdigit() and 1 <= int(str(minutes)) <= _LONGEST_WINDOW_MIN:
        return None
    return (
        "Invalid FlexibleTimeWindow: expected the mode OFF, or FLEXIBLE with MaximumWindowInMinutes from 1 to "
        f"{_LONGEST_WINDOW_MIN}."
    )


def _target_problem(target: Mapping[str, Any], services: Iterable[str]) -> str | None:
    arn = str(target.get("Arn") or "")
    queue = str((target.get("DeadLetterConfig") or {}).get("Arn") or "")
    if queue.endswith(".fifo"):
        return f"A dead-letter queue must be a standard queue: {queue}."
    if arn.startswith("arn:aws:scheduler:"):
        called = universal(arn)
        if called is None:
            return f"Invalid universal target: {arn}."
        reading = called[1].lower().startswith(_READING)
        return f"The operation {called[1]} only reads: it cannot be a universal target." if reading else None
    if ":events:" in arn and not {"DetailType", "Source"} <= set(target.get("EventBridgeParameters") or {}):
        return "EventBridgeParameters with DetailType and Source are required for an event bus."
    service = ([*arn.split(":"), "", "", ""])[2]
    if arn and service not in services:
        told = ", ".join(sorted(services))
        return f"The sandbox's schedules do not reach {service}, but {told} and universal targets."
    return None
