"""Do the canaries pass before, notice the fault, and pass again after it?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.must_alarm import TOLERANCE_WALL_S
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import Act, CanaryRan
from tocsin.model.experiment import MustCanary
from tocsin.model.verdict import Judgement, Reason


def check_must_canaries(timeline: Timeline) -> Iterator[Answer]:
    """A canary notices when a run that began after the injection fails, also after its retry."""
    for entry in timeline.expect.must_canaries:
        yield _notices(timeline, entry)


def check_canaries(timeline: Timeline) -> Iterator[Answer]:
    """All canaries pass before the fault and at the end; what they say during the fault is information."""
    if timeline.system.canaries is None:
        yield NotObserved("User journeys: the system file names no canaries.")
        return
    names = _names(timeline)
    before = Question("canaries:before", "every canary passes before the fault")
    after = Question("canaries:after", "every canary passes again after the recovery")
    if not names:
        yield before.unknown(Reason.NO_EVIDENCE, "no canary ran")
        yield after.unknown(Reason.NO_EVIDENCE, "no canary ran")
        return
    yield _before(before, timeline, names)
    yield _after(after, timeline, names)


def canaries_recovered(timeline: Timeline) -> float | None:
    """When the last canary had passed again, to stay so; None while one has not."""
    ends: list[float] = []
    for name in _names(timeline):
        recovered: float | None = None
        for run in _runs_after(timeline, name):
            ended = run.at + run.ms / 1000
            recovered = (recovered or ended) if run.ok_after_retry and not run.broken else None
        if recovered is None:
            return None
        ends.append(recovered)
    return max(ends, default=None)


def silent_canaries(timeline: Timeline) -> list[str]:
    """Canaries that said nothing about the system after the undo was verified: no run, or only broken ones."""
    return [name for name in _names(timeline) if all(run.broken for run in _runs_after(timeline, name))]


def _names(timeline: Timeline) -> list[str]:
    ran = (run.canary for run in timeline.of_kind(CanaryRan))
    asked = (entry.canary for entry in timeline.expect.must_canaries)
    return list(dict.fromkeys((*ran, *asked)))


def _runs_before(timeline: Timeline, name: str) -> list[CanaryRan]:
    """Runs that ended before the injection was requested; one that straddles it tells nothing."""
    end = timeline.requested if timeline.requested is not None else timeline.end
    span = timeline.acts.get(Act.BASELINE)
    runs = (run for run in timeline.of_kind(CanaryRan) if run.canary == name)
    return [run for run in runs if span and run.at >= span.start and run.at + run.ms / 1000 <= end]


def _runs_after(timeline: Timeline, name: str) -> list[CanaryRan]:
    verified = timeline.verified
    return [
        run for run in timeline.of_kind(CanaryRan) if run.canary == name and verified is not None and run.at >= verified
    ]


def _before(question: Question, timeline: Timeline, names: list[str]) -> Judgement:
    runs = {name: _runs_before(timeline, name) for name in names}
    failed = [run for name in names for run in runs[name] if not run.broken and not run.ok_after_retry]
    if failed:
        return question.failed(
            Reason.CANARY_FAILED, f"{_told(failed[0])} before anything was broken", failed=len(failed)
        )
    return _unseen(question, runs) or question.passed(
        f"{len(names)} canaries, {sum(len(found) for found in runs.values())} runs"
    )


def _after(question: Question, timeline: Timeline, names: list[str]) -> Judgement:
    if timeline.verified is None:
        return question.unknown(Reason.NO_EVIDENCE, "the undo was not verified")
    last = {name: _runs_after(timeline, name)[-1:] for name in names}
    failed = [run for runs in last.values() for run in runs if not run.broken and not run.ok_after_retry]
    if failed:
        told = "; ".join(_told(run) for run in failed)
        return question.failed(Reason.NOT_RECOVERED, f"still failing at the end: {told}", failed=len(failed))
    return _unseen(question, last) or question.passed(f"the last runs of all {len(names)} canaries passed")


def _unseen(question: Question, runs: dict[str, list[CanaryRan]]) -> Judgement | None:
    silent = [name for name, found in runs.items() if not found]
    if silent:
        return question.unknown(Reason.NO_EVIDENCE, f"no run was seen of {', '.join(silent)}")
    broken = [run for found in runs.values() for run in found if run.broken]
    if broken:
        return question.unknown(Reason.NO_EVIDENCE, f"{broken[0].canary} itself is broken: {broken[0].detail}")
    return None


def _notices(timeline: Timeline, entry: MustCanary) -> Judgement:
    within = format_duration(entry.within)
    question = Question(f"canary:{entry.canary}", f"the canary {entry.canary} notices within {within}")
    if timeline.accepted is None:
        return question.unknown(Reason.NO_EVIDENCE, "nothing was injected that it could have noticed")
    before = _runs_before(timeline, entry.canary)
    if any(not run.broken and not run.ok_after_retry for run in before):
        return question.unknown(Reason.RANG_BEFORE_FAULT, "it failed before the injection: it proves nothing")
    if not any(not run.broken for run in before):
        return question.unknown(Reason.NO_EVIDENCE, "it was not seen to pass before the injection: it proves nothing")
    runs = [run for run in timeline.of_kind(CanaryRan) if run.canary == entry.canary]
    during = [r for r in runs if timeline.accepted < r.at <= timeline.fault_end and not r.broken]
    failed = [run for run in during if not run.ok_after_retry]
    if failed:
        return _noticed(question, timeline, entry, failed[0])
    if timeline.fault_end < timeline.accepted + timeline.wall(entry.within) - TOLERANCE_WALL_S:
        return question.unknown(Reason.WINDOW_CUT, "it had not noticed when the fault ended")
    if not during:
        return question.unknown(Reason.NOT_WATCHED, "it did not run while the fault was in place")
    return question.failed(
        Reason.CANARY_BLIND, f"it ran {len(during)} times during the fault and never failed", runs=len(during)
    )


def _noticed(question: Question, timeline: Timeline, entry: MustCanary, run: CanaryRan) -> Judgement:
    assert timeline.accepted is not None
    after_s = timeline.production(run.at - timeline.accepted)
    told = f"failed {format_duration(after_s)} after the injection ({_told(run)})"
    if after_s > entry.within:
        return question.failed(
            Reason.RANG_LATE, f"{told}, later than {format_duration(entry.within)}", noticed_s=after_s
        )
    return question.passed(told, noticed_s=after_s)


def _told(run: CanaryRan) -> str:
    return f"{run.canary}: {run.detail}" if run.detail else run.canary
