"""When a schedule is due, on the axis of system time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tocsin.sandbox.clock import Clock
from tocsin.sandbox.metrics import SystemTime
from tocsin.sandbox.services.events.due import Calendar, Due, at_wall, rate_s

STARTED = datetime(2026, 11, 29, 7, 30, 12, tzinfo=UTC)
TIME = SystemTime(Clock(60.0), STARTED.timestamp())
CALENDAR = Calendar(TIME)
ORIGIN_S = TIME.at(STARTED.timestamp())


def next_hour(_expression: str, after: datetime) -> datetime | None:
    """Stands for a `cron(0 * * * ? *)`."""
    return after.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [
        ("rate(1 minute)", 60),
        ("rate(5 minutes)", 300),
        ("rate(1 hour)", 3600),
        ("rate(2 days)", 172_800),
        ("rate(1 minutes)", None),
        ("rate(5 minute)", None),
        ("rate(0 minutes)", None),
        ("rate(5 seconds)", None),
        ("rate(5minutes)", None),
        ("cron(0 * * * ? *)", None),
    ],
)
def test_a_rate(expression: str, seconds: int | None) -> None:
    assert rate_s(expression) == seconds


def test_a_moment_is_wall_clock_time_of_its_zone() -> None:
    assert at_wall("at(2026-11-29T07:30:12)") == STARTED.timestamp()
    assert at_wall("at(2026-11-29T08:30:12)", ZoneInfo("Europe/Berlin")) == STARTED.timestamp()
    assert at_wall("at(2026-11-31T08:30:12)") is None
    assert at_wall("at(2026-11-29T08:30)") is None


def test_the_calendar_of_production_begins_at_the_time_on_the_wall_and_runs_with_the_scale() -> None:
    wall = STARTED.timestamp() + 24 * 60
    assert CALENDAR.date(TIME.at(wall)) == STARTED + timedelta(days=1)
    assert CALENDAR.system_s(STARTED + timedelta(days=1)) == TIME.at(wall)


def taken(due: Due, *now_s: float) -> list[float | None]:
    return [due.take(ORIGIN_S + now, CALENDAR, next_hour) for now in now_s]


def test_a_rate_keeps_its_rhythm_however_late_it_is_looked_at() -> None:
    due = Due.recurring("rate(1 minute)", ORIGIN_S + 60, CALENDAR, next_hour)
    assert taken(due, 59, 61, 62, 125, 179.9) == [None, ORIGIN_S + 60, None, ORIGIN_S + 120, None]


def test_what_was_missed_is_not_made_up_for() -> None:
    due = Due.recurring("rate(1 minute)", ORIGIN_S + 60, CALENDAR, next_hour)
    assert taken(due, 605, 650, 660) == [ORIGIN_S + 600, None, ORIGIN_S + 660]


def test_a_cron_is_due_at_its_dates_on_the_calendar() -> None:
    due = Due.recurring("cron(0 * * * ? *)", ORIGIN_S, CALENDAR, next_hour)
    to_the_hour_s = 30 * 60 - 12
    assert taken(due, to_the_hour_s - 1, to_the_hour_s, to_the_hour_s + 3599, to_the_hour_s + 3600) == [
        None,
        ORIGIN_S + to_the_hour_s,
        None,
        ORIGIN_S + to_the_hour_s + 3600,
    ]


def test_a_cron_without_another_date_is_never_due_again() -> None:
    due = Due.recurring("cron(0 0 1 1 ? 1999)", ORIGIN_S, CALENDAR, lambda *_: None)
    assert due.take(ORIGIN_S + 1e9, CALENDAR, lambda *_: None) is None
