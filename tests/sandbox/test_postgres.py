"""The PostgreSQL server of a DB instance: it starts as anybody, serves, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pg8000.native
import psutil
import pytest

from tocsin.errors import SandboxError
from tocsin.sandbox import postgres
from tocsin.sandbox.postgres import PostgresServer

PROGRAM = """
import asyncio, sys
from pathlib import Path
from tocsin.sandbox.postgres import PostgresServer

async def main():
    server = await PostgresServer.start(
        Path(sys.argv[1]), superuser="owner", database="app", max_connections=20)
    print(server.port, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def rows(server: PostgresServer, sql: str) -> list[list[object]]:
    with pg8000.native.Connection(
        "owner", host=server.host, port=server.port, database="app", timeout=10
    ) as connection:
        return connection.run(sql)


def servers_of(port: int) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if ["-p", str(port)] == _cmdline(process)[3:5]]


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_serves_the_database_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> tuple[int, object, int]:
        server = await PostgresServer.start(tmp_path / "db", superuser="owner", database="app", max_connections=20)
        try:
            answer = await asyncio.to_thread(
                rows, server, "SELECT current_database(), current_setting('max_connections')"
            )
        finally:
            await server.stop()
        return server.port, answer, server.sample().client_connections

    port, answer, clients = asyncio.run(scenario())
    assert answer == [["app", "20"]]
    assert clients == 0
    assert servers_of(port) == []
    assert list((tmp_path / "db").iterdir()) == []
    assert not any(map(Path.exists, postgres._scratches(tmp_path / "db")))


def test_counts_its_clients(tmp_path: Path) -> None:
    async def clients(server: PostgresServer, expected: int) -> None:
        async with asyncio.timeout(10):
            while server.sample().client_connections != expected:
                await asyncio.sleep(0.01)

    async def scenario() -> None:
        server = await PostgresServer.start(tmp_path / "db", superuser="owner", database="app", max_connections=20)
        try:
            await clients(server, 0)
            connection = await asyncio.to_thread(
                pg8000.native.Connection, "owner", host=server.host, port=server.port, database="app"
            )
            await clients(server, 1)
            await asyncio.to_thread(connection.close)
            await clients(server, 0)
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_says_what_postgresql_said_when_it_does_not_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        await PostgresServer.start(tmp_path / "db", superuser="owner", database=None, max_connections=0)

    with pytest.raises(SandboxError, match="max_connections"):
        asyncio.run(scenario())
    assert list((tmp_path / "db").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_dies_with_its_parent_and_the_residue_can_be_removed(tmp_path: Path) -> None:
    home = tmp_path / "db"
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM, str(home)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    (server,) = servers_of(port)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    server.wait(timeout=20)
    postgres.remove_residue(home)
    assert list(home.iterdir()) == []
    assert not any(map(Path.exists, postgres._scratches(home)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_may_keep_its_home_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "closed" / "db"
    home.mkdir(parents=True)
    home.parent.chmod(0o700)
    # As in a sandbox: temporary files belong into its (closed) directory too.
    monkeypatch.setattr(tempfile, "tempdir", str(home.parent))

    async def scenario() -> object:
        server = await PostgresServer.start(home, superuser="owner", database="app", max_connections=20)
        try:
            return await asyncio.to_thread(rows, server, "SELECT 1")
        finally:
            await server.stop()

    assert asyncio.run(scenario()) == [[1]]
    assert not any(map(Path.exists, postgres._scratches(home)))
