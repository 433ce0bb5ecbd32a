"""Alarms that hear silence: what is forecast is what the evaluator does, whatever the alarm and the heart.

The evaluation range is that of the sandbox, two datapoints more than `EvaluationPeriods`. AWS documents that it is
longer, and one example:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.alarms.cloudwatch import AlarmEvaluator, MetricKey, StateValue, breaches
from tocsin.alarms.feasibility import DELIVERY, EFFECT, Traffic, forecast
from tocsin.alarms.statistics import Samples
from tocsin.model.system import MetricAlarm

QUIET = Traffic()
MINUTE_S = 60


def heartbeat_alarm(**fields: Any) -> MetricAlarm:
    """Rings when a function that a schedule calls is called no more, or what differs from it."""
    definition: dict[str, Any] = {
        "AlarmName": "silence",
        "Namespace": "AWS/Lambda",
        "MetricName": "Invocations",
        "Dimensions": [{"Name": "FunctionName", "Value": "heart"}],
        "Statistic": "Sum",
        "Period": 600,
        "EvaluationPeriods": 1,
        "Threshold": 1,
        "ComparisonOperator": "LessThanThreshold",
        "TreatMissingData": "breaching",
    }
    return MetricAlarm.model_validate(definition | fields)


@dataclass(frozen=True)
class Beat:
    """One sample of 1."""

    sample_count: float = 1.0
    total: float = 1.0
    minimum: float = 1.0
    maximum: float = 1.0
    values: Mapping[float, float] | None = None


@dataclass(frozen=True)
class Heart:
    """Beats once in `every_s` until it stops at `stops_s`; both are whole minutes, as CloudWatch keeps them."""

    every_s: int
    stops_s: int

    def buckets(self, key: MetricKey, start_s: int, end_s: int) -> Sequence[Samples]:
        first = -(-start_s // self.every_s) * self.every_s
        beats = range(max(0, first), min(end_s, self.stops_s), self.every_s)
        return [Beat() for _ in beats]


def rings_after_s(alarm: MetricAlarm, heart: Heart) -> int:
    """Production seconds from the moment at which the heart stops until the evaluator says ALARM."""
    evaluator, state = AlarmEvaluator(alarm), "OK"
    now: int = heart.stops_s
    assert evaluator.evaluate("OK", now, heart.buckets).state == "OK", "it rings while the heart beats"
    while state != "ALARM":
        now += evaluator.tick_s
        found: StateValue = evaluator.evaluate("OK", now, heart.buckets).state
        state = found
        assert now < heart.stops_s + 86_400, "it never rings"
    return now - heart.stops_s


def span_s(alarm: MetricAlarm, every_s: int) -> tuple[int, int]:
    """The soonest and the latest ring, wherever in a period and between two beats the heart stops.

    A heart stops within a minute, of whose beats CloudWatch knows the minute only: it may have been up to one sooner.
    """
    long_ago = 20 * (alarm.evaluation_periods + 2) * alarm.period_s
    stops = range(long_ago + MINUTE_S, long_ago + MINUTE_S + max(alarm.period_s, every_s), MINUTE_S)
    found = [rings_after_s(alarm, Heart(every_s, at)) for at in stops]
    return min(found), max(found) + MINUTE_S


@st.composite
def hearts(draw: st.DrawFn) -> tuple[MetricAlarm, int]:
    """An alarm, and seconds between two beats of a heart that it is quiet about."""
    period_s = draw(st.sampled_from([60, 120, 300, 600]))
    periods = draw(st.integers(1, 5))
    needed = draw(st.integers(1, periods))
    statistic = draw(st.sampled_from(["Sum", "Maximum", "Average", "SampleCount"]))
    operator = draw(st.sampled_from(["LessThanThreshold", "LessThanOrEqualToThreshold"]))
    every_s = draw(st.sampled_from([step for step in (60, 120, 300, 600) if period_s % step == 0]))
    most = period_s // every_s if statistic in ("Sum", "SampleCount") else 1
    beats = draw(st.integers(1, most))
    threshold = beats if operator == "LessThanThreshold" else beats - 1
    alarm = heartbeat_alarm(
        Period=period_s,
        EvaluationPeriods=periods,
        DatapointsToAlarm=needed,
        Statistic=statistic,
        ComparisonOperator=operator,
        Threshold=threshold,
    )
    return alarm, every_s


@given(hearts())
@settings(max_examples=80, deadline=None)
def test_what_is_forecast_is_what_the_evaluator_does(drawn: tuple[MetricAlarm, int]) -> None:
    alarm, every_s = drawn
    soonest, latest = span_s(alarm, every_s)
    found = forecast(alarm, 86_400, QUIET)
    assert found.feasible
    assert found.typical_s is not None
    assert found.worst_s is not None
    typical_s = found.typical_s - EFFECT.typical_s - DELIVERY.typical_s
    # How fast a sum falls below its threshold depends on how often the heart beats, and that nobody is told before.
    unknown_s = alarm.period_s if breaches(1.0, alarm.comparison_operator, alarm.threshold) else 0
    assert soonest - unknown_s <= typical_s <= latest + unknown_s
    assert latest <= found.worst_s - EFFECT.worst_s - DELIVERY.worst_s
    assert found.earliest_s is not None
    assert found.earliest_s <= soonest


def test_a_function_called_every_minute_and_missed_for_ten() -> None:
    """Three periods of ten minutes must be empty: half an hour, where the old sum of stages said seven minutes."""
    alarm = heartbeat_alarm()
    assert rings_after_s(alarm, Heart(60, 36_000)) == 1800
    found = forecast(alarm, 3600, QUIET)
    assert found.typical_s == 10 + 1800 + 30 + 15
    assert "silence 1800/1800" in found.detail
    (note,) = found.notes
    assert note.startswith(
        "silence rings it only when all 3 periods of 10m that CloudWatch looks at are empty, 30m after"
    )


def test_a_heartbeat_that_cannot_be_missed_in_time_is_doubted() -> None:
    found = forecast(heartbeat_alarm(), 600, QUIET)
    assert found.feasible, "where beats are rare, the last may have been long ago: it is not certain"
    assert found.notes[0].startswith("at worst it takes 33m")


@pytest.mark.parametrize(
    ("periods", "needed", "empty"), [(1, 1, "all 3 periods"), (3, 2, "4 of the 5 periods"), (3, 3, "all 5 periods")]
)
def test_how_many_periods_must_be_empty(periods: int, needed: int, empty: str) -> None:
    alarm = heartbeat_alarm(EvaluationPeriods=periods, DatapointsToAlarm=needed)
    assert any(empty in note for note in forecast(alarm, 86_400, QUIET).notes)


def test_an_alarm_on_errors_that_silence_rings_too_is_forecast_by_its_errors() -> None:
    errors = heartbeat_alarm(ComparisonOperator="GreaterThanOrEqualToThreshold", Threshold=5)
    found = forecast(errors, 3600, QUIET)
    assert "fill" in found.detail
    assert any("silence rings it only when" in note for note in found.notes)
