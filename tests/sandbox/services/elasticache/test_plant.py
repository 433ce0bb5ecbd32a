"""Replication groups of real Valkey: what a client sees through failover and reboot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
from valkey import Valkey
from valkey.exceptions import ValkeyError

from tocsin.errors import SandboxError
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.parts.embedded import EMBEDDED
from tocsin.sandbox.parts.programs import Parts
from tocsin.sandbox.parts.supervise import processes
from tocsin.sandbox.services.elasticache.plant import (
    AVAILABLE,
    CREATING,
    REBOOTING,
    CacheGroup,
    ElastiCachePlant,
    GroupView,
)

GROUP = CacheGroup("orders", ("orders-001", "orders-002"))
SCALE = 20
"""Nobody answers for a second before a replica takes over, and for three while a node reboots: time to look."""


class Sink:
    def __init__(self) -> None:
        self.values: dict[tuple[str, str], float] = {}

    def put(self, namespace: str, name: str, dimensions: Mapping[str, str], value: float, unit: str = "None") -> None:
        self.values[name, dimensions["CacheClusterId"]] = value


def on_a_plant(
    directory: Path, test: Callable[[ElastiCachePlant, Sink], Awaitable[None]], parts: Parts = EMBEDDED
) -> None:
    async def run() -> None:
        sink = Sink()
        plant = ElastiCachePlant(directory / "elasticache", directory, Clock(SCALE), sink, parts=parts)
        try:
            await plant.reconcile([GROUP])
            await test(plant, sink)
        finally:
            await plant.close()

    asyncio.run(run())
    assert processes(directory) == []
    assert not (directory / "elasticache").exists()


def view(plant: ElastiCachePlant) -> GroupView:
    return plant.views()["orders"]


async def call(plant: ElastiCachePlant, command: str, *words: str) -> object:
    """One command through the primary endpoint; None when there is no answer."""
    url = f"redis://{view(plant).host}:{view(plant).endpoint[1]}"

    def send() -> object:
        with Valkey.from_url(url, decode_responses=True, socket_timeout=60) as client:
            return client.execute_command(command, *words)

    try:
        return await asyncio.to_thread(send)
    except ValkeyError:
        return None


async def until(seen: Callable[[], bool]) -> None:
    while not seen():
        await asyncio.sleep(0.02)


def test_a_replica_takes_over_with_everything_and_the_endpoint_stays(tmp_path: Path) -> None:
    async def test(plant: ElastiCachePlant, sink: Sink) -> None:
        before = view(plant)
        await call(plant, "SET", "a", "1")
        await call(plant, "WAIT", "1", "60000")
        plant.fail_over("orders")
        assert view(plant).nodes == {"orders-001": CREATING, "orders-002": AVAILABLE}
        assert await call(plant, "GET", "a") is None
        await until(lambda: view(plant).primary == "orders-002")
        assert (await call(plant, "GET", "a"), await call(plant, "SET", "b", "2")) == ("1", True)
        assert view(plant).endpoint == before.endpoint
        await until(lambda: set(view(plant).nodes.values()) == {AVAILABLE})
        assert await call(plant, "WAIT", "1", "60000") == 1
        await plant.publish()
        assert (sink.values["IsPrimary", "orders-001"], sink.values["IsPrimary", "orders-002"]) == (0.0, 1.0)

    on_a_plant(tmp_path, test)


def test_a_reboot_of_every_node_is_an_outage_and_loses_everything(tmp_path: Path) -> None:
    async def test(plant: ElastiCachePlant, sink: Sink) -> None:
        await call(plant, "SET", "a", "1")
        assert all(plant.reboot(node) for node in GROUP.nodes)
        assert set(view(plant).nodes.values()) == {REBOOTING}
        assert await call(plant, "PING") is None
        await until(lambda: set(view(plant).nodes.values()) == {AVAILABLE})
        assert (await call(plant, "PING"), await call(plant, "GET", "a")) == (True, None)
        assert view(plant).primary == "orders-001"

    on_a_plant(tmp_path, test)


def refusal(port: int, *words: str, **login: str) -> str:
    """How Valkey refuses a command; `let in` when it does not."""
    try:
        with Valkey(host="127.0.0.1", port=port, socket_timeout=60, **login) as client:
            client.execute_command(*(words or ("PING",)))
    except ValkeyError as error:
        return str(error)
    return "let in"


def own_password(plant: ElastiCachePlant) -> str:
    return view(plant).host.removesuffix("@127.0.0.1").removeprefix(":")


def test_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    async def test(plant: ElastiCachePlant, sink: Sink) -> None:
        seen = view(plant)
        password = own_password(plant)
        assert len(password) >= 32
        for port in (seen.endpoint[1], seen.reader[1], *seen.ports.values()):
            for words in (("PING",), ("INFO",), ("REPLICAOF", "NO", "ONE"), ("CONFIG", "GET", "masterauth")):
                assert "Authentication required" in await asyncio.to_thread(refusal, port, *words)
            for login in ({"password": "redis"}, {"username": "tocsin", "password": password}):
                refused = await asyncio.to_thread(partial(refusal, port, **login))
                assert "invalid username-password pair" in refused
            assert await asyncio.to_thread(partial(refusal, port, password=password)) == "let in"
        for pid in plant.pids():
            assert password not in " ".join(psutil.Process(pid).cmdline()), "everybody can read a command line"
        files = [path for path in (tmp_path / "elasticache").rglob("*") if path.is_file()]
        assert "valkey.log" in {path.name for path in files}
        assert "valkey.conf" not in {path.name for path in files}
        assert not any(password.encode() in path.read_bytes() for path in files)

    on_a_plant(tmp_path, test)


def test_tokens_of_a_group_let_in_and_are_exchanged(tmp_path: Path) -> None:
    """ROTATE, then SET, then DELETE: https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/auth.html"""
    old, new = "not-a-secret-the-old-one", "not-a-secret-the-new-one"

    async def let_in(plant: ElastiCachePlant) -> list[bool]:
        own = own_password(plant) if "@" in view(plant).host else "none"
        ports = [view(plant).endpoint[1], *view(plant).ports.values()]
        found = []
        for password in (old, new, own):
            answers = {await asyncio.to_thread(partial(refusal, port, password=password)) for port in ports}
            found.append(answers == {"let in"})
        return found

    async def test(plant: ElastiCachePlant, sink: Sink) -> None:
        assert await let_in(plant) == [False, False, True]
        for tokens, optional, expected in (
            ((old,), True, [True, False, True]),
            ((old,), False, [True, False, False]),
            ((old, new), False, [True, True, False]),
            ((new,), False, [False, True, False]),
            ((), False, [False, False, True]),
        ):
            await plant.reconcile([replace(GROUP, tokens=tokens, optional=optional)])
            assert await let_in(plant) == expected
        await plant.reconcile([replace(GROUP, tokens=(new,))])
        assert plant.reboot("orders-002")
        await until(lambda: set(view(plant).nodes.values()) == {AVAILABLE})
        assert await let_in(plant) == [False, True, False], "also those that were away"

    on_a_plant(tmp_path, test)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    async def test(plant: ElastiCachePlant, sink: Sink) -> None:
        assert not plant.reboot("other-001")
        with pytest.raises(SandboxError, match="expected a replication group 'other'"):
            plant.fail_over("other")

    on_a_plant(tmp_path, test)
