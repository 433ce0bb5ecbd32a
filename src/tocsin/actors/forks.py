"""Child processes that are forked by one that has imported what takes long: a second of a processor less for each."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from tocsin.actors.base import Child
from tocsin.errors import TocsinError

_FORKED_WITHIN_S = 10.0
"""A fork takes milliseconds; on a machine that does not keep up, longer."""


class Forks:
    """The parent of children with the same imports.

    It ends with whoever started it, as every `Child`, and its forks with them, as they watch their standard input.
    `module` is what Python runs as the parent; it calls `forking.serve` with the socket of its first argument.
    """

    def __init__(self, module: str, *, cwd: Path, log: Path, env: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        self._ready = False
        with theirs:
            argv = [sys.executable, "-m", module, str(theirs.fileno())]
            self._parent = Child(argv, cwd=cwd, log=log, env=env, pass_fds=[theirs.fileno()])

    def is_alive(self) -> bool:
        """Whether it can still fork, or will."""
        return self._parent.poll() is None

    def is_ready(self, wall_s: float) -> bool:
        """Whether its imports are done, at the latest after `wall_s` seconds.

        Raises:
            TocsinError: it died.
        """
        if not self._ready and _is_readable(self._control, wall_s):
            if self._control.recv(1) != b"r":
                self._parent.wait(1.0)
                raise TocsinError(f"expected a process that forks, found it dead: {self._parent.log_tail()}")
            self._ready = True
        return self._ready

    def fork(self, argv: Sequence[str], cwd: Path, pass_fds: Sequence[int]) -> Forked:
        """Start a child in a session of its own, in which the descriptors of `pass_fds` have the same numbers.

        Raises:
            TocsinError: the parent is dead, or does not fork.
        """
        theirs_in, our_in = os.pipe()
        our_out, theirs_out = os.pipe()
        life, theirs = socket.socketpair()
        wanted = {"arguments": list(argv), "directory": str(cwd), "descriptors": list(pass_fds)}
        with ExitStack() as ours, ExitStack() as handed:
            for stack, descriptors in ((ours, (our_in, our_out)), (handed, (theirs_in, theirs_out))):
                for descriptor in descriptors:
                    stack.callback(os.close, descriptor)
            ours.callback(life.close)
            handed.callback(theirs.close)
            try:
                socket.send_fds(self._control, [b"f"], [theirs_in, theirs_out, theirs.fileno(), *pass_fds])
                handed.close()
                life.sendall(json.dumps(wanted).encode() + b"\n")
                pid = _told_pid(life)
            except OSError as error:
                raise TocsinError(
                    f"expected a process that forks, found: {error}. {self._parent.log_tail()}"
                ) from error
            ours.pop_all()
        return Forked(pid, life, our_in, our_out)

    def stop(self) -> None:
        """End the parent. Children go on: each is ended by whoever started it."""
        self._control.close()
        self._parent.stop()


class Forked:
    """One child, with what `Child` needs of `subprocess.Popen`."""

    def __init__(self, pid: int, life: socket.socket, standard_input: int, standard_output: int) -> None:
        self.pid = pid
        self.stdin: IO[bytes] = os.fdopen(standard_input, "wb")
        self.stdout: IO[bytes] = os.fdopen(standard_output, "rb")
        self._life = life
        self._life.setblocking(False)
        self._said = b""
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, at its end; that of SIGKILL if it ended without a word, whatever ended it.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def _look(self, timeout: float | None) -> int | None:
        """Look for its end, which is that of its socket; several threads may."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._code is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not _is_readable(self._life, left):
                return None
            with self._lock:
                if self._code is None:
                    self._hear()
        return self._code

    def _hear(self) -> None:
        try:
            said = self._life.recv(64)
        except BlockingIOError:
            return  # another thread heard it
        except ConnectionResetError:
            said = b""
        self._said += said
        if not said:
            self._life.close()
            self._code = int(self._said) if self._said.endswith(b"\n") else -signal.SIGKILL


def _told_pid(life: socket.socket) -> int:
    """Raises OSError: it did not come up."""
    life.settimeout(_FORKED_WITHIN_S)
    said = b""
    while not said.endswith(b"\n"):
        said += (more := life.recv(1))  # no more than that line: what follows is its end
        if not more:
            raise ConnectionResetError("it ended before it began")
    return int(said)


def _is_readable(end: socket.socket, wall_s: float | None) -> bool:
    looking = select.poll()
    looking.register(end, select.POLLIN)
    return bool(looking.poll(None if wall_s is None else wall_s * 1000))
