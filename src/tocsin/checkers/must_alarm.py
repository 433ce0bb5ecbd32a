"""Does the alarm ring in time, is somebody told, and does it clear and stay clear?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.alarm_causes import why_silent
from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.evaluation import WITHOUT_DATA, never_evaluated, why_lost_data, why_not_evaluated
from tocsin.checkers.proof import (
    breached_before_fault,
    redefined,
    set_by_hand,
    undocumented_clear,
    undocumented_ring,
    unproven_children,
    unproven_quiet,
)
from tocsin.checkers.timeline import Timeline
from tocsin.checkers.told import arrival, judge_telling, notification
from tocsin.model.duration import format_duration
from tocsin.model.events import AlarmChanged
from tocsin.model.experiment import MustAlarm
from tocsin.model.system import AlarmState
from tocsin.model.verdict import Detection, Judgement, Outcome, Reason

TOLERANCE_WALL_S = 0.25
"""Wall seconds by which a drill may end a window early: the wait and the record are not one instant."""
NEVER_READ = "nobody read its state and its definition before the injection"


def check_must_alarms(timeline: Timeline) -> Iterator[Answer]:
    """An alarm counts only by a transition after the injection was accepted, made by CloudWatch on evidence."""
    for entry in timeline.expect.must_alarms:
        yield _ring(timeline, entry)
        yield _clear(timeline, entry)
        if entry.all_clear:
            yield _all_clear(timeline, entry)


def detection(timeline: Timeline, entry: MustAlarm) -> Detection | None:
    """Time to detect in stages, in production seconds after the injection was requested.

    The oldest breaching datapoint may begin before the injection, because CloudWatch stamps a datapoint
    with the start of its period; a breach is never shown earlier than the injection that caused it.
    """
    if timeline.requested is None:
        return None
    ring = first_ring(timeline, entry.alarm)
    notified = None if ring is None else notification(timeline, ring)
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
        notified_s=_since(timeline, timeline.requested, arrival(notified) if notified else None),
        cleared_s=_since(timeline, timeline.verified, cleared) if timeline.verified is not None else None,
        within_s=entry.within,
        typical_s=forecast.typical_s if forecast else None,
        worst_s=forecast.worst_s if forecast else None,
    )


def first_ring(timeline: Timeline, alarm: str) -> AlarmChanged | None:
    """The first transition after the injection was accepted by which the alarm tells people."""
    return next(iter(_rings(timeline, alarm)), None)


def _rings(timeline: Timeline, alarm: str) -> tuple[AlarmChanged, ...]:
    if timeline.accepted is None:
        return ()
    by, accepted = _tells_by(timeline, alarm), timeline.accepted
    return tuple(event for event in timeline.alarm_changes(alarm) if event.after == by and event.at > accepted)


def _tells_by(timeline: Timeline, alarm: str) -> AlarmState:
    """The state in which an alarm tells people, as the experiment says."""
    return next((entry.by for entry in timeline.expect.must_alarms if entry.alarm == alarm), "ALARM")


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


def ringing(timeline: Timeline, entry: MustAlarm) -> Question:
    told = " and somebody is told" if timeline.system.can_tell(entry.alarm) else ""
    if told and entry.notified_within is not None:
        told += f" within {format_duration(entry.notified_within)}"
    rings = "rings" if entry.by == "ALARM" else f"goes to {entry.by}"
    return Question(f"must:{entry.alarm}", f"{entry.alarm} {rings} within {format_duration(entry.within)}{told}")


def _ring(timeline: Timeline, entry: MustAlarm) -> Judgement:
    question = ringing(timeline, entry)
    if timeline.accepted is None:
        return question.unknown(Reason.NO_EVIDENCE, "nothing was injected that it could have seen")
    before = _rang_before_fault(timeline, entry)
    if before is not None:
        ago = format_duration(timeline.production(timeline.accepted - before))
        return question.unknown(
            Reason.RANG_BEFORE_FAULT, f"it was in {entry.by} {ago} before the injection: it proves nothing"
        )
    never = never_evaluated(question, timeline, entry.alarm)
    if never is not None:
        return never
    if not timeline.seen_before_fault(entry.alarm):
        return question.unknown(Reason.NOT_WATCHED, NEVER_READ)
    disturbed = _disturbed(question, timeline, entry)
    if disturbed is not None:
        return disturbed
    ring = first_ring(timeline, entry.alarm)
    if ring is None:
        return _silent(question, timeline, entry)
    after_s = timeline.production(ring.at - timeline.accepted)
    verb = "rang" if entry.by == "ALARM" else f"went to {entry.by}"
    rang = f"{verb} {format_duration(after_s)} after the injection"
    if after_s > entry.within:
        late = f"{rang}, later than {format_duration(entry.within)}{_drift(timeline, entry.alarm)}"
        return question.failed(Reason.RANG_LATE, late, alarm_s=after_s)
    earlier_s = breached_before_fault(timeline, ring)
    if earlier_s is not None:
        return question.unknown(
            Reason.RANG_BEFORE_FAULT,
            f"{rang}, for what began before it: its oldest breaching datapoint was over {format_duration(earlier_s)} "
            "before the injection, so another cause had a part in it",
            alarm_s=after_s,
        )
    rings = [event for event in _rings(timeline, entry.alarm) if event.at <= timeline.fault_end]
    if len(rings) > 1:
        return question.failed(
            Reason.FLAPPED,
            f"{rang}, and {len(rings)} times while the fault was in place: it went back to OK while nothing was mended"
            f"{_drift(timeline, entry.alarm)}",
            rings=len(rings),
        )
    return _proven(question, timeline, entry, ring, _told(question, timeline, entry, ring, rang))


def _rang_before_fault(timeline: Timeline, entry: MustAlarm) -> float | None:
    """When it was in the state that is asked for, at any time from the first look at it to the injection.

    Before its first datapoint an alarm is in INSUFFICIENT_DATA whatever happens: that counts only after it was not.
    """
    if entry.by == "ALARM" or timeline.accepted is None:
        return timeline.rang_before_fault(entry.alarm)
    said = timeline.said(entry.alarm)
    settled = said.first_other(entry.by, timeline.accepted)
    if settled is None:
        return said.first(entry.by, until=timeline.accepted)
    return said.first(entry.by, settled, timeline.accepted)


def _disturbed(question: Question, timeline: Timeline, entry: MustAlarm) -> Judgement | None:
    """What somebody did to the alarm from before the fault to its end, so that it shows nothing; None: nothing."""
    assert timeline.accepted is not None
    changes = redefined(timeline, entry.alarm, timeline.fault_end)
    if changes is not None:
        return question.unknown(
            Reason.DEFINITION_CHANGED, f"somebody wrote it anew during the drill ({changes}): it proves nothing"
        )
    by_hand = set_by_hand(timeline, entry.alarm, timeline.accepted, timeline.fault_end)
    if by_hand is not None:
        after = format_duration(timeline.production(by_hand.at - timeline.accepted))
        return question.unknown(
            Reason.SET_BY_HAND,
            f"somebody set it to {by_hand.after} {after} after the injection ({by_hand.reason}): no datapoint made it "
            "change, so it proves nothing",
        )
    ring = first_ring(timeline, entry.alarm)
    unproven = None if ring is None else unproven_children(timeline, ring)
    return None if unproven is None else question.unknown(*unproven)


def _proven(
    question: Question, timeline: Timeline, entry: MustAlarm, ring: AlarmChanged, judgement: Judgement
) -> Judgement:
    """A ring of an alarm that rings more easily than the documented one, or of another one, is none of that."""
    fields = undocumented_ring(timeline, entry, ring)
    if judgement.outcome is not Outcome.PASS or not fields:
        return judgement
    return question.unknown(
        Reason.NOT_AS_DOCUMENTED,
        f"{judgement.message}; the documented alarm need not have: by {', '.join(fields)} this one is easier, or "
        "another one",
        **judgement.measured,
    )


def _told(question: Question, timeline: Timeline, entry: MustAlarm, ring: AlarmChanged, rang: str) -> Judgement:
    assert timeline.accepted is not None
    alarm_s, words = timeline.production(ring.at - timeline.accepted), f"{rang}{_drift(timeline, entry.alarm)}"
    if not timeline.system.can_tell(entry.alarm):
        return question.passed(words, alarm_s=alarm_s)
    told = judge_telling(question, timeline, ring, words, timeline.accepted, entry.told_within)
    return told.model_copy(update={"measured": {"alarm_s": round(alarm_s, 4), **told.measured}})


def _silent(question: Question, timeline: Timeline, entry: MustAlarm) -> Judgement:
    assert timeline.accepted is not None
    deadline = timeline.accepted + timeline.wall(entry.within)
    if _in_state(timeline, entry, timeline.accepted, deadline) is not None:
        return question.unknown(Reason.NO_EVIDENCE, f"a poll saw it in {entry.by}, but its history holds no transition")
    if timeline.fault_end < deadline - TOLERANCE_WALL_S:
        held = format_duration(timeline.production(timeline.fault_end - timeline.accepted))
        return question.unknown(Reason.WINDOW_CUT, f"it had not rung when the fault ended after {held}")
    if not timeline.watched(entry.alarm, timeline.accepted, deadline):
        return question.unknown(Reason.NOT_WATCHED, _gap(timeline, entry.alarm, timeline.accepted, deadline))
    unevaluated = why_not_evaluated(timeline, entry.alarm, timeline.accepted, deadline)
    if unevaluated is not None:
        return question.unknown(Reason.NOT_EVALUATED, f"{unevaluated}{_drift(timeline, entry.alarm)}")
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
    again = _bad_again(timeline, entry, cleared)
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
    silent = why_lost_data(timeline, entry.alarm, cleared, timeline.watch_end)
    if silent is not None:
        return question.unknown(Reason.NOT_EVALUATED, f"{text}; then {silent}", cleared_s=after_s)
    stayed = "and stayed clear to the end"
    if timeline.state_at(entry.alarm, timeline.watch_end) == WITHOUT_DATA:
        stayed = f"and was {WITHOUT_DATA} at the end, where its silence is no health"
    return _clear_proven(question, timeline, entry, f"{text} {stayed}", after_s)


def _clear_proven(question: Question, timeline: Timeline, entry: MustAlarm, text: str, cleared_s: float) -> Judgement:
    unproven = _unproven_clear(timeline, entry)
    if unproven is None:
        return question.passed(text, cleared_s=cleared_s)
    reason, why = unproven
    return question.unknown(reason, f"{text}; but {why}", cleared_s=cleared_s)


def _unproven_clear(timeline: Timeline, entry: MustAlarm) -> tuple[Reason, str] | None:
    """Why that it went to OK does not show that the documented alarm would have; None: it does."""
    assert timeline.accepted is not None
    by_hand = set_by_hand(timeline, entry.alarm, timeline.accepted, timeline.watch_end)
    if by_hand is not None:
        return Reason.SET_BY_HAND, f"somebody set it to {by_hand.after} by hand ({by_hand.reason})"
    changes = redefined(timeline, entry.alarm, timeline.watch_end)
    if changes is not None:
        return Reason.DEFINITION_CHANGED, f"somebody wrote it anew ({changes})"
    fields = undocumented_clear(timeline, entry)
    if fields:
        return (
            Reason.NOT_AS_DOCUMENTED,
            f"the documented alarm may ring still: by {', '.join(fields)} this one is harder, or another one",
        )
    return unproven_quiet(timeline, entry.alarm, timeline.watch_end)


def _all_clear(timeline: Timeline, entry: MustAlarm) -> Judgement:
    within = format_duration(entry.over_within)
    question = Question(f"all-clear:{entry.alarm}", f"people are told that {entry.alarm} is OK again within {within}")
    cleared = cleared_at(timeline, entry.alarm)
    if cleared is None or timeline.verified is None:
        return question.unknown(Reason.NO_EVIDENCE, "it did not ring and clear, so there was nothing to tell")
    changes = [event for event in timeline.alarm_changes(entry.alarm) if event.after == "OK" and event.at <= cleared]
    if not changes:
        return question.unknown(Reason.NO_EVIDENCE, "it was seen OK, but its history holds no transition to it")
    after = format_duration(timeline.production(cleared - timeline.verified))
    words = f"cleared {after} after the undo"
    told = judge_telling(question, timeline, changes[-1], words, timeline.verified, entry.over_within)
    unproven = _unproven_clear(timeline, entry)
    if told.outcome is not Outcome.PASS or unproven is None:
        return told
    reason, why = unproven
    return question.unknown(reason, f"{told.message}; but {why}", **told.measured)


def _in_state(timeline: Timeline, entry: MustAlarm, after: float, until: float) -> float | None:
    """First instant in (after, until] at which anything says that it is in the state that is asked for."""
    return timeline.said(entry.alarm).first(entry.by, after, until)


def _bad_again(timeline: Timeline, entry: MustAlarm, cleared: float) -> float | None:
    """When it rang after it had cleared: ALARM is no OK of an alarm that tells by another state, either."""
    found = (
        _in_state(timeline, entry, cleared, timeline.watch_end),
        timeline.in_alarm(entry.alarm, after=cleared, until=timeline.watch_end),
    )
    return min((at for at in found if at is not None), default=None)


def _still_ringing(question: Question, timeline: Timeline, entry: MustAlarm, deadline: float) -> Judgement:
    assert timeline.verified is not None
    if timeline.end < deadline - TOLERANCE_WALL_S:
        left = format_duration(timeline.production(timeline.end - timeline.verified))
        return question.unknown(Reason.WINDOW_CUT, f"it had not cleared when the drill ended {left} after the undo")
    if not timeline.watched(entry.alarm, timeline.verified, deadline):
        return question.unknown(Reason.NOT_WATCHED, _gap(timeline, entry.alarm, timeline.verified, deadline))
    state = timeline.state_at(entry.alarm, deadline)
    if state == "OK":
        return question.unknown(Reason.NO_EVIDENCE, "a poll saw it in OK, but its history holds no transition to it")
    return question.failed(
        Reason.DID_NOT_CLEAR,
        f"it is {state} still {format_duration(entry.clears_within)} after the undo, so something else keeps it so: "
        f"another cause, or what it looks at{_drift(timeline, entry.alarm)}",
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
