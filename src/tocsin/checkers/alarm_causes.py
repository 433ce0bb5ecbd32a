"""Why an alarm was silent, or rang and nobody was told: causes in words, from what was recorded and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tocsin.alarms.cloudwatch import EXTRA_DATAPOINTS, breaches
from tocsin.alarms.composite import CompositeRule
from tocsin.alarms.delivery import ACTIONS, obstacle
from tocsin.checkers.timeline import Timeline
from tocsin.errors import InvalidInput
from tocsin.model.events import AlarmActed, AlarmDatapoints, AlarmPath, Mute, NotificationIgnored
from tocsin.model.system import AlarmState, CloudWatchAlarm, CompositeAlarm

_BETTER = {
    "GreaterThanOrEqualToThreshold": (max, "highest", ">="),
    "GreaterThanThreshold": (max, "highest", ">"),
    "LessThanThreshold": (min, "lowest", "<"),
    "LessThanOrEqualToThreshold": (min, "lowest", "<="),
}
_SILENCE = {
    "notBreaching": "missing data counts as not breaching: silence was health",
    "ignore": "missing data is ignored: it kept its state",
    "missing": "missing data cannot ring",
}
_ALWAYS_IGNORED = (
    "missing data of AWS/DynamoDB metrics is always ignored, whatever TreatMissingData says: it kept its state"
)


def why_silent(timeline: Timeline, alarm: str) -> str:
    """The cause to be added to `it stayed OK`; empty when nothing that was recorded tells."""
    if timeline.has_data(alarm) is False:
        return "; its metric has never had a datapoint"
    definition = timeline.system.cloudwatch_alarms.get(alarm)
    if definition is not None and isinstance(definition.cloudwatch, CompositeAlarm):
        return _rule(timeline, definition.cloudwatch)
    read = next((event for event in timeline.of_kind(AlarmDatapoints) if event.alarm == alarm), None)
    return "" if read is None else f"; {_datapoints(read)}"


def _datapoints(read: AlarmDatapoints) -> str:
    if read.values is None:
        return f"its datapoints could not be read ({read.detail})"
    values = _of_the_fault(read)
    if read.treat_missing_data == "breaching" and not values:
        return _older_data(read)
    if not values:
        treated = _ALWAYS_IGNORED if read.always_ignored else _SILENCE[read.treat_missing_data]
        return f"its metric had no datapoint during the fault, and {treated}"
    best, word, sign = _BETTER[read.comparison_operator]
    total = len(values)
    breaching = sum(breaches(value, read.comparison_operator, read.threshold) for value in values)
    figures = f"the {word} was {best(values):g}, {sign} {read.threshold:g} is needed"
    if not breaching:
        silence = f", and {_ALWAYS_IGNORED}" if read.always_ignored else ""
        return f"none of the {total} datapoints during the fault breached: {figures}{silence}"
    needed = f"{read.datapoints_to_alarm} of {read.evaluation_periods} are needed"
    return f"{breaching} of the {total} datapoints during the fault breached, {needed}"


def _of_the_fault(read: AlarmDatapoints) -> tuple[float, ...]:
    """Datapoints that tell of the fault; of an alarm that hears silence none that holds what came before or after."""
    hears_silence = read.treat_missing_data == "breaching" and read.comparison_operator.startswith("Less")
    if read.whole is None or not hears_silence:
        return read.values or ()
    return read.whole


def _older_data(read: AlarmDatapoints) -> str:
    """An alarm that hears silence, and had not heard it for long enough."""
    looked_at = read.evaluation_periods + EXTRA_DATAPOINTS
    empty = read.datapoints_to_alarm + EXTRA_DATAPOINTS
    periods = f"{empty} of the {looked_at} periods" if empty < looked_at else f"all {looked_at} periods"
    return (
        "there was no data during the fault, and older data still in its evaluation range: missing data counts as "
        f"breaching only when {periods} that CloudWatch looks at are empty"
    )


def _rule(timeline: Timeline, composite: CompositeAlarm) -> str:
    try:
        children = CompositeRule(composite.alarm_rule).children
    except InvalidInput as error:
        return f"; {error}"
    names = {one.cloudwatch.alarm_name: name for name, one in timeline.system.cloudwatch_alarms.items()}
    told = [f"{child} {_rang(timeline, names.get(child))}" for child in sorted(children)]
    return f"; its rule {composite.alarm_rule} did not hold: {', '.join(told)}"


def _rang(timeline: Timeline, alarm: str | None) -> str:
    if alarm is None:
        return "was not watched"
    assert timeline.accepted is not None
    rang = timeline.in_alarm(alarm, after=timeline.accepted, until=timeline.fault_end)
    return "did not ring" if rang is None else "rang"


def why_nobody_was_told(timeline: Timeline, alarm: str, state: AlarmState = "ALARM") -> str:
    """The cause to be added to `nobody was told`; says so when nothing that was recorded tells."""
    said = _said_by_cloudwatch(timeline, alarm)
    definition, notifications = timeline.system.cloudwatch_alarms.get(alarm), timeline.system.notifications
    paths = [event for event in timeline.of_kind(AlarmPath) if event.alarm == alarm and event.state == state]
    if not paths or definition is None or notifications is None:
        return said or "; how it would tell somebody was not recorded"
    found = [cause for path in paths for cause in _causes(path, definition, notifications.queue)]
    causes = list(dict.fromkeys([*_held(timeline, alarm, paths), *found]))
    if causes:
        return f": {'; '.join(causes)}{said}"
    if said:
        return said
    return (
        f": its actions are enabled and {notifications.queue} is subscribed, so look at the policies of topic "
        "and queue, and at whoever else reads the queue"
    )


def are_held(timeline: Timeline, alarm: str) -> bool:
    """Whether something is known to have held its actions back: a suppressor, a mute rule."""
    paths = [event for event in timeline.of_kind(AlarmPath) if event.alarm == alarm]
    return any(True for _ in _held(timeline, alarm, paths))


def _said_by_cloudwatch(timeline: Timeline, alarm: str) -> str:
    """What the alarm's own history says of actions that failed, and messages that were another alarm's."""
    acted = [event for event in timeline.of_kind(AlarmActed) if event.alarm == alarm and not event.succeeded]
    ignored = [event for event in timeline.of_kind(NotificationIgnored) if event.alarm == alarm]
    failed = dict.fromkeys(f"; its history says: {event.summary}" for event in acted)
    strange = dict.fromkeys(f"; a message that names it does not count: {event.detail}" for event in ignored)
    return "".join([*failed, *strange])


_PHASES = {
    "Alarm": "its actions were suppressed by {}, which was in ALARM (ActionsSuppressor)",
    "WaitPeriod": "its actions waited for its suppressor {}: the ActionsSuppressorWaitPeriod was not over",
    "ExtensionPeriod": "its suppressor {} had left ALARM, and the ActionsSuppressorExtensionPeriod was not over",
}


def _held(timeline: Timeline, alarm: str, paths: Sequence[AlarmPath]) -> Iterator[str]:
    """What held its actions back when it rang; what did so only before says nothing."""
    rang = next((ring.at for ring in timeline.rings(alarm, after=timeline.accepted or timeline.start)), None)
    if rang is None:
        return
    for path in [path for path in paths if path.at >= rang] or paths[-1:]:
        if path.suppressed_by is not None:
            yield _PHASES[path.suppressed_by].format(path.suppressor)
    for path in paths:
        for mute in path.mutes:
            if _muted(mute, path.at, rang):
                yield f"its actions were muted by the alarm mute rule {mute.rule}"


def _muted(mute: Mute, read: float, rang: float) -> bool:
    if mute.starts is None or mute.ends is None:
        return mute.active and read >= rang
    return mute.starts <= rang < mute.ends


def _causes(path: AlarmPath, definition: CloudWatchAlarm, queue: str) -> Iterator[str]:
    field = ACTIONS[path.state]
    if not path.actions_enabled:
        yield "its actions are disabled (ActionsEnabled is false)"
    if not path.actions:
        yield f"it has no {field}"
    elif not path.topics:
        yield f"none of its {field} is an SNS topic ({', '.join(path.actions)})"
    broken = [obstacle(topic, definition.cloudwatch.alarm_name, queue, path.state) for topic in path.topics]
    # One way that is whole is enough.
    if None not in broken:
        yield from (cause.words for cause in broken if cause)
