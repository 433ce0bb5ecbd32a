"""Functions that experiments of tests call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tocsin.errors import Refused


def yes(value: object) -> bool:
    """A tolerance that is content with any answer."""
    return value is not None


def sleep(secs: float) -> None:
    """A function of somebody else, which nobody can end."""
    time.sleep(secs)


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
