"""Time that passes only while somebody sleeps: hours of patience cost a test nothing, and every figure is exact."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Clock:
    """`time.sleep`, `time.monotonic` and `time.time`, as long as a test lasts. `ticks` are called after each sleep.

    What the account says in production seconds passes `scale` times as fast.
    """

    def __init__(self, patch: Any, scale: float = 1.0) -> None:
        self.scale = scale
        self.now = 1_800_000_000.0
        self.shortest_sleep_s = 0.0
        """Time goes on in such steps at least: fewer looks of somebody who waits to the end of their patience."""
        self.ticks: list[Callable[[], None]] = []
        patch.setattr(time, "sleep", self.sleep)
        patch.setattr(time, "monotonic", lambda: self.now)
        patch.setattr(time, "time", lambda: self.now)

    def until(self, production_s: float) -> float:
        """When so many production seconds have passed from now on."""
        return self.now + production_s / self.scale

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass, for everybody."""
        self.now += max(seconds, self.shortest_sleep_s)
        for tick in self.ticks:
            tick()
