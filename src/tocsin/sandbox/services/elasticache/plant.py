"""The ElastiCache plant: a real Valkey for each node of a replication group, and a primary endpoint that follows it.

Cluster mode disabled: one primary, the others replicate from it. Clients connect to the primary endpoint, a small TCP
relay that keeps its address while the node behind it changes.
https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/Replication.html

Every node asks for a password: the AUTH token of its group, or one of the sandbox's own, which is in the addresses that
are handed out. Nodes talk to each other, and the plant to them, as a user of their own. What a node is started with is
in a file that only we can read, and that is gone when it answers: others can read command lines.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from tocsin.errors import SandboxError
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.metrics import MetricSink
from tocsin.sandbox.parts.embedded import EMBEDDED
from tocsin.sandbox.parts.programs import Parts, Process, Programs
from tocsin.sandbox.parts.supervise import HeldPort
from tocsin.sandbox.services.elasticache.figures import PROMOTION_S, REBOOT_S, REBUILD_S

NAMESPACE = "AWS/ElastiCache"

AVAILABLE, REBOOTING, CREATING = "available", "rebooting cluster nodes", "creating"
FAILED = "create-failed"

_START_TIMEOUT_S = 20.0
_PIECE = 64 * 1024
_OURSELVES = "tocsin"
"""The user of a node by which the plant and the other nodes come in."""


@dataclass(frozen=True)
class CacheGroup:
    """What the AWS API says of a replication group; `nodes` are the ids of its member clusters, in order."""

    identifier: str
    nodes: tuple[str, ...]
    tokens: tuple[str, ...] = field(default=(), repr=False)
    """AUTH tokens, any of which lets in"""
    optional: bool = False
    """whether somebody without one of them gets in, too: while a first one is being introduced"""


@dataclass(frozen=True)
class GroupView:
    """What there really is: where clients connect, which node is primary, and how each node is."""

    host: str
    """of every endpoint, as it stands in a URL: with the sandbox's own password where that lets in"""
    endpoint: tuple[str, int]
    """of the primary"""
    reader: tuple[str, int]
    """of the replicas; of the primary where there is none"""
    primary: str
    nodes: Mapping[str, str]
    """Node id -> `available`, `rebooting cluster nodes` or `creating`."""
    ports: Mapping[str, int]
    """Node id -> its own port"""


def _nobody_listens() -> None:
    """Nobody wants to know."""


class ElastiCachePlant:
    """All replication groups of one sandbox.

    `home` marks every process, so that it is found also when nobody is left who started it. `changed` is called, in the
    event loop, whenever a view differs from before.
    """

    def __init__(
        self,
        directory: Path,
        home: Path,
        clock: Clock,
        metrics: MetricSink,
        changed: Callable[[], None] = _nobody_listens,
        parts: Parts = EMBEDDED,
    ) -> None:
        self._directory = directory
        self._programs = parts.valkey(home)
        self._clock = clock
        self._metrics = metrics
        self._changed = changed
        self._groups: dict[str, _Group] = {}
        self._reserved: dict[str, _WayIn] = {}
        self._reconciling = asyncio.Lock()

    def reserve(self, identifier: str, *, with_token: bool) -> tuple[str, int]:
        """Host, as in `GroupView`, and port of the primary endpoint of a group to come. From any thread."""
        way_in = self._reserved.setdefault(identifier, _WayIn())
        return way_in.host(own=not with_token), way_in.primary.port

    async def reconcile(self, wanted: Sequence[CacheGroup]) -> None:
        """Start groups that are new, end those that are gone.

        Raises:
            SandboxError: Valkey does not start.
        """
        async with self._reconciling:
            names = {group.identifier for group in wanted}
            for name in self._groups.keys() - names:
                await self._groups.pop(name).close()
            for group in wanted:
                if group.identifier not in self._groups:
                    way_in = self._reserved.pop(group.identifier, None) or _WayIn()
                    directory = self._directory / group.identifier
                    made = _Group(group, directory, way_in, self._programs, self._clock, self._changed)
                    try:
                        await made.start()
                    except BaseException:
                        await made.close()
                        raise
                    self._groups[group.identifier] = made
                else:
                    await self._groups[group.identifier].let_in(group)
            self._changed()

    def views(self) -> dict[str, GroupView]:
        """Every group as it is now, by identifier."""
        return {name: group.view() for name, group in self._groups.items()}

    def fail_over(self, identifier: str) -> None:
        """The primary fails now; a replica takes over, and the failed node comes back as a replica.

        Raises:
            SandboxError: no such group, or nothing to fail over to.
        """
        self._group(identifier).fail_over()

    def reboot(self, node: str) -> bool:
        """Reboot one node, which loses what it holds; whether there is such a node."""
        return any(group.reboot(node) for group in self._groups.values())

    async def publish(self) -> None:
        """Put the metrics of the past system minute into the sink, by `CacheClusterId`.

        A node whose process is found dead is treated as AWS does: replaced, after a failover if it was the primary.
        """
        for group in self._groups.values():
            group.replace_the_dead()
            for node, info in (await group.info()).items():
                dimensions = {"CacheClusterId": node}
                clients = float(info.get("connected_clients", 0))
                self._metrics.put(NAMESPACE, "CurrConnections", dimensions, clients, "Count")
                used, most = float(info.get("used_memory", 0)), float(info.get("total_system_memory", 0)) or 1.0
                self._metrics.put(NAMESPACE, "DatabaseMemoryUsagePercentage", dimensions, 100 * used / most, "Percent")
                is_primary = 1.0 if node == group.view().primary else 0.0
                self._metrics.put(NAMESPACE, "IsPrimary", dimensions, is_primary, "Count")

    def ports(self) -> dict[str, int]:
        """What listens -> its port."""
        return {f"elasticache {name}": view.endpoint[1] for name, view in self.views().items()}

    def pids(self) -> dict[int, str]:
        """Process id of every node -> what it is."""
        return {pid: f"elasticache {name}" for group in self._groups.values() for name, pid in group.pids().items()}

    async def close(self) -> None:
        """End everything and remove every file."""
        async with self._reconciling:
            for group in self._groups.values():
                await group.close()
            self._groups.clear()
            for way_in in self._reserved.values():
                way_in.release()
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    def _group(self, identifier: str) -> _Group:
        try:
            return self._groups[identifier]
        except KeyError:
            raise SandboxError(f"expected a replication group '{identifier}', found none") from None


class _Node:
    """One Valkey process on a port of its own; it keeps nothing on disk."""

    def __init__(self, directory: Path, programs: Programs, way_in: _WayIn) -> None:
        self._directory = directory
        self._programs = programs
        self._way_in = way_in
        self._process: Process | None = None
        self._held = HeldPort()
        self.port = self._held.port
        self.status = CREATING

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def is_dead(self) -> bool:
        """Whether it should be there, and its process has ended by itself."""
        return self.status == AVAILABLE and self.pid is None

    async def start(self) -> None:
        await self._gone()
        self._directory.mkdir(parents=True, exist_ok=True)
        log, told = self._directory / "valkey.log", self._directory / "valkey.conf"
        with os.fdopen(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(self._way_in.configuration())
        try:
            self._process = await self._programs.start(
                "valkey-server", str(told), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--set-proc-title", "no", "--repl-diskless-sync-delay", "0", "--dir", str(self._directory),
                log=log, places=(self._directory,),
            )  # fmt: skip
            deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
            while not await self._answers():
                if self._process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                    self.kill()
                    raise SandboxError(f"expected Valkey to answer on port {self.port}, it does not; see {log}")
                await asyncio.sleep(0.02)
        finally:
            told.unlink(missing_ok=True)

    async def let_in(self) -> None:
        """Ask new connections for the passwords that hold now; those that are there stay, as on AWS."""
        with contextlib.suppress(ValkeyError, OSError):  # one that is away is told when it starts
            async with self._client() as client:
                rules = ("resetpass", *self._way_in.hashes())
                await client.execute_command("ACL", "SETUSER", "default", *rules)  # type: ignore[no-untyped-call]

    async def lead(self) -> None:
        """Be the primary."""
        async with self._client() as client:
            await client.replicaof("NO", "ONE")
        self.status = AVAILABLE

    async def follow(self, primary: _Node) -> None:
        """Replicate from another node, and be available once everything has come over."""
        async with self._client() as client:
            await client.replicaof("127.0.0.1", str(primary.port))
        deadline = asyncio.get_running_loop().time() + _START_TIMEOUT_S
        while (await self.info()).get("master_link_status") != "up":
            if asyncio.get_running_loop().time() > deadline:
                raise SandboxError(
                    f"expected the replica on port {self.port} to follow port {primary.port}, it does not"
                )
            await asyncio.sleep(0.05)
        self.status = AVAILABLE

    async def info(self) -> Mapping[str, Any]:
        """What Valkey's INFO says; nothing when it does not answer."""
        with contextlib.suppress(ValkeyError, OSError):
            async with self._client() as client:
                answer: Mapping[str, Any] = await client.info()
                return answer
        return {}

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)

    async def close(self) -> None:
        self.kill()
        await self._gone()
        self._held.release()

    async def _gone(self) -> None:
        if self._process is not None:
            await self._process.wait()

    async def _answers(self) -> bool:
        with contextlib.suppress(ValkeyError, OSError):
            async with self._client() as client:
                return bool(await client.ping())
        return False

    def _client(self) -> Valkey:
        return Valkey(
            host="127.0.0.1",
            port=self.port,
            username=_OURSELVES,
            password=self._way_in.own_user,
            socket_timeout=_START_TIMEOUT_S,
        )


class _WayIn:
    """The ports of a group's endpoints, and the passwords that its nodes ask for."""

    def __init__(self) -> None:
        self.primary, self.reader = HeldPort(), HeldPort()
        self.own_user = secrets.token_urlsafe(24)
        self._own = secrets.token_urlsafe(24)
        self._passwords: tuple[str, ...] = (self._own,)

    def let_in(self, group: CacheGroup) -> bool:
        """Let in who knows a token of the group, or else our own password; whether this is new."""
        before = self._passwords
        self._passwords = group.tokens if group.tokens and not group.optional else (*group.tokens, self._own)
        return self._passwords != before

    def host(self, *, own: bool | None = None) -> str:
        """How a URL begins behind its scheme; by default with our own password where that lets in."""
        carries = self._own in self._passwords if own is None else own
        return f":{self._own}@127.0.0.1" if carries else "127.0.0.1"

    def hashes(self) -> tuple[str, ...]:
        """As rules of an ACL; https://valkey.io/topics/acl/"""
        return tuple("#" + hashlib.sha256(password.encode()).hexdigest() for password in self._passwords)

    def configuration(self) -> str:
        """What a node is told in its file."""
        own_user = hashlib.sha256(self.own_user.encode()).hexdigest()
        return (
            f"user default on {' '.join(self.hashes())} ~* &* +@all\n"
            f"user {_OURSELVES} on #{own_user} ~* &* +@all\n"
            f"masteruser {_OURSELVES}\nmasterauth {self.own_user}\n"
        )

    def release(self) -> None:
        self.primary.release()
        self.reader.release()


class _Group:
    def __init__(
        self,
        group: CacheGroup,
        directory: Path,
        way_in: _WayIn,
        programs: Programs,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._changed = changed
        self._way_in = way_in
        self._way_in.let_in(group)
        self._nodes = {name: _Node(directory / name, programs, way_in) for name in group.nodes}
        self._primary = group.nodes[0]
        self._relay = _Relay(way_in.primary.port, lambda: self._nodes[self._primary].port)
        self._reader = _Relay(way_in.reader.port, lambda: self._nodes[self._to_read()].port)
        self._changes: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await asyncio.gather(*(node.start() for node in self._nodes.values()))
        primary = self._nodes[self._primary]
        await primary.lead()
        await asyncio.gather(*(node.follow(primary) for node in self._nodes.values() if node is not primary))
        await self._relay.start()
        await self._reader.start()

    async def let_in(self, group: CacheGroup) -> None:
        """Ask for other tokens from now on."""
        if self._way_in.let_in(group):
            await asyncio.gather(*(node.let_in() for node in self._nodes.values()))

    def view(self) -> GroupView:
        return GroupView(
            host=self._way_in.host(),
            endpoint=("127.0.0.1", self._way_in.primary.port),
            reader=("127.0.0.1", self._way_in.reader.port),
            primary=self._primary,
            nodes={name: node.status for name, node in self._nodes.items()},
            ports={name: node.port for name, node in self._nodes.items()},
        )

    def pids(self) -> dict[str, int]:
        return {name: node.pid for name, node in self._nodes.items() if node.pid is not None}

    def fail_over(self) -> None:
        if not self._replicas():
            raise SandboxError("expected a replica that is available to fail over to, found none")
        failed = self._primary
        self._lose(failed, CREATING)
        self._in_background(self._promote(), self._come_back(failed, REBUILD_S))

    def replace_the_dead(self) -> None:
        for name in [name for name, node in self._nodes.items() if node.is_dead]:
            self._lose(name, CREATING)
            if name == self._primary and self._replicas():
                self._in_background(self._promote())
            self._in_background(self._come_back(name, REBUILD_S))

    def reboot(self, name: str) -> bool:
        if name not in self._nodes:
            return False
        # A reboot is no failover: the primary stays the primary, and comes back empty.
        self._lose(name, REBOOTING)
        self._in_background(self._come_back(name, REBOOT_S))
        return True

    async def info(self) -> dict[str, Mapping[str, Any]]:
        return {name: await node.info() for name, node in self._nodes.items() if node.status == AVAILABLE}

    async def close(self) -> None:
        for change in self._changes:
            change.cancel()
        await asyncio.gather(*self._changes, return_exceptions=True)
        await self._relay.close()
        await self._reader.close()
        self._way_in.release()
        for node in self._nodes.values():
            await node.close()

    def _lose(self, name: str, status: str) -> None:
        node = self._nodes[name]
        node.status = status
        node.kill()
        if name == self._primary:
            self._relay.cut()
        self._reader.cut()
        self._changed()

    async def _promote(self) -> None:
        await asyncio.sleep(self._clock.wall(PROMOTION_S))
        name = self._replicas()[0]
        await self._nodes[name].lead()
        self._primary = name
        self._changed()
        await asyncio.gather(*(self._nodes[other].follow(self._nodes[name]) for other in self._replicas()))

    async def _come_back(self, name: str, after_s: float) -> None:
        await asyncio.sleep(self._clock.wall(after_s))
        node = self._nodes[name]
        await node.start()
        if name == self._primary:
            # Its replicas find it again by themselves: it has kept its address.
            await node.lead()
        else:
            await node.follow(self._nodes[self._primary])
        self._changed()

    def _to_read(self) -> str:
        return next(iter(self._replicas()), self._primary)

    def _replicas(self) -> list[str]:
        return [name for name, node in self._nodes.items() if name != self._primary and node.status == AVAILABLE]

    def _in_background(self, *changes: Coroutine[None, None, None]) -> None:
        for change in changes:
            task = asyncio.create_task(change)
            self._changes.add(task)
            task.add_done_callback(self._changes.discard)


class _Relay:
    """Passes bytes between clients and the node that `port_now` names when they connect."""

    def __init__(self, port: int, port_now: Callable[[], int]) -> None:
        self._port = port
        self._port_now = port_now
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)

    def cut(self) -> None:
        """Break every connection, as a node that dies does."""
        for writer in self._open:
            writer.transport.abort()

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        self._open.add(answers)
        try:
            node, commands = await asyncio.open_connection("127.0.0.1", self._port_now())
        except OSError:
            answers.transport.abort()
        else:
            self._open.add(commands)
            await asyncio.gather(_pass(client, commands), _pass(node, answers))
            self._open.discard(commands)
        finally:
            self._open.discard(answers)


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_PIECE):
            sink.write(piece)
            await sink.drain()
    sink.close()
