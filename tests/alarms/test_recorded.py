"""An alarm over a recording: the same states as the evaluator gives, evaluation by evaluation."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.alarms.cloudwatch import AlarmEvaluator, MetricKey, StateValue, metric_key
from tocsin.alarms.recorded import MATH, Recorded, past_states
from tocsin.alarms.statistics import Samples
from tocsin.errors import InvalidInput
from tocsin.model.system import MetricAlarm

pytest.importorskip("numpy", reason="the extra `backtest` is not installed")

FIRST_S = 1_790_000_040 // 3600 * 3600 - 180
METRIC = {"Namespace": "N", "MetricName": "M"}
BASE = {"AlarmName": "a", "Threshold": 5, "ComparisonOperator": "GreaterThanThreshold", "EvaluationPeriods": 1}
KEY = metric_key("N", "M", {})
STATES: tuple[StateValue, ...] = ("OK", "ALARM", "INSUFFICIENT_DATA")

minutes = st.lists(
    st.one_of(
        st.just({}),
        st.dictionaries(st.integers(0, 10).map(float), st.integers(1, 30).map(float), min_size=1, max_size=3),
        st.just({4.0: 2.0, 6.0: 2.0}),
    ),
    max_size=45,
)


def recorded(of: list[dict[float, float]], *, known: bool = True, nan: frozenset[int] = frozenset()) -> Recorded:
    def wrong(index: int, value: float) -> float:
        return float("nan") if index in nan else value

    return Recorded(
        FIRST_S,
        [sum(minute.values()) for minute in of],
        [wrong(i, sum(value * often for value, often in minute.items())) for i, minute in enumerate(of)],
        [wrong(i, min(minute, default=0.0)) for i, minute in enumerate(of)],
        [wrong(i, max(minute, default=0.0)) for i, minute in enumerate(of)],
        [minute or None for minute in of] if known else (),
    )


class _Bucket:
    def __init__(self, of: Recorded, index: int) -> None:
        self.sample_count, self.total = of.sample_count[index], of.total[index]
        self.minimum, self.maximum = of.minimum[index], of.maximum[index]
        self.values = of.values[index] if of.values else None


def one_by_one(alarm: MetricAlarm, of: dict[MetricKey, Recorded], state: StateValue) -> list[tuple[int, StateValue]]:
    """The plain way: an evaluation after the other, its buckets looked up each time."""

    def buckets(key: MetricKey, start_s: int, end_s: int) -> list[Samples]:
        series = of[key]
        places = range((start_s - series.first_s) // 60, (end_s - series.first_s) // 60)
        there = [at for at in places if 0 <= at < len(series.sample_count) and series.sample_count[at]]
        return [_Bucket(series, at) for at in there]

    evaluator, found = AlarmEvaluator(alarm), []
    for at in range(FIRST_S + 60, FIRST_S + 60 * len(next(iter(of.values())).sample_count) + 1, 60):
        if at % evaluator.tick_s:
            continue
        now = evaluator.evaluate(state, at, buckets).state
        if now != state:
            found.append((at, now))
        state = now
    return found


@st.composite
def alarms(draw: st.DrawFn) -> MetricAlarm:
    periods = draw(st.integers(1, 5))
    simple = st.sampled_from(("Sum", "Average", "SampleCount", "Minimum", "Maximum"))
    statistic = draw(
        st.one_of(
            simple.map(lambda name: {"Statistic": name}),
            st.sampled_from(("p10", "p50", "p95", "tm90", "PR(2:6)", "IQM")).map(lambda n: {"ExtendedStatistic": n}),
        )
    )
    fields: dict[str, Any] = {**BASE, **METRIC, **statistic, "EvaluationPeriods": periods}
    fields |= {"Period": draw(st.sampled_from((60, 60, 120, 300))), "Threshold": draw(st.integers(0, 60))}
    fields |= {"DatapointsToAlarm": draw(st.integers(1, periods))}
    fields |= {"TreatMissingData": draw(st.sampled_from(("missing", "ignore", "breaching", "notBreaching")))}
    operators = ("GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold")
    fields |= {"ComparisonOperator": draw(st.sampled_from((*operators, "LessThanOrEqualToThreshold")))}
    if fields.get("ExtendedStatistic", "").startswith("p"):
        fields |= {"EvaluateLowSampleCountPercentile": draw(st.sampled_from(("evaluate", "ignore")))}
    return MetricAlarm.model_validate(fields)


@settings(max_examples=300, deadline=None)
@given(alarms(), minutes, st.sampled_from(STATES), st.booleans(), st.frozensets(st.integers(0, 44), max_size=3))
def test_states_are_those_of_the_evaluator(
    alarm: MetricAlarm, of: list[dict[float, float]], state: StateValue, known: bool, nan: frozenset[int]
) -> None:
    metrics = {KEY: recorded(of, known=known, nan=nan)}
    found = past_states(alarm, metrics, state)
    assert list(found.changes) == one_by_one(alarm, metrics, state)
    assert not found.one_by_one


@settings(max_examples=40, deadline=None)
@given(minutes, st.sampled_from(("FILL(m1, 0)", "FILL(m1, REPEAT)", "RUNNING_SUM(m1)", "100*m1/(m1+1)")))
def test_metric_math_is_evaluated_one_by_one_and_that_is_told(of: list[dict[float, float]], expression: str) -> None:
    query = {"Id": "m1", "MetricStat": {"Metric": METRIC, "Period": 60, "Stat": "Sum"}, "ReturnData": False}
    alarm = MetricAlarm.model_validate({**BASE, "Metrics": [query, {"Id": "e", "Expression": expression}]})
    metrics = {KEY: recorded(of)}
    found = past_states(alarm, metrics)
    assert list(found.changes) == one_by_one(alarm, metrics, "INSUFFICIENT_DATA")
    assert found.one_by_one == MATH


@pytest.mark.parametrize("treated", ["missing", "ignore", "breaching", "notBreaching"])
@pytest.mark.parametrize("periods", [1, 2, 3, 4])
def test_every_treatment_of_gaps_is_that_of_the_evaluator(periods: int, treated: str) -> None:
    rng = random.Random(periods)
    of = [rng.choice(({}, {}, {}, {1.0: 1.0}, {1.0: 1.0}, {9.0: 1.0}, {9.0: 1.0})) for _ in range(3000)]
    metrics = {KEY: recorded(of)}
    for needed in range(1, periods + 1):
        fields = {"EvaluationPeriods": periods, "DatapointsToAlarm": needed, "TreatMissingData": treated}
        alarm = MetricAlarm.model_validate({**BASE, **METRIC, **fields, "Statistic": "Sum", "Period": 60})
        found = past_states(alarm, metrics)
        assert list(found.changes) == one_by_one(alarm, metrics, "INSUFFICIENT_DATA")
        assert len(found.changes) > 20


def test_an_alarm_over_more_than_a_day_is_evaluated_each_hour() -> None:
    alarm = MetricAlarm.model_validate({**BASE, **METRIC, "Statistic": "Sum", "Period": 3600, "EvaluationPeriods": 25})
    of = [{6.0: 1.0} if 100 < at < 3000 else {} for at in range(4000)]
    metrics = {KEY: recorded(of)}
    assert list(past_states(alarm, metrics).changes) == one_by_one(alarm, metrics, "INSUFFICIENT_DATA") != []
    assert all(at % 3600 == 0 for at, _ in past_states(alarm, metrics).changes)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    alarm = MetricAlarm.model_validate({**BASE, **METRIC, "Statistic": "Sum", "Period": 60})
    with pytest.raises(InvalidInput, match=r"pip install 'tocsin\[backtest\]'"):
        past_states(alarm, {KEY: recorded([])})


@pytest.mark.parametrize(
    ("changes", "metrics", "told"),
    [
        ({"Period": 10}, {KEY: recorded([])}, "periods of whole minutes, found 10 s"),
        ({"Period": 60}, {}, "a recording of M, found none"),
        ({"Period": 60}, {KEY: Recorded(FIRST_S, [1.0], [], [], [])}, "columns of one length"),
        ({"Period": 60}, {KEY: Recorded(FIRST_S + 1, [1.0], [1.0], [1.0], [1.0])}, "one whole minute"),
    ],
)
def test_what_cannot_be_evaluated_is_told(changes: Any, metrics: dict[MetricKey, Recorded], told: str) -> None:
    alarm = MetricAlarm.model_validate({**BASE, **METRIC, "Statistic": "Sum", **changes})
    with pytest.raises(InvalidInput, match=told):
        past_states(alarm, metrics)
