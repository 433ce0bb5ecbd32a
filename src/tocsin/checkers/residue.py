"""Is anything left of the faults?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.changes import check_changes
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import NO_ENTRY, FaultStage, ResidueChecked
from tocsin.model.verdict import CHANGE, OWED, Judgement, Reason


def check_residue(timeline: Timeline) -> Iterator[Answer]:
    """The ledger holds nothing open at the end, and no rollbacks as owed."""
    question = Question("residue", "the ledger holds nothing open at the end")
    checks = timeline.of_kind(ResidueChecked)
    if not checks:
        yield question.unknown(Reason.NO_EVIDENCE, "nobody looked into the ledger at the end")
    elif checks[-1].open_entries:
        yield question.failed(
            Reason.RESIDUE,
            f"still open: {', '.join(checks[-1].open_entries)}. Run `tocsin recover`",
            entries=len(checks[-1].open_entries),
        )
    elif checks[-1].owed:
        yield question.failed(
            Reason.RESIDUE, f"still owed: {', '.join(checks[-1].owed)}. Run `tocsin recover --rollbacks`", entries=0
        )
    else:
        yield question.passed("no ledger entry is open", entries=0)


def residue(timeline: Timeline) -> tuple[str, ...]:
    """What was left, or not seen to be gone; of faults, actions of others, changes of the method, and rollbacks.

    Ledger entries left open come first: as the ledger said last, or, when nobody asked it, as the history tells. What
    begins with `NO_ENTRY`, `CHANGE` or `OWED` is in no entry.
    """
    checks = timeline.of_kind(ResidueChecked)
    closed = (FaultStage.VERIFIED, FaultStage.DRIFTED)
    ends = {entry: timeline.closing(entry) for entry in timeline.entries}
    left = [entry for entry, end in ends.items() if end is None or end.stage not in closed]
    foreign = [f"{entry} ({timeline.entries[entry]})" for entry in left if entry.startswith(NO_ENTRY)]
    ours = checks[-1].open_entries if checks else [entry for entry in left if not entry.startswith(NO_ENTRY)]
    owed = [f"{OWED}{name}" for name in (checks[-1].owed if checks else ())]
    return (*ours, *foreign, *_changes(timeline), *owed)


def _changes(timeline: Timeline) -> Iterator[str]:
    for answer in check_changes(timeline):
        if isinstance(answer, Judgement) and answer.reason is Reason.UNDO_FAILED:
            yield f"{CHANGE}{answer.id.removeprefix('undone:')}"
