"""Are users hurt while nobody is told? A documented gap is a finding, until an alarm proves it wrong."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.load import count_statuses, error_share
from tocsin.checkers.quiet_alarm import unproven_silence
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import CanaryRan, FaultStage
from tocsin.model.verdict import Finding, Reason


def check_gap(timeline: Timeline) -> Iterator[Answer]:
    """Any documented alarm that rings (and is not itself expected to) refutes the gap."""
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
    yield question.passed(f"{len(alarms)} alarms were watched and none rang")
    yield Finding(kind="gap", subject=timeline.system.system, message=f"{gap} Seen: {_hurt(timeline)}.")


def _rang(timeline: Timeline, alarm: str) -> float | None:
    if timeline.accepted is None:
        return None
    at = timeline.in_alarm(alarm, after=timeline.accepted, until=timeline.end)
    return None if at is None else timeline.production(at - timeline.accepted)


def _hurt(timeline: Timeline) -> str:
    statuses = count_statuses(timeline.fault_load)
    failed = {
        run.canary
        for run in timeline.of_kind(CanaryRan)
        if timeline.accepted is not None
        and timeline.accepted < run.at <= timeline.fault_end
        and not run.broken
        and not run.ok_after_retry
    }
    effects = [e.detail for e in timeline.fault_changes if e.stage == FaultStage.EFFECTIVE and e.detail]
    parts = [
        f"{error_share(statuses):.1%} of {statuses.total()} answers failed during the fault"
        if statuses.total()
        else "no traffic",
        f"failing canaries: {', '.join(sorted(failed))}" if failed else "no canary failed",
        *effects,
    ]
    return "; ".join(parts)
