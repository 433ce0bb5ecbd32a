"""Replication groups of real Valkey: what a client sees through failover and reboot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from valkey import Valkey
from valkey.exceptions import ValkeyError

from tocsin.errors import SandboxError
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.elasticache import AVAILABLE, CREATING, REBOOTING, CacheGroup, ElastiCachePlant, GroupView
from tocsin.sandbox.embedded_parts import EMBEDDED
from tocsin.sandbox.parts import Parts
from tocsin.sandbox.supervise import processes

GROUP = CacheGroup("orders", ("orders-001", "orders-002"))


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
        plant = ElastiCachePlant(directory / "elasticache", directory, Clock(240), sink, parts=parts)
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
    host, port = view(plant).endpoint

    def send() -> object:
        with Valkey(host=host, port=port, decode_responses=True, socket_timeout=1) as client:
            return client.execute_command(command, *words)

    try:
        return await asyncio.to_thread(send)
    except ValkeyError:
        return None


async def until(seen: Callable[[], bool]) -> None:
    while not seen():
        await asyncio.sleep(0.02)


@pytest.mark.timeout(30)
def test_a_replica_takes_over_with_everything_and_the_endpoint_stays(tmp_path: Path) -> None:
    async def test(plant: ElastiCachePlant, sink: Sink) -> None:
        before = view(plant)
        await call(plant, "SET", "a", "1")
        await call(plant, "WAIT", "1", "1000")
        plant.fail_over("orders")
        assert view(plant).nodes == {"orders-001": CREATING, "orders-002": AVAILABLE}
        assert await call(plant, "GET", "a") is None
        await until(lambda: view(plant).primary == "orders-002")
        assert (await call(plant, "GET", "a"), await call(plant, "SET", "b", "2")) == ("1", True)
        assert view(plant).endpoint == before.endpoint
        await until(lambda: set(view(plant).nodes.values()) == {AVAILABLE})
        assert await call(plant, "WAIT", "1", "2000") == 1
        await plant.publish()
        assert (sink.values["IsPrimary", "orders-001"], sink.values["IsPrimary", "orders-002"]) == (0.0, 1.0)

    on_a_plant(tmp_path, test)


@pytest.mark.timeout(30)
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


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    async def test(plant: ElastiCachePlant, sink: Sink) -> None:
        assert not plant.reboot("other-001")
        with pytest.raises(SandboxError, match="expected a replication group 'other'"):
            plant.fail_over("other")

    on_a_plant(tmp_path, test)
