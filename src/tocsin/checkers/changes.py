"""Was undone what statements and procedures of the method changed?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, ActivityRan, ChangeLooked
from tocsin.model.experiment import MethodChange
from tocsin.model.verdict import Finding, Judgement, Reason


def check_changes(timeline: Timeline) -> Iterator[Answer]:
    """Each is undone by its rollback and seen undone, or said to be left: then it is a finding.

    No ledger knows of them. What shows the undo is a probe that held before the change, not after it, and again after
    the rollback. Of what was never begun nothing is asked: that is the question `method`.
    """
    for change in timeline.experiment.extension.changes:
        if not _was_begun(timeline, change):
            continue
        if change.leaves is not None:
            message = f"{change.activity} is undone by nothing, as the experiment says: {change.leaves}"
            yield Finding(kind="left", subject=change.activity, message=message)
        else:
            yield _undone(timeline, change)


def _was_begun(timeline: Timeline, change: MethodChange) -> bool:
    looked = any(event.activity == change.activity for event in timeline.of_kind(ChangeLooked))
    ran = (event for event in timeline.of_kind(ActivityRan) if event.act is not Act.RECOVERY)
    return looked or any(event.name == change.activity for event in ran)


def _undone(timeline: Timeline, change: MethodChange) -> Judgement:
    name, rollback = change.activity, change.undone_by or ""
    question = Question(f"undone:{name}", f"what {name} changes is undone by {rollback}, and seen undone")
    looks = [event for event in timeline.of_kind(ChangeLooked) if event.activity == name]
    before = {event.probe for event in looks if event.when == "before" and event.held}
    kept = {event.probe for event in looks if event.when == "after" and event.held}
    gone = {event.probe for event in looks if event.when == "after" and not event.held}
    if not looks:
        return question.unknown(Reason.NO_EVIDENCE, f"no probe looked right before and after {name}")
    if not before:
        told = _told(looks, "before")
        return question.unknown(Reason.NO_EVIDENCE, f"what should show the undo did not hold before {name}: {told}")
    if not before & gone:
        if before & kept:
            probes = ", ".join(sorted(before & kept))
            return question.unknown(
                Reason.NO_EFFECT, f"{name} changed nothing that {probes} looks at: it held right after it as well"
            )
        return question.unknown(Reason.NO_EVIDENCE, f"no probe looked right after {name}")
    return _seen_undone(question, timeline, rollback, before & gone)


def _seen_undone(question: Question, timeline: Timeline, rollback: str, probes: set[str]) -> Judgement:
    ran = [event for event in timeline.of_kind(ActivityRan) if event.act is Act.RECOVERY]
    undo = next((event for event in reversed(ran) if event.name == rollback), None)
    if undo is None:
        return question.unknown(Reason.NO_EVIDENCE, f"the rollback {rollback} was not seen to run")
    if not undo.ok:
        return question.failed(Reason.UNDO_FAILED, f"the rollback {rollback} failed: {undo.detail}")
    looks = [event for event in ran if event.name in probes and event.at >= undo.at]
    if not looks:
        return question.unknown(Reason.NO_EVIDENCE, f"nobody looked after the rollback {rollback}")
    missing = [event for event in looks if not event.ok]
    if missing:
        told = "; ".join(f"{event.name} ({event.detail})" for event in missing)
        return question.failed(Reason.UNDO_FAILED, f"after the rollback {rollback} it is not as before: {told}")
    return question.passed(f"{', '.join(event.name for event in looks)} holds again after {rollback}")


def _told(looks: list[ChangeLooked], when: str) -> str:
    return "; ".join(f"{event.probe} ({event.detail})" for event in looks if event.when == when)
