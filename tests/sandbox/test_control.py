"""The sandbox comes up whole or not at all, and goes away without a trace, whoever dies first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.project.proxy import running_proxy

from tocsin.errors import InvalidInput, SandboxError
from tocsin.sandbox import control
from tocsin.sandbox.parts import supervise

DEPLOYMENTS = {
    "small": """
def deploy(account):
    account.client("sqs").create_queue(QueueName="small")
    account.client("apigatewayv2").create_api(Name="small", ProtocolType="HTTP")
""",
    "other": """
def deploy(account):
    account.client("sqs").create_queue(QueueName="other")
""",
    "tasks": """
from pathlib import Path

def deploy(account):
    account.register_image("idle:1", Path(__file__).parent)
    ecs = account.client("ecs")
    ecs.create_cluster(clusterName="tasks")
    container = {"name": "idle", "image": "idle:1", "command": ["python", "-c", "import time; time.sleep(600)"]}
    ecs.register_task_definition(family="idle", containerDefinitions=[container])
    ecs.create_service(cluster="tasks", serviceName="idle", taskDefinition="idle", desiredCount=1)
""",
    "failing": """
def deploy(account):
    account.client("sqs").create_queue(QueueName="half")
    raise RuntimeError("the template has a hole")
""",
    "endless": """
import sys, time

def deploy(account):
    sys.stdout.write(account.endpoint_url + "\\n")
    sys.stdout.flush()
    time.sleep(600)
""",
}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A checkout with these replicas and nothing else."""
    for name, code in DEPLOYMENTS.items():
        replica = tmp_path / "replicas" / name
        replica.mkdir(parents=True)
        (replica / "deploy.py").write_text(code)
    yield tmp_path
    control.down(tmp_path)


def starter(root: Path, system: str) -> list[str]:
    """A command that starts a sandbox from a process of its own."""
    code = f"from pathlib import Path; from tocsin.sandbox import control; control.up({system!r}, Path({str(root)!r}))"
    return [sys.executable, "-c", code]


def eventually(look: Callable[[], bool], timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while not look() and time.monotonic() < deadline:
        time.sleep(0.02)
    return look()


def traces(root: Path) -> list[str]:
    """What is left of a sandbox: processes and files."""
    home = control.directory(root)
    processes = [f"process {process.pid}" for process in supervise.processes(home)]
    return processes + ([str(home)] if home.exists() else [])


def task_processes(root: Path) -> list[int]:
    """Process ids of the ECS tasks of a running sandbox."""
    shown = control.status(root)
    return [part.pid for part in shown.parts if part.pid and part.name.startswith("task ")] if shown else []


def kill_daemon(root: Path, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: control.status(root) is None)


def test_a_sandbox_starts_beside_a_proxy_and_asks_it_for_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_proxy() as proxy:
        for name, value in {**proxy.environment, "NO_PROXY": "", "no_proxy": ""}.items():
            monkeypatch.setenv(name, value)
        state = control.up("other", root)
        assert state.account.client("sqs").list_queues()["QueueUrls"]
        assert control.down(root).was_running
    assert proxy.asked == []


def test_what_is_up_goes_down_without_a_trace(root: Path) -> None:
    steps: list[str] = []
    state = control.up("small", root, progress=steps.append)
    shown = control.status(root)

    assert steps[-1] == "ready"
    assert shown is not None
    assert shown.systems == ("small",)
    assert {"daemon", "lambda", "AWS", "HTTP"} <= {part.name.split()[0] for part in shown.parts}
    assert 0 < shown.pss_bytes <= shown.rss_bytes

    ports = [part.port for part in shown.parts if part.port]
    sockets = supervise.listeners(supervise.processes(control.directory(root)))
    report = control.down(root)
    assert report.was_running
    assert set(ports) <= set(report.ports_closed)
    assert supervise.wait_until_closed(sockets, 0) == []
    assert state.pid not in [one.pid for one in psutil.process_iter(["status"]) if one.info["status"] != "zombie"]
    assert traces(root) == []
    assert control.status(root) is None
    assert not control.down(root).was_running


def test_a_killed_daemon_leaves_nothing_that_down_does_not_find(root: Path) -> None:
    state = control.up("tasks", root)
    assert eventually(lambda: bool(task_processes(root)))
    tasks = task_processes(root)
    kill_daemon(root, state.pid)
    assert set(tasks) <= {process.pid for process in supervise.processes(control.directory(root))}
    control.down(root)
    assert traces(root) == []


def test_after_a_crash_up_starts_on_clean_ground(root: Path) -> None:
    first = control.up("small", root)
    kill_daemon(root, first.pid)
    second = control.up("other", root)

    assert second.systems == ("other",)
    (url,) = second.account.client("sqs").list_queues()["QueueUrls"]
    assert url.endswith("/other")


def test_a_sandbox_whose_starter_is_killed_half_way_ends_by_itself(root: Path) -> None:
    with subprocess.Popen(starter(root, "endless"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        assert traces(root)
        process.kill()

    home = control.directory(root)
    assert eventually(lambda: not supervise.processes(home))
    control.down(root)
    assert traces(root) == []


def test_a_failed_deployment_says_why_and_leaves_nothing(root: Path) -> None:
    with pytest.raises(SandboxError, match="the template has a hole"):
        control.up("failing", root)
    assert traces(root) == []


def test_a_second_system_joins_and_a_second_up_is_welcome(root: Path) -> None:
    first = control.up("other", root)
    again = control.up("other", root)
    both = control.up("small", root)

    assert again.pid == both.pid == first.pid
    assert both.systems == ("other", "small")
    with pytest.raises(SandboxError, match="the template has a hole"):
        control.up("failing", root)
    assert control.status(root) is not None
    with pytest.raises(SandboxError, match="time scale 10, found 60"):
        control.up("small", root, time_scale=10)


def test_an_unknown_replica_or_time_scale_is_refused_before_anything_starts(root: Path) -> None:
    with pytest.raises(InvalidInput, match="Did you mean 'small'"):
        control.up("smal", root)
    with pytest.raises(InvalidInput, match="time scale above 0"):
        control.up("small", root, time_scale=-1)
    assert traces(root) == []


def test_the_caller_of_up_gets_its_pipe_back(root: Path) -> None:
    """A daemon that kept the caller's output open would make a CI step hang that is already over."""
    done = subprocess.run(starter(root, "other"), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert control.status(root) is not None


def test_a_missing_extra_is_named() -> None:
    with pytest.raises(SandboxError, match=r"none named not_there\. Install Tocsin with its extra"):
        control.check_installed(["json", "not_there"])
    control.check_installed()
