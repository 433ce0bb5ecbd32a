"""Statistics of CloudWatch over what was published in a period: pure functions.

Source: *CloudWatch statistics definitions*,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Protocol

from tocsin.errors import InvalidInput


class Samples(Protocol):
    """What was published in one bucket, or in several merged ones."""

    @property
    def sample_count(self) -> float: ...
    @property
    def total(self) -> float: ...
    @property
    def minimum(self) -> float: ...
    @property
    def maximum(self) -> float: ...
    @property
    def values(self) -> Mapping[float, float] | None:
        """Value -> how often; None when the single values are not known (a statistic set was published)."""


Values = Mapping[float, float]
"""Value -> how often."""


def percentile(values: Values, percent: float) -> float:
    """The percentile (0 to 100) of weighted values, interpolated between the two nearest ranks."""
    ordered = sorted(values.items())
    reach = list(accumulate(weight for _, weight in ordered))
    # Rounded: 28 % of 25 is a little more than 7, and the sample at rank 7 would then be outside of what begins there.
    rank = round(percent / 100 * (reach[-1] - 1), 9)
    lower, fraction = int(rank), rank - int(rank)
    low = _at_rank(ordered, reach, lower)
    return low + fraction * (_at_rank(ordered, reach, lower + 1) - low) if fraction else low


def _at_rank(ordered: Sequence[tuple[float, float]], reach: Sequence[float], rank: int) -> float:
    return next((value for (value, _), end in zip(ordered, reach, strict=True) if rank < end), ordered[-1][0])


# ------------------------------------------------------------------------------------------------ ranges


@dataclass(frozen=True)
class _Range:
    """The boundaries of a trimmed statistic: per cent of the values, or values themselves; None is open."""

    low: float | None
    high: float | None
    percent: bool

    def bounds(self, values: Values) -> tuple[float, float]:
        """Lowest and highest value of the range."""
        if not self.percent:
            return (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        low = -math.inf if self.low is None else percentile(values, self.low)
        high = math.inf if self.high is None else percentile(values, self.high)
        return low, high

    def inside(self, values: Values) -> Values:
        """The values in the range. A fixed lower boundary is outside, every other boundary inside."""
        low, high = self.bounds(values)
        above: Callable[[float], bool] = (lambda value: value >= low) if self.percent else (lambda value: value > low)
        return {value: weight for value, weight in values.items() if above(value) and value <= high}


def _count(values: Values) -> float:
    return sum(values.values())


def _sum(values: Values) -> float:
    return sum(value * weight for value, weight in values.items())


def _trimmed_mean(values: Values, of: _Range) -> float | None:
    inside = of.inside(values)
    return _sum(inside) / _count(inside) if inside else None


def _winsorized_mean(values: Values, of: _Range) -> float | None:
    low, high = of.bounds(values)
    return sum(min(max(value, low), high) * weight for value, weight in values.items()) / _count(values)


_RANGED: Mapping[str, Callable[[Values, _Range], float | None]] = {
    "TM": _trimmed_mean,
    "WM": _winsorized_mean,
    "TC": lambda values, of: _count(of.inside(values)),
    "TS": lambda values, of: _sum(of.inside(values)),
    "PR": lambda values, of: 100 * _count(of.inside(values)) / _count(values),
}
_NUMBER = r"\d+(?:\.\d{1,10})?"
_SHORT = re.compile(rf"(tm|wm|tc|ts)({_NUMBER})")
_LONG = re.compile(rf"(TM|WM|TC|TS|PR)\(({_NUMBER})?(%?):({_NUMBER})?(%?)\)")
_PERCENTILE = re.compile(rf"p({_NUMBER})")
_IQM = _Range(25, 75, percent=True)


def percentile_of(statistic: str) -> float | None:
    """95.0 for "p95"; None for a statistic that is not a percentile."""
    match = _PERCENTILE.fullmatch(statistic)
    return float(match[1]) if match and float(match[1]) <= 100 else None


@cache
def _calculation(statistic: str) -> Callable[[Values], float | None] | None:
    """What a statistic of single values calculates; None for one that there is not."""
    percent = percentile_of(statistic)
    if percent is not None:
        return lambda values: percentile(values, percent)
    if statistic == "IQM":
        return lambda values: _trimmed_mean(values, _IQM)
    named = _ranged(statistic)
    if named is None:
        return None
    name, of = named
    return lambda values: _RANGED[name](values, of)


def _ranged(statistic: str) -> tuple[str, _Range] | None:
    """Name and range of `tm99` or `TM(10%:90%)`; None where it is neither, or its range is none."""
    short = _SHORT.fullmatch(statistic)
    if short is not None:
        kept = float(short[2])
        return (short[1].upper(), _Range(None, kept, percent=True)) if 0 < kept <= 100 else None
    long = _LONG.fullmatch(statistic)
    if long is None:
        return None
    name, low, low_sign, high, high_sign = long.groups()
    bounds = [float(given) for given in (low, high) if given is not None]
    signs = {sign for bound, sign in ((low, low_sign), (high, high_sign)) if bound is not None}
    stray = (low is None and low_sign) or (high is None and high_sign)
    if not bounds or len(signs) != 1 or stray or bounds != sorted(set(bounds)):
        return None
    percent = signs == {"%"}
    if percent and (name == "PR" or bounds[-1] > 100):
        return None
    return name, _Range(None if low is None else float(low), None if high is None else float(high), percent)


# ------------------------------------------------------------------------------------------------ statistics

_SIMPLE: Mapping[str, Callable[[Sequence[Samples], float], float]] = {
    "SampleCount": lambda _, count: count,
    "Sum": lambda buckets, _: sum(bucket.total for bucket in buckets),
    "Average": lambda buckets, count: sum(bucket.total for bucket in buckets) / count,
    "Minimum": lambda buckets, _: min(bucket.minimum for bucket in buckets),
    "Maximum": lambda buckets, _: max(bucket.maximum for bucket in buckets),
}


def check_statistic(statistic: str) -> None:
    """Raises InvalidInput unless CloudWatch has such a statistic."""
    if statistic not in _SIMPLE and _calculation(statistic) is None:
        raise InvalidInput(
            f"expected a statistic of {', '.join(_SIMPLE)}, a percentile such as p95, tm99, TM(10%:90%), WM, TC, TS, "
            f"PR(:300) or IQM, found '{statistic}'"
        )


def statistic_value(buckets: Sequence[Samples], statistic: str) -> tuple[float, float] | None:
    """(value, sample count) of a statistic that passed `check_statistic`, over buckets.

    None when there are no samples, and for a statistic of single values when these are not known, when one of them is
    negative, or when none is in its range.
    """
    count = sum(bucket.sample_count for bucket in buckets)
    if count <= 0:
        return None
    simple = _SIMPLE.get(statistic)
    if simple is not None:
        return simple(buckets, count), count
    calculate, values = _calculation(statistic), _merged_values(buckets)
    if calculate is None or values is None or min(values) < 0:
        return None
    value = calculate(values)
    return None if value is None else (value, count)


def _merged_values(buckets: Iterable[Samples]) -> dict[float, float] | None:
    merged: dict[float, float] = {}
    for bucket in buckets:
        if bucket.values is None:
            return None
        for value, weight in bucket.values.items():
            merged[value] = merged.get(value, 0.0) + weight
    return merged or None
