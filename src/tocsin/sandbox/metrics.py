"""The sandbox's own metric store: what CloudWatch keeps, in buckets of production time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tocsin.alarms.cloudwatch import MetricKey, metric_key
from tocsin.sandbox.clock import Clock

MINUTE_S = 60
HIGH_RESOLUTION_S = 10

_KEPT_MINUTES = 26 * 60
_KEPT_HIGH_RESOLUTION = 180
_EXACT_VALUES = 1000


class Bucket:
    """Everything published for one metric in one bucket.

    Single values are kept for percentiles: exactly up to 1000 different ones, then rounded to three significant
    digits, so that a bucket stays small however busy it is. None once a statistic set was published into it.
    """

    __slots__ = ("_values", "maximum", "minimum", "sample_count", "total")

    def __init__(self) -> None:
        self.sample_count = 0.0
        self.total = 0.0
        self.minimum = math.inf
        self.maximum = -math.inf
        self._values: dict[float, float] | None = {}

    @property
    def values(self) -> Mapping[float, float] | None:
        """Value -> how often it was published."""
        return self._values

    def add(self, value: float, count: float = 1.0) -> None:
        """Publish a value `count` times."""
        self._extend(count, value * count, value, value)
        if self._values is None:
            return
        if len(self._values) >= _EXACT_VALUES:
            value = float(f"{value:.3g}")
        self._values[value] = self._values.get(value, 0.0) + count

    def add_set(self, sample_count: float, total: float, minimum: float, maximum: float) -> None:
        """Publish a statistic set; a percentile exists only if all its samples have one value."""
        if minimum == maximum:
            self.add(minimum, sample_count)
            return
        self._extend(sample_count, total, minimum, maximum)
        self._values = None

    def _extend(self, sample_count: float, total: float, minimum: float, maximum: float) -> None:
        self.sample_count += sample_count
        self.total += total
        self.minimum = min(self.minimum, minimum)
        self.maximum = max(self.maximum, maximum)


class _Series:
    """The buckets of one metric, by bucket number; the oldest fall out."""

    __slots__ = ("buckets", "width_s")

    def __init__(self, width_s: int) -> None:
        self.width_s = width_s
        self.buckets: dict[int, Bucket] = {}

    def at(self, second: float) -> Bucket:
        number = int(second // self.width_s)
        bucket = self.buckets.get(number)
        if bucket is None:
            bucket = self.buckets[number] = Bucket()
        return bucket

    def between(self, start_s: int, end_s: int) -> list[Bucket]:
        wanted: Iterable[int] = range(start_s // self.width_s, end_s // self.width_s)
        if end_s - start_s > len(self.buckets) * self.width_s:
            wanted = sorted(number for number in self.buckets if number in wanted)
        return [self.buckets[number] for number in wanted if number in self.buckets]

    def forget_before(self, second: int) -> None:
        oldest = second // self.width_s
        for number in [number for number in self.buckets if number < oldest]:
            del self.buckets[number]


@dataclass(frozen=True)
class SystemTime:
    """System time: production seconds on an axis that starts with the sandbox.

    It begins at a round day, so that minutes, hours and `period`s are aligned, and runs `scale` times as fast as the
    wall clock.
    """

    clock: Clock
    started: float
    """Wall-clock epoch seconds at which the sandbox started."""

    _ORIGIN_S = 86400.0

    def at(self, wall: float) -> float:
        """System seconds of a wall-clock time."""
        return self._ORIGIN_S + self.clock.production(wall - self.started)

    def wall(self, system_s: float) -> float:
        """Wall-clock time (epoch seconds) of a system second."""
        return self.started + self.clock.wall(system_s - self._ORIGIN_S)

    def now(self) -> float:
        """System seconds now."""
        return self.at(time.time())


Scope = tuple[str, str]
"""(account id, region)"""


def scope_of_arn(arn: str) -> Scope:
    """Account and region of an ARN."""
    parts = arn.split(":")
    return parts[4], parts[3]


class MetricStore:
    """Metrics of all accounts and regions of one sandbox, in memory that is bounded.

    Values go into buckets of one system minute; metrics of the users' own (and only those, as on AWS) also into
    buckets of ten system seconds. Written from the event loop and from Lambda threads.
    """

    def __init__(self, system_time: SystemTime) -> None:
        self.system_time = system_time
        self._minutes: dict[tuple[Scope, MetricKey], _Series] = {}
        self._high_resolution: dict[tuple[Scope, MetricKey], _Series] = {}
        self._units: dict[tuple[Scope, MetricKey], tuple[str, ...]] = {}
        self._lock = threading.Lock()

    def put(
        self,
        scope: Scope,
        key: MetricKey,
        value: float,
        unit: str = "None",
        *,
        count: float = 1.0,
        wall: float | None = None,
    ) -> None:
        """Publish a value; `wall` (epoch seconds) is now by default."""
        second = self.system_time.at(time.time() if wall is None else wall)
        with self._lock:
            for series in self._series(scope, key, unit):
                series.at(second).add(value, count)

    def put_set(
        self,
        scope: Scope,
        key: MetricKey,
        statistic_set: tuple[float, float, float, float],
        unit: str,
        *,
        wall: float | None = None,
    ) -> None:
        """Publish a statistic set: (sample count, sum, minimum, maximum)."""
        second = self.system_time.at(time.time() if wall is None else wall)
        with self._lock:
            for series in self._series(scope, key, unit):
                series.at(second).add_set(*statistic_set)

    def _series(self, scope: Scope, key: MetricKey, unit: str) -> Iterable[_Series]:
        # Datapoints of each unit are a stream of their own.
        where = (scope, key._replace(unit=unit))
        minutes = self._minutes.get(where)
        if minutes is None:
            minutes = self._minutes[where] = _Series(MINUTE_S)
            self._units[scope, key] = (*self._units.get((scope, key), ()), unit)
            if not key.namespace.startswith("AWS/"):
                self._high_resolution[where] = _Series(HIGH_RESOLUTION_S)
        fine = self._high_resolution.get(where)
        return (minutes,) if fine is None else (minutes, fine)

    def buckets(self, scope: Scope, key: MetricKey, start_s: int, end_s: int) -> Sequence[Bucket]:
        """The non-empty buckets that begin in [start, end); ten-second ones when the window asks for them.

        Those of the key's unit only; of all units where the key has none.
        """
        fine = start_s % MINUTE_S != 0 or end_s % MINUTE_S != 0
        metric = key._replace(unit=None)
        units = self.units(scope, metric) if key.unit is None else (key.unit,)
        with self._lock:
            width = self._high_resolution if fine else self._minutes
            streams = [width.get((scope, metric._replace(unit=unit))) for unit in units]
            return [bucket for stream in streams if stream is not None for bucket in stream.between(start_s, end_s)]

    def units(self, scope: Scope, key: MetricKey) -> tuple[str, ...]:
        """The units in which a metric was published, oldest first."""
        return self._units.get((scope, key), ())

    def keys(self, scope: Scope) -> list[MetricKey]:
        """All metrics that have data, in a stable order."""
        with self._lock:
            return sorted(key for where, key in self._units if where == scope)

    def forget_old(self) -> None:
        """Drop what no alarm can look at any more."""
        now = int(self.system_time.now())
        with self._lock:
            for series in self._minutes.values():
                series.forget_before(now - _KEPT_MINUTES * MINUTE_S)
            for series in self._high_resolution.values():
                series.forget_before(now - _KEPT_HIGH_RESOLUTION * HIGH_RESOLUTION_S)


class ScopedSink:
    """The plant's way into the store: publishes gauges once a system minute.

    `scope_of` tells from a metric's dimensions in which account and region the thing is that they name.
    """

    def __init__(self, store: MetricStore, scope_of: Callable[[Mapping[str, str]], Scope]) -> None:
        self._store = store
        self._scope_of = scope_of
        self.wall: float | None = None
        """Wall-clock time to which values belong; None is now."""

    def put(self, namespace: str, name: str, dimensions: Mapping[str, str], value: float, unit: str = "None") -> None:
        """Publish a value."""
        scope, key = self._scope_of(dimensions), metric_key(namespace, name, dimensions)
        self._store.put(scope, key, value, unit, wall=self.wall)


class MetricSink(Protocol):
    """Where published metrics go."""

    def put(self, namespace: str, name: str, dimensions: Mapping[str, str], value: float, unit: str = "None") -> None:
        """Record one value now."""
