"""Did the experiment's own rollbacks put everything back?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.method import judge_activities
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, ActivityRan, FaultStage
from tocsin.model.verdict import Outcome, Reason

_LOOKED = (FaultStage.UNDONE, FaultStage.DRIFTED, FaultStage.UNDO_FAILED)


def check_rollbacks(timeline: Timeline) -> Iterator[Answer]:
    """Every rollback ran and succeeded, at least at its last attempt, and left nothing broken for Tocsin to undo."""
    question = Question("rollbacks", "every rollback succeeds")
    ran = [event for event in timeline.of_kind(ActivityRan) if event.act == Act.RECOVERY]
    if timeline.experiment.rollbacks:
        judged = judge_activities(question, timeline.experiment.rollbacks, ran)
        left = _left_broken(timeline, ran)
        if judged.outcome is Outcome.PASS and left:
            judged = question.failed(
                Reason.NOT_ROLLED_BACK,
                f"all of them ran, and {', '.join(left)} was still broken after the last one: Tocsin's own undo mended "
                "it, nobody else would have",
            )
        elif judged.outcome is Outcome.PASS and not _looked_at_what_was_left(timeline):
            judged = question.unknown(Reason.NO_EVIDENCE, "all of them ran, and nobody saw what they left")
        yield judged


def _left_broken(timeline: Timeline, rollbacks: Iterable[ActivityRan]) -> list[str]:
    """Faults that were still in place when the last rollback had ended."""
    ended = max((event.at for event in rollbacks), default=timeline.end)
    late = (event for event in timeline.fault_changes if event.was_broken and event.at > ended)
    return list(dict.fromkeys(event.fault for event in late))


def _looked_at_what_was_left(timeline: Timeline) -> bool:
    """Whether the undo of every fault is recorded: it looks before it does anything."""
    injected = {event.entry for event in timeline.fault_changes}
    looked = {event.entry for event in timeline.fault_changes if event.stage in _LOOKED}
    return injected == looked and bool(looked)
