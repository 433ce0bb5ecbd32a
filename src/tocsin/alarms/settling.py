"""How long an alarm that was just defined may tell of the time before it: pure arithmetic, in production seconds."""

from __future__ import annotations

from collections.abc import Mapping

from tocsin.alarms.cloudwatch import EXTRA_DATAPOINTS, evaluation_tick_s
from tocsin.alarms.composite import CompositeRule
from tocsin.aws.metrics import PUBLISH_DEFAULT
from tocsin.errors import InvalidInput
from tocsin.model.only_cloudwatch import OnlyCloudWatch
from tocsin.model.system import AlarmState, CompositeAlarm, Definition

_COMPOSITE_TICK_S = 60.0
"""A composite alarm follows its children; what it has missed it hears at the next minute."""


def settles_within_s(alarm: Definition, state: AlarmState, others: Mapping[str, Definition]) -> float:
    """The longest time after its definition for which a state other than OK may be one of the start.

    A new alarm is in INSUFFICIENT_DATA until it is evaluated, which is once the first datapoint can be there. One that
    rings because there was no data yet does so until its evaluation range lies after its definition.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html

    Args:
        alarm: its definition.
        state: what it is in.
        others: the definitions of all alarms by AlarmName, for a composite alarm.
    """
    return _settles(alarm, state, others, frozenset())


def _settles(
    alarm: Definition,
    state: AlarmState,
    others: Mapping[str, Definition],
    above: frozenset[str],
) -> float:
    if isinstance(alarm, CompositeAlarm):
        above |= {alarm.alarm_name}
        below = [others[name] for name in _children(alarm) if name in others and name not in above]
        return _COMPOSITE_TICK_S + max((_settles(child, "ALARM", others, above) for child in below), default=0.0)
    if isinstance(alarm, OnlyCloudWatch):
        return 0.0  # how long it starts is not documented: nobody waits for what may never come
    first_s = PUBLISH_DEFAULT.worst_s + evaluation_tick_s(alarm)
    if state == "INSUFFICIENT_DATA":
        return first_s
    return first_s + (alarm.evaluation_periods + EXTRA_DATAPOINTS) * alarm.period_s


def _children(composite: CompositeAlarm) -> frozenset[str]:
    try:
        return CompositeRule(composite.alarm_rule).children
    except InvalidInput:
        return frozenset()
