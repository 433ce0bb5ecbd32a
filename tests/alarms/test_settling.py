"""How long an alarm that was just defined may tell of the time before it."""

from __future__ import annotations

import pytest

from tocsin.alarms.settling import settles_within_s
from tocsin.model.system import AlarmState, CompositeAlarm, MetricAlarm

PUBLISHED_S = 180
"""The longest that a datapoint takes until CloudWatch shows it, as feasibility has it."""


def metric(period: int = 60, periods: int = 1) -> MetricAlarm:
    return MetricAlarm(
        alarm_name=f"alarm-{period}-{periods}",
        namespace="Desk",
        metric_name="beats",
        statistic="Sum",
        period=period,
        evaluation_periods=periods,
        threshold=1,
        comparison_operator="LessThanThreshold",
        treat_missing_data="breaching",
    )


def composite(name: str, rule: str) -> CompositeAlarm:
    return CompositeAlarm(alarm_name=name, alarm_rule=rule)


@pytest.mark.parametrize(
    ("alarm", "state", "expected"),
    [
        (metric(), "INSUFFICIENT_DATA", PUBLISHED_S + 60),
        (metric(10), "INSUFFICIENT_DATA", PUBLISHED_S + 10),
        (metric(3600, 48), "INSUFFICIENT_DATA", PUBLISHED_S + 3600),
        # The evaluation range is two datapoints longer than the periods: (1 + 2) x 60, (3 + 2) x 300.
        (metric(), "ALARM", PUBLISHED_S + 60 + 180),
        (metric(300, 3), "ALARM", PUBLISHED_S + 60 + 1500),
    ],
)
def test_it_hangs_on_the_evaluation_range(alarm: MetricAlarm, state: AlarmState, expected: float) -> None:
    assert settles_within_s(alarm, state, {}) == expected


def test_a_composite_alarm_waits_for_what_it_is_composed_of() -> None:
    slow, fast = metric(300, 3), metric()
    above = composite("above", f"ALARM({slow.alarm_name}) OR ALARM({fast.alarm_name}) OR ALARM(gone)")
    top = composite("top", "ALARM(above)")
    others = {alarm.alarm_name: alarm for alarm in (slow, fast, above, top)}
    assert settles_within_s(above, "ALARM", others) == settles_within_s(slow, "ALARM", {}) + 60
    assert settles_within_s(top, "ALARM", others) == settles_within_s(slow, "ALARM", {}) + 120


def test_alarms_that_are_composed_of_each_other_have_an_end() -> None:
    one, other = composite("one", "ALARM(other)"), composite("other", "ALARM(one)")
    assert settles_within_s(one, "ALARM", {"one": one, "other": other}) == 120
