"""Functions that experiments of tests call."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tocsin.errors import Refused


def yes(value: object) -> bool:
    """A tolerance that is content with any answer."""
    return value is not None


class Latch:
    """Something that hangs until it is let go, and then does what it would have done."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()
        self.then: Callable[[], object] = lambda: None

    def hang(self) -> bool:
        """Hang, two minutes at most."""
        self.entered.set()
        self.let_go.wait(120)
        self.then()
        return True


latch = Latch()


def hang() -> bool:
    """A function that hangs, whose test holds the latch."""
    return latch.hang()


def refuse() -> None:
    """A call that a guard forbids."""
    raise Refused("test", "no")
