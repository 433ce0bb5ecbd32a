"""Will there be enough answers before the fault and after it? Asked of the plan, while nothing is broken yet."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tocsin.model.duration import format_duration
from tocsin.model.experiment import Experiment
from tocsin.model.looks import LOOKS
from tocsin.model.shares import Seen, percent, without_any
from tocsin.model.system import System
from tocsin.model.traffic import ENOUGH_ANSWERS, WINDOW_S

_SIGMAS = 2.0
"""Arrivals come at random: so many standard deviations fewer than planned are to be reckoned with."""


@dataclass(frozen=True)
class _Wait:
    """A time for which a drill waits for answers."""

    when: str
    wall_s: float
    """seconds whose answers count"""
    lost_s: float
    """seconds of it that are watched and whose answers do not"""
    baselines: int
    """as how many baselines it is long at least"""
    needed: int

    def planned(self, per_s: float) -> float:
        """Answers that are planned in it."""
        return self.wall_s * per_s

    def is_enough(self, per_s: float) -> bool:
        """Whether they will do, though fewer may come than are planned."""
        return self.planned(per_s) - _SIGMAS * math.sqrt(self.planned(per_s)) >= self.needed

    @property
    def enough(self) -> float:
        """Answers that have to be planned for that."""
        return self.needed + _SIGMAS * math.sqrt(self.needed) + _SIGMAS**2


def planned_answers(experiment: Experiment, system: System, scale: float) -> float:
    """How many answers the load is planned to get in the baseline act, at `scale` production seconds a second."""
    plan = experiment.extension.load
    stated = 0.0 if plan is None else plan.arrivals_per_s * experiment.extension.baseline / scale
    return max(stated, enough_before(experiment, system, scale))


def enough_before(experiment: Experiment, system: System, scale: float) -> int:
    """For how many answers the healthy system is watched for longer than stated, at most `longest_baseline_s`.

    So many as show what a drill has to show though one of them fails, or is slow: a number that no answer changes, so
    that it is one look. 0 where even without any so many are not planned in that time, and waiting shows nothing.
    """
    plan, wait = experiment.extension.load, _before(experiment, scale, _strictest(system))
    if plan is None or system.load is None or wait is None or not wait.is_enough(plan.arrivals_per_s):
        return 0
    limit, many = _strictest(system), wait.needed
    while not Seen(1, many).is_within(limit):
        many += 1
    return many


def _strictest(system: System) -> float:
    return min(system.objectives.errors_to_show, system.objectives.slow_to_show)


def _before(experiment: Experiment, scale: float, limit: float) -> _Wait | None:
    once, wall_s = without_any(limit), experiment.extension.longest_baseline_s(scale) / scale
    return None if once is None else _Wait("before the fault", max(wall_s, 1.0 / scale), 0, 1, once)


def too_few(experiment: Experiment, system: System, scale: float) -> str | None:
    """Why the planned load cannot show that the system is healthy, before or after, and what would do; None: it can."""
    plan, strictest = experiment.extension.load, _strictest(system)
    if plan is None or system.load is None:
        return None
    per_s = plan.arrivals_per_s
    waits = _waits(experiment, scale, strictest)
    if not waits:
        return f"no number of answers shows that none at all fails (`max_error_share` is {percent(strictest)})"
    thin = next((wait for wait in waits if not wait.is_enough(per_s)), None)
    if thin is None:
        return None
    longest = max((wait.enough / per_s + wait.lost_s) / wait.baselines for wait in waits)
    fastest = max(wait.enough / wait.wall_s if wait.wall_s > 0 else math.inf for wait in waits)
    faster = "" if math.isinf(fastest) else f"or `arrivals_per_s: {math.ceil(fastest)}`, "
    return (
        f"about {thin.planned(per_s):.0f} answers are planned {thin.when}, and {thin.needed:,} of which none fails or "
        f"is slow are needed to show {percent(strictest)}: `baseline: {format_duration(math.ceil(longest) * scale)}` "
        f"would do, {faster}or say in `objectives.shown_in_drills` of systems/{system.system}.yaml what a drill has "
        "to show"
    )


def _waits(experiment: Experiment, scale: float, limit: float) -> list[_Wait]:
    """The baseline, looked at once; and what is left after a recovery that was just in time, up to its first look.

    By the first minute after that it is only found that callers are served as before, and seconds are whole.
    """
    extension = experiment.extension
    before, looks = _before(experiment, scale, limit), LOOKS.numbers(limit)
    if before is None or not looks or extension.load is None:
        return []
    found_by = 1 + max(math.ceil(WINDOW_S / scale), math.ceil(ENOUGH_ANSWERS / extension.load.arrivals_per_s))
    left = (extension.longest_recovery_s(scale) - extension.expect.recovery.within) / scale
    return [
        before,
        _Wait("after a recovery that takes its whole time", max(0.0, left - found_by), found_by, 2, looks[0]),
    ]
