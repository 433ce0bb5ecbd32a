"""What a measurement of a target may use."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tocsin.aws.target import Target
from tocsin.record.ledger import Ledger


@dataclass(frozen=True)
class Clock:
    """The clock on the wall; a test may have another one."""

    now: Callable[[], float] = time.time
    """epoch seconds"""
    wait: Callable[[float], None] = time.sleep
    """Sleeps in wall seconds. Raises Refused when the end is asked for."""


def _no_progress(text: str) -> None:
    """Nobody reads."""


@dataclass(frozen=True)
class ParityContext:
    """Passed to every measurement. `progress` shows one line to whoever waits; `ledger` is that of the target."""

    target: Target
    ledger: Ledger
    clock: Clock = field(default_factory=Clock)
    progress: Callable[[str], None] = _no_progress

    def wall(self, production_s: float) -> float:
        """Wall seconds that a production duration takes on this target."""
        return production_s / self.target.scale

    def production(self, wall_s: float) -> float:
        """The other way round."""
        return wall_s * self.target.scale
