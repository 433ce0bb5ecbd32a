"""Was every fault undone, and seen undone?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.fault import names_of, why
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import NO_ENTRY, FaultStage
from tocsin.model.verdict import Reason


def check_undo(timeline: Timeline) -> Iterator[Answer]:
    """Every fault was undone, and the prior state was read back."""
    question = Question("undo", "every fault is undone, and the prior state read back")
    if not timeline.entries:
        yield question.unknown(Reason.NO_EVIDENCE, "no fault was injected, so no undo was seen")
        return
    ends = {entry: timeline.closing(entry) for entry in timeline.entries}
    undone = [e for e, end in ends.items() if end is not None and end.stage == FaultStage.VERIFIED]
    drifted = [e for e, end in ends.items() if end is not None and end.stage == FaultStage.DRIFTED]
    failed = [entry for entry in ends if entry not in undone and entry not in drifted]
    if failed:
        yield question.failed(
            Reason.UNDO_FAILED,
            f"the undo of {names_of(timeline, failed)} was not seen to work"
            f"{why(timeline, FaultStage.UNDO_FAILED)}. {_next_move(timeline, failed)}",
        )
    elif drifted:
        yield question.unknown(
            Reason.DRIFTED,
            f"somebody else changed what {names_of(timeline, drifted)} had changed; it was left alone"
            f"{why(timeline, FaultStage.DRIFTED)}",
        )
    else:
        yield question.passed(f"{names_of(timeline, undone)}: undone and read back{_took(timeline)}")


def _next_move(timeline: Timeline, failed: list[str]) -> str:
    """What to do about what was not undone: `recover` knows what is in the ledger, and nothing else."""
    foreign = [entry for entry in failed if entry.startswith(NO_ENTRY)]
    moves = [] if len(foreign) == len(failed) else ["Run `tocsin recover`: it undoes what of it is left"]
    if foreign:
        moves.append(
            f"Look yourself what {names_of(timeline, foreign)} left, and put it back: it is an action of another "
            "extension, of which the ledger has nothing"
        )
    return ". ".join(moves)


def _took(timeline: Timeline) -> str:
    if timeline.verified is None or timeline.undo_requested is None:
        return ""
    return f" in {format_duration(timeline.production(timeline.verified - timeline.undo_requested))}"
