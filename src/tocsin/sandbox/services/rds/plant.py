"""The RDS plant: a real PostgreSQL for each DB instance and a data plane for each DB proxy.

The AWS API says what there should be; `RdsPlant.reconcile` makes it so, and `RdsPlant.publish` reports what
CloudWatch would: namespace `AWS/RDS`, by `DBInstanceIdentifier` and by `ProxyName`. Instances are rebooted, stopped,
started and copied into snapshots for real; what that takes on AWS, it takes here in system time.
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tocsin.errors import SandboxError
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.metrics import MetricSink
from tocsin.sandbox.parts.embedded import EMBEDDED
from tocsin.sandbox.parts.programs import Parts
from tocsin.sandbox.services.rds import postgres
from tocsin.sandbox.services.rds.figures import (
    CRASH_RECOVERY_S,
    REBOOT_S,
    RESTORE_S,
    SNAPSHOT_S,
    START_S,
    STOP_S,
)
from tocsin.sandbox.services.rds.postgres import ClusterCopy, Master, PostgresServer, Sample
from tocsin.sandbox.services.rds.proxy import ProxyPool, RdsProxy, Target

__all__ = [
    "DbInstance",
    "DbProxy",
    "Endpoints",
    "InstanceView",
    "Master",
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

# DBInstanceStatus
AVAILABLE, BACKING_UP, CREATING, FAILED = "available", "backing-up", "creating", "failed"
REBOOTING, STARTING, STOPPED, STOPPING = "rebooting", "starting", "stopped", "stopping"
SERVING = (AVAILABLE, BACKING_UP)

_logger = logging.getLogger("tocsin.sandbox")


@dataclass(frozen=True)
class DbInstance:
    """What the AWS API knows about a DB instance."""

    identifier: str
    instance_class: str
    database: str | None
    master: Master
    snapshot: str | None = None
    """identifier of the snapshot that it was restored from"""


@dataclass(frozen=True)
class InstanceView:
    """How a DB instance really is."""

    status: str
    """`DBInstanceStatus`"""
    endpoint: tuple[str, int] | None
    """None before it was ever served"""


@dataclass(frozen=True)
class DbProxy:
    """What the AWS API knows about a DB proxy.

    `targets` are the registered DB instance identifiers, `secrets` the ARNs of the secrets that clients log in by.
    """

    name: str
    pool: ProxyPool
    targets: tuple[str, ...]
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Endpoints:
    """Where the instances (by identifier) and the proxies (by name) listen: host and port."""

    instances: Mapping[str, tuple[str, int]]
    proxies: Mapping[str, tuple[str, int]]


@dataclass
class _Observed:
    """The last look at an instance's processes."""

    sample: Sample
    at: float


ReadSecret = Callable[[str], Mapping[str, Any]]
"""ARN of a secret -> what it holds now; nothing where there is none."""


def _nobody_listens() -> None:
    """Nobody wants to know."""


def _no_secrets(_: str) -> Mapping[str, Any]:
    return {}


class RdsPlant:
    """All databases and proxies of one sandbox.

    `changed` is called, in the event loop, whenever the status of an instance or a snapshot differs from before;
    `read_secret` whenever a proxy has to know a password.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        metrics: MetricSink,
        changed: Callable[[], None] = _nobody_listens,
        parts: Parts = EMBEDDED,
        read_secret: ReadSecret = _no_secrets,
    ) -> None:
        self._directory = directory
        self._parts = parts
        self._read_secret = read_secret
        self._secrets: dict[str, tuple[str, ...]] = {}
        self._clock = clock
        self._metrics = metrics
        self._changed = changed
        self._instances: dict[str, _Instance] = {}
        self._snapshots: dict[str, _Snapshot] = {}
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
                instances={name: at for name, view in self.views().items() if (at := view.endpoint) is not None},
                proxies={name: (proxy.host, proxy.port) for name, proxy in self._proxies.items()},
            )

    def views(self) -> dict[str, InstanceView]:
        """Every instance as it is now, by identifier."""
        return {name: instance.view() for name, instance in self._instances.items()}

    def snapshots(self) -> dict[str, str]:
        """The status of every snapshot, by identifier: `creating`, `available` or `failed`."""
        return {name: snapshot.status for name, snapshot in self._snapshots.items()}

    def reboot(self, identifier: str) -> None:
        """Restart an instance: connections break, and new ones are refused meanwhile.

        Raises SandboxError when it is not available; so do the others.
        """
        self._instance(identifier, AVAILABLE).reboot()

    def stop(self, identifier: str) -> None:
        """Stop an instance; it keeps its data and its endpoint."""
        self._instance(identifier, AVAILABLE).halt()

    def start(self, identifier: str) -> None:
        """Start an instance that was stopped."""
        self._instance(identifier, STOPPED).resume()

    def snapshot(self, identifier: str, instance: str) -> None:
        """Copy what an instance holds now, while it is being used."""
        source = self._instance(instance, AVAILABLE)
        taken = _Snapshot()
        self._snapshots[identifier] = taken
        directory = self._directory / f"snapshot-{identifier}"
        taken.task = asyncio.create_task(self._take(taken, source, directory))

    def forget_snapshot(self, identifier: str) -> None:
        """Remove a snapshot, if there is one."""
        snapshot = self._snapshots.pop(identifier, None)
        if snapshot is not None and snapshot.copy is not None:
            snapshot.copy.remove()

    def publish(self) -> None:
        """Put the metrics of the past system minute into the sink; call it once a system minute."""
        for name, instance in self._instances.items():
            if instance.server is not None and instance.status in SERVING:
                self._publish_instance(name, instance.server.sample())
        for proxy in self._proxies.values():
            self._publish_proxy(proxy)

    def pids(self) -> dict[int, str]:
        """Process id of every postmaster -> what it is."""
        servers = ((name, instance.server) for name, instance in self._instances.items())
        return {server.pid: f"postgres {name}" for name, server in servers if server is not None and server.pid}

    async def close(self) -> None:
        """Stop everything and remove every file."""
        async with self._reconciling:
            for proxy in self._proxies.values():
                await proxy.stop()
            self._proxies.clear()
            for snapshot in self._snapshots.values():
                await snapshot.close()
            self._snapshots.clear()
            await asyncio.gather(*(instance.close() for instance in self._instances.values()))
            self._instances.clear()
            await asyncio.to_thread(remove_residue, self._directory)

    def _instance(self, identifier: str, status: str) -> _Instance:
        instance = self._instances.get(identifier)
        if instance is None or instance.status != status:
            found = "none" if instance is None else f"one that is {instance.status}"
            raise SandboxError(f"expected a DB instance '{identifier}' that is {status}, found {found}")
        return instance

    async def _apply_instances(self, instances: Sequence[DbInstance]) -> None:
        wanted = {instance.identifier: instance for instance in instances}
        for name in [name for name in self._instances if name not in wanted]:
            self._observed.pop(name, None)
            await self._instances.pop(name).close()
        for name, instance in self._instances.items():
            instance.modify(wanted[name])
        starting = [self._start(one) for name, one in wanted.items() if name not in self._instances]
        for outcome in await asyncio.gather(*starting, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def _start(self, spec: DbInstance) -> None:
        instance = _Instance(spec, self._directory / spec.identifier, self._clock, self._changed, self._parts)
        if spec.snapshot is None:
            await instance.create(None)
        self._instances[spec.identifier] = instance
        self._changed()
        if spec.snapshot is not None:
            snapshot = self._snapshots.get(spec.snapshot)
            instance.restore(snapshot.copy if snapshot is not None else None)

    async def _take(self, taken: _Snapshot, source: _Instance, directory: Path) -> None:
        try:
            taken.copy = await source.copy_to(directory)
            await asyncio.sleep(self._clock.wall(SNAPSHOT_S))
            taken.status = AVAILABLE
        except SandboxError:
            _logger.exception("snapshot of %s", source.spec.identifier)
            taken.status = FAILED
        self._changed()

    async def _apply_proxies(self, proxies: Sequence[DbProxy]) -> None:
        wanted = {proxy.name for proxy in proxies}
        for name in [name for name in self._proxies if name not in wanted]:
            await self._proxies.pop(name).stop()
        self._secrets = {proxy.name: proxy.secrets for proxy in proxies}
        for proxy in proxies:
            if proxy.name not in self._proxies:
                self._proxies[proxy.name] = RdsProxy(proxy.name, proxy.pool, partial(self._password_of, proxy.name))
                await self._proxies[proxy.name].start()
            self._proxies[proxy.name].pool.apply(proxy.pool, self._target(proxy))

    def _password_of(self, proxy: str, user: str) -> str | None:
        """What the secrets of a proxy say now of a user's password."""
        for arn in self._secrets.get(proxy, ()):
            held = self._read_secret(arn)
            if held.get("username") == user and isinstance(held.get("password"), str):
                return str(held["password"])
        return None

    def _target(self, proxy: DbProxy) -> Target | None:
        for name, instance in self._instances.items():
            if name in proxy.targets and instance.server is not None:
                server = instance.server
                return Target(server.host, server.port, server.max_connections)
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
            "ClientConnectionsSetupSucceeded": counters.client_connections_succeeded,
            "ClientConnectionsSetupFailedAuth": counters.client_connections_refused,
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


@dataclass
class _Snapshot:
    status: str = CREATING
    copy: ClusterCopy | None = None
    task: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)


class _Instance:
    """One DB instance: its server, and what happens to it. One thing happens at a time."""

    def __init__(
        self, spec: DbInstance, directory: Path, clock: Clock, changed: Callable[[], None], parts: Parts
    ) -> None:
        self.spec = spec
        self.server: PostgresServer | None = None
        self.status = CREATING
        self._master = self._wanted_master = spec.master
        self._directory = directory
        self._clock = clock
        self._changed = changed
        self._parts = parts
        self._tasks: set[asyncio.Task[None]] = set()
        self._copying = asyncio.Lock()

    def view(self) -> InstanceView:
        return InstanceView(self.status, None if self.server is None else (self.server.host, self.server.port))

    async def create(self, copy: ClusterCopy | None) -> None:
        """Make the cluster and serve it. Raises SandboxError."""
        self.server = await PostgresServer.start(
            self._directory,
            master=self.spec.master,
            database=self.spec.database,
            max_connections=max_connections(self.spec.instance_class),
            copy=copy,
            parts=self._parts,
        )
        self._serve()

    def restore(self, copy: ClusterCopy | None) -> None:
        async def restore() -> None:
            if copy is None:
                raise SandboxError(f"expected the snapshot '{self.spec.snapshot}', found it gone")
            await self._sleep(RESTORE_S)
            await self.create(copy)

        self._begin(CREATING, restore())

    def modify(self, spec: DbInstance) -> None:
        """Another instance class takes a restart, as on AWS; another password is there at once."""
        self._wanted_master = spec.master
        if self._wanted_master != self._master and self.status in SERVING:
            self._in_background(self._give_password())
        if spec.instance_class != self.spec.instance_class and self.status == AVAILABLE:
            self.spec = spec
            self.reboot()

    async def _give_password(self) -> None:
        wanted = self._wanted_master
        if self.server is None or wanted == self._master:
            return
        try:
            await self.server.set_password(wanted)
            self._master = wanted
        except SandboxError:
            _logger.exception("master password of %s", self.spec.identifier)

    def reboot(self) -> None:
        self._begin(REBOOTING, self._bounce(REBOOT_S))

    def halt(self) -> None:
        async def stop() -> None:
            assert self.server is not None
            await self.server.halt()
            await self._sleep(STOP_S)
            self._become(STOPPED)

        self._begin(STOPPING, stop())

    def resume(self) -> None:
        self._begin(STARTING, self._bounce(START_S))

    async def copy_to(self, directory: Path) -> ClusterCopy:
        """Copy what is there now. Raises SandboxError."""
        async with self._copying:
            assert self.server is not None
            self._become(BACKING_UP)
            try:
                return await self.server.copy_to(directory)
            finally:
                if self.status == BACKING_UP:
                    self._become(AVAILABLE)

    async def close(self) -> None:
        async with self._copying:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self.server is not None:
                await self.server.stop()

    async def _bounce(self, away_s: float) -> None:
        assert self.server is not None
        await self.server.halt()
        await self._sleep(away_s)
        self.server.max_connections = max_connections(self.spec.instance_class)
        await self.server.resume()
        await self._give_password()
        self._serve()

    def _serve(self) -> None:
        self._become(AVAILABLE)
        self._in_background(self._watch())

    async def _watch(self) -> None:
        """A server that crashes is started again, with all that was committed."""
        assert self.server is not None
        await self.server.ended()
        if self.status in SERVING:
            self._begin(REBOOTING, self._bounce(CRASH_RECOVERY_S))

    def _begin(self, status: str, change: Coroutine[None, None, None]) -> None:
        async def carry_out() -> None:
            try:
                await change
            except SandboxError:
                _logger.exception("DB instance %s", self.spec.identifier)
                self._become(FAILED)

        self._become(status)
        self._in_background(carry_out())

    def _become(self, status: str) -> None:
        self.status = status
        self._changed()

    async def _sleep(self, system_s: float) -> None:
        await asyncio.sleep(self._clock.wall(system_s))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


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
