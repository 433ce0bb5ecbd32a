"""In which order rules are evaluated, and how much of the past each of them needs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tocsin.alarms.prometheus import AlertRule, RecordingRule, RuleFile, RuleGroup, parse_duration
from tocsin.alarms.promql import EVERYTHING, Read, clock_read, parse, reads, subquery_steps
from tocsin.errors import InvalidInput

ALERTS = ("ALERTS", "ALERTS_FOR_STATE")
"""Series that the alerting rules write."""


@dataclass(frozen=True)
class Planned:
    """One rule with what its evaluation needs."""

    group: RuleGroup
    rule: AlertRule | RecordingRule
    interval_s: int
    reads: tuple[Read, ...]
    steps: tuple[float, ...]
    """Of its subqueries."""
    refused: str
    """Why the sandbox cannot evaluate it; empty when it can."""
    number: int = 0
    """Its place in the order of evaluation."""
    level: int = 0
    """Rules of one level are evaluated together, each level after those below."""

    @property
    def writes(self) -> tuple[str, ...]:
        """The metrics that it writes."""
        return ALERTS if isinstance(self.rule, AlertRule) else (self.rule.record,)

    def reads_of(self, other: Planned) -> bool:
        """Whether it may read what the other writes."""
        return any(read.may_be(metric) for read in self.reads for metric in other.writes)

    def times(self, origin: int, after: int, until: int) -> range:
        """When it is evaluated in `(after, until]`: every interval since the `origin`."""
        done = (after - origin) // self.interval_s
        return range(origin + (done + 1) * self.interval_s, until + 1, self.interval_s)


class Plan:
    """A rules file, planned. `interval_s` is that of the scrapes, and of groups without one of their own."""

    def __init__(self, rules: RuleFile, interval_s: int) -> None:
        planned: list[Planned] = []
        for one in _writers_first([_planned(group, rule, interval_s) for group, rule in rules.placed]):
            planned.append(replace(one, number=len(planned), level=_level(one, planned)))
        self.rules = tuple(planned)
        self.one_by_one = any(
            read.ahead or any(read.may_be(metric) for other in self.rules[one.number :] for metric in other.writes)
            for one in self.rules
            for read in one.reads
        )
        """Whether a rule reads what comes after it in the file, or later in time: then each moment stands alone."""
        self.step_s = math.gcd(interval_s, *(one.interval_s for one in self.rules))
        """What the times of all samples are multiples of."""
        milliseconds = [round(step * 1000) for one in self.rules for step in one.steps]
        self.alignment_s = math.lcm(1000, self.step_s * 1000, *milliseconds) // 1000
        """Where a window may begin, counted from the start of everything, so that subqueries come out the same."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups in the order of their evaluation."""
        return tuple(dict.fromkeys(rule.group.name for rule in self.rules))

    @cached_property
    def levels(self) -> tuple[tuple[Planned, ...], ...]:
        """The rules by level, lowest first."""
        highest = max((rule.level for rule in self.rules), default=-1)
        return tuple(tuple(rule for rule in self.rules if rule.level == level) for level in range(highest + 1))

    @cached_property
    def alerts_are_read(self) -> bool:
        """Whether an expression reads what the alerting rules write."""
        return any(read.may_be(metric) for rule in self.rules for read in rule.reads for metric in ALERTS)

    def back_s(self, metric: str, rules: Sequence[Planned] | None = None) -> float | None:
        """How much of a metric's past the rules (default: all) need; None: nothing of it."""
        wanted = self.rules if rules is None else rules
        found = [read.back_s for rule in wanted for read in rule.reads if read.may_be(metric)]
        # One sample more: what lies exactly at the edge counts for some versions and not for others.
        return max(found) + self.step_s if found else None


def _writers_first(rules: Sequence[Planned]) -> Iterator[Planned]:
    """Groups in an order in which each comes after those whose series it reads, as far as there is one.

    Prometheus evaluates groups beside each other, and promises no order; within a group it is that of the file.
    """
    groups: dict[str, list[Planned]] = {}
    for rule in rules:
        groups.setdefault(rule.group.name, []).append(rule)
    while groups:
        others = {name: [rule for other, found in groups.items() if other != name for rule in found] for name in groups}
        free = (name for name in groups if not any(one.reads_of(two) for one in groups[name] for two in others[name]))
        yield from groups.pop(next(free, next(iter(groups))))


def _level(rule: Planned, before: Sequence[Planned]) -> int:
    """Above what it reads of the rules before it; not below those that read of it what it wrote the time before."""
    above = (one.level + 1 for one in before if rule.reads_of(one))
    beside = (one.level for one in before if one.reads_of(rule))
    return max((*above, *beside), default=0)


def _planned(group: RuleGroup, rule: AlertRule | RecordingRule, interval_s: int) -> Planned:
    found, steps, refused = _needs(rule, float(interval_s))
    if group.query_offset is not None and parse_duration(group.query_offset):
        refused = "the sandbox does not evaluate a `query_offset`"
    # Nothing is scraped between two seconds.
    own = round(parse_duration(group.interval)) if group.interval else 0
    return Planned(group, rule, own or interval_s, found, steps, refused)


def _needs(rule: AlertRule | RecordingRule, interval_s: float) -> tuple[tuple[Read, ...], tuple[float, ...], str]:
    try:
        tree = parse(rule.expr, rule.name)
    except InvalidInput:  # Prometheus has checked it: it is newer, or older, than our parser
        return (EVERYTHING,), (), ""
    clock = clock_read(tree)
    refused = "" if clock is None else f"the sandbox's time is not that of a clock, and the expression reads {clock}"
    return tuple(reads(tree)), tuple(subquery_steps(tree, interval_s)), refused


def depending(plan: Plan, broken: Sequence[Planned]) -> Iterator[tuple[Planned, Planned]]:
    """Every rule that reads, over however many others, what one of the `broken` writes, with that one."""
    for one in broken:
        reached = [one]
        for rule in reached:
            for other in plan.rules:
                if other is not one and other not in reached and other.reads_of(rule):
                    reached.append(other)
                    yield other, one
