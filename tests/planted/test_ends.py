"""A drill whose output goes away still undoes its fault and leaves with the exit code of its verdict.

Real drills by the real command: a reader that closes its pipe at each stage of a fault, a full disk, a terminal that is
closed, an encoding that cannot write what is told.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from tests.planted.bench import SCALE, Bench

from tocsin.model.events import FaultChanged, FaultStage
from tocsin.project.histories import read_history
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Ledger

pytestmark = [pytest.mark.planted, pytest.mark.timeout(900)]

PATIENCE_S = 180.0
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


class Drill:
    """One `tocsin run` in a process of its own, and what it left."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.leaves_something()
        self.out = bench.root / "out" / f"end-{os.urandom(4).hex()}"
        file = bench.root / "end.yaml"
        bench.document["title"] = "Ein Gerät fällt aus"
        file.write_text(yaml.safe_dump(bench.document, sort_keys=False, allow_unicode=True), encoding="utf-8")
        # Where the machine does not keep up before the fault there is no fault, and nothing to see of what is tested.
        options = ["--out", str(self.out), "--time-scale", f"{SCALE:g}", "--seed", "1", "--try-again"]
        self.command = [sys.executable, "-m", "tocsin.cli", "run", str(file), *options]

    def begin(self, **options: Any) -> subprocess.Popen[str]:
        """Start it. Standard error is kept apart, so that a traceback would be seen."""
        return subprocess.Popen(
            self.command, cwd=self.bench.root, text=True, encoding="utf-8", stdin=subprocess.DEVNULL, **options
        )

    @property
    def verdict(self) -> dict[str, Any]:
        """The verdict as it was written."""
        told: dict[str, Any] = json.loads((self.out / "verdict.json").read_text())
        return told

    @property
    def stages(self) -> list[FaultStage]:
        """What became of the fault."""
        events = read_history(self.out / "end" / "history.jsonl")
        return [event.stage for event in events if isinstance(event, FaultChanged)]

    def is_undone(self) -> None:
        """Nothing is left of the fault."""
        ledger = Ledger(ledger_path(self.bench.root, "sandbox"), "sandbox")
        try:
            assert ledger.entries(only_open=True) == []
        finally:
            ledger.close()
        assert self.stages[-1] is FaultStage.VERIFIED

    def is_whole(self, process: subprocess.Popen[str]) -> None:
        """It ran through all four acts, and the exit code is that of the verdict that was written."""
        judgements = {one["id"]: one["outcome"] for one in self.verdict["drills"][0]["judgements"]}
        assert judgements["drill"] == "pass"
        assert process.returncode == self.verdict["exit_code"]
        self.is_undone()


@pytest.fixture
def drill(bench: Bench) -> Iterator[Drill]:
    with bench.set_up("poison"):
        yield Drill(bench)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever a test does, the process is gone afterwards."""
    try:
        yield
        process.wait(PATIENCE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def read_until(lines: IO[str], seen: Callable[[str], bool]) -> str:
    """Read up to the first such line; what was read before it."""
    told = ""
    for line in lines:
        told += line
        if seen(line):
            return told
    raise AssertionError(f"the drill ended before that was told:\n{told}")


@pytest.mark.parametrize("stage", ["requested", "accepted", "effective", "undo_requested", "undone", "verified"])
def test_a_reader_that_goes_away_changes_nothing(drill: Drill, stage: str) -> None:
    process = drill.begin(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    with ended(process):
        read_until(process.stdout, lambda line: f" {stage} " in line)
        process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    drill.is_whole(process)


@needs_full
def test_output_on_a_full_disk_changes_nothing_and_is_said(drill: Drill) -> None:
    with Path("/dev/full").open("w") as full:
        process = drill.begin(stdout=full, stderr=subprocess.PIPE)
        assert process.stderr is not None
        with ended(process):
            complaint = process.stderr.read()
        process.stderr.close()
    assert complaint.count("\n") == 1
    assert "No space left" in complaint
    drill.is_whole(process)


def test_output_that_cannot_be_encoded_is_escaped(drill: Drill) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = drill.begin(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)
    assert process.stdout is not None
    with ended(process):
        told = process.stdout.read()
    process.stdout.close()
    assert "Ein Ger\\xe4t" in told
    drill.is_whole(process)


@pytest.mark.parametrize("controlling", [True, False], ids=["its own terminal", "somebody else's terminal"])
def test_a_terminal_that_is_closed_leaves_no_fault(drill: Drill, controlling: bool) -> None:
    # The kernel sends SIGHUP to whose terminal it is, and the drill ends early; the other one goes on.
    ours, theirs = pty.openpty()
    process = drill.begin(
        stdout=theirs,
        stderr=theirs,
        start_new_session=not controlling,
        preexec_fn=(lambda: os.login_tty(theirs)) if controlling else None,
    )
    os.close(theirs)
    with ended(process), os.fdopen(ours, "r", encoding="utf-8", errors="replace") as shown:
        timer = threading.Timer(PATIENCE_S, process.kill)
        timer.start()
        read_until(shown, lambda line: " effective " in line)
        timer.cancel()
    if controlling:
        assert (process.returncode, drill.verdict["outcome"]) == (4, "unknown")
        drill.is_undone()
    else:
        drill.is_whole(process)
