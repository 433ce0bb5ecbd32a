"""What alerting rules cannot keep, read from their expressions and a page of healthy metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import promql_parser as promql

from tocsin.alarms.exposition import Labels
from tocsin.alarms.prometheus import AlertRule, RuleFile
from tocsin.errors import InvalidInput
from tocsin.model.base import Model
from tocsin.model.system import Objectives

Page = Mapping[Labels, float]
"""The samples of a healthy page of `/metrics`."""

_COUNTERS = ("rate", "increase", "irate")
_ABOVE = (">", ">=")


class Complaint(Model):
    """One thing that a rules file promises and cannot keep."""

    alert: str | None
    """None: the whole file."""
    kind: str
    """`never_matches`, `quantile_per_series`, `born_with_its_first_event`, `slo_disagrees` or `blind_to_absence`"""
    message: str


def lint_rules(rules: RuleFile, objectives: Objectives | None = None, page: Page | None = None) -> Iterator[Complaint]:
    """Everything that can be said of the alerting rules.

    Without `page`, nothing is said about labels and births; without `objectives` nothing about their agreement.

    Raises:
        InvalidInput: an expression is not PromQL.
    """
    parsed = {name: (rule, _parse(rule)) for name, rule in rules.alerts.items()}
    for name, (rule, expression) in parsed.items():
        for kind, message in _complaints(rule, expression, objectives, page):
            yield Complaint(alert=name, kind=kind, message=message)
    if parsed and not any(_sees_absence(expression) for _, expression in parsed.values()):
        yield Complaint(
            alert=None,
            kind="blind_to_absence",
            message="no rule asks for `up` or `absent()`: when all targets vanish, so do all series, and none fires",
        )


def _complaints(
    rule: AlertRule, expression: promql.Expr, objectives: Objectives | None, page: Page | None
) -> Iterator[tuple[str, str]]:
    for node in _walk(expression):
        if isinstance(node, promql.Call) and node.func.name == "histogram_quantile":
            yield from _quantile(node)
        if page is not None and isinstance(node, promql.BinaryExpr):
            yield from _matching(node, page)
        if page is not None and isinstance(node, promql.Call) and node.func.name in _COUNTERS:
            yield from _birth(node, page)
    if objectives is not None:
        yield from _agreement(expression, objectives)


def _parse(rule: AlertRule) -> promql.Expr:
    try:
        return promql.parse(rule.expr)
    except ValueError as error:
        raise InvalidInput(f"{rule.alert}: expected PromQL, found '{rule.expr}': {error}") from None


# --- single complaints ----------------------------------------------------------------------------------------


def _quantile(call: promql.Call) -> Iterator[tuple[str, str]]:
    """https://prometheus.io/docs/practices/histograms/#quantiles"""
    inner = _bare(call.args[1])
    if isinstance(inner, promql.AggregateExpr) and "le" in _by(inner):
        return
    yield (
        "quantile_per_series",
        "histogram_quantile without `sum by (le)` is computed for each instance and route on its own: one slow route "
        "fires, a quiet one gives NaN and never does, and nobody sees the service as a whole",
    )


def _matching(binary: promql.BinaryExpr, page: Page) -> Iterator[tuple[str, str]]:
    """https://prometheus.io/docs/prometheus/latest/querying/operators/#vector-matching"""
    left, right = _label_sets(binary.lhs, page), _label_sets(binary.rhs, page)
    if not left or not right:
        return
    match = _matcher(binary)
    if {match(labels) for labels in left}.isdisjoint(match(labels) for labels in right):
        yield (
            "never_matches",
            f"no series on the left of `{binary.op}` has the labels of one on the right, so there is never a result: "
            f"{_shown(left)} against {_shown(right)}. Use on(...) or ignoring(...)",
        )


def _birth(call: promql.Call, page: Page) -> Iterator[tuple[str, str]]:
    """https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics"""
    if _label_sets(call.args[0], page) == frozenset():
        yield (
            "born_with_its_first_event",
            f"a healthy page has no series for `{call.args[0]}`: one that is born with its first event has no increase "
            f"that {call.func.name}() could see. Export it with 0 from the start",
        )


def _agreement(expression: promql.Expr, objectives: Objectives) -> Iterator[tuple[str, str]]:
    if not isinstance(expression, promql.BinaryExpr) or str(expression.op) not in _ABOVE:
        return
    measured, limit = _bare(expression.lhs), _number(expression.rhs)
    if limit is None or not isinstance(measured, promql.Call):
        return
    if measured.func.name == "rate":
        share = objectives.max_error_share
        yield (
            "slo_disagrees",
            f"the objective is a share ({share:.3g} of all requests), the alert a rate of each series ({limit:g}/s): "
            f"they agree only where one series has {limit / share:.3g} requests/s. With more it rings within the "
            "objective; errors spread over many series ring nobody. Divide by the rate of all requests",
        )
    if measured.func.name == "histogram_quantile" and _number(measured.args[0]) == 0.95:
        promised_s = objectives.p95_ms / 1000
        if limit != promised_s:
            yield (
                "slo_disagrees",
                f"the objective for p95 is {promised_s:g} s, the alert rings above {limit:g} s",
            )


def _sees_absence(expression: promql.Expr) -> bool:
    for node in _walk(expression):
        if isinstance(node, promql.Call) and node.func.name in ("absent", "absent_over_time"):
            return True
        if isinstance(node, promql.VectorSelector) and node.name == "up":
            return True
    return False


# --- expressions and label sets -------------------------------------------------------------------------------


def _walk(node: promql.Expr) -> Iterator[promql.Expr]:
    yield node
    for child in _children(node):
        yield from _walk(child)


def _children(node: promql.Expr) -> list[promql.Expr]:
    match node:
        case promql.Call():
            return list(node.args)
        case promql.BinaryExpr():
            return [node.lhs, node.rhs]
        case promql.MatrixSelector():
            return [node.vector_selector]
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return [node.expr]
    return []


def _bare(node: promql.Expr) -> promql.Expr:
    return _bare(node.expr) if isinstance(node, promql.ParenExpr) else node


def _number(node: promql.Expr) -> float | None:
    bare = _bare(node)
    return float(bare.val) if isinstance(bare, promql.NumberLiteral) else None


def _by(aggregate: promql.AggregateExpr) -> frozenset[str]:
    modifier = aggregate.modifier
    if modifier is None or modifier.type != promql.AggModifierType.By:
        return frozenset()
    return frozenset(modifier.labels)


LabelSet = frozenset[tuple[str, str]]


def _label_sets(node: promql.Expr, page: Page) -> frozenset[LabelSet] | None:
    """Labels (without the name) of every series an expression has on the page; None where that cannot be said."""
    match node:
        case promql.ParenExpr():
            return _label_sets(node.expr, page)
        case promql.MatrixSelector():
            return _label_sets(node.vector_selector, page)
        case promql.VectorSelector():
            return frozenset(_without(labels, "__name__") for labels in page if _selected(node, dict(labels)))
        case promql.Call() if node.func.name in _COUNTERS:
            return _label_sets(node.args[0], page)
    return None


def _selected(selector: promql.VectorSelector, labels: Mapping[str, str]) -> bool:
    if selector.name is not None and labels["__name__"] != selector.name:
        return False
    return all(_holds(matcher, labels.get(matcher.name, "")) for matcher in selector.matchers.matchers)


def _holds(matcher: promql.Matcher, value: str) -> bool:
    match str(matcher.op):
        case "MatchOp.Equal":
            return bool(value == matcher.value)
        case "MatchOp.NotEqual":
            return bool(value != matcher.value)
        case "MatchOp.Re":
            return re.fullmatch(matcher.value, value) is not None
    return re.fullmatch(matcher.value, value) is None


def _matcher(binary: promql.BinaryExpr) -> Callable[[LabelSet], LabelSet]:
    """What of a series' labels counts when two sides are matched."""
    matching = None if binary.modifier is None else binary.modifier.matching
    if matching is None:
        return lambda labels: labels
    names = set(matching.labels)
    on = matching.type == promql.LabelModifierType.Include
    return lambda labels: frozenset(pair for pair in labels if (pair[0] in names) == on)


def _without(labels: Labels, name: str) -> LabelSet:
    return frozenset(pair for pair in labels if pair[0] != name)


def _shown(sets: frozenset[LabelSet]) -> str:
    names = sorted({name for labels in sets for name, _ in labels})
    return f"{{{', '.join(names)}}}"
