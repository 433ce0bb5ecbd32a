"""The process that a sweep kills: a parent that has imported everything forks one child for every drill.

    python -m tests.sweep.drill_child

reads jobs from its standard input, one JSON object a line, and answers each with one line when its child has ended.
Only the forked child is changed: nothing under `src/` knows that it is being killed.
"""

from __future__ import annotations

import contextlib
import os
import pty
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Literal

from botocore.client import BaseClient
from pydantic import Field
from tests.sweep import bugs

from tocsin.actors import alarm_watcher, injector  # noqa: F401 - imported once here, and not in every child
from tocsin.checkers import judge  # noqa: F401
from tocsin.cli import main
from tocsin.commands.run import run_experiments  # noqa: F401
from tocsin.commands.signals import process_of_a_command
from tocsin.drill import view
from tocsin.faults.registry import FAULTS
from tocsin.model.base import Model
from tocsin.record import history
from tocsin.record.ledger import Ledger
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

Deed = Literal[
    "SIGKILL", "SIGINT", "SIGTERM", "SIGHUP", "SIGINT soon", "SIGTERM soon", "SIGHUP soon", "SIGSTOP for 20 s",
    "full disk", "full history", "full stdout", "closed reader", "closed terminal", "signals without an end",
]  # fmt: skip
_SOON = " soon"
_SOON_S = 0.4
"""Wall seconds after which what comes next has begun: a pause, or something that hangs."""
_AGAIN_S = 0.1
_BETWEEN_S = 0.002
STOPPED_S = 20.0


class Job(Model):
    """One command of Tocsin in a process of its own, and what happens to it when."""

    root: str
    arguments: tuple[str, ...]
    """Of the command `tocsin`."""
    log: str
    at: dict[str, Deed] = Field(default_factory=dict)
    """A boundary, `before call N` / `after call N` for the Nth call of the AWS API, or `before event KIND` / `after
    event KIND` for a line of the history, to what happens there."""
    killed_after_s: float | None = None
    """SIGKILL after so many wall seconds, wherever it is then."""
    bug: str = ""
    """A bug to plant: a name of `bugs.BUGS`."""
    workers: str = ""
    """Of a run side by side: what its workers are to do, a `worker_child.Plan` as JSON."""


class Told(Model):
    """What the process itself tells at its end."""

    calls: int = 0
    sent_at: float | None = None


class Ended(Model):
    """How the process ended."""

    code: int
    """Exit code; negative: the signal that killed it."""
    seconds: float
    calls: int
    """Of the AWS API; 0 when it was killed."""
    sent_at: float | None = None
    """Epoch seconds at which the first signal that asks for the end was sent."""


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
        found = Told.model_validate_json(told.read() or "{}")
    seconds = time.monotonic() - started
    return Ended(code=os.waitstatus_to_exitcode(status), seconds=seconds, **found.model_dump())


def _drill(job: Job, writer: int) -> None:
    """In the child: run the command and leave with its exit code."""
    code, moments = 70, Moments(job)
    try:
        os.chdir(job.root)
        log = os.open(job.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        without_slack()
        if job.bug:
            bugs.plant(job.bug)
        moments.install()
        if job.workers:
            from tests.sweep.worker_child import begin_such_workers

            begin_such_workers(job.workers)
        # As at a terminal, also where the sweep itself was begun with `nohup`, or in the background of a script.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
        with process_of_a_command():
            main(list(job.arguments))
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os.write(writer, Told(calls=moments.calls, sent_at=moments.sent_at).model_dump_json().encode())
        os._exit(code)


def without_slack() -> None:
    """The drill waits a second after each deadline for what real traffic may still show: here is none."""
    view._SLACK_WALL_S = 0.05


class Moments:
    """Knows where the process is, and does what the job says when it is there: each once."""

    def __init__(self, job: Job) -> None:
        self._due = dict(job.at)
        self.calls = 0
        self.sent_at: float | None = None
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
        self._around(history.History, "record", lambda _, event: f"event {event.kind}")

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
        elif deed in OUTPUTS:
            for shown in (1, 2):
                os.dup2(OUTPUTS[deed](), shown)
            if deed == "closed terminal":
                self._send("SIGHUP")  # as the kernel does where it is the process's own
        elif deed == "SIGSTOP for 20 s":
            _stand_still()
        elif deed == "signals without an end":
            _signal_for_ever()
        elif deed is not None and deed.endswith(_SOON):
            threading.Thread(target=_ask_thrice, args=(self._send, deed.removesuffix(_SOON)), daemon=True).start()
        elif deed is not None:
            self._send(deed)

    def _send(self, name: str) -> None:
        """A signal to ourselves; of the first it is kept when."""
        if self.sent_at is None:
            self.sent_at = time.time()
        os.kill(os.getpid(), signal.Signals[name])


def _ask_thrice(send: Callable[[str], None], name: str) -> None:
    """One signal asks for the end, and two more change nothing."""
    for pause_s, number in ((_SOON_S, name), (_AGAIN_S, "SIGINT"), (_AGAIN_S, "SIGTERM")):
        time.sleep(pause_s)
        send(number)


def _signal_for_ever() -> None:
    """Have a child of our own send us signals until we are gone."""
    ours = os.getpid()
    if os.fork() == 0:
        while os.getppid() == ours:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(ours, number)
            time.sleep(_BETWEEN_S)
        os._exit(0)


def _stand_still() -> None:
    """Have a child of our own stop us for a while: who stands still cannot wake itself."""
    ours = os.getpid()
    if (child := os.fork()) == 0:
        os.kill(ours, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.kill(ours, signal.SIGCONT)
        os._exit(0)
    os.waitpid(child, 0)  # until it has gone on: whoever looked away for a moment might be stopped later than here


def _closed_terminal() -> int:
    ours, theirs = pty.openpty()
    os.close(ours)
    return theirs


def _closed_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


OUTPUTS: dict[str, Callable[[], int]] = {
    "full stdout": lambda: os.open("/dev/full", os.O_WRONLY),
    "closed reader": _closed_reader,
    "closed terminal": _closed_terminal,
}
"""What standard output and standard error lead to from then on."""


FULL_AT_BYTES = 48 * 1024
"""More than a bare drill's history; a ledger that is larger cannot be written any more."""


if __name__ == "__main__":
    serve()
