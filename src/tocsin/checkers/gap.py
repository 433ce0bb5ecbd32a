"""Are users hurt while nobody is told? A documented gap is a finding, until an alarm proves it wrong."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.quiet_alarm import stayed_without_data, unproven_silence
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import FaultStage
from tocsin.model.traffic import count_statuses, error_share
from tocsin.model.verdict import Finding, Reason


def check_gap(timeline: Timeline) -> Iterator[Answer]:
    """Any documented alarm that rings (and is not itself expected to) refutes the gap; silence alone shows none.

    A gap is a hurt that nobody is told about. Where nobody was seen to be hurt there was nothing to tell.
    """
    gap = timeline.expect.gap
    if gap is None:
        return
    question = Question("gap", "no documented alarm rings, as the experiment says")
    expected = {entry.alarm for entry in timeline.expect.must_alarms}
    alarms = [name for name in timeline.system.alarms if name not in expected]
    rang = {name: at for name in alarms if (at := _rang(timeline, name)) is not None}
    if rang:
        told = ", ".join(f"{name} after {format_duration(at)}" for name, at in rang.items())
        yield question.failed(Reason.GAP_REFUTED, f"there is no gap: rang {told}. Move it to `must`")
        return
    for name in alarms:
        unproven = unproven_silence(question, timeline, name, timeline.experiment.extension.fault_for or 0.0)
        if unproven is not None:
            yield unproven.model_copy(update={"message": f"{name}: {unproven.message}"})
            return
    hurt = [*_failed_canaries(timeline), *_complaints(timeline)]
    if not hurt:
        yield question.unknown(
            Reason.NOBODY_HURT,
            f"{len(alarms)} alarms were watched and none rang, and nobody was seen to be hurt either: {_seen(timeline)}"
            ". Add a canary that walks what is broken, or take `gap` out",
        )
        return
    yield question.passed(f"{len(alarms)} alarms were watched and none rang")
    for name in alarms:
        if stayed_without_data(timeline, name):
            yield NotObserved(f"{name}: it was in INSUFFICIENT_DATA all the while, so its silence is no health.")
    yield Finding(kind="gap", subject=timeline.system.system, message=f"{gap} Seen: {_seen(timeline)}.")


def _rang(timeline: Timeline, alarm: str) -> float | None:
    if timeline.accepted is None:
        return None
    at = timeline.in_alarm(alarm, after=timeline.accepted, until=timeline.end)
    return None if at is None else timeline.production(at - timeline.accepted)


def _failed_canaries(timeline: Timeline) -> list[str]:
    """Canaries that failed under the fault, in their second attempt too."""
    failed = {
        run.canary
        for run in timeline.canary_runs
        if timeline.accepted is not None
        and timeline.accepted < run.at <= timeline.fault_end
        and not run.broken
        and not run.ok_after_retry
    }
    return [f"failing canaries: {', '.join(sorted(failed))}"] if failed else []


def _complaints(timeline: Timeline) -> list[str]:
    """What callers got under the fault that no chance explains, in the worst minute of it or in all of it."""
    healthy, seconds = timeline.healthy, timeline.fault_load
    whole = [seconds] if healthy.is_broken(seconds) else []
    broken = chain(whole, healthy.broken_windows(seconds, timeline.scale))
    return [told] if (told := next((one for part in broken if (one := healthy.complaint(part))), None)) else []


def _seen(timeline: Timeline) -> str:
    statuses = count_statuses(timeline.fault_load)
    effects = [e.detail for e in timeline.fault_changes if e.stage == FaultStage.EFFECTIVE and e.detail]
    parts = [
        f"{error_share(statuses):.1%} of {statuses.total()} answers failed during the fault"
        if statuses.total()
        else "no traffic",
        *(_failed_canaries(timeline) or ["no canary failed"]),
        *effects,
    ]
    return "; ".join(parts)
