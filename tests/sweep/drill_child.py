"""The process that a sweep kills: a parent that has imported everything forks one child for every drill.

    python -m tests.sweep.drill_child

reads jobs from its standard input, one JSON object a line, and answers each with one line when its child has ended.
Only the forked child is changed: nothing under `src/` knows that it is being killed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from botocore.client import BaseClient
from pydantic import Field
from tests.sweep import bugs

from tocsin import history, live
from tocsin.actors import alarms, injector  # noqa: F401 - imported once here, and not in every child
from tocsin.checkers import judge  # noqa: F401
from tocsin.cli import main
from tocsin.faults.registry import FAULTS
from tocsin.ledger import Ledger
from tocsin.model.base import Model
from tocsin.run import run_experiments  # noqa: F401
from tocsin.sandbox import control  # noqa: F401

BOUNDARIES = tuple(
    f"{side} {step}"
    for step in (
        "intend",
        "inject",
        "advance injected",
        "undo",
        "advance undone",
        "forget",
        "advance verified",
    )
    for side in ("before", "after")
)
"""Before and after each synced write of the ledger, and each change that a fault makes."""

Deed = Literal["SIGKILL", "SIGINT", "SIGTERM", "SIGHUP", "full disk", "full history"]


class Job(Model):
    """One command of Tocsin in a process of its own, and what happens to it when."""

    root: str
    arguments: tuple[str, ...]
    """Of the command `tocsin`."""
    log: str
    at: dict[str, Deed] = Field(default_factory=dict)
    """A boundary, or `before call N` / `after call N` for the Nth call of the AWS API, to what happens there."""
    killed_after_s: float | None = None
    """SIGKILL after so many wall seconds, wherever it is then."""
    bug: str = ""
    """A bug to plant: a name of `bugs.BUGS`."""


class Ended(Model):
    """How the process ended."""

    code: int
    """Exit code; negative: the signal that killed it."""
    seconds: float
    calls: int
    """Of the AWS API; 0 when it was killed."""


def serve() -> None:
    """Fork a child for each job until nobody sends one any more."""
    for line in sys.stdin:
        print(_run(Job.model_validate_json(line)).model_dump_json(), flush=True)


def _run(job: Job) -> Ended:
    reader, writer = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _drill(job, writer)
    os.close(writer)
    if job.killed_after_s is not None:
        time.sleep(job.killed_after_s)
        os.kill(child, signal.SIGKILL)  # when it has ended already it is ours still: nobody has waited for it
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        calls = int(told.read() or 0)
    return Ended(code=os.waitstatus_to_exitcode(status), seconds=time.monotonic() - started, calls=calls)


def _drill(job: Job, writer: int) -> None:
    """In the child: run the command and leave with its exit code."""
    code, moments = 70, Moments(job)
    try:
        os.chdir(job.root)
        log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        # The drill waits a second after each deadline for what real traffic may still show: here is none.
        live._SLACK_WALL_S = 0.05
        if job.bug:
            bugs.plant(job.bug)
        moments.install()
        main(list(job.arguments))
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os.write(writer, str(moments.calls).encode())
        os._exit(code)


class Moments:
    """Knows where the process is, and does what the job says when it is there: each once."""

    def __init__(self, job: Job) -> None:
        self._due = dict(job.at)
        self.calls = 0
        self._history: history.History | None = None

    def install(self) -> None:
        """Put ourselves around the ledger's writes, the faults' changes, and the calls of the AWS API."""
        self._around(Ledger, "intend", lambda *_, **__: "intend")
        self._around(Ledger, "advance", lambda _, entry, state, *__: f"advance {state}")
        for fault in FAULTS.values():
            for name in ("inject", "undo", "forget"):
                self._around(fault, name, lambda *_, step=name: step)
        self._around(BaseClient, "_make_api_call", self._next_call)
        opened = history.History.__init__

        def remember(opening: history.History, path: Path) -> None:
            opened(opening, path)
            self._history = opening

        history.History.__init__ = remember  # type: ignore[method-assign]

    def _next_call(self, *_: Any) -> str:
        self.calls += 1
        return f"call {self.calls}"

    def _around(self, owner: type, name: str, step_of: Callable[..., str]) -> None:
        original = getattr(owner, name)

        @wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            step = step_of(*args)
            self._pass(f"before {step}")
            try:
                return original(*args, **kwargs)
            finally:
                # Also after an error: that a parameter or a policy is not there is an answer of AWS like any other.
                self._pass(f"after {step}")

        setattr(owner, name, wrapped)

    def _pass(self, moment: str) -> None:
        deed = self._due.pop(moment, None)
        if deed == "full disk":
            # Writing beyond this fails with EFBIG, as on a full disk with ENOSPC; Python ignores SIGXFSZ.
            resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_AT_BYTES, FULL_AT_BYTES))
        elif deed == "full history":
            assert self._history is not None
            os.dup2(os.open("/dev/full", os.O_WRONLY), self._history._file.fileno())
        elif deed is not None:
            os.kill(os.getpid(), signal.Signals[deed])


FULL_AT_BYTES = 48 * 1024
"""More than a bare drill's history; a ledger that is larger cannot be written any more."""


if __name__ == "__main__":
    serve()
