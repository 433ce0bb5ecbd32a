"""What all actors share: a life of their own, an end within two seconds, and no silent death."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from tocsin.actors.context import RunContext
from tocsin.errors import CredentialsExpired, TargetError
from tocsin.masking import mask
from tocsin.masking.lines import Lines
from tocsin.model.events import ActorDied
from tocsin.record.history import Recorder

STOP_WITHIN_S = 2.0
"""Longest wall time that `stop` of any actor may take."""

POLL_PRODUCTION_S = 15.0
POLL_WALL_S = 0.25
"""No faster than this, so that watching a fast clock does not disturb what it watches."""
_LONGEST_LINE = 2**16
_LOGGED_WITHIN_S = 1.0
_PATIENCE_PRODUCTION_S = 180.0
_PATIENCE_WALL_S = 5.0
"""How long the target may fail to answer before a watcher gives up: its silence must not look like the alarms'."""


class Actor(Protocol):
    """Runs beside the acts and writes to the history."""

    @property
    def name(self) -> str:
        """How the actor signs in the history."""

    def start(self) -> None:
        """Begin, and return at once."""

    def stop(self) -> None:
        """End within two seconds, with every thread joined and every child gone. May be called twice."""


class ThreadActor(ABC):
    """An actor with one thread. Whatever its body raises is recorded as `ActorDied`, never swallowed."""

    def __init__(self, name: str, history: Recorder) -> None:
        self.name = name
        self._history = history
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end and wait for it; safe before `start` and after a first `stop`."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_WITHIN_S)

    @abstractmethod
    def run(self) -> None:
        """The work; returns soon after `self._stopping` is set."""

    def _live(self) -> None:
        try:
            self.run()
        except BaseException as error:  # also SystemExit, which ends a thread without a word
            if not self._stopping.is_set():
                self.died(f"{type(error).__name__}: {error}")

    def died(self, detail: str) -> None:
        """Record that nothing more will be seen by this actor."""
        self._history.record(ActorDied(at=time.time(), actor=self.name, detail=detail))


class PollingActor(ThreadActor):
    """An actor that polls the target every 15 s of production time, and a last time when it is stopped."""

    def __init__(self, name: str, ctx: RunContext) -> None:
        super().__init__(name, ctx.history)
        self._ctx = ctx
        self._interval = max(ctx.wall(POLL_PRODUCTION_S), POLL_WALL_S)
        self._patience = max(ctx.wall(_PATIENCE_PRODUCTION_S), _PATIENCE_WALL_S)

    @abstractmethod
    def poll(self) -> None:
        """Look, and record what is new.

        Raises:
            TargetError: the target did not answer.
        """

    def run(self) -> None:
        """Poll until stopped; give up, and say so, when the target stays silent."""
        failing_since: float | None = None
        while not self._stopping.wait(self._interval):
            try:
                self.poll()
                failing_since = None
            except TargetError as error:
                if isinstance(error, CredentialsExpired):
                    self._ctx.target.renew()  # those that were renewed outside are read again
                failing_since = failing_since or self._ctx.now()
                if self._ctx.now() - failing_since > self._patience:
                    raise

    def stop(self) -> None:
        """End, and look a last time for what came after the last poll."""
        if not self._stopping.is_set() and self._thread.ident is not None:
            super().stop()
            with contextlib.suppress(TargetError):
                self.poll()
        super().stop()


class Process(Protocol):
    """What `Child` needs of a process: `subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """Also the number of its session."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """What it is told."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """What it prints."""

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""


class Forking(Protocol):
    """A process that forks others (`tocsin.actors.forks`)."""

    def fork(self, argv: Sequence[str], cwd: Path, pass_fds: Sequence[int]) -> Process:
        """Start one in a session of its own, in which the descriptors have the same numbers."""


class Child:
    """A child process in a session of its own, which ends when its parent does, however the parent ends.

    The parent holds the writing end of the child's standard input. The child watches it: end of file means
    that nobody is left to stop it. That also holds after `kill -9`, and needs nothing specific to Linux.
    Secrets travel the same way: never in arguments, the environment or a file.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        log: Path,
        env: Mapping[str, str],
        first_line: str = "",
        pass_fds: Sequence[int] = (),
        forked_by: Forking | None = None,
    ) -> None:
        """Start it.

        Args:
            argv: the program and its arguments; of a fork, its arguments as `sys.argv` has them.
            cwd: its working directory.
            log: what it prints is added to this file.
            env: beside the environment of this process; a fork has that of its parent.
            first_line: what it is told first.
            pass_fds: descriptors that it inherits.
            forked_by: its parent; None for a process of its own program.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("ab") as output:
            self._process: Process = (
                _started(argv, cwd, env, pass_fds) if forked_by is None else forked_by.fork(argv, cwd, pass_fds)
            )
            descriptor = os.dup(output.fileno())
        self._logging = threading.Thread(target=self._keep, args=(descriptor,), name=f"log {log.name}", daemon=True)
        self._logging.start()
        if first_line:
            self.send(first_line)

    def _keep(self, descriptor: int) -> None:
        """Write down what the child prints, without the secrets that it was handed."""
        assert self._process.stdout is not None
        with os.fdopen(descriptor, "wb", buffering=0) as log, self._process.stdout as printed:

            def write(text: str) -> None:
                # On a full disk the child must not wait for us: what it prints is lost, as it would be there.
                with contextlib.suppress(OSError):
                    log.write(mask(text).encode())

            lines = Lines(write)
            while line := printed.readline(_LONGEST_LINE):
                lines.add(line)
            lines.finish()

    def send(self, line: str) -> None:
        """Write one line to the child's standard input; a child that is gone is noticed elsewhere."""
        with contextlib.suppress(OSError):
            self._stdin.write(line.encode() + b"\n")
            self._stdin.flush()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def wait(self, wall_s: float | None = None) -> int | None:
        """Wait for the end; None when it still runs after `wall_s` seconds."""
        try:
            return self._process.wait(wall_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_s: float = 1.2) -> None:
        """Ask the whole session to end, then end it."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            self.wait(grace_s)
        # Also after a clean end: a grandchild may have outlived its parent in the session.
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._logging.join(_LOGGED_WITHIN_S)
        with contextlib.suppress(OSError):
            self._stdin.close()

    def log_tail(self, characters: int = 600) -> str:
        """The end of what the child printed, for the message of `ActorDied`."""
        if self._process.poll() is not None:
            self._logging.join(_LOGGED_WITHIN_S)
        text = self.log.read_text(errors="replace") if self.log.is_file() else ""
        return text.strip()[-characters:]

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _started(argv: Sequence[str], cwd: Path, env: Mapping[str, str], pass_fds: Sequence[int]) -> Process:
    return subprocess.Popen(
        list(argv),
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=tuple(pass_fds),
    )
