"""Somebody else's code, and calls that may take their time: in a thread that is left alone when the end is asked for.

A function in Python cannot be ended from outside. So the drill does not run it, it waits for it: when somebody asks for
the end, the drill goes on to undo, and the thread dies with the process. What it still returns is nobody's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tocsin.actors.context import StopRequest

T = TypeVar("T")

LOOK_WALL_S = 0.05
"""Between two looks whether the end was asked for."""
GRACE_WALL_S = 0.25
"""Time to end by itself when the end was asked for, as a process does that is told so; the undo waits no longer."""


class Call(Generic[T]):
    """One call in a thread of its own, which keeps no process from its end."""

    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work = work
        self._done = threading.Event()
        self._answer: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer.append(self._work())
        except BaseException as error:  # also SystemExit: whoever waits for the call is told
            self._error = error
        finally:
            self._done.set()

    def wait(self, wall_s: float) -> bool:
        """Wait for its end, no longer than `wall_s`; whether it has come."""
        return self._done.wait(max(0.0, wall_s))

    def result(self) -> T:
        """What it returned; raises what it raised. Only after its end."""
        if self._error is not None:
            raise self._error
        return self._answer[0]


def attended(work: Callable[[], T], stop: StopRequest, name: str, left: Callable[[Call[T]], object] | None = None) -> T:
    """Call `work` and wait for it; a moment longer, and no more, once the end was asked for.

    `left` is told of a call that is left alone.

    Raises:
        Refused: the end was asked for, and the call is left alone.
    """
    grace_s = LOOK_WALL_S if stop.is_set() else GRACE_WALL_S  # of several calls only the first has a moment longer
    call = Call(work, name)
    while not call.wait(LOOK_WALL_S):
        if stop.is_set() and not call.wait(grace_s):
            if left is not None:
                left(call)
            _LEFT.append(call)
            stop.wait(0)
    return call.result()


_LEFT: list[Call[Any]] = []
"""What was left alone in this process. Threads that such code began may keep the interpreter from its end."""


def anything_left() -> bool:
    """Whether something that was left alone still runs."""
    return any(not call.wait(0) for call in _LEFT)
