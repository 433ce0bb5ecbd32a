"""Was the system healthy under load before the fault?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.shares import Share, errors_limit, judge_share, slow_limit
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import LoadSecond
from tocsin.model.histogram import slower
from tocsin.model.shares import percent
from tocsin.model.system import Objectives
from tocsin.model.traffic import (
    buckets,
    count_statuses,
    error_share,
    errors_told,
    failed_of,
    has_histograms,
    latency_of,
    slow_of,
)
from tocsin.model.verdict import Judgement, Reason

_NO_ANSWER = "no answer was seen before the fault"


def check_baseline(timeline: Timeline) -> Iterator[Answer]:
    """The healthy system meets its objectives; otherwise the fault would get the blame."""
    if timeline.experiment.extension.load is None:
        return
    objectives, seconds = timeline.system.objectives, timeline.baseline_load
    promised = f"at most {objectives.max_error_share * 100:g} % of the answers fail before the fault"
    errors = Question("baseline:errors", f"{promised}{_shown(objectives)}")
    latency = Question("baseline:latency", f"p95 is at most {objectives.p95_ms:g} ms before the fault")
    if not any(second.answered for second in seconds):
        yield errors.unknown(Reason.NO_TRAFFIC, _NO_ANSWER)
        yield latency.unknown(Reason.NO_TRAFFIC, _NO_ANSWER)
    elif has_histograms(seconds):
        yield _errors(errors, seconds, objectives)
        yield _latency(latency, seconds, objectives)
    else:
        yield _errors_by_count(errors, seconds, objectives)
        yield _latency_by_mean(latency, seconds, objectives)


def _shown(objectives: Objectives) -> str:
    return "" if objectives.shown_in_drills is None else f"; a drill has to show {percent(objectives.shown_in_drills)}"


def _errors(question: Question, seconds: Sequence[LoadSecond], objectives: Objectives) -> Judgement:
    statuses, seen = count_statuses(seconds), failed_of(seconds)
    failed, answers = sum(second.failed for second in seconds), statuses.total()
    told = f"{failed} of {answers} answers failed"
    return judge_share(
        question,
        errors_limit(objectives),
        Share(told, certainly=seen, at_most=seen),
        Reason.TOO_MANY_ERRORS,
        f"{told} before anything was broken ({errors_told(statuses)})",
        error_share=error_share(statuses),
        error_share_at_most=seen.at_most,
        answers=float(answers),
    )


def _latency(question: Question, seconds: Sequence[LoadSecond], objectives: Objectives) -> Judgement:
    p95, counted = latency_of(seconds, "p95"), buckets(seconds)
    if p95 is None:
        return question.unknown(Reason.NO_DATA, "no latency was recorded")
    (_, slow), answers = slower(counted, objectives.p95_ms), counted.total()
    certainly, at_most = slow_of(seconds, objectives.p95_ms)
    told = f"p95 was {p95:.0f} ms, and {slow} of {answers} answers took more than {objectives.p95_ms:g} ms"
    return judge_share(
        question,
        slow_limit(objectives),
        Share(told, certainly, at_most),
        Reason.TOO_SLOW,
        f"{told} before anything was broken",
        p95_ms=p95,
        slow_share=slow / answers,
        slow_share_at_most=at_most.at_most,
    )


def _errors_by_count(question: Question, seconds: Sequence[LoadSecond], objectives: Objectives) -> Judgement:
    """Of an older history, which was made for this rule: the share of the answers that were seen."""
    statuses = count_statuses(seconds)
    share = error_share(statuses)
    told = f"{share:.2%} of {statuses.total()} answers failed"
    if share <= objectives.max_error_share:
        return question.passed(told, error_share=share)
    wrong = f"{told} before anything was broken ({errors_told(statuses)})"
    return question.failed(Reason.TOO_MANY_ERRORS, wrong, error_share=share)


def _latency_by_mean(question: Question, seconds: Sequence[LoadSecond], objectives: Objectives) -> Judgement:
    """Of an older history: the mean of the p95 of its seconds."""
    p95 = latency_of(seconds, "p95")
    if p95 is None:
        return question.unknown(Reason.NO_DATA, "no latency was recorded")
    if p95 <= objectives.p95_ms:
        return question.passed(f"p95 was {p95:.0f} ms", p95_ms=p95)
    return question.failed(Reason.TOO_SLOW, f"p95 was {p95:.0f} ms before anything was broken", p95_ms=p95)
