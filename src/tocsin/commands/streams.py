"""Output that may go away while something is being done: a closed terminal, a reader that has seen enough, a full disk.

Telling never raises into doing. A drill whose terminal was closed must still undo its fault, and leave with the exit
code of its verdict.
"""

from __future__ import annotations

import errno
import io
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import IO, Any, Generic, ParamSpec, TextIO, TypeVar, cast

from tocsin.commands.foreign import foreign_streams, own_stream

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_GONE = (errno.EPIPE, errno.EIO)
"""Whoever read it went away: nobody is left to be told so."""


class LastingStream(io.TextIOWrapper):
    """A text stream that never raises: its first failure switches it off, and what cannot be encoded is escaped.

    Once switched off, its file descriptor leads nowhere, so that what its buffers still hold cannot fail at the end of
    the process either.
    """

    def __init__(self, stream: TextIO, failed: Callable[[OSError | ValueError], object]) -> None:
        super().__init__(
            cast("IO[bytes]", stream.buffer),
            encoding=getattr(stream, "encoding", None) or "utf-8",
            errors="backslashreplace",
            newline=None,
            line_buffering=True,
        )
        self._failed = failed
        self._off = False

    def write(self, text: str, /) -> int:
        if not self._off:
            try:
                return super().write(text)
            except (OSError, ValueError) as error:
                self._switch_off(error)
        return len(text)

    def flush(self) -> None:
        if not self._off:
            try:
                super().flush()
            except (OSError, ValueError) as error:
                self._switch_off(error)

    def _switch_off(self, error: OSError | ValueError) -> None:
        self._off = True
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
        self._failed(error)


def _goes_on(error: OSError | ValueError) -> None:
    """Say that what is done does not depend on what is shown."""
    with suppress(OSError, ValueError):
        own_stream(sys.stderr).write(f"tocsin: what was told could not be shown: {error}. The work goes on.\n")


@contextmanager
def lasting_streams(failed: Callable[[OSError | ValueError], object] = _goes_on) -> Iterator[None]:
    """Let standard output and standard error be such streams for a while: for us; what others print is looked at.

    `failed` hears why standard output was switched off, unless whoever read it went away.
    """
    before = (own_stream(sys.stdout), own_stream(sys.stderr))

    def say(error: OSError | ValueError) -> None:
        if getattr(error, "errno", None) not in _GONE:
            failed(error)

    told = LastingStream(cast("TextIO", before[0]), say)
    complained = LastingStream(cast("TextIO", before[1]), lambda error: None)
    try:
        with foreign_streams(told, complained):
            yield
    finally:
        for stream in (told, complained):
            stream.flush()
            with suppress(OSError, ValueError):
                stream.detach()


@contextmanager
def shown_to_the_end() -> Iterator[None]:
    """For the whole process: a reader that has seen enough changes nothing, and a full disk is no success.

    What is shown is all that most commands are for. So where standard output fails, it is said once on standard
    error, and what would have left with 0 leaves with 3. As with any command, another exit code says more.

    Raises:
        SystemExit: as what is inside, or with 3.
    """
    failures: list[OSError | ValueError] = []
    ended: SystemExit | None = None
    try:
        with lasting_streams(failures.append):
            yield
    except SystemExit as error:
        ended = error
    if failures:
        with suppress(OSError, ValueError):
            sys.stderr.write(
                "tocsin: expected to write to standard output, found: "
                f"{getattr(failures[0], 'strerror', None) or failures[0]}. Make room there, or write elsewhere.\n"
            )
            sys.stderr.flush()
    if failures and (ended is None or ended.code in (0, None)):
        sys.exit(3)
    if ended is not None:
        raise ended


def open_closed_streams() -> None:
    """Let standard streams that whoever began the process closed (`>&-`) lead nowhere, for it and all that it starts.

    Left closed, the next file that is opened would take their place: what is told would be written into the ledger.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(nowhere, nowhere <= 2)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8", errors="backslashreplace"))


class Aside(Generic[T]):
    """Shows things in a thread of its own and in order: an output that nobody reads delays nobody.

    Its first failure, whatever it is, switches it off.
    """

    def __init__(self, show: Callable[[T], object]) -> None:
        self._show = show
        self._waiting: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._live, name="display", daemon=True)
        self._thread.start()

    def see(self, what: T) -> None:
        """Show it soon."""
        self._waiting.put(what)

    def close(self, within_s: float = 2.0) -> None:
        """Show what is left, for no longer than that."""
        self._waiting.put(None)
        self._thread.join(within_s)

    def _live(self) -> None:
        with suppress(BaseException):  # also SystemExit, by which a library answers a terminal that is gone
            while (what := self._waiting.get()) is not None:
                self._show(what)


def undisturbed(command: Callable[P, R]) -> Callable[P, R]:
    """Let no failure of the output stop what a command does, nor change its exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> R:
        with lasting_streams():
            return command(*args, **kwargs)

    return cast("Callable[P, R]", run)
