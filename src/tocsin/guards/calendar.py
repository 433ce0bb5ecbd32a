"""Windows and freeze dates as arithmetic, in the timezone of the target.

Where clocks are put forward or back, a window is open only when two readings agree: the one of the clock on the wall,
and the one of a window as a stretch of time that begins and ends once. So nothing opens in an hour that does not
exist, and what has closed does not open again in an hour that comes twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from tocsin.model.rules import DAYS, Freeze, GuardRules, Window

_STEP_S = 60.0
_LOOK_AHEAD_DAYS = 8


def is_open(rules: GuardRules, at: float) -> bool:
    """Whether a window is open at that moment (epoch seconds); without any window there always is one."""
    return not rules.windows or any(_is_open(window, rules, at) for window in rules.windows)


def stays_open(rules: GuardRules, since: float, for_s: float) -> bool:
    """Whether a window is open at every minute of the next `for_s` wall seconds."""
    return all(is_open(rules, at) for at in _minutes(since, for_s))


def frozen(rules: GuardRules, since: float, for_s: float = 0.0) -> Freeze | None:
    """The freeze that the time from `since` (epoch seconds) to `for_s` wall seconds later touches."""
    first, last = (_local(rules, at).date() for at in (since, since + for_s))
    return next((freeze for freeze in rules.freeze if freeze.first <= last and first <= freeze.last), None)


def opens_next(rules: GuardRules, after: float) -> datetime | None:
    """When the next window opens on a day that is not frozen; None when that is more than a week away."""
    today = _local(rules, after).date()
    days = [today + timedelta(days=n) for n in range(_LOOK_AHEAD_DAYS + 1)]
    starts = sorted(
        datetime.combine(day, window.opens, rules.zone)
        for window in rules.windows
        for day in days
        if _opens_on(window, day)
    )
    good = (
        start
        for start in starts
        if start.timestamp() > after and is_open(rules, start.timestamp()) and frozen(rules, start.timestamp()) is None
    )
    return next(good, None)


def _is_open(window: Window, rules: GuardRules, at: float) -> bool:
    moment = datetime.fromtimestamp(at, UTC)
    wall = _local(rules, at).replace(tzinfo=None)
    # Yesterday's window may reach into today.
    for day in (wall.date(), wall.date() - timedelta(days=1)):
        if not _opens_on(window, day):
            continue
        opens, closes = (naive.replace(tzinfo=rules.zone).astimezone(UTC) for naive in _ends(window, day))
        on_the_wall = _ends(window, day)[0] <= wall < _ends(window, day)[1]
        if on_the_wall and opens <= moment < closes:
            return True
    return False


def _opens_on(window: Window, day: date) -> bool:
    return DAYS[day.weekday()] in window.days


def _ends(window: Window, day: date) -> tuple[datetime, datetime]:
    """Both ends on the clock on the wall."""
    past_midnight = timedelta(days=1 if window.closes <= window.opens else 0)
    return datetime.combine(day, window.opens), datetime.combine(day + past_midnight, window.closes)


def _local(rules: GuardRules, at: float) -> datetime:
    return datetime.fromtimestamp(at, rules.zone)


def _minutes(since: float, for_s: float) -> Iterator[float]:
    at = since
    while at < since + for_s:
        yield at
        at += _STEP_S
    yield since + for_s
