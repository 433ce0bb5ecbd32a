"""The clock of this machine: every event is stamped by it, and no judge can tell a jump from a long time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tocsin.errors import Refused
from tocsin.model.duration import format_duration

LONGEST_STEP_S = 0.5
"""Wall seconds by which the clock may differ from the time that passed. NTP slews up to 0.128 s little by little, and
steps over more (https://docs.ntpsec.org/latest/clock.html)."""
LONGEST_STANDSTILL_S = 10.0
"""Wall seconds for which nobody may have looked at anything. A machine that is only busy is told by its late timers."""
_READ_WITHIN_S = 0.05
_READINGS = 20


class SteadyClock:
    """Compares the wall clock with one that cannot be set; also a machine that slept is noticed.

    `wall` and `passed` are seconds: of the epoch, and since any moment.
    """

    def __init__(self, wall: Callable[[], float] | None = None, passed: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall or (lambda: time.time())
        self._passed = passed
        self._offset = self._read()

    def check(self) -> str:
        """Whether the clock goes as it did when this was made.

        Raises:
            Refused: it jumped, so that no duration of this drill means anything.
        """
        by_s = self._read() - self._offset
        if abs(by_s) > LONGEST_STEP_S:
            where = "ahead" if by_s > 0 else "back"
            raise Refused(
                "clock",
                f"expected the clock of this machine to go evenly, found that it jumped {where} by "
                f"{format_duration(abs(by_s))}: no time in this drill can be relied on. Let the machine set its clock "
                "and stay awake, then run it again.",
            )
        return f"within {LONGEST_STEP_S:g} s of the time that passed"

    def _read(self) -> float:
        """Offset of the wall clock; read again when something came between the readings of the two clocks."""
        for _ in range(_READINGS):
            before, wall, after = self._passed(), self._wall(), self._passed()
            if after - before < _READ_WITHIN_S:
                break
        return wall - (before + after) / 2


class Standstill:
    """Notices afterwards that this process was stopped, or got no processor at all: both clocks went on without it.

    Whoever calls `check` is somebody who looks; it must be called far more often than every `LONGEST_STANDSTILL_S`.
    Safe in several threads.
    """

    def __init__(self, passed: Callable[[], float] = time.monotonic) -> None:
        self._passed = passed
        self._looking = threading.Lock()
        self._looked = passed()

    def check(self) -> str:
        """Whether somebody has looked all the time.

        Raises:
            Refused: nobody has, so that nobody knows what happened meanwhile.
        """
        with self._looking:
            now = self._passed()
            stood_s, self._looked = now - self._looked, now
        if stood_s > LONGEST_STANDSTILL_S:
            raise Refused(
                "clock",
                f"expected this process to run all the time, found that it stood still for {format_duration(stood_s)}: "
                "nobody watched the drill meanwhile. Do not stop it, let the machine do less, then run it again.",
            )
        return f"within {LONGEST_STANDSTILL_S:g} s"
