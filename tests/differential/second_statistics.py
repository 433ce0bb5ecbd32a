"""Statistics of CloudWatch, a second time: over a plain sorted list of every single sample, ranks as exact fractions.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

LETTERS = {"tm": "TM", "wm": "WM", "tc": "TC", "ts": "TS"}


class NoSuchStatistic(Exception):
    """CloudWatch has no statistic of this name."""


@dataclass(frozen=True)
class Published:
    """Something that was published into one metric: single values, or a statistic set."""

    metric: str
    at_s: int
    values: tuple[float, ...] = ()
    summary: tuple[float, float, float, float] | None = None
    """(sample count, sum, minimum, maximum)"""
    unit: str = "None"


@dataclass(frozen=True)
class Range:
    """What a trimmed statistic is about; a bound that is None is open."""

    letters: str
    low: Fraction | None
    high: Fraction | None
    percent: bool


def value_of(statistic: str, published: Sequence[Published]) -> tuple[float, float] | None:
    """(value, how many samples); None where there is no datapoint. Raises NoSuchStatistic."""
    simple = statistic in ("SampleCount", "Sum", "Average", "Minimum", "Maximum")
    wanted = None if simple else read(statistic)
    count = sum(one.summary[0] if one.summary else len(one.values) for one in published)
    if not count:
        return None
    if wanted is None:
        return _simple(statistic, published, count), float(count)
    samples = _single_values(published)
    if samples is None or samples[0] < 0:
        return None
    found = _of(wanted, samples)
    return None if found is None else (float(found), float(count))


def _simple(statistic: str, published: Sequence[Published], count: float) -> float:
    total, lowest, highest = Fraction(0), [], []
    for one in published:
        _, of, low, high = one.summary or (0, sum(map(Fraction, one.values)), min(one.values), max(one.values))
        total += Fraction(of)
        lowest.append(low)
        highest.append(high)
    answers = {
        "SampleCount": count,
        "Sum": total,
        "Average": total / Fraction(count),
        "Minimum": min(lowest),
        "Maximum": max(highest),
    }
    return float(answers[statistic])


def _single_values(published: Sequence[Published]) -> list[Fraction] | None:
    """Every sample, lowest first; None where a statistic set hides them. One of equal samples hides nothing."""
    found: list[Fraction] = []
    for one in published:
        if one.summary is None:
            found += map(Fraction, one.values)
            continue
        count, _, low, high = one.summary
        if low != high:
            return None
        found += [Fraction(low)] * int(count)
    return sorted(found)


def percentile_number(statistic: str) -> Fraction | None:
    """95 for `p95`; None for a statistic of another kind."""
    try:
        wanted = read(statistic)
    except NoSuchStatistic:
        return None
    return wanted.high if wanted.letters == "p" else None


def read(statistic: str) -> Range:
    """Take the name of a statistic of single values apart. Raises NoSuchStatistic."""
    if statistic == "IQM":
        return Range("TM", Fraction(25), Fraction(75), percent=True)
    if statistic.startswith("p"):
        return Range("p", None, _number(statistic[1:], most=100), percent=True)
    if statistic[:2] in LETTERS:
        high = _number(statistic[2:], most=100)
        if high == 0:
            raise NoSuchStatistic(statistic)
        return Range(LETTERS[statistic[:2]], None, high, percent=True)
    if statistic[:3] in ("TM(", "WM(", "TC(", "TS(", "PR(") and statistic.endswith(")"):
        return _in_parentheses(statistic[:2], statistic[3:-1])
    raise NoSuchStatistic(statistic)


def _in_parentheses(letters: str, inside: str) -> Range:
    parts = inside.split(":")
    if len(parts) != 2 or not any(parts):
        raise NoSuchStatistic(inside)
    with_sign = [part.endswith("%") for part in parts if part]
    if len(set(with_sign)) != 1 or (with_sign[0] and letters == "PR"):
        raise NoSuchStatistic(inside)
    percent = with_sign[0]
    most = 100 if percent else None
    low, high = (_number(part.removesuffix("%"), most) if part else None for part in parts)
    if low is not None and high is not None and low >= high:
        raise NoSuchStatistic(inside)
    return Range(letters, low, high, percent)


def _number(text: str, most: int | None) -> Fraction:
    whole, dot, decimals = text.partition(".")
    digits = whole.isdecimal() and (not dot or (decimals.isdecimal() and len(decimals) <= 10))
    if not digits or not text.isascii():
        raise NoSuchStatistic(text)
    number = Fraction(text)
    if most is not None and number > most:
        raise NoSuchStatistic(text)
    return number


def rank(samples: Sequence[Fraction], percent: Fraction) -> Fraction:
    """The sample at a percentage of the way through the sorted samples, on the line between its two neighbours."""
    place = percent * (len(samples) - 1) / 100
    below = int(place)
    if place == below:
        return samples[below]
    return samples[below] + (place - below) * (samples[below + 1] - samples[below])


def _of(wanted: Range, samples: list[Fraction]) -> Fraction | None:
    low, high = wanted.low, wanted.high
    if wanted.percent:
        low = None if low is None else rank(samples, low)
        high = None if high is None else rank(samples, high)
    if wanted.letters == "p":
        return high
    if wanted.letters == "WM":
        return _pulled_in(samples, low, high)
    return _kept(wanted, samples, low, high)


def _pulled_in(samples: list[Fraction], low: Fraction | None, high: Fraction | None) -> Fraction:
    moved = samples
    if low is not None:
        moved = [low if sample < low else sample for sample in moved]
    if high is not None:
        moved = [high if sample > high else sample for sample in moved]
    return sum(moved, Fraction(0)) / len(moved)


def _kept(wanted: Range, samples: list[Fraction], low: Fraction | None, high: Fraction | None) -> Fraction | None:
    kept = []
    for sample in samples:
        # "lower than or equal to 150, or higher than 1000" is left out of (150:1000).
        too_low = low is not None and (sample < low if wanted.percent else sample <= low)
        too_high = high is not None and sample > high
        if not too_low and not too_high:
            kept.append(sample)
    total = sum(kept, Fraction(0))
    if wanted.letters == "TC":
        return Fraction(len(kept))
    if wanted.letters == "TS":
        return total
    if wanted.letters == "PR":
        return Fraction(100 * len(kept), len(samples))
    return total / len(kept) if kept else None
