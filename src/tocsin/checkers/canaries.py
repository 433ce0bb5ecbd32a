"""Do the canaries pass before, notice the fault, and pass again after it?"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from operator import attrgetter

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.gathering import CanaryRun
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act
from tocsin.model.verdict import Judgement, Reason

RETRIED_AT_MOST = 1 / 3
"""Share of a canary's runs that may pass only at their second attempt. One run always may: it was a blip."""


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
            recovered = (recovered or run.known_at) if run.ok_after_retry and not run.broken else None
        if recovered is None:
            return None
        ends.append(recovered)
    return max(ends, default=None)


def canaries_failed_until(timeline: Timeline) -> float | None:
    """When the last run began that failed after the undo; None if none did."""
    runs = (run for name in _names(timeline) for run in _runs_after(timeline, name))
    return max((run.at for run in runs if not run.ok_after_retry and not run.broken), default=None)


def silent_canaries(timeline: Timeline) -> list[str]:
    """Canaries that said nothing about the system after the undo was verified: no run, or only broken ones."""
    return [name for name in _names(timeline) if all(run.broken for run in _runs_after(timeline, name))]


def _names(timeline: Timeline) -> list[str]:
    asked = (entry.canary for entry in timeline.expect.must_canaries)
    return list(dict.fromkeys((*timeline.runs_by_canary, *asked)))


def runs_before(timeline: Timeline, name: str) -> list[CanaryRun]:
    """Runs that ended before the injection was requested; one that straddles it tells nothing."""
    end = timeline.requested if timeline.requested is not None else timeline.end
    span = timeline.acts.get(Act.BASELINE)
    runs = timeline.runs_by_canary.get(name, ())
    return [run for run in runs if span and run.at >= span.start and run.known_at <= end]


def _runs_after(timeline: Timeline, name: str) -> list[CanaryRun]:
    """Runs that began after the undo was verified; one that straddles it tells nothing."""
    verified = timeline.verified
    runs = timeline.runs_by_canary.get(name, [])
    return [] if verified is None else runs[bisect_left(runs, verified, key=attrgetter("at")) :]


def _before(question: Question, timeline: Timeline, names: list[str]) -> Judgement:
    runs = {name: runs_before(timeline, name) for name in names}
    failed = [run for name in names for run in runs[name] if not run.broken and not run.ok_after_retry]
    if failed:
        return question.failed(
            Reason.CANARY_FAILED, f"{words_of(failed[0])} before anything was broken", failed=len(failed)
        )
    living = _living_on_retries(runs)
    if living:
        return question.failed(Reason.CANARY_FAILED, f"{living} before anything was broken")
    lucky = [name for name, found in runs.items() if found and all(retried(run) for run in found)]
    if lucky:
        told = f"{lucky[0]} ran once, and passed only at its second attempt: {runs[lucky[0]][0].detail}"
        return question.unknown(Reason.NO_EVIDENCE, told)
    count = sum(len(found) for found in runs.values())
    return _unseen(question, runs) or _passed(question, f"{len(names)} canaries, {count} runs", runs)


def _after(question: Question, timeline: Timeline, names: list[str]) -> Judgement:
    if timeline.verified is None:
        return question.unknown(Reason.NO_EVIDENCE, "the undo was not verified")
    runs = {name: _runs_after(timeline, name) for name in names}
    last = {name: found[-1:] for name, found in runs.items()}
    failed = [run for found in last.values() for run in found if not run.broken and not run.ok_after_retry]
    if failed:
        told = "; ".join(words_of(run) for run in failed)
        return question.failed(Reason.NOT_RECOVERED, f"still failing at the end: {told}", failed=len(failed))
    well = {name: _since_it_failed(found) for name, found in runs.items()}
    living = _living_on_retries(well)
    if living:
        return question.failed(Reason.NOT_RECOVERED, f"{living} since it passes again")
    return _unseen(question, last) or _passed(question, f"the last runs of all {len(names)} canaries passed", well)


def _since_it_failed(runs: list[CanaryRun]) -> list[CanaryRun]:
    """The runs after the last one that failed at both attempts."""
    failed = [index for index, run in enumerate(runs) if not run.broken and not run.ok_after_retry]
    return runs[failed[-1] + 1 :] if failed else runs


def retried(run: CanaryRun) -> bool:
    """Whether it passed, and only at its second attempt."""
    return not run.ok and run.ok_after_retry and not run.broken


def _living_on_retries(runs: Mapping[str, list[CanaryRun]]) -> str:
    """The first canary that passes at its second attempt as a habit, in words; a retry is for a blip."""
    for name, found in runs.items():
        second = [run for run in found if retried(run)]
        if len(second) > 1 and len(second) > RETRIED_AT_MOST * len(found):
            return (
                f"{name} passed only at its second attempt in {len(second)} of {len(found)} runs ({second[0].detail})"
            )
    return ""


def _passed(question: Question, told: str, runs: Mapping[str, list[CanaryRun]]) -> Judgement:
    """A pass that says which runs needed their second attempt."""
    counts = {name: sum(retried(run) for run in found) for name, found in runs.items()}
    if not any(counts.values()):
        return question.passed(told)
    needed = ", ".join(f"{name}: {count} of {len(runs[name])}" for name, count in counts.items() if count)
    return question.passed(
        f"{told}; only at their second attempt passed runs of {needed}", retried=sum(counts.values())
    )


def _unseen(question: Question, runs: dict[str, list[CanaryRun]]) -> Judgement | None:
    silent = [name for name, found in runs.items() if not found]
    if silent:
        return question.unknown(Reason.NO_EVIDENCE, f"no run was seen of {', '.join(silent)}")
    broken = [run for found in runs.values() for run in found if run.broken]
    if broken:
        return question.unknown(Reason.NO_EVIDENCE, f"{broken[0].canary} itself is broken: {broken[0].detail}")
    return None


def words_of(run: CanaryRun) -> str:
    return f"{run.canary}: {run.detail}" if run.detail else run.canary
