"""Of which alarms is a composite alarm composed?"""

from __future__ import annotations

from tocsin.alarms.composite import CompositeRule
from tocsin.checkers.timeline import Timeline
from tocsin.errors import InvalidInput
from tocsin.model.system import CompositeAlarm


def below(timeline: Timeline, alarm: str) -> tuple[str, ...]:
    """Every alarm of the system file that an alarm is composed of, also through others; none of a metric alarm."""
    names = {one.cloudwatch.alarm_name: name for name, one in timeline.system.cloudwatch_alarms.items()}
    found: dict[str, None] = {}
    waiting = [alarm]
    while waiting:
        rule = _rule(timeline, waiting.pop())
        for child in sorted(names[name] for name in (rule.children if rule else ()) if name in names):
            if child not in found:
                waiting.append(child)
            found[child] = None
    return tuple(found)


def only_rings_with(timeline: Timeline, alarm: str) -> bool:
    """Whether an alarm, and all below it, ask of the alarms that they are composed of only that these ring."""
    rules = (_rule(timeline, one) for one in (alarm, *below(timeline, alarm)))
    return all(rule.only_rings for rule in rules if rule is not None)


def _rule(timeline: Timeline, alarm: str) -> CompositeRule | None:
    definition = timeline.system.cloudwatch_alarms.get(alarm)
    if definition is None or not isinstance(definition.cloudwatch, CompositeAlarm):
        return None
    try:
        return CompositeRule(definition.cloudwatch.alarm_rule)
    except InvalidInput:
        return None
