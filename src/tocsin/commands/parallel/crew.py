"""The workers of a run side by side, as the run sees them: processes that are told and that answer."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tocsin.commands.parallel.messages import FROM_WORKER, Finish, FromWorker, Halt, Job, Orders, ToWorker
from tocsin.project.places import WORKER, as_worker, work_directory
from tocsin.sandbox import control

_LOG = "worker.log"
_LOG_TAIL_LINES = 5


@dataclass(frozen=True)
class Heard:
    """What a worker said; None when it has ended."""

    worker: Worker
    message: FromWorker | None


Ears = queue.SimpleQueue[Heard]
"""What all workers say, in the order in which it came."""


class Worker:
    """One worker: a process in a session of its own, so that a Ctrl-C reaches it only by way of the run."""

    def __init__(self, name: str, orders: Orders, ears: Ears) -> None:
        self.name = name
        self.job: Job | None = None
        self.failure = ""
        """why it ended, in its own words"""
        self._root = orders.root
        with as_worker(name):
            home = work_directory(orders.root)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log = home / _LOG
        self._process, answers = _begin(name, self._log)
        self._say(orders.model_dump_json())
        threading.Thread(target=_hear, args=(self, answers, ears), name=f"worker {name}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def begin(self, job: Job) -> None:
        """Let it drill."""
        self.job = job
        self._tell(job)

    def halt(self, why: str) -> None:
        """Let it undo, report and end; may be said more than once."""
        self._tell(Halt(why=why))

    def finish(self) -> None:
        """Let it take its sandbox down and end."""
        self._tell(Finish())

    def ended(self) -> str:
        """Wait for its end, and see to it that nothing of its sandbox runs. Returns how it ended; empty when well.

        Raises:
            SandboxError: something of its sandbox is still there.
        """
        with suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        code = self._process.wait()
        if code != 0:
            with as_worker(self.name):
                control.down(self._root)
        return "" if code == 0 else self._told_of(code)

    def _told_of(self, code: int) -> str:
        if self.failure:
            return self.failure
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        tail = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return f"worker {self.name} {how}{'; its last words: ' if tail else ''}{' / '.join(tail)}"

    def _tell(self, message: ToWorker) -> None:
        self._say(message.model_dump_json())

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # whoever is gone is heard of by the end of what it says
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()


def _begin(name: str, log: Path) -> tuple[subprocess.Popen[bytes], int]:
    answers, theirs = os.pipe()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tocsin.commands.parallel.worker", str(theirs)],
            stdin=subprocess.PIPE,
            stdout=descriptor,
            stderr=descriptor,
            pass_fds=(theirs,),
            start_new_session=True,
            env={**os.environ, WORKER: name},
        )
    finally:
        os.close(descriptor)
        os.close(theirs)
    return process, answers


def _hear(worker: Worker, answers: int, ears: Ears) -> None:
    with os.fdopen(answers, encoding="utf-8") as pipe, suppress(ValidationError):  # half a line of one that was killed
        for line in pipe:
            ears.put(Heard(worker, FROM_WORKER.validate_json(line)))
    ears.put(Heard(worker, None))
