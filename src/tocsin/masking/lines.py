"""Output that comes in pieces, put together so that a secret in it is seen as a whole before anything is shown."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

_AT_MOST = 65_536
"""Bytes that are held back for the end of a line."""
_GOES_ON = re.compile(rb"(?:[ \t]*[A-Za-z0-9+/=_:,-]{16,}|[^\n]{0,80}=)\r?\n")
"""The last line may be one of several of something encoded: shown by itself, nobody would know what it is a part of."""


class Lines:
    """Hands on whole lines, those of one piece together, and lines of something encoded with what comes after them.

    Safe to use from several threads, and from the handler of a signal.
    """

    def __init__(self, show: Callable[[str], object]) -> None:
        """`show` is given unmasked text."""
        self._show = show
        self._held = bytearray()
        # The handler may come while its own thread is here.
        self._lock = threading.RLock()

    def add(self, piece: bytes) -> None:
        """The next piece, of whatever length."""
        with self._lock:
            self._held += piece
            if len(self._held) > _AT_MOST:
                self._release(self._held.rfind(b"\n") + 1 or len(self._held))
            elif self._held.endswith(b"\n") and not self._goes_on():
                self._release(len(self._held))

    def finish(self) -> None:
        """There is no more to come: hand on what was held back."""
        with self._lock:
            self._release(len(self._held))

    def _goes_on(self) -> bool:
        last_line = self._held.rfind(b"\n", 0, -1) + 1
        return _GOES_ON.fullmatch(self._held, last_line) is not None

    def _release(self, length: int) -> None:
        text = bytes(self._held[:length]).decode("utf-8", "replace").replace("\r\n", "\n")
        del self._held[:length]
        if text:
            self._show(text)
