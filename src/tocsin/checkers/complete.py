"""Did the drill run to its end, with every actor alive?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, ActivityRan, ActorDied, DrillEnded, FaultStage, GuardChecked
from tocsin.model.experiment import Activity
from tocsin.model.verdict import Judgement, Outcome, Reason

_LOOKED = (FaultStage.UNDONE, FaultStage.DRIFTED, FaultStage.UNDO_FAILED)


def check_complete(timeline: Timeline) -> Iterator[Answer]:
    """All four acts were begun and ended, and the drill closed its own history."""
    question = Question("drill", "the drill runs through all four acts to its own end")
    missing = [act.value for act in Act if act not in timeline.ended_acts]
    if timeline.stopped is not None:
        yield question.unknown(Reason.WINDOW_CUT, f"it was stopped: {timeline.stopped.detail}")
    elif missing:
        yield question.unknown(Reason.WINDOW_CUT, f"not completed: {', '.join(missing)}")
    elif not timeline.of_kind(DrillEnded):
        yield question.unknown(Reason.WINDOW_CUT, "the history ends before the drill did")
    else:
        yield question.passed("all four acts were completed")


def check_actors(timeline: Timeline) -> Iterator[Answer]:
    """What an actor that died did not see, nobody saw."""
    for event in timeline.of_kind(ActorDied):
        question = Question(f"actor:{event.actor}", f"{event.actor} works until the end")
        yield question.unknown(Reason.ACTOR_DIED, f"{event.actor} stopped on its own: {event.detail}")


def check_guards(timeline: Timeline) -> Iterator[Answer]:
    """A guard that said no and did not stop the drill would be a guard that cannot guard."""
    for event in timeline.of_kind(GuardChecked):
        if not event.ok:
            question = Question(f"guard:{event.guard}", f"the guard '{event.guard}' lets the drill begin")
            yield question.unknown(Reason.REFUSED, event.detail)


def check_method(timeline: Timeline) -> Iterator[Answer]:
    """Every action and probe of the method ran and succeeded."""
    question = Question("method", "every activity of the method succeeds")
    ran = {event.name: event for event in timeline.of_kind(ActivityRan) if event.act != Act.RECOVERY}
    yield _activities(question, timeline.experiment.method, ran)


def check_rollbacks(timeline: Timeline) -> Iterator[Answer]:
    """Every rollback ran and succeeded, at least at its last attempt, and left nothing broken for Tocsin to undo."""
    question = Question("rollbacks", "every rollback succeeds")
    ran = {event.name: event for event in timeline.of_kind(ActivityRan) if event.act == Act.RECOVERY}
    if timeline.experiment.rollbacks:
        judged = _activities(question, timeline.experiment.rollbacks, ran)
        left = _left_broken(timeline, ran.values())
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


def _activities(question: Question, planned: tuple[Activity, ...], ran: dict[str, ActivityRan]) -> Judgement:
    failed = [ran[activity.name] for activity in planned if activity.name in ran and not ran[activity.name].ok]
    missing = [activity.name for activity in planned if activity.name not in ran]
    if failed:
        told = "; ".join(f"{event.name} ({event.detail})" if event.detail else event.name for event in failed)
        return question.failed(Reason.ACTIVITY_FAILED, f"failed: {told}", failed=len(failed))
    if missing:
        return question.unknown(Reason.NO_EVIDENCE, f"not seen to run: {', '.join(missing)}")
    if not planned:
        return question.unknown(Reason.NO_EVIDENCE, "the experiment has no activity")
    return question.passed(", ".join(activity.name for activity in planned), ran=len(planned))
