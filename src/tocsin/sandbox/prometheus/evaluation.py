"""Rules evaluated step by step, with the outcome of one evaluation of the whole history.

What an expression gives depends on the samples it reads, and on nothing else; so each is evaluated at its moments only,
on as much of the past as it can read. What recording rules give is kept as samples. `for` and `keep_firing_for` depend
on what an alert's expression gave since the alert became active; so the engine is given that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tocsin.alarms.exposition import Labels
from tocsin.alarms.prometheus import AlertRule, RecordingRule, RuleFile
from tocsin.errors import SandboxError
from tocsin.sandbox.parts.programs import Promtool
from tocsin.sandbox.prometheus.plan import Plan, Planned, depending
from tocsin.sandbox.prometheus.promtool import Failed, Grid, Question, RuleEngine, Vector, result_name
from tocsin.sandbox.prometheus.samples import STALE, Samples, Value

_KEPT_S = 24 * 3600
"""How long it is remembered when an alert fired, in system seconds."""


@dataclass
class Instance:
    """One alert instance: when it was in each state, in system seconds."""

    pending: list[int] = field(default_factory=list)
    firing: list[int] = field(default_factory=list)
    active_since: int = 0
    last: int = -1
    """The last evaluation at which it was active."""

    @property
    def state(self) -> str:
        """`firing` or `pending`, when it was evaluated last."""
        return "firing" if self.firing[-1:] > self.pending[-1:] else "pending"

    def seen(self, state: str, at: int, interval_s: int, *, evaluated: bool) -> None:
        """It was active at an evaluation; one that failed leaves it as it was, and writes nothing."""
        if self.last < at - interval_s:
            self.active_since = at
        self.last = at
        if not evaluated:
            return
        times = self.firing if state == "firing" else self.pending
        times.append(at)
        while times[0] < at - _KEPT_S:
            del times[0]


@dataclass
class _Known:
    """What is known of one rule."""

    evaluated: int = 0
    """System second of its last evaluation."""
    error: str = "it was not evaluated yet"
    results: dict[int, Vector] = field(default_factory=dict)
    """What its expression gave, by system second; kept as long as its alerts need it."""
    written: frozenset[Labels] = frozenset()
    """The series that it wrote at its last evaluation."""


class Evaluator:
    """Evaluates the rules of a file at every interval since `origin`, the system second at which everything begins."""

    def __init__(self, rules: RuleFile, path: Path, promtool: Promtool, origin: int, interval_s: int) -> None:
        self.plan = Plan(rules, interval_s)
        self.engine = RuleEngine(promtool, path, interval_s)
        self.instances: dict[tuple[int, Labels], Instance] = {}
        """By number of the rule, and labels without the alert's name."""
        self.evaluated = origin - 1
        """System second until which everything is evaluated."""
        self._origin = origin
        self._known = [_Known() for _ in self.plan.rules]

    def advance(self, samples: Samples, until: int) -> None:
        """Evaluate what is due until a system second, and forget the samples that nobody needs any more.

        Raises:
            SandboxError: the engine does not answer; what is due stays due.
        """
        for stop in self._stops(until):
            self._evaluate(samples, stop)
            self.evaluated = stop
        samples.forget(self._starts(self.plan.rules, self.evaluated))

    def broken(self, why: str) -> None:
        """Nothing can be evaluated at all."""
        for known in self._known:
            known.error = why

    def health(self, rule: Planned) -> tuple[int, str]:
        """When a rule was evaluated last, and why it gave nothing then; empty when it did."""
        known = self._known[rule.number]
        return known.evaluated, known.error

    def _stops(self, until: int) -> Sequence[int]:
        times = sorted({at for rule in self.plan.rules for at in self._due(rule, until)})
        return times if self.plan.one_by_one else times[-1:]

    def _due(self, rule: Planned, until: int) -> range:
        return rule.times(self._origin, self.evaluated, until)

    def _evaluate(self, samples: Samples, until: int) -> None:
        plan = self.plan
        for level in plan.levels:
            answers = self._ask([rule for rule in level if not rule.refused], samples, until)
            for rule in level:
                for at in self._due(rule, until):
                    self._take(rule, at, answers.get((rule.number, at), ()), samples)
            if plan.alerts_are_read:
                self._alert(level, samples, until)
        if not plan.alerts_are_read:
            self._alert(plan.rules, samples, until)
        for rule, source in depending(plan, [rule for rule in plan.rules if self._known[rule.number].error]):
            known = self._known[rule.number]
            known.error = known.error or f"it reads what {source.rule.name} writes: {self.health(source)[1]}"

    # --- expressions ----------------------------------------------------------------------------------------

    def _ask(self, rules: Sequence[Planned], samples: Samples, until: int) -> Mapping[tuple[int, int], Vector | Failed]:
        questions = [Question(rule.number, rule.rule.expr, at) for rule in rules for at in self._due(rule, until)]
        if not questions:
            return {}
        first = min(one.at for one in questions)
        window = samples.since(self._starts(rules, first), until)
        oldest = min([first, *(min(values) for values in window.values())])
        start = self._origin + (oldest - self._origin) // self.plan.alignment_s * self.plan.alignment_s
        return self.engine.ask(questions, window, Grid(start, self.plan.step_s))

    def _starts(self, rules: Sequence[Planned], first: int) -> Callable[[str], float | None]:
        """Where the samples of a metric begin to count for rules that are evaluated from `first` on."""
        known: dict[str, float | None] = {}

        def start(metric: str) -> float | None:
            if metric not in known:
                back = self.plan.back_s(metric, rules)
                known[metric] = None if back is None else max(first - back, self._origin)
            return known[metric]

        return start

    def _take(self, rule: Planned, at: int, answer: Vector | Failed, samples: Samples) -> None:
        known = self._known[rule.number]
        known.evaluated = at
        vector = Failed(rule.refused) if rule.refused else _labelled(rule, answer)
        if isinstance(vector, Failed):
            known.error = vector.why
            return
        known.error = ""
        if isinstance(rule.rule, AlertRule):
            known.results[at] = vector
        else:
            self._write(rule, at, vector, samples)

    def _write(self, rule: Planned, at: int, vector: Vector, samples: Samples) -> None:
        """Keep what a rule wrote; a series that it does not write any more ends."""
        known, found = self._known[rule.number], frozenset(labels for labels, _ in vector)
        for labels, value in vector:
            samples.add(labels, at, value)
        for labels in known.written - found:
            samples.add(labels, at, STALE)
        known.written = found

    # --- alerts ---------------------------------------------------------------------------------------------

    def _alert(self, rules: Sequence[Planned], samples: Samples, until: int) -> None:
        alerting = [rule for rule in rules if isinstance(rule.rule, AlertRule) and not rule.refused]
        for interval_s in sorted({rule.interval_s for rule in alerting}):
            together = [rule for rule in alerting if rule.interval_s == interval_s]
            due = self._due(together[0], until)
            if due:
                self._alert_together(together, due, samples)

    def _alert_together(self, rules: Sequence[Planned], due: range, samples: Samples) -> None:
        active = {rule.number: self._active_since(rule, due) for rule in rules}
        results = dict(series for rule in rules for series in self._results(rule, active[rule.number], due))
        found: Mapping[tuple[int, int], Vector] = {}
        if results:
            grid = Grid(min(active.values()), due.step)
            try:
                found = self.engine.alert({rule.number: _terms(rule) for rule in rules}, results, grid, due)
            except SandboxError as error:
                self._blame(rules, due, samples, error)
                return
        for rule in rules:
            for at in due:
                self._note(rule, at, found.get((rule.number, at), ()), samples)
            known = self._known[rule.number]
            kept = self._active_since(rule, range(due[-1] + due.step, due[-1] + due.step + 1, due.step))
            known.results = {at: vector for at, vector in known.results.items() if at >= kept - due.step}

    def _blame(self, rules: Sequence[Planned], due: range, samples: Samples, error: SandboxError) -> None:
        """The engine tells nothing of alerts beside one that it cannot evaluate: find that one."""
        if len(rules) == 1:
            self._known[rules[0].number].error = str(error)
            return
        for rule in rules:
            self._alert_together([rule], due, samples)

    def _active_since(self, rule: Planned, due: range) -> int:
        """The first evaluation on which the state of the rule's alerts still depends."""
        assert isinstance(rule.rule, AlertRule)
        before = due[0] - due.step
        active = [one.active_since for one in self._instances_of(rule) if one.last == before]
        since = min(active, default=due[0])
        if not rule.rule.keep_firing_s:
            # Whoever held for all of `for` fires, since whenever it holds.
            since = max(since, due[0] - (math.ceil(rule.rule.for_s / due.step) + 1) * due.step)
        return since

    def _instances_of(self, rule: Planned) -> Iterator[Instance]:
        return (instance for (number, _), instance in self.instances.items() if number == rule.number)

    def _results(self, rule: Planned, since: int, due: range) -> Iterator[tuple[Labels, dict[int, Value]]]:
        """What the rule's expression gave, as series that end whenever an evaluation does not give them."""
        known, found = self._known[rule.number], dict[Labels, dict[int, Value]]()
        vector = known.results.get(since - due.step, ())
        for at in range(since, due[-1] + 1, due.step):
            # An evaluation that failed leaves an alert as it is.
            vector = known.results.get(at, vector)
            values = dict(vector)
            for labels in found.keys() | values.keys():
                found.setdefault(labels, {})[at] = values.get(labels, STALE)
        yield from found.items()

    def _note(self, rule: Planned, at: int, vector: Vector, samples: Samples) -> None:
        known = self._known[rule.number]
        written: list[tuple[Labels, float]] = []
        for labels, _ in vector:
            pairs = dict(labels)
            del pairs["__name__"]
            state = pairs.pop("alertstate")
            instance = self.instances.setdefault((rule.number, tuple(sorted(pairs.items()))), Instance())
            instance.seen(state, at, rule.interval_s, evaluated=at in known.results)
            if self.plan.alerts_are_read:
                written += _alert_series(rule, labels, instance.active_since - self._origin)
        if at in known.results and self.plan.alerts_are_read:
            self._write(rule, at, tuple(written), samples)


def _terms(rule: Planned) -> AlertRule:
    assert isinstance(rule.rule, AlertRule)
    return rule.rule.model_copy(update={"labels": rule.group.labels | rule.rule.labels})


def _alert_series(rule: Planned, labels: Labels, active_s: int) -> Vector:
    pairs = dict(labels) | {"alertname": rule.rule.name}
    for_state = {name: value for name, value in pairs.items() if name != "alertstate"}
    for_state["__name__"] = "ALERTS_FOR_STATE"
    return (tuple(sorted(pairs.items())), 1.0), (tuple(sorted(for_state.items())), float(active_s))


def _labelled(rule: Planned, answer: Vector | Failed) -> Vector | Failed:
    """What a rule makes of what its expression gave: its labels, its name; two of the same are an error."""
    if isinstance(answer, Failed):
        return answer
    found = []
    for labels, value in answer:
        pairs = {name: text for name, text in labels if name != "__name__"}
        if isinstance(rule.rule, RecordingRule):
            pairs |= rule.group.labels | rule.rule.labels
            pairs["__name__"] = rule.rule.record
        else:
            pairs["__name__"] = result_name(rule.number)
        found.append((tuple(sorted((name, text) for name, text in pairs.items() if text)), value))
    if len(dict(found)) < len(found):
        return Failed("vector contains metrics with the same labelset after applying rule labels")
    if 0 < rule.group.limit < len(found):
        return Failed(f"exceeded limit of {rule.group.limit} with {len(found)} series")
    return tuple(found)
