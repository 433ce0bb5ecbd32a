"""When a schedule is due: `rate(...)`, `cron(...)` and `at(...)` on the axis of system time. Pure.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html and
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html

Intervals are production time. A `cron(...)` is read on a calendar that begins with the sandbox at the time on the wall
and passes as fast as production time: a daily schedule fires every 24 minutes at scale 60. An `at(...)` is a
timestamp, and like every timestamp of the API it is wall-clock time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Protocol

_RATE = re.compile(r"rate\((\d+) (minute|hour|day)(s?)\)")
_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
_UNIT_S = {"minute": 60, "hour": 3600, "day": 86_400}


def rate_s(expression: str) -> int | None:
    """Production seconds of a `rate(...)`; None when it is no valid one.

    One of a unit is singular, more are plural: `rate(1 minutes)` is refused, as on AWS.
    """
    found = _RATE.fullmatch(expression.strip())
    if found is None or int(found[1]) < 1 or (int(found[1]) == 1) == bool(found[3]):
        return None
    return int(found[1]) * _UNIT_S[found[2]]


def at_wall(expression: str, zone: tzinfo = UTC) -> float | None:
    """Epoch seconds of an `at(yyyy-mm-ddThh:mm:ss)` in a time zone; None when it is no valid one."""
    found = _AT.fullmatch(expression.strip())
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found[1]).replace(tzinfo=zone).timestamp()
    except ValueError:
        return None


class Axis(Protocol):
    """System time, as far as a schedule needs it."""

    @property
    def started(self) -> float:
        """Wall-clock epoch seconds at which the sandbox started."""

    def at(self, wall: float) -> float:
        """System seconds of a wall-clock time."""

    def wall(self, system_s: float) -> float:
        """Wall-clock time (epoch seconds) of a system second."""


@dataclass(frozen=True)
class Calendar:
    """The dates of production time."""

    axis: Axis

    def date(self, system_s: float, zone: tzinfo = UTC) -> datetime:
        """The date in production at a system second."""
        return datetime.fromtimestamp(self.axis.started + system_s - self._origin_s, zone)

    def system_s(self, date: datetime) -> float:
        """The system second of a date in production."""
        return date.timestamp() - self.axis.started + self._origin_s

    @property
    def _origin_s(self) -> float:
        return self.axis.at(self.axis.started)


NextDate = Callable[[str, datetime], datetime | None]
"""The first date after another one at which a `cron(...)` is due; None: never again."""


@dataclass
class Due:
    """When one schedule is due next."""

    expression: str
    next_s: float | None
    """System seconds; None: never again."""

    @classmethod
    def recurring(
        cls, expression: str, first_s: float, calendar: Calendar, next_date: NextDate, zone: tzinfo = UTC
    ) -> Due:
        """A `rate(...)` that is due first at `first_s`, or a `cron(...)` from that system second on."""
        due = cls(expression, first_s)
        if rate_s(expression) is None:
            due.next_s = _next(expression, first_s, calendar, next_date, zone)
        return due

    def take(self, now_s: float, calendar: Calendar, next_date: NextDate, zone: tzinfo = UTC) -> float | None:
        """The latest system second up to `now_s` at which it was due, None when it was not; the next one is set.

        What was missed before that one is not made up for.
        """
        taken: float | None = None
        every_s = rate_s(self.expression)
        while self.next_s is not None and self.next_s <= now_s:
            taken = self.next_s
            if every_s is None:
                self.next_s = _next(self.expression, taken, calendar, next_date, zone)
            else:
                # One step over all that is past: a schedule of a minute may not have been looked at for a week.
                self.next_s += every_s * max(1, int((now_s - self.next_s) // every_s))
        return taken


def _next(expression: str, after_s: float, calendar: Calendar, next_date: NextDate, zone: tzinfo) -> float | None:
    date = next_date(expression, calendar.date(after_s, zone))
    return None if date is None else calendar.system_s(date)
