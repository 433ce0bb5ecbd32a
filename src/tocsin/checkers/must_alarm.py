"""Does the alarm ring in time, is somebody told, and does it clear and stay clear?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.alarm_causes import why_nobody_was_told, why_silent
from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.timeline import LONGEST_SILENCE_S, LONGEST_SILENCE_WALL_S, Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import AlarmChanged, AlarmNotified
from tocsin.model.experiment import MustAlarm
from tocsin.model.system import MetricAlarm
from tocsin.model.verdict import Detection, Finding, Judgement, Reason

TOLERANCE_WALL_S = 0.25
"""Wall seconds by which a drill may end a window early: the wait and the record are not one instant."""

CLOCK_SKEW_WALL_S = 1.0
"""A queue stamps whole milliseconds by a clock of its own: a notification may seem earlier than its cause."""
NEVER_READ = "nobody read its state and its definition before the injection"


def check_must_alarms(timeline: Timeline) -> Iterator[Answer]:
    """An alarm counts only by a transition to ALARM after the injection was accepted."""
    for entry in timeline.expect.must_alarms:
        yield _ring(timeline, entry)
        yield _clear(timeline, entry)


def check_forecasts(timeline: Timeline) -> Iterator[Answer]:
    """An alarm that cannot ring needs no drill to be found out."""
    for entry in timeline.expect.must_alarms:
        found = timeline.forecast(entry.alarm)
        if found is not None and not found.feasible:
            yield _ringing(timeline, entry).unknown(Reason.INFEASIBLE, f"it cannot ring: {found.detail}")


def check_definitions(timeline: Timeline) -> Iterator[Answer]:
    """An alarm that is not the documented one proves nothing about the documented one."""
    for name, seen in timeline.first_seen.items():
        if seen.definition_drift:
            fields = ", ".join(seen.definition_drift)
            yield Finding(
                kind="definition_drift",
                subject=name,
                message=f"{name} differs from its documented definition in {fields}",
            )


def detection(timeline: Timeline, entry: MustAlarm) -> Detection | None:
    """Time to detect in stages, in production seconds after the injection was requested.

    The oldest breaching datapoint may begin before the injection, because CloudWatch stamps a datapoint
    with the start of its period; a breach is never shown earlier than the injection that caused it.
    """
    if timeline.requested is None:
        return None
    ring = first_ring(timeline, entry.alarm)
    notified = None if ring is None else _notification(timeline, ring)
    breached = None if ring is None or ring.breached_at is None else ring.breached_at
    if breached is not None and timeline.accepted is not None:
        breached = max(breached, timeline.accepted)
    cleared, forecast = cleared_at(timeline, entry.alarm), timeline.forecast(entry.alarm)
    return Detection(
        alarm=entry.alarm,
        requested_at=timeline.requested,
        accepted_s=_since(timeline, timeline.requested, timeline.accepted),
        effective_s=_since(timeline, timeline.requested, timeline.effective),
        breached_s=_since(timeline, timeline.requested, breached),
        alarm_s=_since(timeline, timeline.requested, ring.at if ring else None),
        notified_s=_since(timeline, timeline.requested, notified.at if notified else None),
        cleared_s=_since(timeline, timeline.verified, cleared) if timeline.verified is not None else None,
        within_s=entry.within,
        typical_s=forecast.typical_s if forecast else None,
        worst_s=forecast.worst_s if forecast else None,
    )


def first_ring(timeline: Timeline, alarm: str) -> AlarmChanged | None:
    """The first transition to ALARM after the injection was accepted."""
    if timeline.accepted is None:
        return None
    return next(iter(timeline.rings(alarm, after=timeline.accepted)), None)


def cleared_at(timeline: Timeline, alarm: str) -> float | None:
    """When the alarm that rang went to OK after the verified undo; the undo itself if it was OK by then."""
    ring = first_ring(timeline, alarm)
    if timeline.verified is None or ring is None:
        return None
    start = max(timeline.verified, ring.at)
    if timeline.state_at(alarm, start) == "OK":
        return start
    later = (event.at for event in timeline.alarm_changes(alarm) if event.after == "OK")
    return next((at for at in later if at > start), None)


def _ringing(timeline: Timeline, entry: MustAlarm) -> Question:
    told = " and somebody is told" if timeline.system.can_tell(entry.alarm) else ""
    return Question(f"must:{entry.alarm}", f"{entry.alarm} rings within {format_duration(entry.within)}{told}")


def _ring(timeline: Timeline, entry: MustAlarm) -> Judgement:
    question = _ringing(timeline, entry)
    if timeline.accepted is None:
        return question.unknown(Reason.NO_EVIDENCE, "nothing was injected that it could have seen")
    before = timeline.rang_before_fault(entry.alarm)
    if before is not None:
        ago = format_duration(timeline.production(timeline.accepted - before))
        return question.unknown(
            Reason.RANG_BEFORE_FAULT, f"it was in ALARM {ago} before the injection: it proves nothing"
        )
    if not timeline.seen_before_fault(entry.alarm):
        return question.unknown(Reason.NOT_WATCHED, NEVER_READ)
    ring = first_ring(timeline, entry.alarm)
    if ring is None:
        return _silent(question, timeline, entry)
    after_s = timeline.production(ring.at - timeline.accepted)
    rang = f"rang {format_duration(after_s)} after the injection"
    if after_s > entry.within:
        late = f"{rang}, later than {format_duration(entry.within)}{_drift(timeline, entry.alarm)}"
        return question.failed(Reason.RANG_LATE, late, alarm_s=after_s)
    earlier_s = _breached_before_fault(timeline, ring)
    if earlier_s is not None:
        return question.unknown(
            Reason.RANG_BEFORE_FAULT,
            f"{rang}, for what began before it: its oldest breaching datapoint was over {format_duration(earlier_s)} "
            "before the injection, so another cause had a part in it",
            alarm_s=after_s,
        )
    rings = timeline.rings(entry.alarm, after=timeline.accepted, until=timeline.fault_end)
    if len(rings) > 1:
        return question.failed(
            Reason.FLAPPED,
            f"{rang}, and {len(rings)} times while the fault was in place: it went back to OK while nothing was mended"
            f"{_drift(timeline, entry.alarm)}",
            rings=len(rings),
        )
    if not timeline.system.can_tell(entry.alarm):
        return question.passed(f"{rang}{_drift(timeline, entry.alarm)}", alarm_s=after_s)
    return _told(question, timeline, ring, rang, after_s)


def _breached_before_fault(timeline: Timeline, ring: AlarmChanged) -> float | None:
    """Production seconds from the end of the oldest breaching datapoint to the injection; None if it was not before.

    An injection of many calls acts before the last of them is accepted: what breaches in between is its own doing.
    """
    alarm = timeline.system.cloudwatch_alarms.get(ring.alarm)
    if alarm is None or not isinstance(alarm.cloudwatch, MetricAlarm):
        return None
    if ring.breached_at is None or timeline.requested is None:
        return None
    ended = ring.breached_at + timeline.wall(alarm.cloudwatch.period_s)
    return timeline.production(timeline.requested - ended) if ended < timeline.requested else None


def _told(question: Question, timeline: Timeline, ring: AlarmChanged, rang: str, after_s: float) -> Judgement:
    notified, drift = _notification(timeline, ring), _drift(timeline, ring.alarm)
    if notified is not None and timeline.accepted is not None:
        notified_s = timeline.production(notified.at - timeline.accepted)
        return question.passed(
            f"{rang}{drift}; the notification arrived after {format_duration(notified_s)} by {notified.via}",
            alarm_s=after_s,
            notified_s=notified_s,
        )
    patience = LONGEST_SILENCE_WALL_S + timeline.wall(LONGEST_SILENCE_S)
    if timeline.end < ring.at + patience:
        return question.unknown(
            Reason.WINDOW_CUT, f"{rang}; the drill ended before a notification could arrive", alarm_s=after_s
        )
    return question.failed(
        Reason.NOT_NOTIFIED,
        f"{rang}, but no notification arrived and nobody was told{why_nobody_was_told(timeline, ring.alarm)}{drift}",
        alarm_s=after_s,
    )


def _silent(question: Question, timeline: Timeline, entry: MustAlarm) -> Judgement:
    assert timeline.accepted is not None
    deadline = timeline.accepted + timeline.wall(entry.within)
    if timeline.in_alarm(entry.alarm, after=timeline.accepted, until=deadline) is not None:
        return question.unknown(Reason.NO_EVIDENCE, "a poll saw it in ALARM, but its history holds no transition")
    if timeline.fault_end < deadline - TOLERANCE_WALL_S:
        held = format_duration(timeline.production(timeline.fault_end - timeline.accepted))
        return question.unknown(Reason.WINDOW_CUT, f"it had not rung when the fault ended after {held}")
    if not timeline.watched(entry.alarm, timeline.accepted, deadline):
        return question.unknown(Reason.NOT_WATCHED, _gap(timeline, entry.alarm, timeline.accepted, deadline))
    return question.failed(
        Reason.DID_NOT_RING,
        f"it was watched for {format_duration(entry.within)} and stayed "
        f"{timeline.state_at(entry.alarm, deadline)}{why_silent(timeline, entry.alarm)}{_drift(timeline, entry.alarm)}",
    )


def _clear(timeline: Timeline, entry: MustAlarm) -> Judgement:
    question = Question(
        f"clears:{entry.alarm}",
        f"{entry.alarm} clears within {format_duration(entry.clears_within)} of the undo and stays clear",
    )
    if first_ring(timeline, entry.alarm) is None:
        return question.unknown(Reason.NO_EVIDENCE, "it did not ring, so it could not clear")
    if timeline.verified is None:
        return question.unknown(Reason.NO_EVIDENCE, "the undo was not verified, so the clock never started")
    cleared = cleared_at(timeline, entry.alarm)
    deadline = timeline.verified + timeline.wall(entry.clears_within)
    if cleared is None:
        return _still_ringing(question, timeline, entry, deadline)
    after_s = timeline.production(cleared - timeline.verified)
    text = f"cleared {format_duration(after_s)} after the undo"
    if cleared > deadline:
        return question.failed(
            Reason.DID_NOT_CLEAR,
            f"{text}, later than {format_duration(entry.clears_within)}{_drift(timeline, entry.alarm)}",
            cleared_s=after_s,
        )
    again = timeline.in_alarm(entry.alarm, after=cleared, until=timeline.watch_end)
    if again is not None:
        again_s = timeline.production(again - timeline.verified)
        return question.failed(
            Reason.RANG_AGAIN,
            f"{text} and rang again {format_duration(again_s)} after it",
            cleared_s=after_s,
            again_s=again_s,
        )
    if not timeline.watched(entry.alarm, cleared, timeline.watch_end):
        return question.unknown(
            Reason.NOT_WATCHED, f"{text}; {_gap(timeline, entry.alarm, cleared, timeline.watch_end)}"
        )
    return question.passed(f"{text} and stayed clear to the end", cleared_s=after_s)


def _still_ringing(question: Question, timeline: Timeline, entry: MustAlarm, deadline: float) -> Judgement:
    assert timeline.verified is not None
    if timeline.end < deadline - TOLERANCE_WALL_S:
        left = format_duration(timeline.production(timeline.end - timeline.verified))
        return question.unknown(Reason.WINDOW_CUT, f"it had not cleared when the drill ended {left} after the undo")
    if not timeline.watched(entry.alarm, timeline.verified, deadline):
        return question.unknown(Reason.NOT_WATCHED, _gap(timeline, entry.alarm, timeline.verified, deadline))
    state = timeline.state_at(entry.alarm, deadline)
    return question.failed(
        Reason.DID_NOT_CLEAR,
        f"it is {state} still {format_duration(entry.clears_within)} after the undo, so something else keeps it so: "
        f"another cause, or what it looks at{_drift(timeline, entry.alarm)}",
    )


def _notification(timeline: Timeline, ring: AlarmChanged) -> AlarmNotified | None:
    return next(
        (
            event
            for event in timeline.of_kind(AlarmNotified)
            if event.alarm == ring.alarm and event.state == "ALARM" and event.at >= ring.at - CLOCK_SKEW_WALL_S
        ),
        None,
    )


def _gap(timeline: Timeline, alarm: str, start: float, end: float) -> str:
    gap = format_duration(timeline.watch_gap(alarm, start, end))
    return f"for {gap} nobody looked at it"


def _drift(timeline: Timeline, alarm: str) -> str:
    seen = timeline.first_seen.get(alarm)
    if seen is None or not seen.definition_drift:
        return ""
    return f" (not the documented alarm: {', '.join(seen.definition_drift)} differ)"


def _since(timeline: Timeline, start: float, end: float | None) -> float | None:
    return None if end is None else round(timeline.production(end - start), 3)
