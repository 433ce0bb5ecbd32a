"""Two who start at once: who is first has the target and its sandbox; who did not start it stops nothing.

Stand-ins for the sandbox's processes: here it is about who may start and stop it, and when.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from tests.root.place import place

from tocsin.commands import session
from tocsin.commands.session import new_directory, running_target, the_only_run
from tocsin.drill.options import RunOptions
from tocsin.errors import InvalidInput, Refused
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Ledger
from tocsin.sandbox import control
from tocsin.sandbox.control import SandboxState
from tocsin.sandbox.drill_user import AccessKey
from tocsin.sandbox.parts import supervise


@dataclass
class Sandbox:
    """What `control` would do with processes, in memory."""

    systems: tuple[str, ...] = ()
    starter: str | None = None
    done: list[str] = field(default_factory=list)

    def status(self, root: Path) -> Any:
        return None if self.starter is None else SimpleNamespace(systems=self.systems, time_scale=60.0, parts_from="x")

    def up(self, system: str, root: Path, **options: Any) -> None:
        self.done.append(f"up {system}")
        self.starter = options["starter"] if self.starter is None else self.starter
        self.systems = (*self.systems, system)

    def down(self, root: Path, starter: str | None = None) -> None:
        if starter in (None, self.starter):
            self.done.append("down")
            self.systems, self.starter = (), None


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    found = Sandbox()
    for name in ("status", "up", "down"):
        monkeypatch.setattr(control, name, getattr(found, name))
    monkeypatch.setattr(session, "load_target", lambda root, name: name)
    monkeypatch.setattr(session, "_learn_its_secrets", lambda options: None)
    return found


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return RunOptions(root=tmp_path)


def test_who_starts_a_sandbox_stops_it(sandbox: Sandbox, options: RunOptions) -> None:
    with running_target({"shop", "till"}, options):
        assert sandbox.systems == ("shop", "till")
    assert sandbox.done == ["up shop", "up till", "down"]


def test_who_only_added_a_system_stops_nothing(sandbox: Sandbox, options: RunOptions) -> None:
    sandbox.up("shop", options.root, starter="")
    with running_target({"shop", "till"}, options):
        pass
    assert sandbox.done == ["up shop", "up till"]


def test_a_sandbox_that_somebody_started_meanwhile_is_not_stopped(
    sandbox: Sandbox, options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tocsin sandbox up` is faster by a moment: ours is added to theirs."""
    up = sandbox.up

    def slower(system: str, root: Path, **asked: Any) -> None:
        if not sandbox.systems:
            up("shop", root, starter="")
        up(system, root, **asked)

    monkeypatch.setattr(control, "up", slower)
    with running_target({"till"}, options):
        pass
    assert sandbox.done == ["up shop", "up till"]


def test_the_sandbox_of_another_starter_goes_on(tmp_path: Path) -> None:
    home = control.directory(tmp_path)
    home.mkdir(parents=True)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, env=supervise.marked(home)) as daemon:
        state = SandboxState(
            pid=daemon.pid,
            created=psutil.Process(daemon.pid).create_time(),
            endpoint_url="http://127.0.0.1:9",
            region="eu-west-1",
            account_id="123456789012",
            time_scale=60,
            systems=("shop",),
            started_at=datetime.now(UTC),
            root=AccessKey(access_key_id="123456789012", secret_access_key="not-a-secret"),
            token="not-a-token",
            starter="theirs",
        )
        (home / "state.json").write_text(state.model_dump_json())
        assert not control.down(tmp_path, "mine").was_running
        assert control.status(tmp_path) is not None
        assert control.down(tmp_path, "theirs").was_running
        assert daemon.wait(60) == -signal.SIGTERM


def test_a_second_run_is_refused_before_it_starts_or_adds_anything(sandbox: Sandbox, options: RunOptions) -> None:
    with the_only_run(options, "tocsin run"), running_target({"shop"}, options, alone=True):
        with pytest.raises(Refused, match=r"in use by tocsin run \(process"), the_only_run(options, "tocsin run"):
            pytest.fail("two runs on one target")
        with pytest.raises(Refused, match="in use by"), running_target({"till"}, options):
            pytest.fail("a system was added beside a run")
        assert sandbox.done == ["up shop"]
    assert sandbox.done == ["up shop", "down"]


@pytest.mark.drill
def test_of_two_real_runs_the_first_ends_undisturbed() -> None:
    with place() as here:
        command = [sys.executable, "-m", "tocsin.cli", "run", "nothing.yaml", "--time-scale", "120", "--try-again"]
        both = [
            subprocess.Popen(command, cwd=here.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        answers = {process.returncode: told for process in both for told in [process.communicate(timeout=240)]}
        assert 4 in answers
        assert "in use by tocsin run (process" in answers.pop(4)[1]
        ((printed, complaints),) = answers.values()
        assert "verdict " in printed, printed + complaints
        assert "stopped by" not in printed
        assert len([*(here.root / ".tocsin" / "runs").iterdir()]) == 1
        assert control.status(here.root) is None


def test_a_look_at_what_is_there_goes_on_beside_a_run(sandbox: Sandbox, options: RunOptions) -> None:
    with the_only_run(options, "tocsin run"), running_target({"shop"}, options, alone=True):
        with running_target({"shop"}, options) as target:
            assert target == "sandbox"
        assert sandbox.done == ["up shop"]


def test_a_run_that_waits_between_drills_keeps_nobody_from_recovering(options: RunOptions) -> None:
    with (
        the_only_run(options, "tocsin run"),
        closing(Ledger(ledger_path(options.root, "sandbox"), "sandbox")) as ledger,
        ledger.lock("tocsin recover"),
    ):
        pass


def test_runs_of_one_second_have_a_directory_each(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.time, "strftime", lambda _: "20261129-170000")
    made: list[Path] = []
    begin = threading.Barrier(8)

    def run() -> None:
        begin.wait(60)
        made.append(new_directory(options))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({*made}) == 8
    assert {out.name for out in made} == {"20261129-170000", *(f"20261129-170000-{n}" for n in range(2, 9))}


def test_where_no_directory_can_be_made_it_is_said(options: RunOptions) -> None:
    (options.root / ".tocsin").write_text("")
    with pytest.raises(InvalidInput, match="expected to create this directory: Not a directory"):
        new_directory(options)
