"""Pure functions from the history to a verdict. Checkers never act, and look at nothing but the history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tocsin.checkers.answers import Answer, Checker, NotObserved, Question
from tocsin.checkers.blind_alarm import check_blind_alarms
from tocsin.checkers.canaries import check_canaries, check_must_canaries
from tocsin.checkers.complete import (
    check_actors,
    check_complete,
    check_guards,
    check_method,
    check_rollbacks,
)
from tocsin.checkers.conserved import check_conserved
from tocsin.checkers.contract import check_contract
from tocsin.checkers.fault import check_effect, check_residue, check_undo, residue
from tocsin.checkers.gap import check_gap
from tocsin.checkers.hypothesis import check_hypothesis
from tocsin.checkers.load import check_answers, check_baseline, check_load
from tocsin.checkers.must_alarm import check_definitions, check_forecasts, check_must_alarms, detection
from tocsin.checkers.not_observed import check_unobserved
from tocsin.checkers.quiet_alarm import check_quiet_alarms
from tocsin.checkers.recovery import check_recovery, time_to_recover, time_to_roll_back
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Event, Stopped
from tocsin.model.verdict import Finding, Judgement, Outcome, Reason, Verdict, merge

SAFETY: tuple[Checker, ...] = (check_undo, check_residue)
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
    check_recovery,
    check_conserved,
    check_method,
    check_rollbacks,
    check_hypothesis,
    check_canaries,
    check_baseline,
    check_load,
    check_complete,
    check_guards,
    check_definitions,
    check_unobserved,
)


def judge(events: Iterable[Event], checkers: Iterable[Checker] = EXPECTATIONS) -> Verdict:
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
    )


def _stopped(timeline: Timeline, checkers: Iterable[Checker]) -> list[Answer]:
    """A drill that a guard or a signal ended: nothing in it fails, except what was left behind."""
    assert timeline.stopped is not None
    stop = _stop(timeline.stopped)
    if timeline.requested is None:
        nothing = NotObserved("Everything: the drill was stopped before a fault was injected.")
        return [stop, *_ask(check_forecasts, timeline), nothing]
    asked = [_cut(answer) for answer in _ask_all(timeline, checkers)]
    return [stop, *asked, *_ask_all(timeline, SAFETY)]


def _stop(event: Stopped) -> Judgement:
    if event.guard == "interrupted":
        question = Question("guard:interrupted", "the drill is left to run to its end")
        return question.unknown(Reason.INTERRUPTED, event.detail)
    question = Question(f"guard:{event.guard}", f"the guard '{event.guard}' lets the drill go on")
    return question.unknown(Reason.CLOCK_JUMPED if event.guard == "clock" else Reason.REFUSED, event.detail)


def _cut(answer: Answer) -> Answer:
    if not isinstance(answer, Judgement) or answer.outcome != Outcome.FAIL:
        return answer
    message = f"the drill was stopped; until then: {answer.message}"
    return answer.model_copy(update={"outcome": Outcome.UNKNOWN, "reason": Reason.WINDOW_CUT, "message": message})


def _ask_all(timeline: Timeline, checkers: Iterable[Checker]) -> list[Answer]:
    return [answer for checker in checkers for answer in _ask(checker, timeline)]


def _ask(checker: Checker, timeline: Timeline) -> Iterator[Answer]:
    name = getattr(checker, "__name__", "checker").removeprefix("check_")
    try:
        answers = list(checker(timeline))
    except Exception as error:  # A judge that stumbles has seen nothing: never a pass, never the end.
        question = Question(f"checker:{name}", f"the checker '{name}' can read this history")
        answers = [question.unknown(Reason.CHECKER_CRASHED, f"{type(error).__name__}: {error}")]
    yield from answers
