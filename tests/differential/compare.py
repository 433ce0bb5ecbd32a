"""Both implementations are asked the same, and their answers held against each other."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tests.differential import second_alarm, second_rules, second_suppression
from tests.differential.cases import AlarmCase, Case, RuleCase, SuppressedCase
from tests.differential.second_math import SERIES, kind_of
from tests.differential.second_parser import NoSuchExpression, everything, parse, written
from tests.differential.second_rules import NoSuchRule
from tests.differential.second_statistics import NoSuchStatistic, Published

from tocsin.errors import InvalidInput
from tocsin.model.system import MetricAlarm
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.metrics import MetricStore, SystemTime

_SCOPE = ("123456789012", "eu-west-1")
REFUSED = "refused"


@dataclass(frozen=True)
class First:
    """The implementation under test: classes of `tocsin.alarms` and a module of it, or those of a mutant."""

    evaluator: Callable[[MetricAlarm], Any]
    rule: Callable[[str], Any]
    suppression: Any


@dataclass(frozen=True)
class Disagreement:
    """A case with two answers."""

    case: Case
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{_shown(self.case)}\n  tocsin.alarms: {self.first}\n  the second:    {self.second}"


@dataclass(frozen=True)
class Asked:
    """A case, what the second implementation says, and what the first one needs to be asked."""

    case: Case
    second: Any
    alarm: MetricAlarm | None = None
    store: MetricStore | None = None


# ------------------------------------------------------------------------------------------------ asking


def ask_second(case: Case) -> Asked:
    """The answer of the second implementation: one of each tick, or REFUSED."""
    if isinstance(case, RuleCase):
        return Asked(case, _second_rule(case))
    if isinstance(case, SuppressedCase):
        found = second_suppression.told(case.changes, case.in_alarm, case.wait_s, case.extension_s)
        return Asked(case, found)
    alarm = MetricAlarm.model_validate(dict(case.definition))
    return Asked(case, _second_alarm(case), alarm, _store(case))


def _second_rule(case: RuleCase) -> bool | str:
    try:
        return second_rules.holds(case.rule, case.states)
    except NoSuchRule:
        return REFUSED


def _second_alarm(case: AlarmCase) -> list[second_alarm.Answer] | str:
    found, state, now_s = [], case.state, case.now_s
    try:
        for _ in range(case.ticks):
            answer = second_alarm.evaluate(case.definition, case.published, state, now_s)
            found.append(answer)
            state, now_s = answer.state, now_s + answer.tick_s
    except (NoSuchStatistic, NoSuchExpression):
        return REFUSED
    return found


def _store(case: AlarmCase) -> MetricStore:
    """The sandbox's own store, on a clock on which system seconds are those of the case."""
    from tocsin.alarms.cloudwatch import metric_key

    store = MetricStore(SystemTime(Clock(1.0), 86_400.0))
    for one in case.published:
        key, unit = metric_key(_namespace(case, one.metric), one.metric, {}), one.unit
        if one.summary is not None:
            store.put_set(_SCOPE, key, one.summary, unit, wall=float(one.at_s))
        for value in one.values:
            store.put(_SCOPE, key, value, unit, wall=float(one.at_s))
    return store


def _namespace(case: AlarmCase, metric: str) -> str:
    of = {
        query["MetricStat"]["Metric"]["MetricName"]: query["MetricStat"]["Metric"]["Namespace"]
        for query in case.definition.get("Metrics", ())
        if "MetricStat" in query
    }
    return str(of.get(metric) or case.definition.get("Namespace") or "Shop")


def differs(asked: Asked, first: First) -> Disagreement | None:
    """Whether the implementation under test says something else."""
    case = asked.case
    try:
        if isinstance(case, RuleCase):
            found: Any = _first_rule(case, first)
            return None if found == asked.second else Disagreement(case, found, asked.second)
        if isinstance(case, SuppressedCase):
            found = _first_suppression(case, first)
            return None if found == asked.second else Disagreement(case, found, asked.second)
        return _differs(asked, first)
    except Exception as error:  # an implementation under test may do anything
        return Disagreement(case, f"raised {error!r}", asked.second)


def _first_rule(case: RuleCase, first: First) -> Any:
    try:
        rule = first.rule(case.rule)
    except InvalidInput:
        return REFUSED
    return rule.holds(case.states)


def _first_suppression(case: SuppressedCase, first: First) -> Any:
    now, found = first.suppression.Suppression(), []
    for at, in_alarm in enumerate(case.in_alarm):
        suppressor = first.suppression.Suppressor(in_alarm, case.wait_s, case.extension_s)
        now, taken = first.suppression.step(now, suppressor, at, changed=at in case.changes)
        found.append((now.by, taken))
    return found


def _differs(asked: Asked, first: First) -> Disagreement | None:
    case, store = asked.case, asked.store
    assert isinstance(case, AlarmCase)
    assert store is not None
    try:
        evaluator = first.evaluator(asked.alarm)
    except InvalidInput:
        return None if asked.second == REFUSED else Disagreement(case, REFUSED, asked.second)
    if asked.second == REFUSED:
        return Disagreement(case, "taken", REFUSED)
    state, now_s = case.state, case.now_s
    for answer in asked.second:
        found = evaluator.evaluate(state, now_s, lambda *key: store.buckets(_SCOPE, *key))
        if evaluator.tick_s != answer.tick_s or not _same(found, answer, case):
            return Disagreement(case, (found, evaluator.tick_s), answer)
        state, now_s = answer.state, now_s + answer.tick_s
    return None


def _same(found: Any, answer: second_alarm.Answer, case: AlarmCase) -> bool:
    if len(found.datapoints) != len(answer.points):
        return False
    threshold = float(case.definition["Threshold"])
    undecided = False
    for point, other in zip(found.datapoints, answer.points, strict=True):
        if (point is None) != (other is None):
            return False
        if point is None or other is None:
            continue
        start_s, value, breaching = other
        if point.start_s != start_s or not _near(point.value, value):
            return False
        if point.breaching != breaching:
            if point.value == value or not _near(value, threshold):
                return False
            undecided = True  # a value that rounding puts on either side of the threshold
    real = [point for point in found.datapoints if point is not None]
    periods = int(case.definition["EvaluationPeriods"])
    if list(found.evaluated) != real[-periods:]:
        return False
    if "Metrics" not in case.definition and [point.sample_count for point in real] != list(answer.counts):
        return False
    return undecided or found.state == answer.state


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


# ------------------------------------------------------------------------------------------------ making it small


def shrunk(disagreement: Disagreement, first: First) -> Disagreement:
    """The smallest case near this one that still has two answers."""
    best = disagreement
    for _ in range(300):
        smaller = next(
            (found for case in _smaller(best.case) if (found := _still(case, first)) is not None),
            None,
        )
        if smaller is None:
            return best
        best = smaller
    return best


def _still(case: Case, first: First) -> Disagreement | None:
    try:
        return differs(ask_second(case), first)
    except ValueError:  # what is left is no alarm any more
        return None


def _smaller(case: Case) -> Iterator[Case]:
    if isinstance(case, RuleCase):
        yield from (replace(case, rule=part) for sign in (" AND ", " OR ") for part in case.rule.split(sign, 1))
        return
    if isinstance(case, SuppressedCase):
        yield from (replace(case, changes=tuple(one for one in case.changes if one != at)) for at in case.changes)
        yield replace(case, in_alarm=case.in_alarm[:-1])
        return
    if case.ticks > 1:
        yield replace(case, ticks=case.ticks - 1)
    metrics = {one.metric for one in case.published}
    for name in sorted(metrics) if len(metrics) > 1 else ():
        yield replace(case, published=tuple(one for one in case.published if one.metric != name))
    for at in range(len(case.published)):
        yield replace(case, published=(*case.published[:at], *case.published[at + 1 :]))
    for at, one in enumerate(case.published):
        if len(one.values) > 1:
            yield replace(
                case, published=(*case.published[:at], replace(one, values=one.values[1:]), *case.published[at + 1 :])
            )
    for name in ("DatapointsToAlarm", "TreatMissingData", "Unit"):
        if name in case.definition:
            yield replace(case, definition={key: value for key, value in case.definition.items() if key != name})
    yield from _simpler_expressions(case)


def _simpler_expressions(case: AlarmCase) -> Iterator[Case]:
    metrics = case.definition.get("Metrics", ())
    for at, query in enumerate(metrics):
        if "Expression" not in query:
            continue
        for text in _parts(query["Expression"]):
            if len(text) < len(query["Expression"]):
                changed = [*metrics[:at], {**query, "Expression": text}, *metrics[at + 1 :]]
                yield replace(case, definition={**case.definition, "Metrics": changed})


def _parts(text: str) -> Iterable[str]:
    try:
        nodes = everything(parse(text))[1:]
    except NoSuchExpression:
        return
    for node in nodes:
        try:
            if kind_of(node) == SERIES:
                yield written(node)
        except NoSuchExpression:
            continue


def _shown(case: Case) -> str:
    if isinstance(case, RuleCase):
        return f"rule {case.rule!r} where {dict(case.states)}"
    if isinstance(case, SuppressedCase):
        return str(case)
    published = [_published(one) for one in sorted(case.published, key=lambda one: (one.metric, one.at_s))]
    shown: Mapping[str, Any] = {
        "definition": case.definition,
        "published": published,
        "state": case.state,
        "now_s": case.now_s,
        "ticks": case.ticks,
    }
    return json.dumps(shown)


def _published(one: Published) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(one).items() if value}


def ask_all(cases: Iterable[Case]) -> Sequence[Asked]:
    """The answers of the second implementation to many cases."""
    return [ask_second(case) for case in cases]
