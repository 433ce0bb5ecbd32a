"""What alerting rules cannot keep, read from their expressions and a page of healthy metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import promql_parser as promql

from tocsin.alarms.exposition import Labels
from tocsin.alarms.prometheus import AlertRule, RecordingRule, RuleFile
from tocsin.alarms.promql import parse, walk
from tocsin.errors import InvalidInput
from tocsin.model.base import Model
from tocsin.model.system import Objectives

Page = Mapping[Labels, float]
"""The samples of a healthy page of `/metrics`."""

_COUNTERS = ("rate", "increase", "irate")
_ABOVE = (">", ">=")
_WITHOUT_MATCH = ("or", "unless")
"""Operators that have a result where nothing matches."""
_SELECTING = ("MatchOp.Equal", "MatchOp.Re")
_OF_TARGET = ("job", "instance", "namespace", "pod", "container", "service", "cluster", "node", "endpoint")
_STATUS = re.compile(r"status|code", re.IGNORECASE)
_REQUESTS = re.compile(r"(http_)?(server_)?requests?_")
"""What instrumentation calls the requests of a service's callers: `http_requests_total`,
`http_server_request_duration_seconds`. With another prefix (`apiserver_`, `etcd_`) they are somebody else's.
https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
"""
_DURATION = re.compile(r"(duration|latency|time)(_(?P<unit>seconds|milliseconds|ms))_bucket$")


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

    Nothing is said of what only Prometheus itself can read.
    """
    parsed = list(_parsed(rules))
    alerts = [(rule, expression) for rule, expression in parsed if isinstance(rule, AlertRule)]
    for rule, expression in alerts:
        for kind, message in _complaints(expression, page):
            yield Complaint(alert=rule.alert, kind=kind, message=message)
    if objectives is not None:
        yield from _agreement(alerts, objectives, page)
    if alerts and not any(_sees_absence(expression) for _, expression in parsed):
        yield Complaint(
            alert=None,
            kind="blind_to_absence",
            message="no rule asks for `up` or `absent()`: when all targets vanish, so do all series, and none fires",
        )


def _parsed(rules: RuleFile) -> Iterator[tuple[AlertRule | RecordingRule, promql.Expr]]:
    for _, rule in rules.placed:
        try:
            yield rule, parse(rule.expr, rule.name)
        except InvalidInput:  # what only Prometheus itself can read
            continue


def grammar_problems(rules: RuleFile) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Every expression that is not PromQL, with its place in the file."""
    for group, named in enumerate(rules.groups):
        for index, rule in enumerate(named.rules):
            try:
                parse(rule.expr, rule.name)
            except InvalidInput as error:
                yield ("groups", group, "rules", index, "expr"), error.message


def _complaints(expression: promql.Expr, page: Page | None) -> Iterator[tuple[str, str]]:
    for node in walk(expression):
        if isinstance(node, promql.Call) and node.func.name == "histogram_quantile":
            yield from _quantile(node)
        if page is not None and isinstance(node, promql.BinaryExpr):
            yield from _matching(node, page)
        if page is not None and isinstance(node, promql.Call) and node.func.name in _COUNTERS:
            yield from _birth(node, page)


# --- single complaints ----------------------------------------------------------------------------------------


def _quantile(call: promql.Call) -> Iterator[tuple[str, str]]:
    """https://prometheus.io/docs/practices/histograms/#quantiles"""
    inner = _bare(call.args[1])
    if isinstance(inner, promql.AggregateExpr):
        kept = _by(inner)
        apart = kept is not None and "le" not in kept
    else:
        selector = _counted(inner)
        # What is no counter of classic buckets may be aggregated already: a recorded series, or a native histogram.
        apart = selector is not None and (selector.name or "").endswith("_bucket") and ":" not in (selector.name or "")
    if apart:
        yield (
            "quantile_per_series",
            "histogram_quantile without `sum by (le)` is computed for each instance and route on its own: one slow "
            "route fires, a quiet one gives NaN and never does, and nobody sees the service as a whole",
        )


def _matching(binary: promql.BinaryExpr, page: Page) -> Iterator[tuple[str, str]]:
    """https://prometheus.io/docs/prometheus/latest/querying/operators/#vector-matching"""
    if str(binary.op) in _WITHOUT_MATCH:
        return
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
    selector = _counted(call)
    # A metric that is not on this page at all may be another target's, or a recorded one.
    if selector is None or not any(dict(labels)["__name__"] == selector.name for labels in page):
        return
    if _label_sets(selector, page) == frozenset():
        yield (
            "born_with_its_first_event",
            f"a healthy page has no series for `{call.args[0]}`: one that is born with its first event has no increase "
            f"that {call.func.name}() could see. Export it with 0 from the start",
        )


def _agreement(
    alerts: Sequence[tuple[AlertRule, promql.Expr]], objectives: Objectives, page: Page | None
) -> Iterator[Complaint]:
    """An objective is a promise to callers: only alerts on their requests can disagree with it."""
    quantiles = {}
    for rule, expression in alerts:
        if not isinstance(expression, promql.BinaryExpr) or str(expression.op) not in _ABOVE:
            continue
        measured, limit = _bare(expression.lhs), _number(expression.rhs)
        if limit is None or not isinstance(measured, promql.Call):
            continue
        if measured.func.name == "rate" and _counts_failed_requests(measured, page):
            yield Complaint(alert=rule.alert, kind="slo_disagrees", message=_not_a_share(limit, objectives))
        if measured.func.name == "histogram_quantile" and _number(measured.args[0]) == 0.95:
            unit = _seconds_of_requests(measured.args[1], page)
            if unit is not None:
                quantiles[rule.alert] = limit * unit
    promised_s = objectives.p95_ms / 1000
    # A warning and a page may have limits of their own, if one of them is what is promised.
    if not any(math.isclose(limit_s, promised_s) for limit_s in quantiles.values()):
        for alert, limit_s in quantiles.items():
            message = f"the objective for p95 is {promised_s:g} s, the alert rings above {limit_s:g} s"
            yield Complaint(alert=alert, kind="slo_disagrees", message=message)


def _not_a_share(limit: float, objectives: Objectives) -> str:
    share = objectives.max_error_share
    return (
        f"the objective is a share ({share:.3g} of all requests), the alert a rate of each series ({limit:g}/s): "
        f"they agree only where one series has {limit / share:.3g} requests/s. With more it rings within the "
        "objective; errors spread over many series ring nobody. Divide by the rate of all requests"
    )


def _counts_failed_requests(rate: promql.Call, page: Page | None) -> bool:
    """Whether it counts requests of callers by a status that says that they failed."""
    selector = _counted(rate)
    if selector is None or not _is_of_callers(selector.name or "", page):
        return False
    return any(
        _STATUS.search(matcher.name) and matcher.value.startswith("5") and str(matcher.op) in _SELECTING
        for matcher in selector.matchers.matchers
    )


def _seconds_of_requests(buckets: promql.Expr, page: Page | None) -> float | None:
    """Seconds of the unit in which the duration of callers' requests is counted; None when it is not that."""
    for node in walk(buckets):
        if isinstance(node, promql.VectorSelector):
            found = _DURATION.search(node.name or "")
            if found is not None and _is_of_callers(node.name or "", page):
                return 0.001 if found["unit"].startswith("ms") or "milli" in found["unit"] else 1.0
    return None


def _is_of_callers(metric: str, page: Page | None) -> bool:
    """A metric of requests that the system itself exports, by its page or by the name that instrumentation gives."""
    if _REQUESTS.match(metric):
        return True
    on_page = page is not None and any(dict(labels)["__name__"] == metric for labels in page)
    return on_page and "request" in metric


def _sees_absence(expression: promql.Expr) -> bool:
    for node in walk(expression):
        if isinstance(node, promql.Call) and node.func.name in ("absent", "absent_over_time"):
            return True
        if isinstance(node, promql.VectorSelector) and node.name == "up":
            return True
        if isinstance(node, promql.BinaryExpr) and str(node.op) == "or" and _is_vector(node.rhs):
            return True
    return False


def _is_vector(node: promql.Expr) -> bool:
    """Whether there is always a value: `vector(0)`."""
    bare = _bare(node)
    return isinstance(bare, promql.Call) and bare.func.name == "vector"


# --- expressions and label sets -------------------------------------------------------------------------------


def _bare(node: promql.Expr) -> promql.Expr:
    return _bare(node.expr) if isinstance(node, promql.ParenExpr) else node


def _number(node: promql.Expr) -> float | None:
    bare = _bare(node)
    return float(bare.val) if isinstance(bare, promql.NumberLiteral) else None


def _counted(node: promql.Expr) -> promql.VectorSelector | None:
    """The selector whose increase a call tells; None where it is no such call."""
    bare = _bare(node)
    if not isinstance(bare, promql.Call) or bare.func.name not in _COUNTERS:
        return None
    return bare.args[0].vector_selector if isinstance(bare.args[0], promql.MatrixSelector) else None


def _by(aggregate: promql.AggregateExpr) -> frozenset[str] | None:
    """The labels that an aggregation keeps; None where it keeps all but some, `le` among them."""
    modifier = aggregate.modifier
    if modifier is None:
        return frozenset()
    if modifier.type == promql.AggModifierType.By:
        return frozenset(modifier.labels)
    return None if "le" not in modifier.labels else frozenset()


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
    # A page has no labels of its target: Prometheus adds them when it scrapes.
    told = (matcher for matcher in selector.matchers.matchers if matcher.name not in _OF_TARGET)
    return all(_holds(matcher, labels.get(matcher.name, "")) for matcher in told)


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
