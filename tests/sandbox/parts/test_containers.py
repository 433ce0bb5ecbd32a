"""Containers in place of the embedded parts: the same servers, and nothing left; without Docker one clear refusal.

The tests that start containers are skipped, with the reason, where no Docker answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pg8000.native
import psutil
import pytest
from click.testing import CliRunner
from tests.sandbox.services.elasticache.test_plant import call, on_a_plant, until, view
from tests.secret_scan import watched

from tocsin.cli import main
from tocsin.errors import InvalidInput, SandboxError, TocsinError
from tocsin.model.verdict import RunVerdict
from tocsin.sandbox import control
from tocsin.sandbox.parts import containers as container_parts
from tocsin.sandbox.parts import supervise
from tocsin.sandbox.parts.containers import ContainerParts, ContainerProcess, find_docker
from tocsin.sandbox.prometheus.promtool import RuleEngine
from tocsin.sandbox.services.elasticache.plant import AVAILABLE
from tocsin.sandbox.services.rds.postgres import Master, PostgresServer

ROOT = Path(__file__).parents[3]
CONTENT = ("contracts", "experiments", "loadtests", "replicas", "synthetics", "systems")

# ------------------------------------------------------------------------------------------------ without Docker


@pytest.fixture
def no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    where = f"unix://{tmp_path}/nobody.sock"
    monkeypatch.setenv("DOCKER_HOST", where)
    return where


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that looks like the repository."""
    for name in CONTENT:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tocsin.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [("sandbox", "up", "clocked"), ("run", "experiments"), ("smoke", "clocked")])
def test_without_docker_there_is_one_message_and_nothing_is_started(
    command: tuple[str, ...], checkout: Path, no_docker: str
) -> None:
    answer = CliRunner().invoke(main, [*command, "--parts", "containers"])
    assert answer.exit_code == InvalidInput.exit_code
    assert "Traceback" not in answer.output
    assert f"expected Docker for `--parts containers`, found none that answers at {no_docker}" in answer.output
    assert "leave out `--parts containers`" in answer.output
    assert control.status(checkout) is None
    assert not control.directory(checkout).exists()


def test_without_testcontainers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_parts.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"pip install 'tocsin\[containers\]'"):
        find_docker()


def test_containers_that_cannot_be_removed_are_not_forgotten(tmp_path: Path, no_docker: str) -> None:
    assert container_parts.remove_residue(tmp_path) == 0, "a sandbox without containers asks no Docker"
    ContainerParts(tmp_path)
    with pytest.raises(SandboxError, match=r"expected to remove the containers of .*nobody\.sock"):
        container_parts.remove_residue(tmp_path)


class Docker:
    """What a Docker says of itself."""

    def __init__(self) -> None:
        self.info: dict[str, Any] = {"Name": socket.gethostname(), "ServerVersion": "28.2.2", "SecurityOptions": None}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Docker]:
    docker = Docker()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = docker.info if self.path.endswith("/info") else {"ApiVersion": "1.44"}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")
        yield docker
        server.shutdown()
        thread.join()


def test_a_docker_of_this_machine_is_taken(told: Docker) -> None:
    assert find_docker() == "28.2.2"


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (
            {"Name": "docker-desktop"},
            "expected the Docker of this machine .* found at tcp://.* that of 'docker-desktop'",
        ),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"]}, "expected a Docker that runs as root .* rootless"),
    ],
)
def test_a_docker_whose_containers_are_elsewhere_is_refused(told: Docker, info: dict[str, Any], message: str) -> None:
    told.info |= info
    with pytest.raises(InvalidInput, match=message):
        find_docker()


@pytest.mark.skipif(sys.platform != "linux", reason="handles of processes that are no children are Linux's")
def test_a_process_that_is_no_child_is_signalled_and_waited_for() -> None:
    async def scenario() -> None:
        over = ContainerProcess(0)
        assert (over.returncode, await over.wait()) == (-1, -1)
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as program:
            process = ContainerProcess(program.pid)
            assert process.returncode is None
            process.send_signal(signal.SIGTERM)
            assert await asyncio.gather(process.wait(), process.wait()) == [-1, -1]
        assert process.returncode == -1
        with pytest.raises(ProcessLookupError):
            process.send_signal(signal.SIGTERM)

    asyncio.run(asyncio.wait_for(scenario(), 120))


# ------------------------------------------------------------------------------------------------ with Docker


OWNER = Master("owner", "not-a-secret")


@pytest.fixture(scope="session")
def docker() -> None:
    try:
        container_parts.prepare(lambda _: None)
    except TocsinError as error:
        pytest.skip(str(error))


@pytest.fixture
def parts(docker: None, tmp_path: Path) -> Iterator[ContainerParts]:
    yield ContainerParts(tmp_path)
    container_parts.remove_residue(tmp_path)


def rows(server: PostgresServer, sql: str) -> Any:
    with pg8000.native.Connection(
        "owner", host=server.host, port=server.port, database="app", password=OWNER.password, timeout=60
    ) as connection:
        return connection.run(sql)


@pytest.mark.timeout(120)
def test_postgresql_reboots_crashes_and_is_restored(parts: ContainerParts, tmp_path: Path) -> None:
    async def scenario() -> None:
        server = await PostgresServer.start(
            tmp_path / "db", master=OWNER, database="app", max_connections=20, parts=parts
        )
        await asyncio.to_thread(rows, server, "CREATE TABLE kept AS SELECT 42 AS number")
        copy = await server.copy_to(tmp_path / "snapshot")
        await asyncio.to_thread(rows, server, "UPDATE kept SET number = 43")
        await server.halt()
        await server.resume()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await server.ended()
        await server.resume()
        assert await asyncio.to_thread(rows, server, "SELECT number FROM kept") == [[43]]
        restored = await PostgresServer.start(
            tmp_path / "restored", master=OWNER, database="app", max_connections=20, copy=copy, parts=parts
        )
        assert await asyncio.to_thread(rows, restored, "SELECT number FROM kept") == [[42]]
        await asyncio.gather(server.stop(), restored.stop())
        copy.remove()

    asyncio.run(scenario())
    assert supervise.processes(tmp_path) == []


@pytest.mark.timeout(120)
def test_postgresql_that_does_not_start_says_why(parts: ContainerParts, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="max_connections"):
        asyncio.run(PostgresServer.start(tmp_path / "db", master=OWNER, database=None, max_connections=0, parts=parts))


@pytest.mark.timeout(120)
def test_a_replica_of_valkey_takes_over(parts: ContainerParts, tmp_path: Path) -> None:
    async def test(plant: Any, sink: Any) -> None:
        before = view(plant)
        await call(plant, "SET", "order", "1")
        await call(plant, "WAIT", "1", "60000")
        plant.fail_over("orders")
        await until(lambda: view(plant).primary != before.primary)
        assert await call(plant, "GET", "order") == "1"
        await until(lambda: set(view(plant).nodes.values()) == {AVAILABLE})

    on_a_plant(tmp_path, test, parts)


@pytest.mark.timeout(120)
def test_the_rule_engine_of_prometheus_answers(parts: ContainerParts, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("groups: [{name: a, rules: [{alert: Gone, expr: up == 0, for: 30s}]}]")
    engine = RuleEngine(parts.promtool(rules), rules, 15)
    engine.check()
    series = {(("__name__", "up"), ("job", "app")): [1.0, 0.0, 0.0, 0.0]}
    found = engine.evaluate(series, range(4))
    assert [[alert.state for alert in tick] for tick in found] == [[], ["pending"], ["pending"], ["firing"]]
    rules.write_text("groups: [{name: a, rules: [{alert: A, expr: 'rate(x[5m]'}]}]")
    with pytest.raises(SandboxError, match="expected rules that Prometheus can load"):
        engine.check()


@pytest.mark.timeout(200)
def test_a_killed_sandbox_leaves_no_container(docker: None, checkout: Path) -> None:
    state = control.up("clocked", checkout, parts="containers")
    refusal = "expected the running sandbox to have its parts from `--parts embedded`"
    with watched(checkout), pytest.raises(SandboxError, match=refusal):
        control.up("clocked", checkout)
    os.kill(state.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(state.pid)], 60)
    home = control.directory(checkout)
    assert any("valkey-server" in process.name() for process in supervise.processes(home)), "they outlive the daemon"
    control.down(checkout)
    assert supervise.processes(home) == []
    assert not home.exists()


@pytest.mark.drill
@pytest.mark.timeout(1000)
def test_a_backup_is_restored_in_a_drill_on_containers(docker: None, checkout: Path) -> None:
    out = checkout / "out"
    experiment = "experiments/clocked/restore-from-snapshot.yaml"
    asked = ["run", experiment, "--parts", "containers", "--out", str(out), "--try-again"]
    answer = CliRunner().invoke(main, asked)
    assert answer.exit_code == 0, answer.output
    (drill,) = RunVerdict.model_validate_json((out / "verdict.json").read_text()).drills
    assert drill.outcome.value == "pass"
    assert not control.directory(checkout).exists()
