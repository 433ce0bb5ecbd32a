"""What the functions of metric math calculate: pure functions of numbers and time series.

The rules and their source are those of `metric_math`, which reads expressions.
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

Series = Mapping[int, float]
"""Start of a period in seconds -> value."""


@dataclass(frozen=True)
class Grid:
    """The periods for which an expression is evaluated."""

    first_s: int
    period_s: int
    count: int

    @property
    def starts(self) -> range:
        """Start of each period in seconds, oldest first."""
        return range(self.first_s, self.first_s + self.count * self.period_s, self.period_s)


@dataclass(frozen=True)
class Inputs:
    """What an expression is evaluated with."""

    grid: Grid
    series: Mapping[str, Series]
    """id -> series of a metric, or the result of another expression"""
    metrics: Sequence[str] = ()
    """the ids that are metrics, in the order of the request: what METRICS() returns"""
    periods: Mapping[str, int] = field(default_factory=dict)
    """id of a metric -> its own period in seconds"""

    def constant(self, value: float) -> Series:
        """A series with one value at every period."""
        return dict.fromkeys(self.grid.starts, value)


def _divide(a: float, b: float) -> float | None:
    """None where it would divide by zero: the datapoint is dropped."""
    return a / b if b else None


def _raise(a: float, b: float) -> float | None:
    try:
        found = a**b
    except (OverflowError, ZeroDivisionError):
        return None
    return found if isinstance(found, float) else None


ARITHMETIC: Mapping[str, Callable[[float, float], float | None]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "^": _raise,
}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def _log(value: float) -> float | None:
    return math.log(value) if value > 0 else None


def _log10(value: float) -> float | None:
    return math.log10(value) if value > 0 else None


BY_VALUE: Mapping[str, Callable[[float], float | None]] = {
    "ABS": abs,
    "CEIL": lambda value: float(math.ceil(value)),
    "FLOOR": lambda value: float(math.floor(value)),
    "LOG": _log,
    "LOG10": _log10,
}


def _steps(series: Series, of: Callable[[int, float, int, float], float]) -> Series:
    items = list(series.items())
    return {at: of(before, was, at, value) for (before, was), (at, value) in pairwise(items)}


def _running_sum(series: Series) -> Series:
    total, found = 0.0, {}
    for at, value in series.items():
        total += value
        found[at] = total
    return found


BY_SERIES: Mapping[str, Callable[[Inputs, Series], Series]] = {
    "DIFF": lambda _, series: _steps(series, lambda t0, v0, t1, v1: v1 - v0),
    "DIFF_TIME": lambda _, series: _steps(series, lambda t0, v0, t1, v1: float(t1 - t0)),
    "RATE": lambda _, series: _steps(series, lambda t0, v0, t1, v1: (v1 - v0) / (t1 - t0)),
    "RUNNING_SUM": lambda _, series: _running_sum(series),
}
AGGREGATES: Mapping[str, tuple[Callable[[Sequence[float]], float], bool]] = {
    "AVG": (lambda values: math.fsum(values) / len(values), True),
    "DATAPOINT_COUNT": (lambda values: float(len(values)), False),
    "MAX": (max, False),
    "MIN": (min, False),
    # The page does not say which one; that of the population is taken.
    "STDDEV": (statistics.pstdev, False),
    "SUM": (math.fsum, False),
}
"""Function -> (what it does, whether a missing value counts as 0)."""
MOMENTS: Mapping[str, Callable[[datetime], float]] = {
    "MINUTE": lambda moment: float(moment.minute),
    "HOUR": lambda moment: float(moment.hour),
    "DAY": lambda moment: float(moment.isoweekday()),
    "DATE": lambda moment: float(moment.day),
    "MONTH": lambda moment: float(moment.month),
    "YEAR": lambda moment: float(moment.year),
    "EPOCH": lambda moment: moment.timestamp(),
}


def utc(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def repeat(inputs: Inputs, series: Series) -> Series:
    """The most recent value; nothing before the first one."""
    found: dict[int, float] = {}
    last: float | None = None
    for at in inputs.grid.starts:
        last = series.get(at, last)
        if last is not None:
            found[at] = last
    return found


def linear(inputs: Inputs, series: Series) -> Series:
    """Values on the line between two neighbours; nothing before the first and after the last."""
    found = dict(series)
    items = list(series.items())
    for (before, was), (after, value) in pairwise(items):
        for at in range(before + inputs.grid.period_s, after, inputs.grid.period_s):
            found[at] = was + (value - was) * (at - before) / (after - before)
    return in_order(found)


def in_order(series: Series) -> Series:
    return dict(sorted(series.items()))


def finite(series: Series) -> Series:
    """Without what is no number: a scalar of nothing (the average of an empty series) drops its datapoints."""
    return {at: value for at, value in series.items() if math.isfinite(value)}


def pair_by_pair(a: float | Series, b: float | Series, apply: Callable[[float, float], float | None]) -> Series:
    starts = {*(a if isinstance(a, Mapping) else ()), *(b if isinstance(b, Mapping) else ())}
    found = {}
    for at in sorted(starts):
        value = apply(_at(a, at), _at(b, at))
        if value is not None:
            found[at] = value
    return found


def _at(value: float | Series, at: int) -> float:
    return value.get(at, 0.0) if isinstance(value, Mapping) else value
