"""When an alarm mute rule of CloudWatch holds actions back: its schedule as a pure function of dates.

Sources: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutAlarmMuteRule.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-mute-rules.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from tocsin.errors import InvalidInput
from tocsin.model.alarm_limits import MUTE_DAYS

_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d)\)")
_CRON = re.compile(r"cron\(([^()]*)\)")
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?)?")
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=MUTE_DAYS.most)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_FIELDS: tuple[tuple[str, int, int, Mapping[str, int]], ...] = (
    ("minutes", 0, 59, {}),
    ("hours", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)


@dataclass(frozen=True)
class Window:
    """One stretch of time in which actions are muted."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class _Cron:
    """The dates of a `cron(minutes hours day-of-month month day-of-week)`."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    """Both days are restricted: as in every cron, one of them is enough."""

    def has_day(self, date: datetime) -> bool:
        """Whether it is due at some time of a day."""
        if date.month not in self.months:
            return False
        of_month, of_week = date.day in self.days, date.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week

    def times(self, date: datetime) -> list[datetime]:
        """Its times of one day, in order."""
        midnight = date.replace(hour=0, minute=0, second=0, microsecond=0)
        return [
            midnight.replace(hour=hour, minute=minute) for hour in sorted(self.hours) for minute in sorted(self.minutes)
        ]


@dataclass(frozen=True)
class Schedule:
    """When a mute rule mutes.

    Raises:
        InvalidInput: CloudWatch takes no such expression, duration or time zone.
    """

    expression: str
    duration: timedelta
    zone: tzinfo
    at: datetime | None
    """The start of the only window of an `at(...)`."""
    _cron: _Cron | None

    @classmethod
    def of(cls, expression: str, duration: str, timezone: str | None = None) -> Schedule:
        """The schedule that a rule writes down."""
        zone = _zone(timezone)
        at = _at(expression, zone)
        return cls(expression, _duration(duration), zone, at, None if at is not None else _cron(expression))

    def windows(self, since: datetime, until: datetime) -> list[Window]:
        """The windows that touch the time from `since` to `until`, in order."""
        starts = [self.at] if self.at is not None else self._starts(since - self.duration, until)
        found = [Window(start, start + self.duration) for start in starts]
        return [window for window in found if window.end > since and window.start <= until]

    def _starts(self, since: datetime, until: datetime) -> list[datetime]:
        assert self._cron is not None
        # A day more at either side, because days are those of the time zone.
        day, last = since.astimezone(self.zone) - timedelta(days=1), until.astimezone(self.zone) + timedelta(days=1)
        found = []
        while day <= last:
            if self._cron.has_day(day):
                found += [start for start in self._cron.times(day) if since <= start <= until]
            day += timedelta(days=1)
        return found


def _zone(name: str | None) -> tzinfo:
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise InvalidInput(f"Timezone: expected a name such as Europe/London, found '{name}'") from None


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    days, hours, minutes = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    duration = timedelta(days=days, hours=hours, minutes=minutes) if days <= _LONGEST.days else _LONGEST * 2
    if not _SHORTEST <= duration <= _LONGEST:
        raise InvalidInput(f"Duration: expected PT1M to P15D, such as PT4H, found '{text}'")
    return duration


def _at(expression: str, zone: tzinfo) -> datetime | None:
    found = _AT.fullmatch(expression)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(found[1]).replace(tzinfo=zone)
    except ValueError:
        raise InvalidInput(f"Expression: expected a date that there is, found '{expression}'") from None


def _cron(expression: str) -> _Cron:
    found = _CRON.fullmatch(expression)
    written = found[1].split() if found else []
    if len(written) != len(_FIELDS):
        raise InvalidInput(
            "Expression: expected at(yyyy-MM-ddThh:mm) or cron(Minutes Hours Day-of-month Month Day-of-week), "
            f"found '{expression}'"
        )
    sets = [_numbers(text, *spec) for text, spec in zip(written, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = sets
    return _Cron(
        minutes, hours, days, months, frozenset(day % 7 for day in weekdays), "*" not in (written[2], written[4])
    )


def _numbers(text: str, field: str, lowest: int, highest: int, names: Mapping[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        ends = (str(lowest), str(highest)) if part == "*" else part.split("-", 1)
        numbers = [names[end] if end in names else int(end) if end.isdecimal() else -1 for end in ends]
        first, last = numbers[0], numbers[-1]
        if not lowest <= first <= last <= highest:
            raise InvalidInput(f"Expression: expected {field} of {lowest} to {highest} with *, - and , found '{text}'")
        found.update(range(first, last + 1))
    return frozenset(found)
