"""Percentiles of every window of a recording at once: the value at a rank, found in all windows bit by bit.

A window is a run of minutes. Its values are those of the minutes, weighted by how often each was published; in the
order of the recording they are an array, and a window is a slice of it. The array is kept as a wavelet matrix (Claude,
Navarro and Ordonez, *The wavelet matrix*, Information Systems 47, 2015): for each bit of a value's place among all
values, how much weight before each position has a 0 there. So one comparison a bit says for all windows in which half
of the values a rank is, however long the windows are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

_BLOCK = 2**14
_MOST_OFTEN = 2.0**31
"""Sums of whole weights below it are exact, in any order."""


class _Level(NamedTuple):
    """One bit of the places, the highest first; the entries are in the order that the bits before it gave them."""

    bit: int
    zeros: Any
    """at each position: entries before it that have a 0"""
    weight: Any
    """at each position: weight of the entries before it that have a 0"""


class Ranked:
    """The values of a recording, ordered for questions of rank."""

    def __init__(self, np: Any, values: Sequence[Mapping[float, float] | None]) -> None:
        """`values`: value -> how often, of each minute; None where they are not known, empty where there are none."""
        self._np = np
        known = [minute or {} for minute in values]
        sizes = np.fromiter(map(len, known), dtype=np.int64, count=len(known))
        entries = int(sizes.sum())
        found = np.fromiter(chain.from_iterable(known), dtype=float, count=entries)
        often = np.fromiter(chain.from_iterable(minute.values() for minute in known), dtype=float, count=entries)
        first = _before(np, sizes)
        plain = np.isfinite(found) & (often > 0) & (often < _MOST_OFTEN) & (often == np.floor(often))
        self.odd = _in_minutes(np, ~plain, first)
        """minutes with a value that is no number, or with a weight that is not whole: nothing here holds for them"""
        self.negative = _in_minutes(np, plain & (found < 0), first)
        """minutes with a negative value"""
        self.unknown = np.fromiter((minute is None for minute in values), dtype=bool, count=len(known))
        """minutes of which the single values are not known"""
        weights = np.where(plain, often, 0.0).astype(np.int64)
        self._first, self._weight = first, _before(np, weights)
        self._values, places = np.unique(np.where(plain, found, 0.0), return_inverse=True)
        self._levels, self._last = _levels(np, places.astype(np.int32), weights, len(self._values))

    def percentiles(self, percent: float, start: Any, end: Any) -> tuple[Any, Any]:
        """(percentile, whether there is one) of the minutes from each `start` to each `end`, which is not included.

        As `tocsin.alarms.statistics.percentile`, for windows without an odd minute.
        """
        np = self._np
        left, right = self._first[start], self._first[end]
        total = self._weight[right] - self._weight[left]
        there = total > 0
        totals, which = np.unique(total, return_inverse=True)
        # `round` of Python, not that of NumPy, which rounds otherwise.
        rank = np.asarray([round(percent / 100 * (float(one) - 1), 9) if one else 0.0 for one in totals])[which]
        lower = rank.astype(np.int64)
        fraction = rank - lower
        found, more = self._in_blocks(left, right, lower)
        found[~there] = 0.0
        # Where the next sample has the same value there is nothing between the two.
        between = np.flatnonzero(there & (fraction > 0) & (more == 0))
        if len(between):
            low = found[between]
            high, _ = self._in_blocks(left[between], right[between], lower[between] + 1)
            found[between] = low + fraction[between] * (high - low)
        return found, there

    def _in_blocks(self, left: Any, right: Any, rank: Any) -> tuple[Any, Any]:
        """As `_at_rank`, a few slices at a time: what they need stays in the cache of the processor."""
        np = self._np
        values, more = np.zeros(len(rank)), np.zeros(len(rank), dtype=np.int64)
        for first in range(0, len(rank) if len(self._values) else 0, _BLOCK):
            block = slice(first, first + _BLOCK)
            values[block], more[block] = self._at_rank(left[block], right[block], rank[block])
        return values, more

    def _at_rank(self, left: Any, right: Any, rank: Any) -> tuple[Any, Any]:
        """(value of the sample at a rank, samples of that value after it) of each slice; any two for an empty slice.

        The rank of the least sample is 0.
        """
        np = self._np
        place = np.zeros(len(rank), dtype=np.int64)
        for bit, zeros, weight in self._levels:
            to_left, to_right, least = zeros.take(left), zeros.take(right), weight.take(left)
            less = weight.take(right) - least
            upper = rank >= less
            ones = zeros[-1]
            left, right = (
                np.where(upper, ones + left - to_left, to_left),
                np.where(upper, ones + right - to_right, to_right),
            )
            rank = rank - np.where(upper, less, 0)
            place |= upper.astype(np.int64) << bit
        alike = self._last.take(right) - self._last.take(left)
        return self._values.take(place, mode="clip"), alike - rank - 1


def _levels(np: Any, places: Any, weights: Any, different: int) -> tuple[list[_Level], Any]:
    """The levels, and the weight before each position in the order that the last one gives: by value."""
    found = []
    for bit in reversed(range(max(0, different - 1).bit_length())):
        zero = (places >> bit & 1) == 0
        found.append(_Level(bit, _before(np, zero), _before(np, np.where(zero, weights, 0))))
        places, weights = (np.concatenate((column[zero], column[~zero])) for column in (places, weights))
    return found, _before(np, weights)


def _before(np: Any, column: Any) -> Any:
    """The sum of all that stands before each position, and of all at the end."""
    found = np.zeros(len(column) + 1, dtype=np.int64)
    np.cumsum(column, out=found[1:])
    return found


def _in_minutes(np: Any, entries: Any, first: Any) -> Any:
    """Whether a minute has one of some entries."""
    return np.diff(_before(np, entries)[first]) > 0
