"""The one object that is passed around in a drill, instead of a caravan of arguments."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tocsin.errors import Refused
from tocsin.history import History
from tocsin.model.experiment import Experiment
from tocsin.model.system import System
from tocsin.target import Target


class StopRequest:
    """Set by a signal handler or by a guard that keeps watching; looked at wherever the drill waits."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason: Refused | None = None

    def ask(self, reason: Refused) -> None:
        """Ask for the end; the first reason given is kept."""
        if self._reason is None:
            self._reason = reason
        self._event.set()

    @property
    def reason(self) -> Refused | None:
        """Why the end was asked for; None while it was not."""
        return self._reason

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        return self._event.is_set()

    def wait(self, wall_s: float) -> None:
        """Wait, and end at once when asked to.

        Raises:
            Refused: the end was asked for before or during the wait; Interrupted when a signal did it.
        """
        if self._event.wait(max(0.0, wall_s)):
            assert self._reason is not None
            raise self._reason


@dataclass(frozen=True)
class RunContext:
    """Everything that the acts and actors of one drill share."""

    drill: str
    root: Path
    directory: Path
    experiment: Experiment
    system: System
    target: Target
    history: History
    base_url: str
    seed: int
    stop: StopRequest = field(default_factory=StopRequest)

    @property
    def scale(self) -> float:
        """Production seconds per wall second."""
        return self.target.scale

    def wall(self, production_s: float) -> float:
        """Wall seconds that a production duration takes on this target."""
        return production_s / self.target.scale

    def now(self) -> float:
        """Wall-clock epoch seconds: the time of every event."""
        return time.time()
