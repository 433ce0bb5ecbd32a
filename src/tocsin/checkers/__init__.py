"""Pure functions from the history to a verdict. Checkers never act, and look at nothing but the history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tocsin.checkers.actors import check_actors, without_callers
from tocsin.checkers.answers import Answer, Checker, NotObserved, Question
from tocsin.checkers.baseline import check_baseline
from tocsin.checkers.blind_alarm import check_blind_alarms
from tocsin.checkers.canaries import check_canaries
from tocsin.checkers.changes import check_changes
from tocsin.checkers.complete import check_complete
from tocsin.checkers.conserved import check_conserved
from tocsin.checkers.contract import check_contract
from tocsin.checkers.definitions import check_definitions
from tocsin.checkers.degraded_answers import check_answers
from tocsin.checkers.effect import check_effect
from tocsin.checkers.forecasts import check_forecasts
from tocsin.checkers.gap import check_gap
from tocsin.checkers.guards import check_guards
from tocsin.checkers.hypothesis import check_hypothesis
from tocsin.checkers.intact import check_intact
from tocsin.checkers.load import check_load
from tocsin.checkers.machine import Machine, own_doing
from tocsin.checkers.messages import check_messages
from tocsin.checkers.method import check_method
from tocsin.checkers.must_alarm import check_must_alarms, detection
from tocsin.checkers.must_canary import check_must_canaries
from tocsin.checkers.not_observed import check_unobserved
from tocsin.checkers.pressure import Pressure, put_off
from tocsin.checkers.quiet_alarm import check_quiet_alarms
from tocsin.checkers.recovery import check_recovery, time_to_recover, time_to_roll_back
from tocsin.checkers.residue import check_residue, residue
from tocsin.checkers.rollbacks import check_rollbacks
from tocsin.checkers.settings import check_settings
from tocsin.checkers.timeline import Timeline
from tocsin.checkers.tries import check_tries
from tocsin.checkers.undo import check_undo
from tocsin.model.events import Event, Stopped
from tocsin.model.verdict import Finding, Judgement, Outcome, Reason, Verdict, merge

SAFETY: tuple[Checker, ...] = (check_undo, check_changes, check_residue)
"""Asked whatever happened, as soon as a fault was requested: a stop is no excuse for a fault left behind."""

EXPECTATIONS: tuple[Checker, ...] = (
    check_actors,
    check_effect,
    check_must_alarms,
    check_must_canaries,
    check_quiet_alarms,
    check_blind_alarms,
    check_gap,
    check_answers,
    check_contract,
    check_messages,
    check_recovery,
    check_conserved,
    check_method,
    check_rollbacks,
    check_hypothesis,
    check_canaries,
    check_baseline,
    check_load,
    check_complete,
    check_intact,
    check_guards,
    check_definitions,
    check_settings,
    check_tries,
    check_unobserved,
)


def judge(events: Iterable[Event] | Timeline, checkers: Iterable[Checker] = EXPECTATIONS) -> Verdict:
    """The verdict on one drill: every checker is asked, and a pass has to be earned.

    Raises:
        InvalidInput: the history does not begin with `drill_started`.
    """
    timeline = Timeline.of(events)
    answers = _stopped(timeline, checkers) if timeline.stopped else _ask_all(timeline, (*checkers, *SAFETY))
    judgements = tuple(answer for answer in answers if isinstance(answer, Judgement))
    detections = (detection(timeline, entry) for entry in timeline.expect.must_alarms)
    return Verdict(
        drill=timeline.started.drill,
        experiment=timeline.experiment.slug,
        title=timeline.experiment.title,
        path=timeline.experiment.path,
        system=timeline.system.system,
        target=timeline.started.target,
        scale=timeline.scale,
        tags=timeline.experiment.tags_at(timeline.scale),
        started_at=timeline.start,
        ended_at=timeline.end,
        outcome=merge(judgement.outcome for judgement in judgements),
        stopped=timeline.stopped.guard if timeline.stopped else None,
        residue=residue(timeline),
        judgements=judgements,
        findings=tuple(answer for answer in answers if isinstance(answer, Finding)),
        detections=tuple(found for found in detections if found is not None),
        time_to_roll_back_s=time_to_roll_back(timeline),
        time_to_recover_s=time_to_recover(timeline),
        not_observed=tuple(answer.what for answer in answers if isinstance(answer, NotObserved)),
        command=timeline.started.command,
        definitions=timeline.started.definitions,
    )


def _stopped(timeline: Timeline, checkers: Iterable[Checker]) -> list[Answer]:
    """A drill that a guard or a signal ended: nothing in it fails, except what was left behind."""
    assert timeline.stopped is not None
    stop = _stop(timeline.stopped)
    if timeline.requested is None and not residue(timeline):
        nothing = NotObserved("Everything: the drill was stopped before a fault was injected.")
        return [stop, *_ask_all(timeline, (check_intact, check_forecasts, check_tries)), nothing]
    asked = [_cut(answer) for answer in _ask_all(timeline, checkers)]
    return [stop, *asked, *_ask_all(timeline, SAFETY)]


def _stop(event: Stopped) -> Judgement:
    if event.guard == "interrupted":
        question = Question("guard:interrupted", "the drill is left to run to its end")
        return question.unknown(Reason.INTERRUPTED, event.detail)
    question = Question(f"guard:{event.guard}", f"the guard '{event.guard}' lets the drill go on")
    return question.unknown(_BY_GUARD.get(event.guard, Reason.REFUSED), event.detail)


_BY_GUARD = {
    "actors": Reason.ACTOR_DIED,
    "clock": Reason.CLOCK_JUMPED,
    "machine": Reason.MACHINE_BUSY,
    "traffic": Reason.NO_TRAFFIC,
}
"""Guards that tell why nothing can be known, and not that something is forbidden."""


def _cut(answer: Answer) -> Answer:
    if not isinstance(answer, Judgement) or answer.outcome != Outcome.FAIL:
        return answer
    message = f"the drill was stopped; until then: {answer.message}"
    return answer.model_copy(update={"outcome": Outcome.UNKNOWN, "reason": Reason.WINDOW_CUT, "message": message})


def _ask_all(timeline: Timeline, checkers: Iterable[Checker]) -> list[Answer]:
    pressure = Pressure(Machine(timeline))
    return [answer for checker in checkers for answer in _ask(checker, timeline, pressure)]


def _ask(checker: Checker, timeline: Timeline, pressure: Pressure) -> Iterator[Answer]:
    name = getattr(checker, "__name__", "checker").removeprefix("check_")
    try:
        own = list(own_doing(pressure.machine, checker, list(checker(timeline))))
        answers = list(without_callers(timeline, put_off(pressure, checker, own)))
    except Exception as error:  # A judge that stumbles has seen nothing: never a pass, never the end.
        question = Question(f"checker:{name}", f"the checker '{name}' can read this history")
        answers = [question.unknown(Reason.CHECKER_CRASHED, f"{type(error).__name__}: {error}")]
    yield from answers
