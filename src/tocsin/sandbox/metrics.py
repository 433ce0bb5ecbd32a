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


class _Late:
    """The buckets of one width of a metric that changed after they were over and alarms had looked.

    So does a Lambda function's: its values belong to the minute in which the invocation began.
    """

    __slots__ = ("changed", "revision", "width_s")

    def __init__(self, width_s: int) -> None:
        self.width_s = width_s
        self.revision = 0
        self.changed: dict[int, int] = {}
        """Bucket number -> the revision that its latest change made."""

    def note(self, second: float, looked_s: int) -> None:
        number = int(second // self.width_s)
        if (number + 1) * self.width_s <= looked_s:
            self.revision += 1
            self.changed[number] = self.revision

    def since(self, revision: int) -> list[int]:
        if revision == self.revision:
            return []
        return [number * self.width_s for number, changed in self.changed.items() if changed > revision]

    def forget_before(self, second: int) -> None:
        oldest = second // self.width_s
        self.changed = {number: revision for number, revision in self.changed.items() if number >= oldest}


class _Metric:
    """One metric: the series of each unit, in minutes and, of a metric of the users' own, in ten seconds."""

    __slots__ = ("fine", "late_fine", "late_minutes", "minutes")

    def __init__(self, *, fine: bool) -> None:
        self.minutes: dict[str, _Series] = {}
        self.fine: dict[str, _Series] | None = {} if fine else None
        self.late_minutes = _Late(MINUTE_S)
        self.late_fine = _Late(HIGH_RESOLUTION_S)

    def series(self, unit: str) -> Iterable[_Series]:
        minutes = self.minutes.get(unit)
        if minutes is None:
            minutes = self.minutes[unit] = _Series(MINUTE_S)
            if self.fine is not None:
                self.fine[unit] = _Series(HIGH_RESOLUTION_S)
        return (minutes,) if self.fine is None else (minutes, self.fine[unit])

    def note(self, second: float, looked_s: int) -> None:
        self.late_minutes.note(second, looked_s)
        if self.fine is not None:
            self.late_fine.note(second, looked_s)

    def forget_before(self, second: int, fine_second: int) -> None:
        for series in self.minutes.values():
            series.forget_before(second)
        for series in (self.fine or {}).values():
            series.forget_before(fine_second)
        self.late_minutes.forget_before(second)
        self.late_fine.forget_before(fine_second)


class MetricStore:
    """Metrics of all accounts and regions of one sandbox, in memory that is bounded.

    Values go into buckets of one system minute; metrics of the users' own (and only those, as on AWS) also into
    buckets of ten system seconds. Written from the event loop and from Lambda threads.
    """

    def __init__(self, system_time: SystemTime) -> None:
        self.system_time = system_time
        self._metrics: dict[tuple[Scope, MetricKey], _Metric] = {}
        self._looked_s = 0
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
            for series in self._series(scope, key, unit, second):
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
            for series in self._series(scope, key, unit, second):
                series.at(second).add_set(*statistic_set)

    def _series(self, scope: Scope, key: MetricKey, unit: str, second: float) -> Iterable[_Series]:
        metric = self._metrics.get((scope, key))
        if metric is None:
            metric = self._metrics[scope, key] = _Metric(fine=not key.namespace.startswith("AWS/"))
        metric.note(second, self._looked_s)
        return metric.series(unit)

    def buckets(self, scope: Scope, key: MetricKey, start_s: int, end_s: int) -> Sequence[Bucket]:
        """The non-empty buckets that begin in [start, end); ten-second ones when the window asks for them.

        Those of the key's unit only; of all units where the key has none.
        """
        fine = start_s % MINUTE_S != 0 or end_s % MINUTE_S != 0
        with self._lock:
            metric = self._metric(scope, key)
            # Datapoints of each unit are a stream of their own.
            streams = None if metric is None else metric.fine if fine else metric.minutes
            if not streams:
                return []
            wanted = streams.values() if key.unit is None else [streams[key.unit]] if key.unit in streams else []
            return [bucket for stream in wanted for bucket in stream.between(start_s, end_s)]

    def look(self, now_s: int) -> None:
        """Say that alarms look at all that is over at a system second: what comes for it later, comes late."""
        with self._lock:
            self._looked_s = max(self._looked_s, now_s)

    def late_since(self, scope: Scope, key: MetricKey, period_s: int, revision: int) -> tuple[int, Sequence[int]]:
        """What came late for a metric, of any unit: the revision now, and where buckets begin that changed since one.

        Args:
            scope: where the metric is.
            key: of the metric.
            period_s: of the windows: minutes, or ten seconds where it is not of whole minutes.
            revision: the one of an earlier answer; 0 at first.
        """
        with self._lock:
            metric = self._metric(scope, key)
            if metric is None:
                return revision, ()
            late = metric.late_fine if period_s % MINUTE_S else metric.late_minutes
            return late.revision, late.since(revision)

    def _metric(self, scope: Scope, key: MetricKey) -> _Metric | None:
        return self._metrics.get((scope, key if key.unit is None else key._replace(unit=None)))

    def units(self, scope: Scope, key: MetricKey) -> tuple[str, ...]:
        """The units in which a metric was published, oldest first."""
        metric = self._metrics.get((scope, key))
        return () if metric is None else tuple(metric.minutes)

    def keys(self, scope: Scope) -> list[MetricKey]:
        """All metrics that have data, in a stable order."""
        with self._lock:
            return sorted(key for where, key in self._metrics if where == scope)

    def forget_old(self) -> None:
        """Drop what no alarm can look at any more."""
        now = int(self.system_time.now())
        with self._lock:
            for metric in self._metrics.values():
                metric.forget_before(now - _KEPT_MINUTES * MINUTE_S, now - _KEPT_HIGH_RESOLUTION * HIGH_RESOLUTION_S)


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
