"""The one object that is passed around in a drill, instead of a caravan of arguments."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tocsin.aws.target import Target
from tocsin.errors import Refused
from tocsin.model.experiment import Experiment
from tocsin.model.system import System
from tocsin.record.history import History


class StopRequest:
    """Set by a signal handler or by a guard that keeps watching; looked at wherever the drill waits.

    No `threading.Event`: that holds a lock while it is set and while a wait begins or ends, and a signal handler that
    runs then, in the same thread, would wait for itself for ever. Here a lock that can be had is the sign itself, and
    giving it free is one step, whatever was interrupted.
    """

    def __init__(self) -> None:
        self._not_asked = threading.Lock()
        self._not_asked.acquire()
        self._to_be_first = threading.Lock()
        self._reason: Refused | None = None
        self._asked_at: float | None = None
        self._came_at: float | None = None

    def ask(self, reason: Refused, came_at: float | None = None) -> None:
        """Ask for the end; the first reason given is kept. From any thread, and from a signal handler.

        `came_at`: epoch seconds at which the reason came up, where that is known; it is seen now.
        """
        # Had at once or not at all: whoever is second, a handler that cut into the first too, waits for nobody.
        if self._to_be_first.acquire(blocking=False):
            self._came_at, self._asked_at, self._reason = came_at, time.time(), reason
            self._free()

    def _free(self) -> None:
        with suppress(RuntimeError):  # of two at once, the other one did it
            self._not_asked.release()

    @property
    def reason(self) -> Refused | None:
        """Why the end was asked for; None while it was not."""
        return self._reason

    @property
    def asked_at(self) -> float | None:
        """When the end was asked for, in epoch seconds: the moment at which the harness saw why."""
        return self._asked_at

    @property
    def came_at(self) -> float | None:
        """When the signal that asked for the end reached this process, in epoch seconds; None: it was no signal."""
        return self._came_at

    def is_set(self) -> bool:
        """Whether the end was asked for."""
        return self._reason is not None

    def wait(self, wall_s: float) -> None:
        """Wait, and end at once when asked to.

        Raises:
            Refused: the end was asked for before or during the wait; Interrupted when a signal did it.
        """
        if not self.is_set() and self._not_asked.acquire(timeout=max(0.0, wall_s)):
            self._free()  # for whoever waits beside us
        if self._reason is not None:
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
