"""Has this machine room for one more drill? Measured, because nobody knows what else it does.

What would be too much is what makes verdicts `machine_busy`: timers that fire late. The pressure on the processors says
it before they do.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from tocsin.actors.processors import PRESSURE, waited_us

MOST_PRESSURE = 0.6
"""Share of the time in which something may wait for a processor. Measured on two processors (`checkers.machine`): at
two thirds timers were at most 0.11 s late and every canary passed; while something waited all the time, up to 4.4 s."""
EASY_PRESSURE = 0.35
"""The same for one drill more than there are processors: those that run have to have left room for all of it."""
MOST_LAG_S = 0.12
"""By which timers may be late: half of what a verdict puts down to the machine."""
MOST_LOAD = 1.5
"""Processes that run or wait for each processor, where nobody tells of pressure."""
_EVERY_WALL_S = 0.05
_LOOK_BACK_WALL_S = 3.0
"""Two drills that begin together show what they need only then."""
_EASY_LOOK_BACK_WALL_S = 6.0
"""Two drills side by side wait and work by turns."""


class Room:
    """Measures beside the run: how late its own timers are, and how often something waited for a processor."""

    def __init__(
        self,
        pressure: Path = PRESSURE,
        clock: Callable[[], float] = time.monotonic,
        load: Callable[[], float] = lambda: os.getloadavg()[0],
    ) -> None:
        self._pressure = pressure
        self._clock = clock
        self._load = load
        self._seen: deque[tuple[float, float, int | None]] = deque()
        self._since = clock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="room", daemon=True)

    def __enter__(self) -> Room:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def note(self, lag_s: float) -> None:
        """A timer, of the run or of one of its drills, fired so late."""
        now = self._clock()
        self._seen.append((now, lag_s, waited_us(self._pressure)))
        while self._seen and now - self._seen[0][0] > _EASY_LOOK_BACK_WALL_S:
            self._seen.popleft()

    def taken(self) -> None:
        """A drill was admitted: what was seen before says nothing of the machine with it."""
        self._since = self._clock()

    def why_not(self, *, easily: bool = False) -> str | None:
        """Why another drill has to wait; None when there is room.

        `easily`: it is one more than there are processors.
        """
        most, back_s = (EASY_PRESSURE, _EASY_LOOK_BACK_WALL_S) if easily else (MOST_PRESSURE, _LOOK_BACK_WALL_S)
        now = self._clock()
        seen = [one for one in list(self._seen) if now - one[0] <= back_s]
        if now - self._since < back_s:
            return "a drill has just begun"
        late = max((lag for _, lag, _ in seen), default=0.0)
        if late > MOST_LAG_S:
            return f"timers were {late:.2f} s late"
        return self._pressed(seen, most)

    def _pressed(self, seen: list[tuple[float, float, int | None]], most: float) -> str | None:
        told = [(at, waited) for at, _, waited in seen if waited is not None]
        if len(told) < 2 or told[-1][0] <= told[0][0]:
            load = self._load() / (os.cpu_count() or 1)
            fits = load <= MOST_LOAD * most / MOST_PRESSURE
            return None if fits else f"{load:.1f} processes run or wait for each processor"
        share = (told[-1][1] - told[0][1]) / 1e6 / (told[-1][0] - told[0][0])
        return None if share <= most else f"something waited for a processor {min(1.0, share):.0%} of the time"

    def _watch(self) -> None:
        due = self._clock() + _EVERY_WALL_S
        while not self._end.wait(_EVERY_WALL_S):
            self.note(max(0.0, self._clock() - due))
            due = self._clock() + _EVERY_WALL_S
