"""The PostgreSQL server of a DB instance: it starts as anybody, serves, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pg8000.native
import psutil
import pytest

from tocsin.errors import SandboxError
from tocsin.sandbox.services.rds import pgwire, postgres
from tocsin.sandbox.services.rds.postgres import SUPERUSER, Master, PostgresServer

OWNER = Master("owner", "not-a-secret-but-long")

PROGRAM = """
import asyncio, sys
from pathlib import Path
from tocsin.sandbox.services.rds.postgres import Master, PostgresServer

async def main():
    server = await PostgresServer.start(
        Path(sys.argv[1]), master=Master("owner", "not-a-secret"), database="app", max_connections=20)
    print(server.port, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def rows(server: PostgresServer, sql: str) -> list[list[object]]:
    with pg8000.native.Connection(
        "owner", host=server.host, port=server.port, database="app", password=OWNER.password, timeout=60
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
        server = await PostgresServer.start(tmp_path / "db", master=OWNER, database="app", max_connections=20)
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


def refusal(server: PostgresServer, user: str, password: str | None) -> str:
    """The SQLSTATE with which a login is refused."""
    with pytest.raises(pg8000.native.DatabaseError) as caught:
        pg8000.native.Connection(
            user, host=server.host, port=server.port, database="postgres", password=password, timeout=60
        )
    return str(caught.value.args[0]["C"])


def asked_for(server: PostgresServer, user: str) -> int:
    """The kind of login that the server wants to see."""
    with socket.create_connection((server.host, server.port), timeout=60) as client:
        client.sendall(pgwire.startup(pgwire.Login(user, "postgres"), "test"))
        kind, code = struct.unpack("!c4xi", client.recv(4096)[:9])
    assert kind == b"R"
    return int(code)


def test_nobody_gets_in_without_the_password(tmp_path: Path) -> None:
    """Whatever user of this machine asks, by whatever way: the superuser, too, and replication."""

    async def scenario() -> None:
        server = await PostgresServer.start(tmp_path / "db", master=OWNER, database="app", max_connections=20)
        try:
            await asyncio.to_thread(look, server)
        finally:
            await server.stop()

    def look(server: PostgresServer) -> None:
        for user in ("owner", SUPERUSER):
            for wrong in ("", "postgres", "password", OWNER.password + "x"):
                assert refusal(server, user, wrong) == "28P01", user
            assert asked_for(server, user) == 10, "SASL, before anything is told"
        assert refusal(server, SUPERUSER, OWNER.password) == "28P01"
        assert rows(server, "SHOW unix_socket_directories") == [[""]]
        assert rows(server, "SHOW listen_addresses") == [["127.0.0.1"]]
        methods = rows(server, "SELECT DISTINCT auth_method FROM pg_hba_file_rules WHERE error IS NULL")
        assert methods == [["scram-sha-256"]], "also for sockets and for replication"
        stored = rows(server, "SELECT rolname FROM pg_authid WHERE rolpassword NOT LIKE 'SCRAM-SHA-256$%'")
        assert stored == []
        for process in psutil.process_iter():
            assert server._password not in " ".join(_cmdline(process)), "everybody can read a command line"
        files = [path for path in (tmp_path / "db").rglob("*") if path.is_file()]
        held = [path for path in files if server._password.encode() in path.read_bytes()]
        assert held == [], "it is in no file"

    asyncio.run(scenario())


def test_the_master_user_gets_another_password(tmp_path: Path) -> None:
    other = Master("owner", "not-a-secret-either")

    async def scenario() -> list[str]:
        server = await PostgresServer.start(tmp_path / "db", master=OWNER, database=None, max_connections=20)
        try:
            await server.set_password(other)
            return [await asyncio.to_thread(refusal, server, "owner", OWNER.password)]
        finally:
            await server.stop()

    assert asyncio.run(scenario()) == ["28P01"]


def test_counts_its_clients(tmp_path: Path) -> None:
    async def clients(server: PostgresServer, expected: int) -> None:
        async with asyncio.timeout(60):
            while server.sample().client_connections != expected:
                await asyncio.sleep(0.01)

    async def scenario() -> None:
        server = await PostgresServer.start(tmp_path / "db", master=OWNER, database="app", max_connections=20)
        try:
            await clients(server, 0)
            connection = await asyncio.to_thread(
                pg8000.native.Connection,
                "owner",
                host=server.host,
                port=server.port,
                database="app",
                password=OWNER.password,
            )
            await clients(server, 1)
            await asyncio.to_thread(connection.close)
            await clients(server, 0)
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_says_what_postgresql_said_when_it_does_not_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        await PostgresServer.start(tmp_path / "db", master=OWNER, database=None, max_connections=0)

    with pytest.raises(SandboxError, match="max_connections"):
        asyncio.run(scenario())
    assert list((tmp_path / "db").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_dies_with_its_parent_and_the_residue_can_be_removed(tmp_path: Path) -> None:
    home = tmp_path / "db"
    parent = subprocess.Popen([sys.executable, "-c", PROGRAM, str(home)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    # What it has forked a moment ago still has its command line, and is younger.
    server = min(servers_of(port), key=lambda one: (one.create_time(), one.pid))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    server.wait(timeout=60)
    postgres.remove_residue(home)
    assert list(home.iterdir()) == []
    assert not any(map(Path.exists, postgres._scratches(home)))
