"""Did the fault take effect, was it undone, and is nothing left of it?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import FaultStage, ResidueChecked
from tocsin.model.verdict import Judgement, Reason


def check_effect(timeline: Timeline) -> Iterator[Answer]:
    """Evidence of effect for every fault: an API that said yes is no evidence."""
    question = Question("effect", "the fault really changes something")
    stages = {entry: _stages(timeline, entry) for entry in timeline.entries}
    without = [entry for entry, seen in stages.items() if FaultStage.EFFECTIVE not in seen]
    refuted = [entry for entry in without if FaultStage.NO_EFFECT in stages[entry]]
    if refuted:
        names = _names(timeline, refuted)
        yield question.unknown(
            Reason.NO_EFFECT,
            f"no effect: {names} was accepted and changed nothing{_why(timeline, FaultStage.NO_EFFECT)}",
        )
    elif not stages:
        yield question.unknown(Reason.NO_EVIDENCE, "no fault was injected, so nothing can be said about it")
    elif without:
        yield question.unknown(Reason.NO_EVIDENCE, f"no evidence that {_names(timeline, without)} took effect was seen")
    else:
        yield _effective(question, timeline)


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
            f"the undo of {_names(timeline, failed)} was not seen to work"
            f"{_why(timeline, FaultStage.UNDO_FAILED)}. Run `tocsin recover`",
        )
    elif drifted:
        yield question.unknown(
            Reason.DRIFTED,
            f"somebody else changed what {_names(timeline, drifted)} had changed; it was left alone"
            f"{_why(timeline, FaultStage.DRIFTED)}",
        )
    else:
        yield question.passed(f"{_names(timeline, undone)}: undone and read back{_took(timeline)}")


def check_residue(timeline: Timeline) -> Iterator[Answer]:
    """The ledger holds nothing open at the end."""
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
    else:
        yield question.passed("no ledger entry is open", entries=0)


def residue(timeline: Timeline) -> tuple[str, ...]:
    """Ledger entries left open: as the ledger said last, or, when nobody asked it, as the history tells."""
    checks = timeline.of_kind(ResidueChecked)
    if checks:
        return checks[-1].open_entries
    closed = (FaultStage.VERIFIED, FaultStage.DRIFTED)
    ends = {entry: timeline.closing(entry) for entry in timeline.entries}
    return tuple(entry for entry, end in ends.items() if end is None or end.stage not in closed)


def _effective(question: Question, timeline: Timeline) -> Judgement:
    names = _names(timeline, timeline.entries)
    why = _why(timeline, FaultStage.EFFECTIVE)
    if timeline.accepted is None or timeline.effective is None:
        return question.unknown(Reason.NO_EVIDENCE, f"{names} took effect but was never accepted{why}")
    after_s = max(0.0, timeline.production(timeline.effective - timeline.accepted))
    return question.passed(
        f"{names} took effect {format_duration(after_s)} after it was accepted{why}", effective_s=after_s
    )


def _stages(timeline: Timeline, entry: str) -> frozenset[FaultStage]:
    return frozenset(event.stage for event in timeline.fault_changes if event.entry == entry)


def _names(timeline: Timeline, entries: Iterator[str] | list[str] | dict[str, str]) -> str:
    return ", ".join(dict.fromkeys(timeline.entries[entry] for entry in entries))


def _why(timeline: Timeline, stage: FaultStage) -> str:
    details = [event.detail for event in timeline.fault_changes if event.stage == stage and event.detail]
    return f" ({'; '.join(dict.fromkeys(details))})" if details else ""


def _took(timeline: Timeline) -> str:
    if timeline.verified is None or timeline.undo_requested is None:
        return ""
    return f" in {format_duration(timeline.production(timeline.verified - timeline.undo_requested))}"
