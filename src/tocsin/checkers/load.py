"""Did the load arrive as planned, in every act? Other traffic tells nothing about the system."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, HypothesisChecked, LoadSecond
from tocsin.model.experiment import LoadPlan
from tocsin.model.traffic import ENOUGH_ANSWERS, by_operation, count_statuses, has_histograms, is_refusal
from tocsin.model.verdict import Judgement, Reason

MAX_DROPPED = 0.01
"""Share of arrivals that may find no free place before the load says nothing about the plan."""
MAX_LAG_MS = 250.0
"""Delay between intended and real send from which a second counts as late."""

MAX_LATE_SECONDS = 0.05
"""Share of seconds that may be late: one hiccup of the machine is not a stalled generator."""
MAX_MISSING_SECONDS = 0.02
DROPPED_ALLOWED = 2
"""Arrivals of an act that may be dropped whatever the share."""
MIN_OFFERED = 0.9
"""Share of the planned arrivals that must have been scheduled."""
SIGMAS = 3.0
"""Arrivals come at random (Poisson): so many standard deviations fewer are no wrong rate."""
STOPPING_WALL_S = 4.0
"""Wall seconds that the generator may take to end, where nothing tells that the drill had not yet stopped it."""
MOST_REFUSED = 0.8
"""Share of the answers before the fault that may be refusals or redirects: a load that is told no tests the no."""
MISSING_ALLOWED = 1
"""Seconds that may be missing or late whatever the share: a boundary may fall between two of them."""


def check_load(timeline: Timeline) -> Iterator[Answer]:
    """A stalled or starved generator makes every other answer worthless."""
    plan = timeline.experiment.extension.load
    if plan is None:
        yield NotObserved("Behaviour under load: the experiment offers none.")
        return
    question = Question("load", f"the load offers {plan.arrivals_per_s:g} requests a second, as planned")
    yield _validity(question, timeline, plan)
    yield from _never_served(timeline)


def _validity(question: Question, timeline: Timeline, plan: LoadPlan) -> Judgement:
    seconds = timeline.load
    if not sum(second.sent for second in seconds):
        return question.unknown(Reason.NO_TRAFFIC, "no request was sent")
    if Act.BASELINE not in timeline.acts:
        return question.unknown(Reason.NO_EVIDENCE, "no act is recorded, and the load is judged in each")
    offered, dropped = (sum(getattr(second, name) for second in seconds) for name in ("offered", "dropped"))
    gaps = _gaps(timeline)
    figures = {
        "offered_per_s": offered / len(seconds),
        "dropped_share": dropped / max(1, offered),
        "late_seconds": float(sum(1 for second in seconds if second.lag_ms > MAX_LAG_MS)),
        "missing_seconds": float(sum(missing for _, missing in gaps)),
        "max_lag_ms": max(second.lag_ms for second in seconds),
    }
    complaints = list(_complaints(seconds, sum(missing for _, missing in gaps), plan))
    if not complaints:
        # One act is a small part of a drill: what is wrong in it alone is lost in the whole.
        complaints = [
            f"in the act {act.value}: {told}"
            for act, span in timeline.acts.items()
            for told in _complaints(
                [second for second in seconds if span.holds(second.at, second.at + 1)],
                sum(missing for at, missing in gaps if span.holds(at)),
                plan,
            )
        ]
    complaints += list(_refused(timeline))
    if complaints:
        return question.unknown(Reason.LOAD_INVALID, "; ".join(complaints), **figures)
    told = f"{figures['offered_per_s']:.1f} a second offered, {figures['dropped_share']:.1%} dropped"
    return question.passed(told, **figures)


def _complaints(seconds: Sequence[LoadSecond], missing: int, plan: LoadPlan) -> Iterator[str]:
    """What a stretch of the load differs in from the plan."""
    offered = sum(second.offered for second in seconds)
    dropped = sum(second.dropped for second in seconds)
    late = sum(1 for second in seconds if second.lag_ms > MAX_LAG_MS)
    if dropped > max(DROPPED_ALLOWED, MAX_DROPPED * offered):
        yield f"{dropped / max(1, offered):.1%} of the arrivals were dropped"
    if late > max(MISSING_ALLOWED, MAX_LATE_SECONDS * len(seconds)):
        yield f"in {late} of {len(seconds)} seconds requests left more than {MAX_LAG_MS:.0f} ms late"
    if missing > max(MISSING_ALLOWED, MAX_MISSING_SECONDS * len(seconds)):
        yield f"{missing} seconds have no record"
    least = MIN_OFFERED * plan.arrivals_per_s * len(seconds)
    if offered < least - SIGMAS * math.sqrt(least):
        rate = offered / len(seconds)
        yield f"only {rate:.1f} a second were offered, planned were {plan.arrivals_per_s:g}"


def _refused(timeline: Timeline) -> Iterator[str]:
    """A load that the healthy system refuses, or sends elsewhere, asks nothing of it that a fault could take away."""
    statuses = count_statuses(timeline.baseline_load)
    refused = Counter({status: count for status, count in statuses.items() if is_refusal(status)})
    if has_histograms(timeline.load) and refused.total() > MOST_REFUSED * statuses.total():
        named = ", ".join(f"{count} x {status}" for status, count in refused.most_common())
        yield (
            f"{refused.total()} of {statuses.total()} answers before the fault were refusals or redirects ({named}): "
            "look at its paths, tokens and data"
        )


def _never_served(timeline: Timeline) -> Iterator[NotObserved]:
    """Operations of which the load never got a good answer, though nothing was broken."""
    for name, statuses in sorted(by_operation(timeline.baseline_load).items()):
        refused = sum(count for status, count in statuses.items() if is_refusal(status))
        if name and has_histograms(timeline.load) and refused == statuses.total() >= ENOUGH_ANSWERS:
            told = ", ".join(f"{count} x {status}" for status, count in statuses.most_common())
            yield NotObserved(f"{name} under load: before the fault it was only refused or redirected ({told}).")


def _gaps(timeline: Timeline) -> list[tuple[float, int]]:
    """(since when, how many) whole seconds have no record between the first one and the end of the traffic."""
    starts = [second.at for second in timeline.load]
    fault = timeline.acts.get(Act.FAULT)
    first = fault.start if fault else starts[0]
    marks = [min(starts[0], first), *starts, max(starts[-1], _due_until(timeline))]
    return [(earlier, max(0, round(later - earlier) - 1)) for earlier, later in pairwise(marks)]


def _due_until(timeline: Timeline) -> float:
    """Until when load was certainly due: the drill stops it together with the canaries, after its last look."""
    looks = [event.at for event in timeline.of_kind(HypothesisChecked) if event.act is Act.RECOVERY]
    # A drill looks at each canary after its undo: of one that told nothing since then, no run says when it ended.
    runs = [run.known_at for run in timeline.canary_runs if timeline.verified and run.known_at > timeline.verified]
    if timeline.system.canaries is not None and not runs:
        return timeline.traffic_end  # they would have told: nothing is taken for granted without them
    # The whole second before: the generator leaves out the one in which it was stopped.
    last = math.floor(min(max([*looks, *runs], default=0.0), timeline.traffic_end))
    return max(float(last), timeline.traffic_end - STOPPING_WALL_S)
