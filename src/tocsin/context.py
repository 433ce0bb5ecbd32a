"""The one object that is passed around in a drill, instead of a caravan of arguments."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tocsin.errors import Interrupted
from tocsin.history import History
from tocsin.model.experiment import Experiment
from tocsin.model.system import System
from tocsin.target import Target


class StopRequest:
    """Set by a signal handler, looked at wherever the drill waits."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signal_name: str | None = None

    def set(self, signal_name: str) -> None:
        """Ask for the end; the first reason given is kept."""
        if self.signal_name is None:
            self.signal_name = signal_name
        self._event.set()

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        return self._event.is_set()

    def wait(self, wall_s: float) -> None:
        """Wait, and end at once when asked to.

        Raises:
            Interrupted: the end was asked for before or during the wait.
        """
        if self._event.wait(max(0.0, wall_s)):
            raise Interrupted(self.signal_name or "a stop request")


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
