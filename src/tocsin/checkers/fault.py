"""What the history tells of the faults of a drill, in words that several checkers use."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.timeline import Timeline
from tocsin.model.events import FaultStage


def names_of(timeline: Timeline, entries: Iterator[str] | list[str] | dict[str, str]) -> str:
    """Names of the faults of these ledger entries, each once."""
    return ", ".join(dict.fromkeys(timeline.entries[entry] for entry in entries))


def why(timeline: Timeline, stage: FaultStage) -> str:
    """What was said when a fault reached the stage, in brackets."""
    details = [event.detail for event in timeline.fault_changes if event.stage == stage and event.detail]
    return f" ({'; '.join(dict.fromkeys(details))})" if details else ""


def stages_of(timeline: Timeline, entry: str) -> frozenset[FaultStage]:
    """The stages that the fault of an entry reached."""
    return frozenset(event.stage for event in timeline.fault_changes if event.entry == entry)
