"""What a PromQL expression reads: which series, how far back, and on whose clock.

https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import promql_parser as promql

from tocsin.errors import InvalidInput, shortened

LOOKBACK_S = 300.0
"""How old the newest sample of a series may be: `--query.lookback-delta`, five minutes unless it is set.
https://prometheus.io/docs/prometheus/latest/querying/basics/#staleness
"""
CLOCK_FUNCTIONS = frozenset(
    (
        *("time", "timestamp", "hour", "minute", "month", "year"),
        *("day_of_month", "day_of_week", "day_of_year", "days_in_month"),
    )
)
"""Functions whose value is a time of day, or a number of seconds since 1970."""
TIMES = ("duration", "latency", "response_time")
"""In the names of metrics that are how long something took; `_seconds` alone is also the unit of a time of day, and of
what a processor did."""
_EXPRESSION_CHARACTERS = 400
_OPERATORS = 500
_OPERATOR = re.compile(r"[-+*/%^(\[{<>=!]|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_TEXT_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`|#[^\n]*')
_EQUAL = "MatchOp.Equal"


@dataclass(frozen=True)
class Read:
    """One selector of an expression."""

    back_s: float
    """How far back it looks from the evaluation; infinite where it looks at a fixed time."""
    name: str | None = None
    """The metric; None where it is not one name."""
    patterns: tuple[str, ...] = ()
    """What the name must match, where it is not one."""
    ahead: bool = False
    """Whether it looks at what comes after the evaluation."""

    def may_be(self, metric: str) -> bool:
        """Whether it may read the series of this metric."""
        if self.name is not None:
            return metric == self.name
        return all(_matches(pattern, metric) for pattern in self.patterns)


EVERYTHING = Read(back_s=math.inf, ahead=True)
"""What an expression may read that our parser does not know."""


def parse(expression: str, name: str) -> promql.Expr:
    """The tree of an expression; `name` is that of its rule, for the message.

    Raises:
        InvalidInput: it is not PromQL, or nested without end.
    """
    # The parser, and whoever walks what it gives, goes a call deeper for each of them; it would end this process.
    operators = len(_OPERATOR.findall(_TEXT_OR_COMMENT.sub("", expression)))
    if operators > _OPERATORS:
        raise InvalidInput(
            f"{shortened(name)}: expected PromQL of at most {_OPERATORS} operators and brackets, found {operators}"
        )
    try:
        return promql.parse(expression)
    except ValueError as error:
        found = shortened(expression, _EXPRESSION_CHARACTERS)
        raise InvalidInput(f"{shortened(name)}: expected PromQL, found '{found}': {error}") from None


def children(node: promql.Expr) -> Sequence[promql.Expr]:
    """The expressions that one is made of."""
    match node:
        case promql.Call():
            return list(node.args)
        case promql.BinaryExpr():
            return [node.lhs, node.rhs]
        case promql.MatrixSelector():
            return [node.vector_selector]
        case promql.AggregateExpr():
            return [node.expr] if node.param is None else [node.param, node.expr]
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return [node.expr]
    return []


def walk(node: promql.Expr) -> Iterator[promql.Expr]:
    """An expression and all that it is made of."""
    yield node
    for child in children(node):
        yield from walk(child)


def reads(node: promql.Expr, back_s: float = 0.0) -> Iterator[Read]:
    """Every selector of an expression; what is around it adds to how far back it looks: `back_s`."""
    match node:
        case promql.VectorSelector():
            yield _read(node, back_s + LOOKBACK_S)
        case promql.MatrixSelector():
            yield _read(node.vector_selector, back_s + _seconds(node.range))
        case promql.SubqueryExpr():
            fixed = math.inf if _is_fixed(node.at) else 0.0
            back_s += _seconds(node.range) + _seconds(node.offset) + fixed
            yield from reads(node.expr, back_s)
        case _:
            for child in children(node):
                yield from reads(child, back_s)


def reads_of(expression: str) -> tuple[Read, ...]:
    """What an expression reads; everything, where only Prometheus itself can read it."""
    try:
        return tuple(reads(parse(expression, "")))
    except InvalidInput:
        return (EVERYTHING,)


def names_read(found: Iterable[Read]) -> frozenset[str] | None:
    """The metrics that are read; None when one of the selectors may read any."""
    names = [read.name for read in found]
    return None if None in names else frozenset(name for name in names if name is not None)


def looks_at_time(expression: str) -> bool:
    """Whether an expression reads how long something took, as far as the names of its metrics tell."""
    return any(any(word in (read.name or "") for word in TIMES) for read in reads_of(expression))


def subquery_steps(node: promql.Expr, default_s: float) -> Iterator[float]:
    """Seconds between the evaluations of each subquery: they are at multiples of it, whenever the rule is evaluated."""
    for one in walk(node):
        if isinstance(one, promql.SubqueryExpr):
            yield _seconds(one.step) or default_s


def clock_read(node: promql.Expr) -> str | None:
    """What of an expression asks what time it is, or names one; None when nothing does."""
    for one in walk(node):
        if isinstance(one, promql.Call) and one.func.name in CLOCK_FUNCTIONS:
            return f"{one.func.name}()"
        if isinstance(one, promql.VectorSelector | promql.SubqueryExpr) and _is_fixed(one.at):
            return str(one.at)
    return None


def _read(selector: promql.VectorSelector, back_s: float) -> Read:
    offset_s = _seconds(selector.offset)
    back_s = math.inf if _is_fixed(selector.at) else back_s + offset_s
    of_name = [one for one in selector.matchers.matchers if one.name == "__name__"]
    equal = [one.value for one in of_name if str(one.op) == _EQUAL]
    name = selector.name or (equal[0] if equal else None)
    patterns = tuple(one.value for one in of_name if str(one.op) == "MatchOp.Re")
    return Read(back_s=back_s, name=name, patterns=patterns, ahead=offset_s < 0)


def _is_fixed(at: object) -> bool:
    """`@ start()` and `@ end()` are the evaluation itself, where a rule is evaluated."""
    return at is not None and str(at) not in ("@ start()", "@ end()")


def _seconds(duration: timedelta | None) -> float:
    return 0.0 if duration is None else duration.total_seconds()


def _matches(pattern: str, metric: str) -> bool:
    try:
        return re.fullmatch(pattern, metric) is not None
    except re.error:  # Go's syntax and Python's differ here and there
        return True
