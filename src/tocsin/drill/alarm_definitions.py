"""What is wrong with the alarms of a system file that its fields alone do not show."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.alarms.cloudwatch import AlarmEvaluator
from tocsin.alarms.composite import CompositeRule, check_parents, in_cycles
from tocsin.errors import InvalidInput, NotEvaluated
from tocsin.model.system import CompositeAlarm, MetricAlarm, System
from tocsin.project.documents import Document


def definition_problems(system: System, document: Document) -> Iterator[InvalidInput]:
    """Every alarm is one that CloudWatch takes: its statistics, its metric math, its rule."""
    for name, alarm in system.cloudwatch_alarms.items():
        try:
            if isinstance(alarm.cloudwatch, MetricAlarm):
                AlarmEvaluator(alarm.cloudwatch)
            elif isinstance(alarm.cloudwatch, CompositeAlarm):
                CompositeRule(alarm.cloudwatch.alarm_rule)
        except NotEvaluated:  # by nobody but CloudWatch, which is no mistake: a note of `tocsin validate` tells it
            continue
        except InvalidInput as error:
            place = ("alarms", name, "cloudwatch")
            yield from (document.invalid(f"{'.'.join(place)}: {one.message}", place) for one in error.problems)


def rule_problems(system: System, document: Document) -> Iterator[InvalidInput]:
    """What is wrong with alarms only when they are seen together: the rules of composite alarms."""
    rules = {
        alarm.cloudwatch.alarm_name: (name, alarm.cloudwatch.alarm_rule)
        for name, alarm in system.cloudwatch_alarms.items()
        if isinstance(alarm.cloudwatch, CompositeAlarm)
    }
    try:
        children = {alarm_name: CompositeRule(rule).children for alarm_name, (_, rule) in rules.items()}
    except InvalidInput:
        return  # told already
    try:
        check_parents(children)
    except InvalidInput as error:
        yield document.invalid(error.message, ("alarms",))
    for alarm_name in sorted(in_cycles(children)):
        name = rules[alarm_name][0]
        yield document.invalid(
            f"alarms.{name}: expected a rule that looks at other alarms, found one that looks at itself in the end: "
            "CloudWatch stops evaluating it",
            ("alarms", name, "cloudwatch"),
        )
