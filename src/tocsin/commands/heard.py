"""Signals are heard at the moment at which they come, whatever the main thread does.

Python answers a signal in the main thread, between two of its instructions: while that thread waits in a call of C,
nothing is answered. So the moment is not taken from the answer. The handler in C, which runs at once in any thread,
writes a byte to a socket (https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd); a thread of ours waits
for it and answers, and the kernel has stamped it (SO_TIMESTAMP), also where code that holds Python's own lock kept
every thread from looking.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

Came = Callable[[int, float], object]
"""Called with the number of a signal, and the epoch seconds at which it came."""

_SO_TIMESTAMP = 29
"""Of Linux (asm-generic/socket.h); Python has no name for it. A message that comes along is named the same."""
_TIMEVAL = struct.Struct("@ll")
_OURS: set[int] = set()
"""Descriptors that signals are written to; a child that was forked has them too, and must not write there."""


class Heard:
    """What the handler in C wrote, for whoever looks first: the thread that waits, or a handler in Python."""

    def __init__(self, reader: socket.socket) -> None:
        self._reader = reader
        self._process = os.getpid()

    def take(self) -> tuple[int, float] | None:
        """The next signal and its moment, in epoch seconds; None when nothing was written. Waits for nothing."""
        try:
            written, beside, _, _ = self._reader.recvmsg(1, socket.CMSG_SPACE(_TIMEVAL.size))
        except OSError:  # none is there (any more)
            return None
        return written[0], _stamped(beside) or time.time()

    def first(self, number: int) -> float | None:
        """When a signal first came, of what was written and nobody has taken yet."""
        if os.getpid() != self._process:  # a child that was forked would take what is for us
            return None
        moments = [at for one, at in iter(self.take, None) if one == number]
        return min(moments, default=None)


def _stamped(beside: list[tuple[int, int, bytes]]) -> float | None:
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMP) and len(data) == _TIMEVAL.size:
            seconds, micros = _TIMEVAL.unpack(data)
            return float(seconds + micros / 1e6)
    return None


@contextmanager
def heard_at_once(came: Came) -> Iterator[Heard]:
    """Call `came` from a thread of its own with each signal that Python handles; from the main thread only.

    What a handler in Python takes first, the thread does not hear.
    """
    _forget_in_children()
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        if sys.platform == "linux":
            reader.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, 1)
        heard, end = Heard(reader), threading.Event()
        thread = threading.Thread(target=_listen, args=(reader, heard, came, end), name="signals", daemon=True)
        thread.start()
        _OURS.add(writer.fileno())
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield heard
        finally:
            signal.set_wakeup_fd(before)
            _OURS.discard(writer.fileno())
            end.set()
            # A message could be taken by a handler, which takes all there are; this wakes whoever waits, for good.
            reader.shutdown(socket.SHUT_RD)
            thread.join()


def _listen(reader: socket.socket, heard: Heard, came: Came, end: threading.Event) -> None:
    waiting = select.poll()
    waiting.register(reader, select.POLLIN)
    while not end.is_set():
        # Waited for apart from taken: where this thread cannot go on, a handler in Python can still take it.
        waiting.poll()
        found = heard.take()
        if found is not None:
            came(*found)


@cache
def _forget_in_children() -> None:
    os.register_at_fork(after_in_child=_be_deaf)


def _be_deaf() -> None:
    there = signal.set_wakeup_fd(-1)
    if there not in _OURS:
        signal.set_wakeup_fd(there)
