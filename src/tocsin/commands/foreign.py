"""What code of others prints in this process: no secret gets out by it, and nothing of it acts on a terminal or a CI.

Activities in Python, controls, canaries and every library they use print to `sys.stdout` and `sys.stderr`. While a
command runs, those lead through here; what Tocsin itself tells goes to the real stream beside them (`own_stream`), with
its colours. What is written past both, to a file descriptor, is not seen: `docs/SAFETY.md` says so.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

from tocsin.masking import HIDDEN, mask
from tocsin.masking.lines import Lines
from tocsin.shown import for_ci_log

Show = Callable[[str], object]


class ForeignStream(io.TextIOWrapper):
    """A text stream of whole lines, masked and made harmless; what it cannot show, it forgets, and never raises.

    Of one `print` all lines are looked at together. A line without an end is shown at the end (`finish`).
    """

    def __init__(self, own: IO[str]) -> None:
        self._bytes = _Bytes(own)
        super().__init__(
            cast("IO[bytes]", self._bytes), encoding="utf-8", errors="backslashreplace", newline="", write_through=True
        )

    @property
    def own(self) -> IO[str]:
        """The real stream, for what is ours."""
        return self._bytes.own

    def show_with(self, show: Show | None) -> None:
        """Let lines be shown so, for a while; by default they are written to the real stream."""
        self._bytes.show = show

    def finish(self, own: IO[str] | None = None) -> None:
        """Show what was held back. From now on `own` is the real stream, if it is given."""
        self.flush()
        self._bytes.finish()
        if own is not None:
            self._bytes.own = own

    def flush(self) -> None:
        """Hand on what is whole."""
        with suppress(Exception):  # telling never raises into doing
            super().flush()
            self.own.flush()

    def isatty(self) -> bool:
        """No: whoever asks would colour what is then made harmless."""
        return False

    def close(self) -> None:
        """Show what is left. The real stream is not theirs to close."""
        self.finish()


class _Bytes(io.BufferedIOBase):
    """The bytes of it."""

    def __init__(self, own: IO[str]) -> None:
        self.own = own
        self.show: Show | None = None
        self._lines = Lines(self._tell)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.own.fileno()

    def close(self) -> None:
        self.finish()

    def write(self, data: Any, /) -> int:
        self._lines.add(data)
        return len(data)

    def finish(self) -> None:
        self._lines.finish()

    def _tell(self, text: str) -> None:
        with suppress(Exception):  # telling never raises into doing
            (self.show or self._write)(_harmless(text))

    def _write(self, text: str) -> None:
        self.own.write(text)
        self.own.flush()


def _harmless(text: str) -> str:
    # A value that was cut off is known at the end of a text.
    ended = text.endswith("\n")
    try:
        return for_ci_log(mask(text[: len(text) - ended]) + "\n" * ended)
    except Exception:  # whatever it is that cannot be looked at, it is not shown
        return f"{HIDDEN}\n"


def own_stream(stream: IO[str]) -> IO[str]:
    """The real stream behind one of others; any other stream is its own."""
    return stream.own if isinstance(stream, ForeignStream) else stream


def finish_lines() -> None:
    """Show what others printed and did not end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, ForeignStream):
            stream.finish()


@contextmanager
def foreign_streams(out: IO[str] | None = None, err: IO[str] | None = None) -> Iterator[None]:
    """Let `sys.stdout` and `sys.stderr` be such streams for a while, before these or those that they are now."""
    before = (sys.stdout, sys.stderr)
    theirs = (ForeignStream(out or own_stream(before[0])), ForeignStream(err or own_stream(before[1])))
    sys.stdout, sys.stderr = theirs
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream, earlier in zip(theirs, before, strict=True):
            # Who keeps it, such as a handler of logging, writes on to what was there before.
            stream.show_with(None)
            stream.finish(own_stream(earlier))


@contextmanager
def shown_with(show: Show) -> Iterator[None]:
    """Let what others print to a terminal be shown so for a while: beside a footer that is drawn anew."""
    streams = [one for one in (sys.stdout, sys.stderr) if isinstance(one, ForeignStream) and one.own.isatty()]
    for stream in streams:
        stream.show_with(show)
    try:
        yield
    finally:
        for stream in streams:
            stream.show_with(None)
