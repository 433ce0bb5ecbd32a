"""Drills side by side on real sandboxes: verdicts, a machine that was busy, and every way in which a run ends."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import yaml
from tests.planted.bench import PROJECT
from tests.planted.setups import SETUPS, Document

from tocsin.commands.run import FIRST_TRY
from tocsin.model.verdict import RunVerdict, Verdict
from tocsin.project.places import as_worker
from tocsin.project.targets import load_target
from tocsin.sandbox.parts import supervise

pytestmark = [pytest.mark.planted, pytest.mark.takes(30), pytest.mark.timeout(900)]
SCALE = "240"
_PATIENCE_WALL_S = 240.0
_STOPPED_WALL_S = 4.0
"""Sixteen minutes of production time: longer than any deadline of the drill that is stopped."""


@dataclass
class Project:
    """A project with the order desk, and the processes of `tocsin` that work on it."""

    root: Path
    lines: list[str] = field(default_factory=list)
    _begun: list[subprocess.Popen[str]] = field(default_factory=list)
    _readers: list[threading.Thread] = field(default_factory=list)

    def experiment(self, name: str, document: Document) -> None:
        path = self.root / "experiments" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def tocsin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "tocsin.cli", *arguments]
        return subprocess.run(
            command, cwd=self.root, env=_environment(), capture_output=True, text=True, timeout=240, check=False
        )

    def begin(self, *arguments: str, scale: str = SCALE, workers: str = "2") -> subprocess.Popen[str]:
        """Begin a run of all experiments side by side; its lines are read as they come."""
        run = ("run", "experiments", "--parallel", workers, "--time-scale", scale, "--out", "out", *arguments)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tocsin.cli", *run],
            cwd=self.root,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._begun.append(process)
        self._readers.append(threading.Thread(target=self._read, args=(process,), daemon=True))
        self._readers[-1].start()
        return process

    def ended(self, process: subprocess.Popen[str]) -> int:
        """The exit code, when the process has ended and all that it said is read."""
        code = process.wait(_PATIENCE_WALL_S)
        for reader in self._readers:
            reader.join(_PATIENCE_WALL_S)
        return code

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.lines.extend(iter(process.stdout.readline, ""))

    def wait_for(self, what: str, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + _PATIENCE_WALL_S
        while not is_so():
            assert time.monotonic() < deadline, f"expected {what}; found:\n{self.told}"
            time.sleep(0.05)

    def wait_for_line(self, pattern: str) -> None:
        self.wait_for(pattern, lambda: re.search(pattern, self.told))

    @property
    def told(self) -> str:
        return "".join(self.lines)

    @property
    def run(self) -> RunVerdict:
        return RunVerdict.model_validate_json((self.root / "out" / "verdict.json").read_text())

    @property
    def outcomes(self) -> dict[str, str]:
        return {drill.experiment: drill.outcome.value for drill in self.run.drills}

    def worker_of(self, name: str) -> psutil.Process:
        """The process that drills an experiment: the one that has its history open."""
        history = str(self.root / "out" / name / "history.jsonl")
        for process in self.workers():
            if any(file.path == history for file in process.open_files()):
                return process
        raise AssertionError(f"nobody drills {name}")

    def workers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
                if "tocsin.commands.parallel.worker" in line and process.cwd() == str(self.root):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def sandboxes(self) -> list[psutil.Process]:
        places = [self.root / ".tocsin", *self.root.glob(".tocsin/workers/*")]
        return [process for place in places for process in supervise.processes(place / "sandbox")]

    def left(self) -> list[psutil.Process]:
        return [*self.workers(), *self.sandboxes()]

    def close(self) -> None:
        for process in [*self.workers(), *(psutil.Process(one.pid) for one in self._begun if one.poll() is None)]:
            process.kill()
        for process in self._begun:
            process.wait()
        assert self.tocsin("sandbox", "down").returncode == 0


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "AWS_"))}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(PROJECT, tmp_path, dirs_exist_ok=True)
    system = tmp_path / "systems" / "bell.yaml"
    system.write_text(system.read_text().replace("contract: contracts/bell.openapi.yaml\n", ""))
    project = Project(tmp_path)
    try:
        yield project
    finally:
        project.close()


def document(name: str) -> Document:
    return copy.deepcopy(SETUPS[name].document())


def loud() -> Document:
    """An order that nobody can do, of which nobody is to be woken: a bell that rang did so on any machine."""
    found = document("poison")
    found["extensions"][0]["expect"]["must"] = []
    found["extensions"][0]["expect"]["quiet"] = [{"alarm": "dead-letters", "for": "8m"}]
    return found


def test_each_drill_has_its_verdict_and_one_with_a_busy_machine_a_second_try(project: Project) -> None:
    project.experiment("stopped", document("outage"))
    project.experiment("loud", loud())
    process = project.begin()
    project.wait_for_line(r"stopped .*fault lambda_reserved_concurrency accepted")
    stalled = project.worker_of("stopped")
    stalled.suspend()
    time.sleep(_STOPPED_WALL_S)
    stalled.resume()
    code = project.ended(process)
    assert "this machine did not keep up with stopped: once more at the end, alone" in project.told
    first = project.root / "out" / "stopped" / FIRST_TRY
    assert Verdict.model_validate_json((first / "verdict.json").read_text()).outcome.value == "unknown"
    (stopped,) = [drill for drill in project.run.drills if drill.experiment == "stopped"]
    assert "tried_again" in [finding.kind for finding in stopped.findings]
    assert project.outcomes["loud"] == "fail"
    assert code == project.run.exit_code
    plan = json.loads((project.root / "out" / "plan.json").read_text())
    assert [drill["experiment"] for drill in plan["drills"]] == ["stopped", "loud"], "the longest first"
    for name in ("stopped", "loud"):
        assert (project.root / "out" / name / "history.jsonl").exists()
    assert "loud" in (project.root / "out" / "index.html").read_text()
    assert project.left() == []
    assert project.tocsin("report", "out").returncode == code, "judged again from the histories alone"


def test_a_second_try_is_not_refused_for_what_rings_since_the_first(project: Project) -> None:
    """A dead letter stays until somebody takes it out, and its alarm rings as long: nobody can wait for its end."""
    stopped = document("outage")
    stopped["extensions"][0]["expect"]["quiet"].append({"alarm": "dead-letters", "for": "2m"})
    project.experiment("stopped", stopped)
    longer = document("outage")
    longer["extensions"][0]["baseline"] = "40m"  # still drills when the other one is done, so that the bell rings
    project.experiment("longer", longer)
    process = project.begin()
    project.wait_for_line(r"stopped .*fault lambda_reserved_concurrency accepted")
    stalled = project.worker_of("stopped")
    stalled.suspend()
    time.sleep(_STOPPED_WALL_S)
    stalled.resume()
    project.wait_for_line("this machine did not keep up with stopped: once more at the end, alone")
    for name in ("1", "2"):
        with as_worker(name):
            sqs = load_target(project.root, "sandbox").client("sqs")
        url = sqs.get_queue_url(QueueName="bell-orders-dlq")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="{}")
    project.ended(process)
    (second,) = [drill for drill in project.run.drills if drill.experiment == "stopped"]
    assert (project.root / "out" / "stopped" / FIRST_TRY / "verdict.json").exists()
    assert second.stopped is None, project.told
    assert "tried_again" in [finding.kind for finding in second.findings]
    assert project.left() == []


def test_a_worker_that_is_killed_leaves_a_ledger_and_nothing_else(project: Project) -> None:
    killed = document("outage")
    killed["extensions"][0]["fault_for"] = "4h"  # until it is killed, however busy the machine is
    project.experiment("killed", killed)
    project.experiment("other", document("poison"))
    process = project.begin()
    project.wait_for_line(r"killed .*fault lambda_reserved_concurrency accepted")
    project.worker_of("killed").kill()
    assert project.ended(process) == 5, project.told
    assert re.search(r"worker \d was ended by signal 9", project.told)
    assert set(project.outcomes) == {"killed", "other"}
    assert project.run.drills[0].killed
    assert not project.run.drills[1].killed, "the other worker went on"
    assert project.left() == []
    assert re.search(r"worker \d: .*lambda_reserved_concurrency", project.tocsin("ledger").stdout)
    recovered = project.tocsin("recover")
    assert recovered.returncode == 0
    assert re.search(r"worker \d: closed in its ledger: 1 open", recovered.stdout)
    assert project.tocsin("ledger").stdout == "no open entry in the ledger of target 'sandbox'\n"
    again = project.tocsin("report", "out").stdout
    assert "it was undone and verified since" in again


def begin_two(project: Project) -> subprocess.Popen[str]:
    """Two drills whose faults are in place, and stay so until somebody ends them."""
    for name, setup in (("one", "outage"), ("two", "bad release")):
        held = document(setup)
        held["extensions"][0]["fault_for"] = "12h"  # three minutes: the second may be let in long after the first
        project.experiment(name, held)
    process = project.begin()
    project.wait_for_line(r"one .*fault lambda_reserved_concurrency accepted")
    project.wait_for_line(r"two .*fault lambda_bad_release accepted")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_a_signal_every_worker_undoes(project: Project, number: signal.Signals) -> None:
    process = begin_two(project)
    process.send_signal(number)
    assert project.ended(process) == 4, project.told
    assert {drill.stopped for drill in project.run.drills} == {"interrupted"}
    assert f"stopped by {number.name}" in project.told
    for drill in project.run.drills:
        assert [judgement.outcome.value for judgement in drill.judgements if judgement.id == "undo"] == ["pass"]
    assert project.left() == []
    assert "no open entry" in project.tocsin("ledger").stdout


def test_workers_whose_run_was_killed_undo_and_end(project: Project) -> None:
    begin_two(project).kill()
    project.wait_for("nobody to be left", lambda: not project.left())
    assert "no open entry" in project.tocsin("ledger").stdout
    for name in ("one", "two"):
        verdict = Verdict.model_validate_json((project.root / "out" / name / "verdict.json").read_text())
        assert verdict.stopped == "interrupted"
        assert not verdict.residue


def test_what_is_done_to_the_sandbox_is_done_to_those_of_workers(project: Project) -> None:
    process = begin_two(project)
    workers = project.workers()
    for one in workers:
        one.suspend()  # none of them undoes when its run is gone, and before it is killed itself
    for one in (process, *workers):
        one.kill()
    process.wait()
    shown = project.tocsin("sandbox", "status")
    assert shown.returncode == 0
    assert [name for name in ("1", "2") if f"sandbox of worker {name} is up with bell" in shown.stdout] == ["1", "2"]
    ledger = project.tocsin("ledger").stdout
    assert re.search(r"worker \d: .*lambda_reserved_concurrency", ledger)
    assert re.search(r"worker \d: .*lambda_bad_release", ledger)
    refused = project.tocsin("run", "experiments", "--parallel", "2", "--time-scale", SCALE)
    assert refused.returncode == 4
    assert "`tocsin recover`" in refused.stderr
    stopped = project.tocsin("stop", "--reason", "enough")
    assert stopped.stdout.count("set in the account: /tocsin/stop") == 2
    assert project.tocsin("stop", "--clear").stdout.count("cleared in the account") == 2
    recovered = project.tocsin("recover")
    assert recovered.returncode == 0, recovered.stderr
    assert recovered.stdout.count("undone and verified") == 2
    down = project.tocsin("sandbox", "down")
    assert [name for name in ("1", "2") if f"sandbox of worker {name} is down" in down.stdout] == ["1", "2"]
    assert project.left() == []


def test_the_kill_switch_ends_all(project: Project) -> None:
    process = begin_two(project)
    assert project.tocsin("stop", "--reason", "enough").returncode == 0
    assert project.ended(process) == 4, project.told
    assert {drill.stopped for drill in project.run.drills} == {"kill-switch"}
    assert project.left() == []
    assert project.tocsin("stop", "--clear").returncode == 0


def test_with_x_nothing_begins_after_a_failure(project: Project) -> None:
    for name in ("a", "b", "c", "d"):
        project.experiment(name, loud())
    process = project.begin("-x")
    assert project.ended(process) == 4, project.told
    began = [name for name in "abcd" if (project.root / "out" / name / "history.jsonl").exists()]
    assert "d" not in began
    assert "with -x no other begins after that" in (project.root / "out" / "summary.md").read_text()
    assert project.run.outcome.value == "fail"


def test_each_drill_has_the_time_scale_that_it_bears_and_a_sandbox_for_it(project: Project) -> None:
    slow = document("poison")
    slow["extensions"][0]["scale"] = {"at_most": 100, "because": "the desk takes its time"}
    project.experiment("slow", slow)
    project.experiment("fast", document("poison"))
    process = project.begin(scale="auto", workers="1")
    code = project.ended(process)
    assert code == project.run.exit_code, project.told
    tries = {name: project.root / "out" / name / "first-try" for name in ("slow", "fast")}
    chosen = {"slow": 90, "fast": 120}
    assert {drill.experiment: drill.scale for drill in project.run.drills} == {
        name: 60 if first.exists() else chosen[name] for name, first in tries.items()
    }
    second_tries = project.told.count("once more at the end, alone")  # on a busy machine; each has a sandbox, too
    assert project.told.count("worker 1: ready") == 2 + second_tries, "another time scale is another sandbox"
    reason = "not 120: the experiment says at most 100, because the desk takes its time"
    plan = json.loads((project.root / "out" / "plan.json").read_text())
    assert {drill["experiment"]: drill["scale_because"] for drill in plan["drills"]}["slow"] == reason
    first = tries["slow"] if tries["slow"].exists() else tries["slow"].parent
    assert reason in (first / "report.html").read_text()
    assert project.left() == []


def test_what_a_drill_left_ringing_does_not_refuse_the_next(project: Project) -> None:
    hasty = document("outage")
    block = hasty["extensions"][0]
    block["baseline"] = "15m"  # longer than the other, so that it begins first
    block["expect"]["must"][0]["clears_within"] = block["expect"]["recovery"]["within"] = "80s"
    project.experiment("hasty", hasty)
    project.experiment("next", document("outage"))
    process = project.begin(workers="1")
    project.ended(process)
    first, second = project.run.drills
    assert (first.experiment, second.experiment) == ("hasty", "next")
    assert first.outcome.value != "pass", "it does not wait until its alarm is quiet"
    assert second.stopped is None, project.told
