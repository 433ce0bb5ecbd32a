"""Latencies in buckets. Quantiles of two seconds cannot be put together; counts can: they are added."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from tocsin.model.base import Model

BUCKETS_A_DOUBLING = 32
"""As OpenTelemetry's exponential histogram at scale 5: bucket i holds what is above b^i and at most b^(i+1) ms, with
b = 2^(1/32) = 1.0219, so that the middle of a bucket is wrong by 1.1 % at most
(https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram)."""

_INDICES = range(-640, 1281)
Bucket = Annotated[int, Field(ge=_INDICES.start, le=_INDICES[-1])]
"""From a millionth of a millisecond to more than a week."""
Answers = Annotated[int, Field(ge=0, le=10**12)]


class Histogram(Model):
    """How many answers took how long, in milliseconds from the intended start: bucket -> answers."""

    good: dict[Bucket, Answers] = Field(default_factory=dict, description="of answers that are a service")
    failed: dict[Bucket, Answers] = Field(default_factory=dict, description="of 5xx, and of requests without an answer")


def merged(histograms: Iterable[Histogram]) -> Counter[int]:
    """All answers of several histograms together, good and failed."""
    total: dict[int, int] = {}
    for one in histograms:
        for part in (one.good, one.failed):
            for index, count in part.items():
                total[index] = total.get(index, 0) + count
    return Counter(total)


def quantile(buckets: Mapping[int, int], share: float) -> float | None:
    """The latency in ms that `share` of the answers do not exceed, within 1.1 %; None of none."""
    rank, counted = math.ceil(share * sum(buckets.values())), 0
    for index in sorted(buckets):
        counted += buckets[index]
        if counted >= max(1, rank):
            return _edge(index + 0.5)
    return None


def slower(buckets: Mapping[int, int], limit_ms: float) -> tuple[int, int]:
    """How many answers were slower than a limit: certainly, and at most; the bucket that it cuts may be either."""
    certain, possible = _slow_from(limit_ms)
    certainly = at_most = 0
    for index, count in buckets.items():
        if index >= possible:
            at_most += count
            if index >= certain:
                certainly += count
    return certainly, at_most


def without_slow(buckets: Mapping[int, int], limit_ms: float) -> dict[int, int]:
    """The answers that are not certainly slower than a limit."""
    certain, _ = _slow_from(limit_ms)
    return {index: count for index, count in buckets.items() if index < certain}


@lru_cache(maxsize=16)
def _slow_from(limit_ms: float) -> tuple[int, int]:
    """The first buckets of which all answers, and of which any, are slower than a limit."""
    certain = bisect_left(_INDICES, limit_ms, key=_edge)
    possible = bisect_right(_INDICES, limit_ms, key=lambda index: _edge(index + 1))
    return _INDICES.start + certain, _INDICES.start + possible


def _edge(index: float) -> float:
    return float(2.0 ** (index / BUCKETS_A_DOUBLING))
