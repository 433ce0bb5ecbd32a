"""Percentiles of all windows at once: each the very number that the statistics give for that window alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.alarms.cloudwatch import metric_key
from tocsin.alarms.recorded import Recorded, _datapoints, _minutes, past_states
from tocsin.alarms.statistics import statistic_value
from tocsin.model.system import MetricAlarm

np = pytest.importorskip("numpy", reason="the extra `backtest` is not installed")

Minute = dict[float, float] | None
usual = st.floats(0, 1000).map(lambda value: round(value, 1)) | st.integers(0, 12).map(float)
often = st.integers(1, 40).map(float)
strange = st.sampled_from((-1.0, -0.0, math.inf, math.nan, 1e-300, 1e300))
never_whole = st.sampled_from((0.0, 0.3, 2.5, -1.0, 2.0**40))
plain = st.dictionaries(usual, often, max_size=6)
odd = st.none() | st.dictionaries(usual | strange, often | never_whole, min_size=1, max_size=4)
recordings = st.lists(plain, max_size=40) | st.lists(plain | plain | plain | odd, max_size=40)
percents = st.integers(0, 100) | st.sampled_from((0.1, 99.9, 33.3333333333, 1e-10)) | st.floats(0, 100)


def recorded(of: list[Minute]) -> Recorded:
    count = [1.0 if minute is None else max(0.0, sum(minute.values())) for minute in of]
    return Recorded(60 * 600, count, count, count, count, of)


@settings(max_examples=200, deadline=None)
@given(recordings, percents, st.sampled_from((1, 1, 2, 5, 60)), st.integers(0, 12))
def test_a_percentile_is_that_of_its_window(of: list[Minute], percent: float, length: int, before: int) -> None:
    series, statistic = recorded(of), f"p{percent:.10f}"
    before += length
    values, counts = _datapoints(np, series, statistic, length, before)
    firsts = range(-before, len(of) - length + 1)
    assert len(values) == len(counts) == len(firsts)
    for first, value, count in zip(firsts, values.tolist(), counts.tolist(), strict=True):
        alone = statistic_value(_minutes(series, first, first + length), statistic)
        if alone is None:
            assert count == 0
        else:
            assert np.array_equal((value, count), alone, equal_nan=True), (first, alone)


@pytest.mark.parametrize("percent", [0, 28, 50, 95, 99.9, 100])
def test_more_different_values_than_a_minute_has(percent: float) -> None:
    of: list[Minute] = [{float((7 * at * part) % 4099): 1.0 + part % 3 for part in range(9)} for at in range(900)]
    series, statistic = recorded(of), f"p{percent}"
    values, _ = _datapoints(np, series, statistic, 300, 0)
    alone = [statistic_value(_minutes(series, first, first + 300), statistic) for first in range(601)]
    assert values.tolist() == [pair[0] for pair in alone if pair is not None]


def test_only_minutes_that_have_to_be_are_looked_at_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute with half a sample spoils the periods that it is in, and no others."""
    looked: list[int] = []

    def counted(of: Recorded, first: int, last: int) -> list[Any]:
        looked.append(first)
        return _minutes(of, first, last)

    monkeypatch.setattr("tocsin.alarms.recorded._minutes", counted)
    series = recorded([{4.0: 2.5} if at == 100 else {4.0: 2.0, 9.0: 3.0} for at in range(300)])
    definition = {"AlarmName": "a", "Namespace": "N", "MetricName": "M", "ExtendedStatistic": "p95", "Period": 300}
    definition |= {"EvaluationPeriods": 2, "Threshold": 8, "ComparisonOperator": "GreaterThanThreshold"}
    alarm = MetricAlarm.model_validate(definition)
    assert past_states(alarm, {metric_key("N", "M", {}): series}).changes == ((60 * 606, "ALARM"),)
    assert looked == list(range(96, 101))
