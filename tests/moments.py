"""What the history of a drill says of its own moments."""

from __future__ import annotations

from collections.abc import Sequence

from tocsin.model.events import Event, FaultChanged, FaultStage, Stopped


def began_s(events: Sequence[Event], sent_at: float | None = None) -> float | None:
    """Wall seconds to the undo from the signal that asked for the end, or from seeing who else did.

    `sent_at`: when the signal was sent, by the clock of whoever sent it; else it is when it came, by the history. None
    where there is no such end, or no fault.
    """
    stopped = next((event for event in events if isinstance(event, Stopped)), None)
    seen = None if stopped is None else sent_at or stopped.came_at or stopped.seen_at
    changed = [event for event in events if isinstance(event, FaultChanged)]
    undone = next((event.at for event in changed if event.stage is FaultStage.UNDO_REQUESTED), None)
    return None if seen is None or undone is None else undone - seen
