"""How long until everything is as before?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.canaries import canaries_recovered, silent_canaries
from tocsin.checkers.hypothesis import hypothesis_recovered
from tocsin.checkers.load import count_statuses, error_share
from tocsin.checkers.must_alarm import cleared_at, first_ring
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import LoadSecond
from tocsin.model.verdict import Reason

GOOD_SECONDS = 3
"""Consecutive good seconds at which the load counts as served again."""


def check_recovery(timeline: Timeline) -> Iterator[Answer]:
    """Steady state, canaries and callers are as before within the target.

    Alarms are left out: each has a deadline of its own (`clears_within`), and a five-minute period makes
    an alarm clear later than the system recovers.
    """
    within_s = timeline.expect.recovery.within
    question = Question("recovery", f"everything is as before within {format_duration(within_s)} of the undo")
    if timeline.verified is None:
        yield question.unknown(Reason.NO_EVIDENCE, "the undo was not verified, so the clock never started")
        return
    parts = _parts(timeline)
    missing = [name for name, at in parts.items() if at is None]
    took = {name: max(0.0, timeline.production(at - timeline.verified)) for name, at in parts.items() if at is not None}
    figures = {f"{name.replace(' ', '_')}_s": seconds for name, seconds in took.items()}
    late = [name for name, seconds in took.items() if seconds > within_s]
    told = ", ".join(f"{name} after {format_duration(seconds)}" for name, seconds in took.items())
    if not parts:
        yield question.unknown(Reason.NO_EVIDENCE, "nothing was watched that could recover")
    elif missing and timeline.production(timeline.end - timeline.verified) < within_s:
        yield question.unknown(
            Reason.WINDOW_CUT, f"not seen to recover before the drill ended: {', '.join(missing)}", **figures
        )
    elif unseen := _unseen(timeline):
        # Waiting for them in vain, the drill looked at the rest late: that tells nothing either.
        yield question.unknown(
            Reason.NOT_WATCHED, f"nobody can tell: after the undo nothing was seen of {', '.join(unseen)}", **figures
        )
    elif missing or late:
        seen = f" ({told})" if told else ""
        yield question.failed(Reason.NOT_RECOVERED, f"not in time: {', '.join([*missing, *late])}{seen}", **figures)
    else:
        yield question.passed(told, **figures)


def time_to_roll_back(timeline: Timeline) -> float | None:
    """Production seconds from the request of the undo to its verification."""
    if timeline.verified is None or timeline.undo_requested is None:
        return None
    return round(timeline.production(timeline.verified - timeline.undo_requested), 3)


def time_to_recover(timeline: Timeline) -> float | None:
    """Production seconds from the request of the undo until everything, alarms too, was as before."""
    if timeline.verified is None or timeline.undo_requested is None:
        return None
    rang = [name for name in timeline.system.alarms if first_ring(timeline, name) is not None]
    ends = [timeline.verified, *_parts(timeline).values(), *(cleared_at(timeline, name) for name in rang)]
    known = [at for at in ends if at is not None]
    if len(known) < len(ends):
        return None
    return round(timeline.production(max(known) - timeline.undo_requested), 3)


def load_recovered(timeline: Timeline) -> float | None:
    """First of three good seconds in a row from which on the error share stays under the objective."""
    limit = timeline.system.objectives.max_error_share
    seconds = [second for second in timeline.recovery_load if second.statuses]
    for index in range(len(seconds) - GOOD_SECONDS + 1):
        rest = seconds[index:]
        if all(_good(s, limit) for s in rest[:GOOD_SECONDS]) and error_share(count_statuses(rest)) <= limit:
            return seconds[index].at
    return None


def _parts(timeline: Timeline) -> dict[str, float | None]:
    parts: dict[str, float | None] = {}
    if timeline.experiment.hypothesis:
        parts["steady state"] = hypothesis_recovered(timeline)
    if timeline.system.canaries is not None:
        parts["canaries"] = canaries_recovered(timeline)
    if timeline.experiment.extension.load is not None:
        parts["load"] = load_recovered(timeline)
    return parts


def _unseen(timeline: Timeline) -> list[str]:
    """What should have told of the recovery, and was not there to see it."""
    silent = [f"the canary {name}" for name in silent_canaries(timeline)]
    load = timeline.experiment.extension.load is not None and timeline.system.load is not None
    answered = any(second.statuses for second in timeline.recovery_load)
    return [*silent, *(["the load"] if load and not answered else [])]


def _good(second: LoadSecond, limit: float) -> bool:
    return error_share(count_statuses([second])) <= limit
