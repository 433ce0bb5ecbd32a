"""Activities with `background: true`: each in a thread beside the rest, waited for with the part that it stands in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tocsin.model.toolkit import Activity

_LOOK_WALL_S = 0.05
_MERCY_WALL_S = 5.0
"""Time for a process that is ended to be gone."""


@dataclass(frozen=True)
class _Task:
    activity: Activity
    thread: threading.Thread
    ended: threading.Event = field(default_factory=threading.Event)


class Background:
    """What runs beside the rest."""

    def __init__(self) -> None:
        self._tasks: list[_Task] = []

    def start(self, activity: Activity, work: Callable[[threading.Event], None]) -> None:
        """Run `work` in a thread; the event that it is given is set when it must end."""
        ended = threading.Event()
        # A daemon: a function that never returns must not keep the process from its end.
        thread = threading.Thread(target=work, args=(ended,), name=f"background {activity.name}", daemon=True)
        self._tasks.append(_Task(activity, thread, ended))
        thread.start()

    def end(self, wall_s: float) -> list[Activity]:
        """Tell all of it to end, and wait no longer than `wall_s`; what still runs then is for `finish`."""
        late = self._running()
        for task in late:
            task.ended.set()
        self._join(time.monotonic() + wall_s, lambda: False)
        return [task.activity for task in self._running()]

    def finish(self, wall_s: float, hurry: Callable[[], bool]) -> list[Activity]:
        """Wait for all of it, no longer than `wall_s`, and end what is not over then.

        Where there is hurry it is left as it is, and is ended by another call.

        Returns:
            What could not be ended: a process can, a function of somebody else cannot.
        """
        self._join(time.monotonic() + wall_s, hurry)
        if hurry():
            return []
        self.end(0)
        self._join(time.monotonic() + _MERCY_WALL_S, hurry)
        if hurry():
            return []
        left = [task.activity for task in self._running()]
        self._tasks.clear()
        return left

    def _join(self, deadline: float, hurry: Callable[[], bool]) -> None:
        while (running := self._running()) and not hurry() and (left_s := deadline - time.monotonic()) > 0:
            running[0].thread.join(min(_LOOK_WALL_S, left_s))

    def _running(self) -> list[_Task]:
        return [task for task in self._tasks if task.thread.is_alive()]
