"""Could each alarm that must ring have rung at all?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer
from tocsin.checkers.must_alarm import ringing
from tocsin.checkers.timeline import Timeline
from tocsin.model.verdict import Reason


def check_forecasts(timeline: Timeline) -> Iterator[Answer]:
    """An alarm that cannot ring needs no drill to be found out."""
    for entry in timeline.expect.must_alarms:
        found = timeline.forecast(entry.alarm)
        if found is not None and not found.feasible:
            yield ringing(timeline, entry).unknown(Reason.INFEASIBLE, f"it cannot ring: {found.detail}")
