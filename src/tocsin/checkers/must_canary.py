"""Did each canary that must notice the fault notice it in time?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.canaries import retried, runs_before, words_of
from tocsin.checkers.gathering import CanaryRun
from tocsin.checkers.must_alarm import TOLERANCE_WALL_S
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.experiment import MustCanary
from tocsin.model.verdict import Judgement, Reason


def check_must_canaries(timeline: Timeline) -> Iterator[Answer]:
    """A canary notices when a run that began after the injection fails, also after its retry; and only when it ended.

    A run that straddles the injection, or the undo, saw both the healthy system and the broken one: that it failed, or
    passed, says nothing about either.
    """
    for entry in timeline.expect.must_canaries:
        yield _notices(timeline, entry)


def _notices(timeline: Timeline, entry: MustCanary) -> Judgement:
    within = format_duration(entry.within)
    question = Question(f"canary:{entry.canary}", f"the canary {entry.canary} notices within {within}")
    if timeline.accepted is None:
        return question.unknown(Reason.NO_EVIDENCE, "nothing was injected that it could have noticed")
    before = runs_before(timeline, entry.canary)
    if any(not run.broken and not run.ok_after_retry for run in before):
        return question.unknown(Reason.RANG_BEFORE_FAULT, "it failed before the injection: it proves nothing")
    if not any(not run.broken for run in before):
        return question.unknown(Reason.NO_EVIDENCE, "it was not seen to pass before the injection: it proves nothing")
    runs = timeline.runs_by_canary.get(entry.canary, ())
    begun = [r for r in runs if timeline.accepted < r.at <= timeline.fault_end and not r.broken]
    failed = [run for run in begun if not run.ok_after_retry]
    if failed:
        return _noticed(question, timeline, entry, failed[0])
    if timeline.fault_end < timeline.accepted + timeline.wall(entry.within) - TOLERANCE_WALL_S:
        return question.unknown(Reason.WINDOW_CUT, "it had not noticed when the fault ended")
    during = [run for run in begun if run.known_at <= timeline.fault_end]
    if not during:
        return question.unknown(Reason.NOT_WATCHED, "no run of it began and ended while the fault was in place")
    second = sum(retried(run) for run in during)
    saved = f", in {second} of them only thanks to its second attempt" if second else ""
    return question.failed(
        Reason.CANARY_BLIND, f"it ran {len(during)} times during the fault and never failed{saved}", runs=len(during)
    )


def _noticed(question: Question, timeline: Timeline, entry: MustCanary, run: CanaryRun) -> Judgement:
    assert timeline.accepted is not None
    after_s = timeline.production(run.known_at - timeline.accepted)
    known, began = (format_duration(timeline.production(at - timeline.accepted)) for at in (run.known_at, run.at))
    told = f"failed {known} after the injection ({words_of(run)})"
    if began != known:
        told = f"failed {known} after the injection, in a run that began after {began} ({words_of(run)})"
    if after_s > entry.within:
        return question.failed(
            Reason.RANG_LATE, f"{told}, later than {format_duration(entry.within)}", noticed_s=after_s
        )
    return question.passed(told, noticed_s=after_s)
