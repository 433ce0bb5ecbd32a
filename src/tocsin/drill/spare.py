"""File descriptors that are kept for the way back.

A process may have so many and no more, and code of others that runs in ours may have used up all of them: then no
connection to AWS can be opened, and no file. What is kept here is let go when the way back begins.
"""

from __future__ import annotations

import os
from contextlib import suppress

_KEPT = 32
"""Connections to a handful of services, the ledger with its journal, and reports."""


class SpareDescriptors:
    """Kept from the beginning of a drill until its way back begins; as many as can be had."""

    def __init__(self) -> None:
        self._kept: list[int] = []
        with suppress(OSError):  # there are too few already: the drill itself will say so
            while len(self._kept) < _KEPT:
                self._kept.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def let_go(self) -> None:
        """From now on whoever opens something can have them."""
        while self._kept:
            os.close(self._kept.pop())
