"""A worker of a run side by side that the sweep ends, or that ends the run or all of them.

    python -m tests.sweep.worker_child ANSWERS

is `tocsin.commands.parallel.worker`, in whose process moments are known as in `drill_child`. What it does then stands
in its environment; nothing under `src/` knows of it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Literal

from tests.sweep import bugs
from tests.sweep.drill_child import Job, Moments, without_slack

from tocsin.model.base import Model
from tocsin.project.places import worker_here
from tocsin.sandbox import control

SHOOTER = "1"
"""The worker in whose process the moment is awaited."""
WORKERS = (SHOOTER, "2")
BROKEN = "after advance injected"
_VARIABLE = "TOCSIN_SWEPT_WORKER"
_MODULE = "tocsin.commands.parallel.worker"
_PATIENCE_WALL_S = 60.0
_LOOK_WALL_S = 0.01

Whom = Literal["the run", "a worker", "all"]
Number = Literal["SIGKILL", "SIGINT", "SIGTERM"]


class Plan(Model):
    """Who is ended, how, and when."""

    notes: Path
    """A directory in which the processes tell each other where they are."""
    whom: Whom
    number: Number
    at: str = ""
    """A moment of `Job.at` in the process of the shooter."""
    after_s: float | None = None
    """Or so many wall seconds after it was begun."""
    bug: str = ""

    def note(self, what: str, text: str = "") -> None:
        """Tell the others."""
        kept = self.notes / f"{what}.new"
        kept.write_text(text)
        kept.rename(self.notes / what)  # whole, or not there

    def told(self, what: str) -> str | None:
        """What somebody told; None while nobody did."""
        path = self.notes / what
        return path.read_text() if path.exists() else None

    def wait_for(self, what: str) -> bool:
        """Whether it was told in time."""
        deadline = time.monotonic() + _PATIENCE_WALL_S
        while self.told(what) is None and time.monotonic() < deadline:
            time.sleep(_LOOK_WALL_S)
        return self.told(what) is not None


def begin_such_workers(plan: str) -> None:
    """In the process of the run: let its workers be such ones, and leave the sandboxes that are there.

    They are no worker's own, so that a worker leaves them, too: what is in them is compared when all is over.
    """
    os.environ[_VARIABLE] = plan
    sys.executable = str(_interpreter(Plan.model_validate_json(plan).notes))
    control.down = lambda *_: None


def _interpreter(directory: Path) -> Path:
    """A Python that runs this module where it is asked for a worker."""
    path = directory / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m tests.sweep.worker_child "$4"\n')
    path.chmod(0o700)
    return path


class _Shooter(Moments):
    """Waits for the moment in a drill, and for the fault of the other worker, so that there are two to undo."""

    def __init__(self, plan: Plan, name: str) -> None:
        super().__init__(Job(root="", arguments=(), log=""))
        self._plan, self._name = plan, name
        self._shot = threading.Lock()

    def begin(self) -> None:
        self._plan.note(f"worker {self._name}", str(os.getpid()))
        self.install()
        if self._name == SHOOTER and self._plan.after_s is not None:
            threading.Thread(target=self._shoot_later, args=(self._plan.after_s,), daemon=True).start()

    def _shoot_later(self, after_s: float) -> None:
        time.sleep(after_s)
        self._shoot()

    def _pass(self, moment: str) -> None:
        if self._name == SHOOTER:
            if moment == self._plan.at and self._plan.wait_for("broken"):
                self._shoot()
        elif moment == BROKEN:
            self._plan.note("broken")
            if self._plan.after_s is None:
                self._plan.wait_for("shot")

    def _shoot(self) -> None:
        if not self._shot.acquire(blocking=False):
            return
        plan, ours, run = self._plan, os.getpid(), os.getppid()
        others = [int(pid) for name in WORKERS if name != SHOOTER and (pid := plan.told(f"worker {name}"))]
        victims = {"the run": [run], "a worker": [ours], "all": [run, *others, ours]}[plan.whom]
        number = signal.Signals[plan.number]
        if number is signal.SIGKILL:
            for pid in victims:
                if pid != ours:  # nobody sees the end of another one before its own
                    os.kill(pid, signal.SIGSTOP)
        plan.note("shot")
        for pid in victims:
            os.kill(pid, number)


def main() -> None:
    """Be that worker."""
    plan, name = Plan.model_validate_json(os.environ[_VARIABLE]), worker_here()
    assert name is not None
    without_slack()
    if plan.bug:
        bugs.plant(plan.bug)
    _Shooter(plan, name).begin()
    runpy.run_module(_MODULE, run_name="__main__")


if __name__ == "__main__":
    sys.argv[0] = _MODULE
    main()
