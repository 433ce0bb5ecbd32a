"""Was the load what was planned, and were callers served well before the fault and as documented in it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, LoadSecond, is_error
from tocsin.model.experiment import LoadPlan
from tocsin.model.verdict import Judgement, Reason

MAX_DROPPED = 0.01
"""Share of arrivals that may find no free place before the load says nothing about the plan."""
MAX_LAG_MS = 250.0
"""Delay between intended and real send from which a second counts as late."""
MAX_LATE_SECONDS = 0.05
"""Share of seconds that may be late: one hiccup of the machine is not a stalled generator."""
MAX_MISSING_SECONDS = 0.02
MIN_OFFERED = 0.5
"""Share of the planned arrivals that must have been scheduled."""
STOPPING_WALL_S = 4.0
"""Wall seconds that the generator may take to end, before its traffic counts as missing."""
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


def check_baseline(timeline: Timeline) -> Iterator[Answer]:
    """The healthy system meets its objectives; otherwise the fault would get the blame."""
    if timeline.experiment.extension.load is None:
        return
    objectives = timeline.system.objectives
    errors = Question(
        "baseline:errors", f"at most {objectives.max_error_share * 100:g} % of the answers fail before the fault"
    )
    latency = Question("baseline:latency", f"p95 is at most {objectives.p95_ms:g} ms before the fault")
    seconds = timeline.baseline_load
    statuses = count_statuses(seconds)
    if not statuses.total():
        yield errors.unknown(Reason.NO_TRAFFIC, "no answer was seen before the fault")
        yield latency.unknown(Reason.NO_TRAFFIC, "no answer was seen before the fault")
        return
    share = error_share(statuses)
    told = f"{share:.2%} of {statuses.total()} answers failed"
    yield (
        errors.passed(told, error_share=share)
        if share <= objectives.max_error_share
        else errors.failed(
            Reason.TOO_MANY_ERRORS, f"{told} before anything was broken ({_told(statuses)})", error_share=share
        )
    )
    p95 = mean_latency(seconds, "p95")
    if p95 is None:
        yield latency.unknown(Reason.NO_DATA, "no latency was recorded")
    elif p95 <= objectives.p95_ms:
        yield latency.passed(f"p95 was {p95:.0f} ms", p95_ms=p95)
    else:
        yield latency.failed(Reason.TOO_SLOW, f"p95 was {p95:.0f} ms before anything was broken", p95_ms=p95)


def check_answers(timeline: Timeline) -> Iterator[Answer]:
    """During the fault callers get healthy answers or documented degraded ones, and not too many of those."""
    if timeline.experiment.extension.load is None:
        return
    degraded = timeline.expect.degraded
    documented = frozenset(str(status) for status in degraded.status) if degraded else frozenset[str]()
    text = f"callers get documented answers during the fault (degraded: {', '.join(sorted(documented)) or 'none'})"
    question = Question("answers", text)
    statuses = count_statuses(timeline.fault_load)
    total = statuses.total()
    if not total:
        yield question.unknown(Reason.NO_TRAFFIC, "no answer was seen during the fault")
        return
    share = sum(statuses[status] for status in documented) / total
    undocumented = Counter(
        {status: n for status, n in statuses.items() if is_error(status) and status not in documented}
    )
    bad = undocumented.total() / total
    figures = {"answers": float(total), "degraded_share": share, "undocumented_share": bad}
    if bad > timeline.system.objectives.max_error_share:
        yield question.failed(
            Reason.UNDOCUMENTED_ANSWER,
            f"{bad:.1%} of {total} answers were neither healthy nor documented ({_told(undocumented)})",
            **figures,
        )
    elif degraded is not None and share > degraded.max_share:
        yield question.failed(
            Reason.TOO_MANY_ERRORS,
            f"{share:.1%} of {total} answers were degraded, at most {degraded.max_share:.1%} is allowed",
            **figures,
        )
    else:
        yield question.passed(
            f"{total} answers, {share:.1%} documented degraded ones, {bad:.1%} undocumented", **figures
        )


def count_statuses(seconds: Iterable[LoadSecond]) -> Counter[str]:
    """Answers by status over several seconds."""
    total: Counter[str] = Counter()
    for second in seconds:
        total.update(second.statuses)
    return total


def error_share(statuses: Counter[str]) -> float:
    """Share of answers that are server errors or no answer; 0 of nothing is 0."""
    errors = sum(count for status, count in statuses.items() if is_error(status))
    return errors / statuses.total() if statuses.total() else 0.0


def mean_latency(seconds: Iterable[LoadSecond], quantile: str) -> float | None:
    """A latency quantile of several seconds in ms: the mean of each second's, weighted by its answers.

    Quantiles of a longer time cannot be had from quantiles of seconds; the mean is the usual estimate.
    """
    weighed = [
        (sum(second.statuses.values()), second.latency_ms[quantile])
        for second in seconds
        if quantile in second.latency_ms
    ]
    answers = sum(count for count, _ in weighed)
    return sum(count * value for count, value in weighed) / answers if answers else None


def _validity(question: Question, timeline: Timeline, plan: LoadPlan) -> Judgement:
    seconds = timeline.load
    offered = sum(second.offered for second in seconds)
    if not sum(second.sent for second in seconds):
        return question.unknown(Reason.NO_TRAFFIC, "no request was sent")
    dropped = sum(second.dropped for second in seconds) / max(1, offered)
    late = sum(1 for second in seconds if second.lag_ms > MAX_LAG_MS)
    missing = _missing_seconds(timeline)
    rate = offered / len(seconds)
    figures = {
        "offered_per_s": rate,
        "dropped_share": dropped,
        "late_seconds": float(late),
        "missing_seconds": float(missing),
        "max_lag_ms": max(second.lag_ms for second in seconds),
    }
    complaints = [
        (dropped > MAX_DROPPED, f"{dropped:.1%} of the arrivals were dropped"),
        (
            late > max(MISSING_ALLOWED, MAX_LATE_SECONDS * len(seconds)),
            f"in {late} of {len(seconds)} seconds requests left more than {MAX_LAG_MS:.0f} ms late",
        ),
        (
            missing > max(MISSING_ALLOWED, MAX_MISSING_SECONDS * len(seconds)),
            f"{missing} seconds have no record",
        ),
        (
            rate < MIN_OFFERED * plan.arrivals_per_s,
            f"only {rate:.1f} a second were offered, planned were {plan.arrivals_per_s:g}",
        ),
    ]
    wrong = [text for is_so, text in complaints if is_so]
    if wrong:
        return question.unknown(Reason.LOAD_INVALID, "; ".join(wrong), **figures)
    return question.passed(f"{rate:.1f} a second offered, {dropped:.1%} dropped", **figures)


def _missing_seconds(timeline: Timeline) -> int:
    """Whole seconds without a record between the first one and the end of the traffic."""
    starts = [second.at for second in timeline.load]
    fault = timeline.acts.get(Act.FAULT)
    last = timeline.traffic_end - STOPPING_WALL_S
    first = fault.start if fault else starts[0]
    marks = [min(starts[0], first), *starts, max(starts[-1], last)]
    return sum(max(0, round(later - earlier) - 1) for earlier, later in pairwise(marks))


def _told(statuses: Counter[str]) -> str:
    wrong = [(status, count) for status, count in statuses.most_common() if is_error(status)]
    return ", ".join(f"{count} x {'no answer' if status == 'error' else status}" for status, count in wrong)
