"""Which alarms only CloudWatch itself can evaluate: pure, from their definitions."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.alarms.cloudwatch import AlarmEvaluator
from tocsin.alarms.composite import CompositeRule
from tocsin.errors import InvalidInput, NotEvaluated
from tocsin.model.only_cloudwatch import OnlyCloudWatch
from tocsin.model.system import CloudWatchAlarm, CompositeAlarm, Definition


def not_evaluated(alarms: Mapping[str, CloudWatchAlarm]) -> dict[str, str]:
    """The alarms that are right and that nobody but CloudWatch evaluates, and why; names are those of the system file.

    A composite alarm of one of them is one of them too.
    """
    found = {name: why for name, alarm in alarms.items() if (why := only_cloudwatch(alarm.cloudwatch)) is not None}
    names = {alarm.cloudwatch.alarm_name: name for name, alarm in alarms.items()}
    composites = {name: a.cloudwatch for name, a in alarms.items() if isinstance(a.cloudwatch, CompositeAlarm)}
    for _ in composites:
        for name, alarm in composites.items():
            below = sorted(names[child] for child in _children(alarm) if names.get(child) in found)
            if below:
                found.setdefault(name, f"it is composed of {below[0]}")
    return found


def only_cloudwatch(alarm: Definition) -> str | None:
    """Why nobody but CloudWatch evaluates an alarm; None: it is evaluated here, or composed of others, or wrong."""
    if isinstance(alarm, OnlyCloudWatch):
        return f"alarm '{alarm.alarm_name}': {alarm.kind} is not evaluated here ({alarm.known_by})"
    if isinstance(alarm, CompositeAlarm):
        return None  # it is what its children are
    try:
        AlarmEvaluator(alarm)
    except NotEvaluated as error:
        return error.message
    except InvalidInput:  # wrong, which is another matter
        return None
    return None


def _children(composite: CompositeAlarm) -> frozenset[str]:
    try:
        return CompositeRule(composite.alarm_rule).children
    except InvalidInput:
        return frozenset()
