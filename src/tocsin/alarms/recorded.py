"""An alarm over a recorded series, every evaluation at once: what a back-test asks.

The rules are those of `tocsin.alarms.cloudwatch`, and the tests hold the two against each other. What cannot be done
at once (metric math, which depends on where its window begins) is evaluated there, one evaluation after the other.
Trimmed statistics are calculated for each period by itself, percentiles for all at once. Needs the extra `backtest`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from tocsin.alarms.cloudwatch import (
    EXTRA_DATAPOINTS,
    AlarmEvaluator,
    MetricKey,
    StateValue,
    breaches,
    key_of,
    least_samples,
)
from tocsin.alarms.ranked import Ranked
from tocsin.alarms.statistics import Samples, percentile_of, statistic_value
from tocsin.errors import InvalidInput
from tocsin.model.system import MetricAlarm

_MINUTE_S = 60
_STATES: tuple[StateValue, ...] = ("OK", "ALARM", "INSUFFICIENT_DATA")
_OK, _ALARM, _NO_DATA, _KEPT = 0, 1, 2, -1
_SILENT = {"breaching": _ALARM, "notBreaching": _OK, "ignore": _KEPT, "missing": _NO_DATA}
MATH = "metric math is evaluated window by window"


@dataclass(frozen=True)
class Recorded:
    """What was published of a metric, a value a minute in each column; a minute without samples has a count of 0."""

    first_s: int
    """start of the first minute, a multiple of 60"""
    sample_count: Sequence[float]
    total: Sequence[float]
    minimum: Sequence[float]
    maximum: Sequence[float]
    values: Sequence[Mapping[float, float] | None] = ()
    """value -> how often, for statistics of single values; empty or None: not known"""

    @cached_property
    def ranked(self) -> Ranked:
        """The single values of the minutes with samples, for percentiles: made once, about as large as they are."""
        there = (count > 0 for count in self.sample_count)
        values = (minute if is_there else {} for minute, is_there in zip(self.values, there, strict=True))
        return Ranked(_numpy(), list(values))


@dataclass(frozen=True)
class Past:
    """The states that an alarm would have had."""

    changes: tuple[tuple[int, StateValue], ...]
    """(second of the evaluation, state), of each that is another one than before"""
    one_by_one: str = ""
    """why each evaluation was made by itself; empty when all were made at once"""


class _Minute(NamedTuple):
    sample_count: float
    total: float
    minimum: float
    maximum: float
    values: Mapping[float, float] | None


def past_states(
    alarm: MetricAlarm, metrics: Mapping[MetricKey, Recorded], state: StateValue = "INSUFFICIENT_DATA"
) -> Past:
    """Which states an alarm would have been in while its metrics were recorded.

    It is evaluated at the end of every minute of the recording (of every hour, where CloudWatch does so). Before its
    beginning there was no data. Sums are added minute by minute, from the oldest: from Python 3.12 on `sum` rounds
    better, and a value that is equal to the threshold but for rounding may be judged otherwise.

    Args:
        alarm: its definition.
        metrics: all that it looks at; each from the same minute on, and of the same length.
        state: before the first evaluation.

    Raises:
        InvalidInput: the extra `backtest` is not installed, the alarm cannot be evaluated or has periods of less than
            a minute, or a metric is missing or not like the others.
    """
    np = _numpy()
    evaluator = AlarmEvaluator(alarm)
    if evaluator.period_s % _MINUTE_S:
        raise InvalidInput(
            f"alarm '{alarm.alarm_name}': expected periods of whole minutes, found {evaluator.period_s} s. "
            "A recording has one value a minute."
        )
    first_s, minutes = _extent(alarm, metrics)
    tick_s = evaluator.tick_s
    # The first is the first multiple of `tick_s` that is not before the end of the first minute.
    ticks = range(-(-(first_s + _MINUTE_S) // tick_s) * tick_s, first_s + minutes * _MINUTE_S + 1, tick_s)
    if alarm.metrics:
        return Past(_one_by_one(evaluator, metrics, ticks, state), MATH)
    return Past(_at_once(np, evaluator, metrics[_keys(alarm)[0]], ticks, state))


def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError:
        raise InvalidInput(
            "expected NumPy, which evaluates a recording at once, found none. "
            "Install the extra: pip install 'tocsin[backtest]'."
        ) from None


def _keys(alarm: MetricAlarm) -> list[MetricKey]:
    if alarm.metrics:
        stats = [query.metric_stat for query in alarm.metrics if query.metric_stat is not None]
        return [key_of(stat.metric)._replace(unit=stat.unit) for stat in stats]
    # An alarm without Metrics looks at one metric: the model refuses any other.
    return [key_of(metric)._replace(unit=alarm.unit) for metric in alarm.metric_refs]


def _extent(alarm: MetricAlarm, metrics: Mapping[MetricKey, Recorded]) -> tuple[int, int]:
    """Start and number of the minutes that all metrics of an alarm have."""
    keys = _keys(alarm)
    missing = [key.name for key in keys if key not in metrics]
    if missing:
        raise InvalidInput(f"alarm '{alarm.alarm_name}': expected a recording of {', '.join(missing)}, found none")
    extents = {(metrics[key].first_s, *map(len, _columns(metrics[key]))) for key in keys}
    if len(extents) > 1 or any(len(set(lengths)) > 1 or first % _MINUTE_S for first, *lengths in extents):
        raise InvalidInput(
            f"alarm '{alarm.alarm_name}': expected columns of one length from one whole minute on, found other ones"
        )
    # Metric math may use no metric at all.
    return next(((first, lengths[0]) for first, *lengths in extents), (0, 0))


def _columns(of: Recorded) -> list[Sequence[Any]]:
    return [of.sample_count, of.total, of.minimum, of.maximum, *([of.values] if len(of.values) else [])]


def _minute(of: Recorded, index: int) -> Samples | None:
    """A minute as the evaluator knows it; None where nothing was published, or outside of the recording."""
    if not (0 <= index < len(of.sample_count)) or not of.sample_count[index] > 0:
        return None
    count, total = float(of.sample_count[index]), float(of.total[index])
    values = of.values[index] if len(of.values) else None
    return _Minute(count, total, float(of.minimum[index]), float(of.maximum[index]), values)


def _minutes(of: Recorded, first: int, last: int) -> list[Samples]:
    return [minute for index in range(first, last) if (minute := _minute(of, index)) is not None]


def _one_by_one(
    evaluator: AlarmEvaluator, metrics: Mapping[MetricKey, Recorded], ticks: range, state: StateValue
) -> tuple[tuple[int, StateValue], ...]:
    def buckets(key: MetricKey, start_s: int, end_s: int) -> list[Samples]:
        of = metrics[key]
        return _minutes(of, (start_s - of.first_s) // _MINUTE_S, (end_s - of.first_s) // _MINUTE_S)

    changes = []
    for at in ticks:
        now = evaluator.evaluate(state, at, buckets).state
        if now != state:
            changes.append((at, now))
        state = now
    return tuple(changes)


def _at_once(
    np: Any, evaluator: AlarmEvaluator, of: Recorded, ticks: range, state: StateValue
) -> tuple[tuple[int, StateValue], ...]:
    if not ticks:
        return ()
    alarm, length = evaluator.alarm, evaluator.period_s // _MINUTE_S
    before = (alarm.evaluation_periods + EXTRA_DATAPOINTS) * length
    statistic = alarm.extended_statistic or alarm.statistic or ""
    values, counts = _datapoints(np, of, statistic, length, before)
    ends = (np.arange(ticks.start, ticks.stop, ticks.step) - of.first_s) // _MINUTE_S + before
    asked = _judged(np, alarm, values, counts, ends, length)
    # Where the state is kept it is that of the last evaluation that asked for one.
    last = np.maximum.accumulate(np.where(asked == _KEPT, -1, np.arange(len(asked))))
    codes = np.where(last < 0, _STATES.index(state), asked[last])
    changed = np.flatnonzero(np.diff(codes, prepend=_STATES.index(state)))
    return tuple((ticks[index], _STATES[codes[index]]) for index in changed.tolist())


def _datapoints(np: Any, of: Recorded, statistic: str, length: int, before: int) -> tuple[Any, Any]:
    """(value, sample count) of the period that begins with each minute, `before` minutes ahead of the first one on.

    A period without a value has a count of 0.
    """
    fold = _FOLDED.get(statistic)
    if fold is not None:
        return fold(np, of, length, before)
    count = len(of.sample_count) - length + 1 + before
    if not len(of.values):
        return np.zeros(count), np.zeros(count)
    if percentile_of(statistic) is not None:
        return _percentiles(np, of, statistic, length, before)
    return _window_by_window(np, of, statistic, length, range(-before, count - before))


def _window_by_window(np: Any, of: Recorded, statistic: str, length: int, firsts: Iterable[int]) -> tuple[Any, Any]:
    """As `_datapoints`, of the periods that begin with some minutes, each by itself."""
    pairs = [statistic_value(_minutes(of, first, first + length), statistic) or (0.0, 0.0) for first in firsts]
    found = np.asarray(pairs, dtype=float).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _percentiles(np: Any, of: Recorded, statistic: str, length: int, before: int) -> tuple[Any, Any]:
    percent = percentile_of(statistic)
    assert percent is not None  # asked before
    ranked, minutes = of.ranked, len(of.sample_count)
    _, count = _sample_counts(np, of, length, before)
    firsts = np.arange(len(count)) - before
    start, end = np.clip(firsts, 0, minutes), np.clip(firsts + length, 0, minutes)
    found, there = ranked.percentiles(percent, start, end)
    lost = _any_of(np, ranked.unknown | ranked.negative, start, end)
    count = np.where(there & ~lost, count, 0.0)
    apart = np.flatnonzero(_any_of(np, ranked.odd, start, end))
    if len(apart):
        found[apart], count[apart] = _window_by_window(np, of, statistic, length, firsts[apart].tolist())
    return found, count


def _any_of(np: Any, minutes: Any, start: Any, end: Any) -> Any:
    """Whether there is one of some minutes from each `start` to each `end`."""
    before = np.concatenate(((0,), np.cumsum(minutes)))
    return before[start] < before[end]


def _windows(np: Any, column: Sequence[float], length: int, before: int) -> list[Any]:
    """The first, second, ... minute of the periods that begin with each minute."""
    padded = np.concatenate((np.zeros(before), np.asarray(column, dtype=float)))
    return [padded[offset : len(padded) - length + 1 + offset] for offset in range(length)]


def _added(np: Any, column: Sequence[float], there: Sequence[Any], length: int, before: int) -> Any:
    total = np.zeros(len(there[0]))
    for minute, is_there in zip(_windows(np, column, length, before), there, strict=True):
        total = total + np.where(is_there, minute, 0.0)
    return total


def _there(np: Any, of: Recorded, length: int, before: int) -> list[Any]:
    return [minute > 0 for minute in _windows(np, of.sample_count, length, before)]


def _sums(np: Any, of: Recorded, length: int, before: int) -> tuple[Any, Any]:
    there = _there(np, of, length, before)
    return _added(np, of.total, there, length, before), _added(np, of.sample_count, there, length, before)


def _averages(np: Any, of: Recorded, length: int, before: int) -> tuple[Any, Any]:
    total, count = _sums(np, of, length, before)
    return total / np.where(count > 0, count, 1.0), count


def _sample_counts(np: Any, of: Recorded, length: int, before: int) -> tuple[Any, Any]:
    count = _added(np, of.sample_count, _there(np, of, length, before), length, before)
    return count, count


def _extreme(least: bool) -> Callable[[Any, Recorded, int, int], tuple[Any, Any]]:
    """As `min` and `max` go through values, so that one that is no number is met as they meet it."""

    def fold(np: Any, of: Recorded, length: int, before: int) -> tuple[Any, Any]:
        _, count = _sample_counts(np, of, length, before)
        there = _there(np, of, length, before)
        found, begun = np.zeros(len(count)), np.zeros(len(count), dtype=bool)
        for minute, is_there in zip(
            _windows(np, of.minimum if least else of.maximum, length, before), there, strict=True
        ):
            beyond = minute < found if least else minute > found
            found = np.where(is_there & (~begun | beyond), minute, found)
            begun |= is_there
        return found, count

    return fold


_FOLDED: Mapping[str, Callable[[Any, Recorded, int, int], tuple[Any, Any]]] = {
    "Sum": _sums,
    "Average": _averages,
    "SampleCount": _sample_counts,
    "Minimum": _extreme(least=True),
    "Maximum": _extreme(least=False),
}


def _judged(np: Any, alarm: MetricAlarm, values: Any, counts: Any, ends: Any, length: int) -> Any:
    """The state that each evaluation asks for, `_KEPT` where it asks for none: `tocsin.alarms.cloudwatch.judge`."""
    periods, needed = alarm.evaluation_periods, alarm.datapoints_to_alarm or alarm.evaluation_periods
    breaching: Any = breaches(values, alarm.comparison_operator, alarm.threshold)
    least, there = least_samples(alarm), counts > 0
    real, breached, oldest = (np.zeros(len(ends), dtype=int) for _ in range(3))
    few = np.zeros(len(ends), dtype=bool)
    for age in range(1, periods + EXTRA_DATAPOINTS + 1):
        starts = ends - age * length
        is_real = there[starts]
        newest = is_real & (real < periods)
        breached += newest & breaching[starts]
        few |= newest & (counts[starts] < least)
        real += is_real
        oldest = np.where(is_real, age, oldest)
    treated = alarm.missing_data
    kept = np.full(len(ends), _KEPT)
    partly = {
        "breaching": np.where(breached + periods - real >= needed, _ALARM, _OK),
        "notBreaching": np.full(len(ends), _OK),
        "ignore": np.where(breached < real, _OK, kept),
        "missing": np.where(breached < real, _OK, np.where(oldest >= needed, _ALARM, kept)),
    }[treated]
    partly = np.where(breached >= needed, _ALARM, partly)
    enough = np.where(breached >= needed, _ALARM, _OK)
    asked = np.where(real >= periods, enough, np.where(real == 0, _SILENT[treated], partly))
    return np.where(few, kept, asked)
