"""When a mute rule mutes, as PutAlarmMuteRule documents its schedule.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutAlarmMuteRule.html
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tocsin.alarms.mutes import Schedule
from tocsin.errors import InvalidInput


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def muted(expression: str, duration: str, when: str, zone: str | None = None) -> bool:
    return bool(Schedule.of(expression, duration, zone).windows(at(when), at(when)))


@pytest.mark.parametrize(
    ("expression", "duration", "zone", "inside", "outside"),
    [
        (
            "cron(0 2 * * *)",
            "PT4H",
            None,
            ["2026-11-29T02:00", "2026-11-29T05:59"],
            ["2026-11-29T01:59", "2026-11-29T06:00"],
        ),
        # 29 November 2026 is a Sunday.
        ("cron(0 2 * * SUN)", "PT4H", None, ["2026-11-29T03:00"], ["2026-11-30T03:00"]),
        ("cron(0 2 * * 7)", "PT4H", None, ["2026-11-29T03:00"], ["2026-11-28T03:00"]),
        ("cron(0 1 1 * *)", "PT6H", None, ["2026-12-01T06:00"], ["2026-12-02T06:00"]),
        ("cron(0 18 * * FRI)", "P2DT12H", None, ["2026-11-27T18:00", "2026-11-30T05:59"], ["2026-11-30T06:00"]),
        (
            "cron(0,30 8-9 * JAN,DEC MON-FRI)",
            "PT1M",
            None,
            ["2026-12-01T09:30"],
            ["2026-12-01T10:00", "2026-11-30T09:30"],
        ),
        ("cron(0 0 13 * FRI)", "PT1H", None, ["2026-11-13T00:10", "2026-11-27T00:10"], ["2026-11-26T00:10"]),
        ("cron(0 23 * * *)", "P15D", None, ["2026-11-29T12:00"], []),
        ("cron(0 2 * * *)", "PT1H", "America/New_York", ["2026-11-29T07:30"], ["2026-11-29T02:30"]),
        ("at(2026-11-29T14:00)", "PT30M", None, ["2026-11-29T14:29"], ["2026-11-29T14:30", "2026-11-29T13:59"]),
        ("at(2026-11-29T14:00)", "PT30M", "Asia/Tokyo", ["2026-11-29T05:00"], ["2026-11-29T14:00"]),
    ],
)
def test_windows(expression: str, duration: str, zone: str | None, inside: list[str], outside: list[str]) -> None:
    assert [when for when in inside if not muted(expression, duration, when, zone)] == []
    assert [when for when in outside if muted(expression, duration, when, zone)] == []


def test_windows_that_begin_within_a_drill_are_found() -> None:
    schedule = Schedule.of("cron(0 * * * *)", "PT10M")
    found = schedule.windows(at("2026-11-29T11:50"), at("2026-11-29T13:20"))
    assert [window.start.astimezone(UTC) for window in found] == [at("2026-11-29T12:00"), at("2026-11-29T13:00")]
    assert found[0].end - found[0].start == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("expression", "duration", "zone"),
    [
        ("cron(0 2 * * ? *)", "PT1H", None),
        ("cron(60 2 * * *)", "PT1H", None),
        ("cron(0 2 * FOO *)", "PT1H", None),
        ("cron(0 */2 * * *)", "PT1H", None),
        ("cron(0 9-8 * * *)", "PT1H", None),
        ("at(2026-02-30T00:00)", "PT1H", None),
        ("at(2026-11-29T14:00:00)", "PT1H", None),
        ("rate(1 hour)", "PT1H", None),
        ("cron(0 2 * * *)", "PT0M", None),
        ("cron(0 2 * * *)", "P15DT1M", None),
        ("cron(0 2 * * *)", "P", None),
        ("cron(0 2 * * *)", "1h", None),
        ("cron(0 2 * * *)", "PT1H", "Mars/Olympus"),
    ],
)
def test_what_cloudwatch_does_not_take_is_refused(expression: str, duration: str, zone: str | None) -> None:
    with pytest.raises(InvalidInput):
        Schedule.of(expression, duration, zone)
