"""The RDS plant: a real PostgreSQL for each DB instance and a data plane for each DB proxy.

The AWS API says what there should be; `RdsPlant.reconcile` makes it so, and `RdsPlant.publish` reports what
CloudWatch would: namespace `AWS/RDS`, by `DBInstanceIdentifier` and by `ProxyName`.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tocsin.sandbox import postgres
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.postgres import PostgresServer, Sample
from tocsin.sandbox.rds_proxy import ProxyPool, RdsProxy, Target

__all__ = [
    "DbInstance",
    "DbProxy",
    "Endpoints",
    "MetricSink",
    "ProxyPool",
    "RdsPlant",
    "max_connections",
    "remove_residue",
]

NAMESPACE = "AWS/RDS"

# GiB of memory by the size part of an instance class (`db.t3.micro`); larger classes do not fit a laptop.
MEMORY_GIB = {"micro": 1, "small": 2, "medium": 4, "large": 8}
DEFAULT_MEMORY_GIB = 8
# RDS for PostgreSQL: LEAST({DBInstanceClassMemory/9531392}, 5000).
BYTES_PER_CONNECTION = 9531392
VCPUS = 2


@dataclass(frozen=True)
class DbInstance:
    """What the AWS API knows about a DB instance."""

    identifier: str
    instance_class: str
    database: str | None
    master_username: str


@dataclass(frozen=True)
class DbProxy:
    """What the AWS API knows about a DB proxy; `targets` are the registered DB instance identifiers."""

    name: str
    pool: ProxyPool
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Endpoints:
    """Where the instances (by identifier) and the proxies (by name) listen: host and port."""

    instances: Mapping[str, tuple[str, int]]
    proxies: Mapping[str, tuple[str, int]]


class MetricSink(Protocol):
    """Where published metrics go."""

    def put(self, namespace: str, name: str, dimensions: Mapping[str, str], value: float, unit: str = "None") -> None:
        """Record one value now."""


@dataclass
class _Observed:
    """The last look at an instance's processes."""

    sample: Sample
    at: float


class RdsPlant:
    """All databases and proxies of one sandbox."""

    def __init__(self, directory: Path, clock: Clock, metrics: MetricSink) -> None:
        # Processor use is a ratio and connections are gauges: nothing here depends on the time scale, and a
        # borrow timeout is request latency, which is never scaled. The clock only belongs to the contract.
        del clock
        self._directory = directory
        self._metrics = metrics
        self._servers: dict[DbInstance, PostgresServer] = {}
        self._observed: dict[str, _Observed] = {}
        self._proxies: dict[str, RdsProxy] = {}
        self._reconciling = asyncio.Lock()

    async def reconcile(self, instances: Sequence[DbInstance], proxies: Sequence[DbProxy]) -> Endpoints:
        """Start and stop what has to be, apply pool settings at once, and say where everything listens.

        Idempotent. A pool setting or a target takes effect before a new database is waited for.
        Raises SandboxError when PostgreSQL does not start.
        """
        async with self._reconciling:
            await self._apply_proxies(proxies)
            await self._apply_instances(instances)
            await self._apply_proxies(proxies)
            return Endpoints(
                instances={i.identifier: (server.host, server.port) for i, server in self._servers.items()},
                proxies={name: (proxy.host, proxy.port) for name, proxy in self._proxies.items()},
            )

    def publish(self) -> None:
        """Put the metrics of the past system minute into the sink; call it once a system minute."""
        for instance, server in self._servers.items():
            self._publish_instance(instance.identifier, server.sample())
        for proxy in self._proxies.values():
            self._publish_proxy(proxy)

    async def close(self) -> None:
        """Stop everything and remove every file."""
        async with self._reconciling:
            for proxy in self._proxies.values():
                await proxy.stop()
            self._proxies.clear()
            await asyncio.gather(*(server.stop() for server in self._servers.values()))
            self._servers.clear()
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    async def _apply_instances(self, instances: Sequence[DbInstance]) -> None:
        wanted = set(instances)
        for instance in [known for known in self._servers if known not in wanted]:
            await self._servers.pop(instance).stop()
            self._observed.pop(instance.identifier, None)
        starting = [self._start(instance) for instance in wanted - self._servers.keys()]
        for outcome in await asyncio.gather(*starting, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _start(self, instance: DbInstance) -> None:
        self._servers[instance] = await PostgresServer.start(
            self._directory / instance.identifier,
            superuser=instance.master_username,
            database=instance.database,
            max_connections=max_connections(instance.instance_class),
        )

    async def _apply_proxies(self, proxies: Sequence[DbProxy]) -> None:
        wanted = {proxy.name for proxy in proxies}
        for name in [name for name in self._proxies if name not in wanted]:
            await self._proxies.pop(name).stop()
        for proxy in proxies:
            if proxy.name not in self._proxies:
                self._proxies[proxy.name] = RdsProxy(proxy.name, proxy.pool)
                await self._proxies[proxy.name].start()
            self._proxies[proxy.name].pool.apply(proxy.pool, self._target(proxy))

    def _target(self, proxy: DbProxy) -> Target | None:
        for instance, server in self._servers.items():
            if instance.identifier in proxy.targets:
                return Target(server.host, server.port, max_connections(instance.instance_class))
        return None

    def _publish_instance(self, identifier: str, sample: Sample) -> None:
        now = time.monotonic()
        before = self._observed.get(identifier)
        self._observed[identifier] = _Observed(sample, now)
        dimensions = {"DBInstanceIdentifier": identifier}
        self._metrics.put(NAMESPACE, "DatabaseConnections", dimensions, float(sample.client_connections), "Count")
        if before is not None and now > before.at:
            # Processes come and go between two looks, so that the sum may even fall.
            used_s = max(0.0, sample.cpu_s - before.sample.cpu_s)
            percent = min(100.0, 100.0 * used_s / (now - before.at) / VCPUS)
            self._metrics.put(NAMESPACE, "CPUUtilization", dimensions, percent, "Percent")

    def _publish_proxy(self, proxy: RdsProxy) -> None:
        counters = proxy.drain_counters()
        pool = proxy.pool
        counts = {
            "ClientConnections": proxy.client_connections,
            "ClientConnectionsReceived": counters.client_connections_received,
            "ClientConnectionsSetupSucceeded": counters.client_connections_received,
            "ClientConnectionsClosed": counters.client_connections_closed,
            "DatabaseConnectionRequests": counters.database_connection_requests,
            "DatabaseConnections": pool.open,
            "DatabaseConnectionsCurrentlyBorrowed": pool.borrowed,
            "DatabaseConnectionsCurrentlySessionPinned": proxy.pinned,
            "MaxDatabaseConnectionsAllowed": pool.allowed,
            "QueryRequests": counters.query_requests,
        }
        dimensions = {"ProxyName": proxy.name}
        for name, value in counts.items():
            self._metrics.put(NAMESPACE, name, dimensions, float(value), "Count")
        for latency_us in counters.borrow_latencies_us:
            self._metrics.put(NAMESPACE, "DatabaseConnectionsBorrowLatency", dimensions, latency_us, "Microseconds")
        available = 100.0 if pool.available else 0.0
        self._metrics.put(NAMESPACE, "AvailabilityPercentage", dimensions, available, "Percent")


def max_connections(instance_class: str) -> int:
    """RDS's default `max_connections` of PostgreSQL for an instance class: 112 for `db.t3.micro`."""
    memory_gib = MEMORY_GIB.get(instance_class.rsplit(".", 1)[-1], DEFAULT_MEMORY_GIB)
    return min(memory_gib * 1024**3 // BYTES_PER_CONNECTION, 5000)


def remove_residue(directory: Path) -> None:
    """Remove what the plant of a killed process left: databases still running and their files.

    `directory` is the one that the plant was made with; nothing happens when there is nothing.
    """
    if directory.is_dir():
        for home in directory.iterdir():
            if home.is_dir():
                postgres.remove_residue(home)
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)
