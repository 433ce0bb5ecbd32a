"""Does a transition prove what is asked: made on evidence, by the documented alarm, which nobody touched meanwhile?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tocsin.alarms.easier import Differences, differences
from tocsin.checkers.composed import below, only_rings_with
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import AlarmChanged, AlarmRedefined
from tocsin.model.experiment import MustAlarm
from tocsin.model.system import MetricAlarm
from tocsin.model.verdict import Reason

_NOTHING_TO_SILENCE = ("Threshold", "ComparisonOperator", "Statistic")
"""Fields that say what a datapoint is held to: nothing to an alarm that tells of missing ones."""


def redefined(timeline: Timeline, alarm: str, until: float) -> str | None:
    """How the alarm was written anew from the first look at it to an instant, in words; None: it was not."""
    changes = [event for event in timeline.of_kind(AlarmRedefined) if event.alarm == alarm and event.at <= until]
    if not changes:
        return None
    words = [change for event in changes for change in event.changes]
    return ", ".join(words) if words else "it reads as before, and may have been another alarm meanwhile"


def set_by_hand(timeline: Timeline, alarm: str, start: float, end: float) -> AlarmChanged | None:
    """The first transition in (start, end] that CloudWatch made on no evidence: somebody set the state."""
    return next(
        (event for event in timeline.alarm_changes(alarm) if start < event.at <= end and event.evidence == "none"), None
    )


def unproven_children(timeline: Timeline, change: AlarmChanged) -> tuple[Reason, str] | None:
    """Why the alarms that made a composite change do not show that it rightly did; None: they do, or it has none."""
    names = {one.cloudwatch.alarm_name: name for name, one in timeline.system.cloudwatch_alarms.items()}
    for alarm_name in change.triggered_by:
        name = names.get(alarm_name)
        if name is None:
            return (
                Reason.NO_EVIDENCE,
                f"{alarm_name} made it ring, and is not in the system file: nobody looked at it",
            )
        earlier = [event for event in timeline.alarm_changes(name) if event.at <= change.at]
        if not earlier:
            return Reason.NO_EVIDENCE, f"the history of {name}, which made it ring, holds no transition"
        if earlier[-1].evidence == "none":
            last = earlier[-1]
            return Reason.SET_BY_HAND, f"somebody set {name}, which made it ring, to {last.after} ({last.reason})"
        changes = redefined(timeline, name, timeline.fault_end)
        if changes is not None:
            return Reason.DEFINITION_CHANGED, f"somebody wrote {name}, which made it ring, anew ({changes})"
        deeper = unproven_children(timeline, earlier[-1])
        if deeper is not None:
            return deeper
    return None


def _made_by(timeline: Timeline, change: AlarmChanged) -> Iterator[AlarmChanged]:
    """A change, and of a composite the last ones of the alarms that made it change, however deep."""
    yield change
    names = {one.cloudwatch.alarm_name: name for name, one in timeline.system.cloudwatch_alarms.items()}
    for name in (names[one] for one in change.triggered_by if one in names):
        earlier = [event for event in timeline.alarm_changes(name) if event.at <= change.at and event != change]
        if earlier:
            yield from _made_by(timeline, earlier[-1])


def breached_before_fault(timeline: Timeline, ring: AlarmChanged) -> float | None:
    """Production seconds from the end of the oldest breaching datapoint to the injection; None if it was not before.

    An injection of many calls acts before the last of them is accepted: what breaches in between is its own doing.
    """
    for change in _made_by(timeline, ring):
        alarm = timeline.system.cloudwatch_alarms.get(change.alarm)
        if alarm is None or not isinstance(alarm.cloudwatch, MetricAlarm):
            continue
        if change.breached_at is None or timeline.requested is None:
            continue
        ended = change.breached_at + timeline.wall(alarm.cloudwatch.period_s)
        if ended < timeline.requested:
            return timeline.production(timeline.requested - ended)
    return None


def unproven_quiet(timeline: Timeline, alarm: str, until: float) -> tuple[Reason, str] | None:
    """Why what the alarms below a composite were until an instant does not show that it is rightly not in ALARM."""
    if timeline.accepted is None:
        return None
    monotone = only_rings_with(timeline, alarm)
    for child in below(timeline, alarm):
        which = f"{child}, which it is composed of,"
        changes = redefined(timeline, child, until)
        if changes is not None:
            return Reason.DEFINITION_CHANGED, f"somebody wrote {which} anew during the drill ({changes})"
        by_hand = set_by_hand(timeline, child, timeline.accepted, until)
        if by_hand is not None:
            return Reason.SET_BY_HAND, f"somebody set {which} to {by_hand.after} by hand ({by_hand.reason})"
        found = _differences(timeline, child)
        fields = () if found is None else found.unproven_clear if monotone else _all_of(found)
        if fields:
            return Reason.NOT_AS_DOCUMENTED, f"{which} is not the documented alarm, by {', '.join(fields)}"
    return None


def undocumented_ring(timeline: Timeline, entry: MustAlarm, ring: AlarmChanged) -> tuple[str, ...]:
    """Fields because of which a ring of the target's alarm is none of the documented one; of children with names."""
    own, *children = _made_by(timeline, ring)
    fields = _undocumented_change(timeline, own)
    below = [f"{field} of {one.alarm}" for one in children for field in _undocumented_change(timeline, one)]
    return (*(fields if entry.by == "ALARM" else _of_silence(fields)), *below)


def _undocumented_change(timeline: Timeline, change: AlarmChanged) -> tuple[str, ...]:
    found = _differences(timeline, change.alarm)
    if found is None:
        return ()
    return found.unproven_ring if change.after == "ALARM" else _all_of(found)


def undocumented_clear(timeline: Timeline, entry: MustAlarm) -> tuple[str, ...]:
    """Fields because of which the target's alarm may be OK while the documented one still rings."""
    found = _differences(timeline, entry.alarm)
    if found is None:
        return ()
    if entry.by == "ALARM":
        return found.unproven_clear
    return _of_silence(_all_of(found))


def undocumented_silence(timeline: Timeline, alarm: str) -> tuple[str, ...]:
    """Fields because of which the target's alarm may be silent while the documented one would ring."""
    found = _differences(timeline, alarm)
    return () if found is None else found.unproven_clear


def _all_of(found: Differences) -> tuple[str, ...]:
    return (*found.easier, *found.harder, *found.other)


def _of_silence(fields: Iterable[str]) -> tuple[str, ...]:
    return tuple(field for field in fields if field not in _NOTHING_TO_SILENCE)


def _differences(timeline: Timeline, alarm: str) -> Differences | None:
    """None where the history does not hold the target's definition: it is the documented one, or was not recorded."""
    seen, documented = timeline.first_seen.get(alarm), timeline.system.cloudwatch_alarms.get(alarm)
    if seen is None or seen.definition is None or documented is None:
        return None
    return differences(documented.cloudwatch, seen.definition)
