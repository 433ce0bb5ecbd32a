"""Periods that are summed once: the same evaluations as of periods that are summed anew, whatever comes late."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.alarms.cloudwatch import AlarmEvaluator, MetricKey, StateValue, metric_key
from tocsin.alarms.kept import KeptPeriods, LateSince
from tocsin.model.system import MetricAlarm
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.metrics import Bucket, MetricStore, SystemTime

HERE = ("123456789012", "us-east-1")
METRIC = {"Namespace": "N", "MetricName": "M"}
OTHER = {"Namespace": "N", "MetricName": "Other"}
BASE = {"AlarmName": "a", "ComparisonOperator": "GreaterThanOrEqualToThreshold"}
FIRST_S = 86400 * 3
MATH = ("100*m1/m2", "FILL(m1, 0) + m2", "IF(m1 > m2, m1, m2)", "RUNNING_SUM(m1)", "DIFF(m1) - FILL(m2, REPEAT)")

Put = tuple[str, str, int, float, float, bool]
"""(metric, unit, seconds before the evaluation at which it belongs, value, how often, as a statistic set)"""

puts = st.tuples(
    st.sampled_from(("M", "M", "M", "Other")),
    st.sampled_from(("Count", "Count", "Percent")),
    st.integers(-70, 900),
    st.integers(0, 10).map(float),
    st.integers(1, 20).map(float),
    st.sampled_from((False, False, False, True)),
)
steps = st.lists(st.lists(puts, max_size=4), min_size=5, max_size=40)


class Counted(MetricStore):
    """Remembers which windows were read."""

    def __init__(self) -> None:
        super().__init__(SystemTime(Clock(60), 1_000_000.0))
        self.read: list[tuple[int, int]] = []

    def buckets(self, scope: Any, key: MetricKey, start_s: int, end_s: int) -> Sequence[Bucket]:
        self.read.append((start_s, end_s))
        return super().buckets(scope, key, start_s, end_s)

    def publish(self, now_s: int, put: Put) -> None:
        name, unit, before_s, value, count, as_set = put
        wall, key = self.system_time.wall(now_s - before_s + 0.5), metric_key("N", name, {})
        if as_set:
            self.put_set(HERE, key, (count, value * count + 1, value, value + 1), unit, wall=wall)
        else:
            self.put(HERE, key, value, unit, count=count, wall=wall)


@st.composite
def alarms(draw: st.DrawFn) -> MetricAlarm:
    periods = draw(st.integers(1, 5))
    period = draw(st.sampled_from((10, 30, 60, 60, 120, 300)))
    fields: dict[str, Any] = {**BASE, "EvaluationPeriods": periods, "DatapointsToAlarm": draw(st.integers(1, periods))}
    fields |= {"Threshold": draw(st.integers(0, 60))}
    fields |= {"TreatMissingData": draw(st.sampled_from(("missing", "ignore", "breaching", "notBreaching")))}
    plain = st.sampled_from(("Sum", "Average", "SampleCount", "Minimum", "Maximum"))
    ranked = st.sampled_from(("p50", "p95", "tm90", "PR(2:6)", "IQM"))
    if draw(st.integers(0, 2)) == 0:
        statistics = st.one_of(plain, ranked)
        metrics = [
            {"Id": name, "MetricStat": {"Metric": metric, "Period": period, "Stat": draw(statistics)}}
            for name, metric in (("m1", METRIC), ("m2", OTHER))
        ]
        for one in metrics:
            one["ReturnData"] = False
        return MetricAlarm.model_validate(
            {**fields, "Metrics": [*metrics, {"Id": "e", "Expression": draw(st.sampled_from(MATH))}]}
        )
    fields |= draw(st.one_of(plain.map(lambda n: {"Statistic": n}), ranked.map(lambda n: {"ExtendedStatistic": n})))
    if fields.get("ExtendedStatistic", "").startswith("p"):
        fields |= {"EvaluateLowSampleCountPercentile": draw(st.sampled_from(("evaluate", "ignore")))}
    if draw(st.booleans()):
        fields |= {"Unit": draw(st.sampled_from(("Count", "Percent", "Bytes")))}
    return MetricAlarm.model_validate({**fields, **METRIC, "Period": period})


@settings(max_examples=250, deadline=None)
@given(alarms(), steps)
def test_evaluations_are_those_of_periods_summed_anew(alarm: MetricAlarm, published: list[list[Put]]) -> None:
    store = Counted()
    evaluator = AlarmEvaluator(alarm)
    kept = KeptPeriods(partial(store.buckets, HERE), partial(store.late_since, HERE))
    states: tuple[StateValue, StateValue] = ("INSUFFICIENT_DATA", "INSUFFICIENT_DATA")
    for step, news in enumerate(published):
        now_s = FIRST_S + step * evaluator.tick_s
        for put in news[::2]:
            store.publish(now_s, put)
        store.look(now_s)
        anew = evaluator.evaluate(states[0], now_s, partial(store.buckets, HERE))
        once = evaluator.evaluate_points(states[1], now_s, kept)
        assert once == anew
        states = (anew.state, once.state)
        for put in news[1::2]:
            store.publish(now_s, put)


SUM = {**BASE, **METRIC, "Statistic": "Sum", "Period": 300, "EvaluationPeriods": 3, "Threshold": 10}


def evaluations(store: Counted, late_since: LateSince, late: Put, minutes: int = 20) -> list[StateValue]:
    """The states of twenty minutes, a late value coming in the middle of them."""
    evaluator = AlarmEvaluator(MetricAlarm.model_validate({**SUM, "DatapointsToAlarm": 1}))
    kept, states, state = KeptPeriods(partial(store.buckets, HERE), late_since), [], "OK"
    for now_s in range(FIRST_S, FIRST_S + minutes * 60, 60):
        store.publish(now_s, ("M", "Count", 30, 1.0, 1.0, False))
        store.look(now_s)
        state = evaluator.evaluate_points(state, now_s, kept).state
        states.append(state)
        if now_s == FIRST_S + minutes // 2 * 60:
            store.publish(now_s, late)
    return states


LATE: Put = ("M", "Percent", 90, 50.0, 1.0, False)


def test_what_comes_late_is_seen_in_every_window_that_has_it() -> None:
    store = Counted()
    states = evaluations(store, partial(store.late_since, HERE), LATE)
    assert states == ["OK"] * 11 + ["ALARM"] * 9


def test_a_store_that_does_not_tell_what_came_late_is_found() -> None:
    """The planted bug: then the value is not in the windows that were summed before it came."""
    store = Counted()
    assert evaluations(store, lambda *_: (0, ()), LATE) != ["OK"] * 11 + ["ALARM"] * 9


@pytest.mark.parametrize("late", [LATE, ("M", "Count", -30, 50.0, 1.0, False)], ids=["late", "in time"])
def test_of_an_evaluation_only_the_newest_period_is_summed_and_those_that_changed(late: Put) -> None:
    store = Counted()
    evaluations(store, partial(store.late_since, HERE), late)
    # Three periods and two more at each of the first five evaluations, which begin at five places of a period.
    assert len(store.read[:25]) == len(set(store.read[:25]))
    again = len(store.read) - len(set(store.read))
    assert len(set(store.read)) == 5 * 5 + 15
    # Two that had been summed have the late minute: those that ended with it, and a minute later.
    assert again == (2 if late is LATE else 0)
