"""Did every actor live to the end? And what does nobody know where the load did not?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import ActorDied
from tocsin.model.verdict import Judgement, Outcome, Reason

_LOAD = "load"
_SILENT = (Reason.DID_NOT_RING, Reason.RANG_LATE)
"""What an alarm does when nobody calls any more until its deadline; whether a ring is told is no matter of load."""


def check_actors(timeline: Timeline) -> Iterator[Answer]:
    """What an actor that died did not see, nobody saw."""
    for event in timeline.of_kind(ActorDied):
        question = Question(f"actor:{event.actor}", f"{event.actor} works until the end")
        yield question.unknown(Reason.ACTOR_DIED, f"{event.actor} stopped on its own: {event.detail}")


def without_callers(timeline: Timeline, answers: Iterable[Answer]) -> Iterator[Answer]:
    """The answers; that an alarm did not ring as it must, in a fault in which the load died, is `unknown`."""
    died = min((event.at for event in timeline.of_kind(ActorDied) if event.actor == _LOAD), default=None)
    for answer in answers:
        if died is None or not isinstance(answer, Judgement):
            yield answer
            continue
        needed_until = _callers_until(timeline, answer)
        yield _unknown(answer) if needed_until is not None and died < needed_until else answer


def _callers_until(timeline: Timeline, judgement: Judgement) -> float | None:
    """Until when callers would have made another answer; None where they have no part in it."""
    kind, _, alarm = judgement.id.partition(":")
    if kind != "must" or judgement.outcome is not Outcome.FAIL or timeline.accepted is None:
        return None
    if judgement.reason is Reason.FLAPPED:
        return timeline.fault_end
    within = (timeline.wall(entry.within) for entry in timeline.expect.must_alarms if entry.alarm == alarm)
    return next((timeline.accepted + wall_s for wall_s in within), None) if judgement.reason in _SILENT else None


def _unknown(judgement: Judgement) -> Judgement:
    message = f"the load died under the fault, and nobody knows what its callers would have made: {judgement.message}"
    return judgement.model_copy(update={"outcome": Outcome.UNKNOWN, "reason": Reason.ACTOR_DIED, "message": message})
