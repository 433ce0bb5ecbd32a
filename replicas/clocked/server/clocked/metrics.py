"""`/metrics`: exactly the series that the alerting rules read."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from clocked.database import Database
from clocked.errors import Unavailable
from clocked.settings import Settings

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STATUSES = ("200", "201", "401", "404", "500", "503")
"""A counter that is born with its first error tells no rate: every one that an alert needs exists from the start."""
PROCESSOR_LOOK_S = 0.5
"""Over less, what a task had to wait for a processor looks like idleness."""


class Metrics:
    """Counts requests, and measures the task and the database when it is scraped."""

    def __init__(self, database: Database, routes: list[tuple[str, str]], settings: Settings) -> None:
        self._database = database
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests", "Requests by outcome", ("method", "route", "status"), registry=self._registry
        )
        self._durations = Histogram(
            "http_request_duration_seconds",
            "Time to answer",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._active = Gauge("database_connections_active", "Client connections", registry=self._registry)
        self._max = Gauge("database_connections_max", "Connections allowed", registry=self._registry)
        self._cpu = Gauge("cpu_usage_percent", "Processor use of the task's limit", registry=self._registry)
        self._processor = _Processor(settings.metadata_url, settings.vcpus)
        for method, route in routes:
            self._durations.labels(method, route)
            for status in STATUSES:
                self._requests.labels(method, route, status)

    def answered(self, method: str, route: str, status: int, took_s: float) -> None:
        """One request was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._durations.labels(method, route).observe(took_s)

    def page(self) -> bytes:
        """The text format."""
        self._cpu.set(self._processor.percent())
        # A database that does not answer leaves the last figures: the other series must still be told.
        with contextlib.suppress(Unavailable):
            active, allowed = self._database.connections()
            self._active.set(active)
            self._max.set(allowed)
        return generate_latest(self._registry)


class _Processor:
    """Processor use of the whole task, sidecars too, since the last look, in percent of its limit.

    From the task metadata endpoint, as there is one for every task of ECS:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html
    """

    def __init__(self, metadata_url: str, vcpus: float) -> None:
        self._url = f"{metadata_url}/task/stats"
        self._vcpus = vcpus
        self._before = (time.monotonic(), 0.0)
        self._percent = 0.0

    def percent(self) -> float:
        """The last figure stays where the endpoint does not answer, and where too little time has passed."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            now = (time.monotonic(), self._used_s())
            passed = now[0] - self._before[0]
            if passed >= PROCESSOR_LOOK_S:
                self._percent = max(0.0, 100 * (now[1] - self._before[1]) / passed / self._vcpus)
                self._before = now
        return self._percent

    def _used_s(self) -> float:
        with urllib.request.urlopen(self._url, timeout=1.0) as answer:  # noqa: S310  the URL is that of ECS
            containers = json.load(answer)
        return sum(one["cpu_stats"]["cpu_usage"]["total_usage"] for one in containers.values()) / 1e9
