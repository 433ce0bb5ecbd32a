"""The lanes of the timeline: acts, the fault, alarms, canaries and contract runs."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

from tocsin.checkers.evaluation import why_not_evaluated, without_data
from tocsin.checkers.gathering import CanaryRun
from tocsin.checkers.must_alarm import cleared_at, first_ring
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import AlarmNotified, ContractRan, FaultStage
from tocsin.model.experiment import MustAlarm
from tocsin.model.system import AlarmState
from tocsin.model.verdict import Judgement, Outcome, Verdict, merge
from tocsin.report.axis import Axis
from tocsin.report.shapes import WIDTH, bar, box, drawing, mark, path

ALARM_HEIGHT = 38
CANARY_HEIGHT = 20
_BAD = (FaultStage.UNDO_FAILED, FaultStage.NO_EFFECT, FaultStage.NOT_SEEN)


@dataclass(frozen=True)
class Lane:
    """One line of the timeline: who, in words what happened, and the picture of it."""

    name: str
    picture: Markup
    note: str = ""
    role: str = ""
    outcome: Outcome | None = None
    css: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    """Style and meaning of what is drawn, where a lane needs its own."""


def acts_lane(timeline: Timeline, axis: Axis) -> Lane:
    """The four acts as bands."""
    bars = [
        bar(
            f"act {act.value}",
            axis.x(span.start),
            axis.width(span.start, span.end),
            f"{act.value}: {axis.since_zero(span.start)} to {axis.since_zero(span.end)}, "
            f"{format_duration(timeline.production(span.end - span.start))}",
            act.value,
        )
        for act, span in timeline.acts.items()
    ]
    return Lane("Acts", Markup("").join(bars), css="acts")


def fault_lane(timeline: Timeline, axis: Axis) -> Lane | None:
    """Every fault from its request to its verified undo, with a mark for each stage."""
    if timeline.requested is None:
        return None
    end = timeline.verified if timeline.verified is not None else timeline.end
    start = timeline.accepted if timeline.accepted is not None else timeline.requested
    parts = [box("fault-span", axis.x(start), axis.width(start, end), 11, 8)]
    for event in timeline.fault_changes:
        css = "bad" if event.stage in _BAD else "stage"
        title = f"{event.fault} {event.stage.value.replace('_', ' ')} {axis.since_zero(event.at)}"
        x = axis.x(event.at) * 10
        parts.append(path(css, f"M{x:g} 5V25", f"{title} {event.detail}".strip()))
    told = ", ".join(
        f"{event.stage.value.replace('_', ' ')} {axis.since_zero(event.at)}"
        for event in timeline.fault_changes
        if event.stage in (FaultStage.EFFECTIVE, FaultStage.NO_EFFECT, FaultStage.NOT_SEEN, *_ends(timeline))
    )
    label = f"Fault {', '.join(timeline.entries.values())}: {told}"
    return Lane(", ".join(dict.fromkeys(timeline.entries.values())), drawing(30, label, parts), note=told, css="fault")


def alarm_lanes(timeline: Timeline, axis: Axis, verdict: Verdict) -> Iterator[Lane]:
    """One swim lane an alarm: those that must ring first, those nobody judged last."""
    expect = timeline.expect
    roles = {entry.alarm: "must ring" for entry in expect.must_alarms}
    roles |= {entry.alarm: "quiet" for entry in expect.quiet}
    roles |= {entry.alarm: "blind" for entry in expect.blind}
    others = [name for name in timeline.system.alarms if name not in roles]
    for name in (*roles, *others):
        own = [j for j in verdict.judgements if j.id.split(":", 1)[-1] == name and _about_alarm(j)]
        must = next((entry for entry in expect.must_alarms if entry.alarm == name), None)
        yield Lane(
            name=name,
            picture=_alarm_picture(timeline, axis, name, must),
            note=_alarm_note(timeline, axis, name),
            role=roles.get(name, "not judged"),
            outcome=merge(j.outcome for j in own) if own else None,
            css="alarm",
        )


def canary_lanes(timeline: Timeline, axis: Axis) -> Iterator[Lane]:
    """One lane a canary, one tick a run: the taller the tick, the worse."""
    for name, own in timeline.runs_by_canary.items():
        failed = sum(1 for run in own if not run.ok_after_retry and not run.broken)
        note = f"{failed} of {len(own)} failed" if failed else f"{len(own)} passed"
        if len(own) > WIDTH:
            note += f"; drawn are the first of each kind in each of {WIDTH:,} columns"
        parts = [_canary_tick(axis, run, more) for run, more in _drawn(axis, own)]
        yield Lane(name, drawing(CANARY_HEIGHT, f"Canary {name}: {note}", parts), note=note, css="canary")


def contract_lane(timeline: Timeline, axis: Axis) -> Lane | None:
    """One bar a contract run."""
    runs = timeline.of_kind(ContractRan)
    if not runs:
        return None
    bars = [_contract_bar(axis, run) for run in runs]
    note = f"{sum(run.cases for run in runs)} cases"
    return Lane("Schemathesis", Markup("").join(bars), note=note, css="contract")


def segments(timeline: Timeline, alarm: str) -> list[tuple[float, float, AlarmState]]:
    """Stretches of one state, from the first look at the alarm to the end."""
    changes = list(timeline.said(alarm).changes())
    marks = [*(at for at, _ in changes), timeline.end]
    return [(start, end, state) for (start, end), (_, state) in zip(pairwise(marks), changes, strict=True)]


def _ends(timeline: Timeline) -> tuple[FaultStage, ...]:
    return (FaultStage.UNDO_REQUESTED, FaultStage.VERIFIED, FaultStage.DRIFTED, FaultStage.UNDO_FAILED)


def _about_alarm(judgement: Judgement) -> bool:
    return judgement.id.split(":", 1)[0] in ("must", "clears", "quiet", "blind")


def _alarm_picture(timeline: Timeline, axis: Axis, alarm: str, must: MustAlarm | None) -> Markup:
    parts: list[Markup] = []
    marks: list[Markup] = []
    for start, end, state in segments(timeline, alarm):
        x, width = axis.x(start), axis.width(start, end)
        title = f"{state} {axis.since_zero(start)} to {axis.since_zero(end)}"
        if state == "ALARM":
            parts.append(box("ringing", x, width, 13, 20, title))
            marks.append(bar("ringing-word", x, width, title, "ALARM"))
        else:
            css = "calm" if state == "OK" else "nodata"
            parts.append(path(css, f"M{x * 10:g} 23H{(x + width) * 10:g}", title))
    parts += _deadlines(timeline, axis, must)
    if must is not None and timeline.accepted is not None:
        at = timeline.accepted + timeline.wall(must.within)
        if axis.inside(at):
            word = f"due {format_duration(must.within)}"
            marks.append(mark("due", axis.x(at), f"must ring before {axis.since_zero(at)}", word))
    marks += [
        mark("told", axis.x(event.at), f"notified {event.state} {axis.since_zero(event.at)} by {event.via}")
        for event in timeline.of_kind(AlarmNotified)
        if event.alarm == alarm
    ]
    label = ", ".join(f"{state} from {axis.since_zero(start)}" for start, _, state in segments(timeline, alarm))
    return drawing(ALARM_HEIGHT, f"Alarm {alarm}: {label or 'not watched'}", parts) + Markup("").join(marks)


def _deadlines(timeline: Timeline, axis: Axis, must: MustAlarm | None) -> Iterator[Markup]:
    if must is None or timeline.accepted is None:
        return
    due = [(timeline.accepted + timeline.wall(must.within), "must ring before")]
    if timeline.verified is not None:
        due.append((timeline.verified + timeline.wall(must.clears_within), "must be clear before"))
    for at, words in due:
        if axis.inside(at):
            yield path("deadline", f"M{axis.x(at) * 10:g} 2V36", f"{words} {axis.since_zero(at)}")


def _alarm_note(timeline: Timeline, axis: Axis, alarm: str) -> str:
    ring = first_ring(timeline, alarm)
    if ring is None:
        if timeline.said(alarm).first("ALARM") is not None:
            return "already in ALARM"
        return _silence(timeline, alarm)
    told = f"rang {axis.since_zero(ring.at)}"
    cleared = cleared_at(timeline, alarm)
    if cleared is None or timeline.verified is None:
        return f"{told}, not cleared"
    return f"{told}, clear {format_duration(timeline.production(cleared - timeline.verified))} after undo"


def _silence(timeline: Timeline, alarm: str) -> str:
    """What an alarm was that did not ring: silent only where somebody watched it while there was a fault."""
    if alarm in timeline.never_evaluated:
        return "not evaluated"
    if not timeline.said(alarm):
        return "not watched"
    if timeline.accepted is None:
        return "not watched: nothing was injected"
    if not timeline.watched(alarm, timeline.accepted, timeline.fault_end):
        return "not watched all the time"
    if why_not_evaluated(timeline, alarm, timeline.accepted, timeline.watch_end) is not None:
        return "not evaluated"
    if timeline.has_data(alarm) is False:
        return "metric without data"
    return "no data" if without_data(timeline, alarm, timeline.accepted, timeline.watch_end) else "silent"


def _drawn(axis: Axis, runs: Sequence[CanaryRun]) -> Iterator[tuple[CanaryRun, int]]:
    """(run, how many more like it are meant) for each tick of a lane.

    Up to a column's width each run has its own. Of more, each of the thousand columns that a drawing is wide has the
    first run of each kind in it: the worst of a column is always seen, and the best.
    """
    if len(runs) <= WIDTH:
        yield from ((run, 0) for run in runs)
        return
    start = 0
    while start < len(runs):
        end = bisect_right(runs, _column(axis, runs[start]), start, key=partial(_column, axis))
        ticks = [_tick(run) for run in runs[start:end]]
        yield from ((runs[start + ticks.index(tick)], count - 1) for tick, count in Counter(ticks).items())
        start = end


def _column(axis: Axis, run: CanaryRun) -> int:
    """In which of the columns of a drawing a run is; the later, the further to the right."""
    return round(axis.x(run.at) * WIDTH / 100)


class _Tick(NamedTuple):
    """How a run is drawn: the taller, the worse."""

    css: str
    top: int
    word: str


_OK = _Tick("tick-ok", 11, "passed")
_RETRIED = _Tick("tick-retried", 6, "passed after a retry")
_BROKEN = _Tick("tick-broken", 8, "is broken itself")
_FAILED = _Tick("tick-failed", 1, "failed")


def _tick(run: CanaryRun) -> _Tick:
    if run.broken:
        return _BROKEN
    if not run.ok_after_retry:
        return _FAILED
    return _OK if run.ok else _RETRIED


def _canary_tick(axis: Axis, run: CanaryRun, more: int) -> Markup:
    css, top, word = _tick(run)
    also = f" and {more} more until the next column" if more else ""
    title = "" if css == "tick-ok" else f"{word} {axis.since_zero(run.known_at)} {run.detail}".strip() + also
    return path(css, f"M{axis.x(run.at) * 10:g} {top}V19", title)


def _contract_bar(axis: Axis, run: ContractRan) -> Markup:
    failures = sum(failure.count for failure in run.failures)
    if failures:
        css, text = "broken", f"✕ {failures}"
    elif not run.complete or not run.cases:
        css, text = "cut", "? cut"
    else:
        css, text = "kept", f"✓ {run.cases}"
    title = f"{run.act.value}: {run.cases} cases, {failures} failures, {run.degraded} degraded answers accepted"
    return bar(css, axis.x(run.at), axis.width(run.at, run.ended_at), title, text)
