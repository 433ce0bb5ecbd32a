"""Why an alarm was silent, or rang and nobody was told: causes in words, from what was recorded and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.alarms.cloudwatch import CompositeRule, breaches
from tocsin.alarms.delivery import passes
from tocsin.checkers.timeline import Timeline
from tocsin.errors import InvalidInput
from tocsin.model.events import AlarmDatapoints, AlarmPath, TopicPath
from tocsin.model.system import CloudWatchAlarm, CompositeAlarm

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
    "breaching": "missing data counts as breaching, but older datapoints were still in the evaluation range",
}


def why_silent(timeline: Timeline, alarm: str) -> str:
    """The cause to be added to `it stayed OK`; empty when nothing that was recorded tells."""
    if timeline.has_data(alarm) is False:
        return "; its metric has never had a datapoint"
    definition = timeline.system.cloudwatch_alarms.get(alarm)
    if definition is not None and isinstance(definition.cloudwatch, CompositeAlarm):
        return _rule(timeline, definition.cloudwatch)
    read = next((event for event in timeline.of_kind(AlarmDatapoints) if event.alarm == alarm), None)
    return "" if read is None else f"; {_datapoints(timeline, read)}"


def _datapoints(timeline: Timeline, read: AlarmDatapoints) -> str:
    if read.values is None:
        return f"its datapoints could not be read ({read.detail})"
    if not read.values:
        return f"its metric had no datapoint during the fault, and {_SILENCE[read.treat_missing_data]}"
    best, word, sign = _BETTER[read.comparison_operator]
    total = len(read.values)
    breaching = sum(breaches(value, read.comparison_operator, read.threshold) for value in read.values)
    figures = f"the {word} was {best(read.values):g}, {sign} {read.threshold:g} is needed"
    if not breaching:
        return f"none of the {total} datapoints during the fault breached: {figures}"
    needed = f"{read.datapoints_to_alarm} of {read.evaluation_periods} are needed"
    return f"{breaching} of the {total} datapoints during the fault breached, {needed}"


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


def why_nobody_was_told(timeline: Timeline, alarm: str) -> str:
    """The cause to be added to `nobody was told`; says so when nothing that was recorded tells."""
    definition, notifications = timeline.system.cloudwatch_alarms.get(alarm), timeline.system.notifications
    paths = [event for event in timeline.of_kind(AlarmPath) if event.alarm == alarm]
    if not paths or definition is None or notifications is None:
        return "; how it would tell somebody was not recorded"
    causes = list(dict.fromkeys(cause for path in paths for cause in _causes(path, definition, notifications.queue)))
    if causes:
        return f": {'; '.join(causes)}"
    return (
        f": its actions are enabled and {notifications.queue} is subscribed, so look at the policies of topic "
        "and queue, and at whoever else reads the queue"
    )


def _causes(path: AlarmPath, definition: CloudWatchAlarm, queue: str) -> Iterator[str]:
    if not path.actions_enabled:
        yield "its actions are disabled (ActionsEnabled is false)"
    if not path.actions:
        yield "it has no AlarmActions"
    elif not path.topics:
        yield f"none of its AlarmActions is an SNS topic ({', '.join(path.actions)})"
    broken = [_broken(topic, definition.cloudwatch.alarm_name, queue) for topic in path.topics]
    # One way that is whole is enough.
    if None not in broken:
        yield from (cause for cause in broken if cause)


def _broken(topic: TopicPath, alarm_name: str, queue: str) -> str | None:
    """What is wrong, or not known, on the way from the topic to the queue; None when it is whole."""
    name = topic.topic.rpartition(":")[2]
    if topic.subscribed is None:
        return f"whether {queue} is subscribed to {name} is unknown ({topic.detail})"
    if not topic.subscribed:
        return f"{queue} is not subscribed to {name}{f' ({topic.detail})' if topic.detail else ''}"
    if topic.confirmed is None:
        return f"the filter policy of {queue} at {name} is unknown ({topic.detail})"
    if not topic.confirmed:
        return f"the subscription of {queue} to {name} is not confirmed"
    through = passes(topic.filter_policy, topic.filter_scope, alarm_name)
    if through:
        return None
    policy = f"the filter policy of {queue} at {name} on {topic.filter_scope}"
    return f"{policy} {'drops it' if through is False else 'may drop it'}: {topic.filter_policy}"
