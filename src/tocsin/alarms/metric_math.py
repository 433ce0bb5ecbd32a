"""Metric math of CloudWatch as pure functions: an expression is compiled once, with its types, and then evaluated.

Source of every rule, unless another page stands beside it: *Metric math syntax and functions*,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html#metric-math-syntax

A value is a number (S on that page), a time series (TS) or an array of time series (TS[]). A series is known on a
`Grid`: the periods that were asked for, oldest first. Where it has no datapoint it has no entry. A number that there is
not (the average of nothing, a division by zero) is NaN; what is calculated from it is not there either.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import LarkError, UnexpectedInput, UnexpectedToken

from tocsin.alarms.metric_functions import (
    AGGREGATES,
    ARITHMETIC,
    BY_SERIES,
    BY_VALUE,
    COMPARISONS,
    MOMENTS,
    Inputs,
    Series,
    finite,
    in_order,
    linear,
    pair_by_pair,
    repeat,
    utc,
)
from tocsin.errors import InvalidInput, NotEvaluated, near_match

LONGEST_EXPRESSION = 2048
"""Characters: API reference, MetricDataQuery."""
_DEEPEST = 100
"""Parts within each other. CloudWatch names no limit; this one keeps clear of Python's."""


class Kind(Enum):
    """What an expression yields."""

    NUMBER = "a number"
    SERIES = "a time series"
    ARRAY = "an array of time series"


_Node = Callable[[Inputs], Any]


@dataclass(frozen=True)
class Expression:
    """A compiled expression."""

    text: str
    ids: frozenset[str]
    """ids that it names"""
    uses_metrics: bool
    """whether it asks for METRICS(), which is all metrics of the request"""
    kind: Kind
    _evaluate: _Node

    def series(self, inputs: Inputs) -> Series:
        """The time series that it yields; of an array the first one."""
        value = self._evaluate(inputs)
        if self.kind is Kind.ARRAY:
            return value[0] if value else {}
        found: Series = value
        return found


@dataclass(frozen=True)
class _Typed:
    """A part of an expression: what it yields, and how."""

    kind: Kind
    run: _Node
    metric: str | None = None
    """the id, where it is nothing but one"""


_GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction (_OR conjunction)*
?conjunction: comparison (_AND comparison)*
?comparison: sum [COMPARE sum]
?sum: product (SIGN product)*
?product: unary (FACTOR unary)*
?unary: "-" unary -> minus
      | power
?power: atom ["^" unary]
?atom: NUMBER -> number
     | ID -> name
     | STRING -> string
     | FUNCTION "(" [arguments] ")" -> call
     | FUNCTION -> word
     | "[" [arguments] "]" -> array
     | "(" disjunction ")"
arguments: disjunction ("," disjunction)*
COMPARE: "==" | "!=" | "<=" | ">=" | "<" | ">"
SIGN: "+" | "-"
FACTOR: "*" | "/"
_OR.2: /OR\b/ | "||"
_AND.2: /AND\b/ | "&&"
NUMBER: /\d+(\.\d*)?([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?/
ID: /[a-z][a-zA-Z0-9_]*/
FUNCTION: /[A-Z][A-Z0-9_]*/
STRING: /"[^"]*"|'[^']*'/
%ignore /\s+/
"""

_REFUSED: Mapping[str, str] = {
    "ANOMALY_DETECTION_BAND": "it needs the model that CloudWatch trains",
    "DB_PERF_INSIGHTS": "it asks Performance Insights",
    "INSIGHT_RULE_METRIC": "it asks a rule of Contributor Insights",
    "LAMBDA": "it asks a data source of the account's own",
    "SEARCH": "it yields whatever metrics are found; CloudWatch allows it in no alarm either",
    "SERVICE_QUOTA": "it asks Service Quotas",
}
"""Functions of that page that are not evaluated here, and why."""
_IN_NO_ALARM = frozenset({"SEARCH"})
"""Those that CloudWatch refuses in an alarm.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-search-expressions.html
"""
_WORDS = frozenset({"REPEAT", "LINEAR", "ASC", "DESC", "AVG", "MIN", "MAX", "SUM"})
"""Words without parentheses: arguments of FILL and SORT."""


def compile_expression(expression: str) -> Expression:
    """Read and check an expression.

    Raises:
        NotEvaluated: it asks for something that only CloudWatch evaluates; says what.
        InvalidInput: it is too long, or cannot be read.
    """
    compiler = _Compiler(expression)
    typed = compiler.of(parse(expression))
    return Expression(expression, frozenset(compiler.ids), compiler.uses_metrics, typed.kind, typed.run)


def parse(expression: str) -> Tree[Any]:
    """The tree of an expression, of which nothing but the grammar was checked; raises as `compile_expression`."""
    if len(expression) > LONGEST_EXPRESSION:
        raise InvalidInput(
            f"expected a metric math expression of at most {LONGEST_EXPRESSION} characters, found {len(expression)}"
        )
    if expression.lstrip().upper().startswith("SELECT "):
        raise NotEvaluated(f"a query of Metrics Insights is not evaluated here, found '{expression}'")
    try:
        return _parser().parse(expression)
    except UnexpectedInput as error:
        raise InvalidInput(_unreadable(expression, error)) from None
    except LarkError as error:
        raise InvalidInput(f"expected a metric math expression, found '{expression}': {error}") from None


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)


def _unreadable(expression: str, error: UnexpectedInput) -> str:
    at = error.pos_in_stream or 0
    ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    found = "its end" if ended else f"'{expression[at : at + 12]}'"
    return f"expected a metric math expression, found {found} where it cannot stand in '{expression}'"


# ------------------------------------------------------------------------------------------------ compiling


class _Compiler:
    """From the tree of one expression to its typed function."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._depth = 0
        self.ids: set[str] = set()
        self.uses_metrics = False

    def of(self, tree: Tree[Any]) -> _Typed:
        """The typed function of a subtree. Raises InvalidInput."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong("fewer parts within each other", f"more than {_DEEPEST}")
        typed: _Typed = getattr(self, f"_{tree.data}")(tree.children)
        self._depth -= 1
        return typed

    def _wrong(self, expected: str, found: str) -> InvalidInput:
        return InvalidInput(f"metric math: expected {expected}, found {found} in '{self._expression}'")

    # -------------------------------------------------------------------------------------------- values

    def _number(self, children: Sequence[Token]) -> _Typed:
        number = float(children[0])
        if not math.isfinite(number):
            raise self._wrong("a number that fits", f"'{children[0][:20]}...'")
        return _Typed(Kind.NUMBER, lambda _: number)

    def _name(self, children: Sequence[Token]) -> _Typed:
        name = str(children[0])
        self.ids.add(name)
        return _Typed(Kind.SERIES, lambda inputs: inputs.series[name], name)

    def _string(self, children: Sequence[Token]) -> _Typed:
        raise self._wrong('a string only in METRICS("...")', str(children[0]))

    def _word(self, children: Sequence[Token]) -> _Typed:
        word = str(children[0])
        raise self._wrong(
            f"'{word}' only as an argument of FILL or SORT" if word in _WORDS else "an id or a function",
            f"'{word}'. Ids begin with a lower-case letter",
        )

    def _array(self, children: Sequence[Tree[Any]]) -> _Typed:
        parts = [self.of(child) for child in _arguments(children)]
        if not parts or any(part.kind is Kind.NUMBER for part in parts):
            raise self._wrong("time series between [ and ]", "a number or nothing")

        def run(inputs: Inputs) -> list[Series]:
            found: list[Series] = []
            for part in parts:
                value = part.run(inputs)
                found.extend(value if part.kind is Kind.ARRAY else [value])
            return found

        return _Typed(Kind.ARRAY, run)

    # -------------------------------------------------------------------------------------------- operators

    def _minus(self, children: Sequence[Tree[Any]]) -> _Typed:
        return _mapped(self.of(children[0]), operator.neg)

    def _power(self, children: Sequence[Tree[Any]]) -> _Typed:
        return self._arithmetic("^", self.of(children[0]), self.of(children[1]))

    def _sum(self, children: Sequence[Any]) -> _Typed:
        found = self.of(children[0])
        for sign, child in zip(children[1::2], children[2::2], strict=True):
            found = self._arithmetic(str(sign), found, self.of(child))
        return found

    _product = _sum

    def _arithmetic(self, sign: str, left: _Typed, right: _Typed) -> _Typed:
        return _combined(left, right, ARITHMETIC[sign])

    def _comparison(self, children: Sequence[Any]) -> _Typed:
        compare = COMPARISONS[str(children[1])]
        return self._truth(self.of(children[0]), self.of(children[2]), lambda a, b: float(compare(a, b)))

    def _conjunction(self, children: Sequence[Tree[Any]]) -> _Typed:
        return self._logical(children, lambda a, b: float(bool(a) and bool(b)))

    def _disjunction(self, children: Sequence[Tree[Any]]) -> _Typed:
        return self._logical(children, lambda a, b: float(bool(a) or bool(b)))

    def _logical(self, children: Sequence[Tree[Any]], decide: Callable[[float, float], float]) -> _Typed:
        found = self.of(children[0])
        for child in children[1:]:
            found = self._truth(found, self.of(child), decide)
        return found

    def _truth(self, left: _Typed, right: _Typed, decide: Callable[[float, float], float | None]) -> _Typed:
        if Kind.ARRAY in (left.kind, right.kind):
            raise self._wrong("numbers and time series beside a comparison, AND and OR", Kind.ARRAY.value)
        return _combined(left, right, decide)

    # -------------------------------------------------------------------------------------------- functions

    def _call(self, children: Sequence[Any]) -> _Typed:
        name, arguments = str(children[0]), _arguments(children[1:])
        if name in _REFUSED:
            refusal = InvalidInput if name in _IN_NO_ALARM else NotEvaluated
            raise refusal(f"metric math: {name} is not evaluated here: {_REFUSED[name]}; '{self._expression}'")
        special = _SPECIAL.get(name)
        if special is not None:
            return special(self, name, arguments)
        if name in BY_VALUE:
            return _mapped(self.series_of(name, arguments, 1)[0], BY_VALUE[name])
        if name in BY_SERIES:
            return _each(self.series_of(name, arguments, 1)[0], BY_SERIES[name])
        if name in AGGREGATES:
            return self._aggregate(name, arguments)
        if name in MOMENTS:
            return self._moment(name, arguments)
        known = (*_SPECIAL, *BY_VALUE, *BY_SERIES, *AGGREGATES, *MOMENTS, *_REFUSED)
        raise self._wrong("a function of metric math", f"'{name}'. {near_match(name, known)}")

    def series_of(self, name: str, arguments: Sequence[Any], count: int) -> list[_Typed]:
        """The arguments, of which the first must be a time series or an array of them. Raises InvalidInput."""
        if len(arguments) != count:
            raise self._wrong(f"{count} argument{'s' * (count > 1)} of {name}", str(len(arguments)))
        found = [self.of(argument) for argument in arguments]
        if found[0].kind is Kind.NUMBER:
            raise self._wrong(f"a time series as the argument of {name}", Kind.NUMBER.value)
        return found

    def array_of(self, name: str, argument: Any) -> _Typed:
        """An argument that must be an array of time series. Raises InvalidInput."""
        found = self.of(argument)
        if found.kind is not Kind.ARRAY:
            raise self._wrong(f"an array of time series as the argument of {name}", found.kind.value)
        return found

    def number_of(self, name: str, argument: Any) -> _Node:
        """An argument that must be a number. Raises InvalidInput."""
        found = self.of(argument)
        if found.kind is not Kind.NUMBER:
            raise self._wrong(f"a number as this argument of {name}", found.kind.value)
        return found.run

    def word_of(self, name: str, argument: Any, words: Iterable[str]) -> str:
        """An argument that must be one of some words. Raises InvalidInput."""
        found = (
            str(argument.children[0]) if isinstance(argument, Tree) and argument.data == "word" else "something else"
        )
        if found not in words:
            raise self._wrong(f"one of {', '.join(words)} as this argument of {name}", found)
        return found

    def _aggregate(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """Of a time series a number; of an array a time series."""
        of = self.series_of(name, arguments, 1)[0]
        if of.kind is Kind.SERIES:
            number = _reducer(name)
            return _Typed(Kind.NUMBER, lambda inputs: number(inputs, of.run(inputs)))
        reduce, missing_as_zero = AGGREGATES[name]

        def across(inputs: Inputs) -> Series:
            array = of.run(inputs)
            found = {}
            for at in sorted({at for series in array for at in series}):
                values = [series.get(at, 0.0) for series in array if missing_as_zero or at in series]
                found[at] = reduce(values)
            return found

        return _Typed(Kind.SERIES, across)

    def _moment(self, name: str, arguments: Sequence[Any]) -> _Typed:
        of = self.series_of(name, arguments, 1)[0]
        if of.kind is not Kind.SERIES:
            raise self._wrong(f"a time series as the argument of {name}", of.kind.value)
        read = MOMENTS[name]
        return _Typed(Kind.SERIES, lambda inputs: {at: read(utc(at)) for at in inputs.grid.starts})

    def fill(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """FILL(series, number | series | REPEAT | LINEAR)."""
        if len(arguments) != 2:
            raise self._wrong("2 arguments of FILL", str(len(arguments)))
        of = self.series_of(name, arguments[:1], 1)[0]
        if isinstance(arguments[1], Tree) and arguments[1].data == "word":
            filled = {"REPEAT": repeat, "LINEAR": linear}[self.word_of(name, arguments[1], ("REPEAT", "LINEAR"))]
            return _each(of, filled)
        filler = self.of(arguments[1])
        if filler.kind is Kind.ARRAY:
            raise self._wrong("a number, a time series, REPEAT or LINEAR as the second argument of FILL", "an array")

        def fill(inputs: Inputs, series: Series) -> Series:
            return in_order({**_as_series(filler, inputs), **series})

        return _each(of, fill)

    def choose(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """IF(condition, then, else); the section *Using IF expressions* of the page."""
        if len(arguments) not in (2, 3):
            raise self._wrong("2 or 3 arguments of IF", str(len(arguments)))
        parts = [self.of(argument) for argument in arguments]
        if any(part.kind is Kind.ARRAY for part in parts):
            raise self._wrong("numbers and time series as arguments of IF", Kind.ARRAY.value)
        condition, then = parts[:2]
        otherwise = parts[2] if len(parts) == 3 else None
        if condition.kind is Kind.NUMBER and then.kind is Kind.NUMBER:
            raise self._wrong("a time series as the first or second argument of IF", "two numbers")

        def run(inputs: Inputs) -> Series:
            decided = _as_series(condition, inputs)
            yes = _as_series(then, inputs)
            no = {} if otherwise is None else _as_series(otherwise, inputs)
            missing = 0.0 if condition.kind is then.kind is Kind.SERIES else None
            chosen = {at: yes.get(at, missing) if holds else no.get(at) for at, holds in decided.items()}
            return {at: value for at, value in chosen.items() if value is not None}

        return _Typed(Kind.SERIES, run)

    def metrics(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """METRICS(), or METRICS("part of an id")."""
        if len(arguments) > 1 or (arguments and getattr(arguments[0], "data", "") != "string"):
            raise self._wrong(f"nothing or a string as the argument of {name}", "something else")
        part = str(arguments[0].children[0])[1:-1] if arguments else ""
        self.uses_metrics = True
        return _Typed(Kind.ARRAY, lambda inputs: [inputs.series[at] for at in inputs.metrics if part in at])

    def metric_count(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """METRIC_COUNT(array)."""
        of = self.array_of(name, self._only(name, arguments))
        return _Typed(Kind.NUMBER, lambda inputs: float(len(of.run(inputs))))

    def period(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """PERIOD(metric): of a metric, not of the result of another expression."""
        of = self.of(self._only(name, arguments))
        metric = of.metric
        if metric is None:
            raise self._wrong("the id of a metric as the argument of PERIOD", "an expression")
        return _Typed(Kind.NUMBER, lambda inputs: float(inputs.periods.get(metric, inputs.grid.period_s)))

    def time_series(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """TIME_SERIES(number): the number at every period."""
        number = self.number_of(name, self._only(name, arguments))
        return _Typed(Kind.SERIES, lambda inputs: finite(inputs.constant(number(inputs))))

    def end_of(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """FIRST(array) and LAST(array)."""
        of, at = self.array_of(name, self._only(name, arguments)), 0 if name == "FIRST" else -1
        return _Typed(Kind.SERIES, lambda inputs: array[at] if (array := of.run(inputs)) else {})

    def remove_empty(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """REMOVE_EMPTY(array)."""
        of = self.array_of(name, self._only(name, arguments))
        return _Typed(Kind.ARRAY, lambda inputs: [series for series in of.run(inputs) if series])

    def slice(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """SLICE(array, start, end), or SLICE(array, start)."""
        if len(arguments) not in (2, 3):
            raise self._wrong("2 or 3 arguments of SLICE", str(len(arguments)))
        of = self.array_of(name, arguments[0])
        start = self.number_of(name, arguments[1])
        end = self.number_of(name, arguments[2]) if len(arguments) == 3 else None

        def run(inputs: Inputs) -> list[Series]:
            array: list[Series] = of.run(inputs)
            first, last = start(inputs), float(len(array)) if end is None else end(inputs)
            return array[int(first) : int(last)] if math.isfinite(first) and math.isfinite(last) else []

        return _Typed(Kind.ARRAY, run)

    def sort(self, name: str, arguments: Sequence[Any]) -> _Typed:
        """SORT(array, AVG | MIN | MAX | SUM, ASC | DESC), and a limit if wanted."""
        if len(arguments) not in (3, 4):
            raise self._wrong("3 or 4 arguments of SORT", str(len(arguments)))
        of = self.array_of(name, arguments[0])
        value_of = _reducer(self.word_of(name, arguments[1], ("AVG", "MIN", "MAX", "SUM")))
        descending = self.word_of(name, arguments[2], ("ASC", "DESC")) == "DESC"
        limit = self.number_of(name, arguments[3]) if len(arguments) == 4 else None

        def run(inputs: Inputs) -> list[Series]:
            array: list[Series] = of.run(inputs)
            ordered = sorted(
                (series for series in array if series),
                key=lambda series: value_of(inputs, series),
                reverse=descending,
            )
            ordered += [series for series in array if not series]
            most = float(len(ordered)) if limit is None else limit(inputs)
            return ordered[: int(most)] if math.isfinite(most) else []

        return _Typed(Kind.ARRAY, run)

    def _only(self, name: str, arguments: Sequence[Any]) -> Any:
        if len(arguments) != 1:
            raise self._wrong(f"1 argument of {name}", str(len(arguments)))
        return arguments[0]


_SPECIAL: Mapping[str, Callable[[_Compiler, str, Sequence[Any]], _Typed]] = {
    "FILL": _Compiler.fill,
    "FIRST": _Compiler.end_of,
    "IF": _Compiler.choose,
    "LAST": _Compiler.end_of,
    "METRICS": _Compiler.metrics,
    "METRIC_COUNT": _Compiler.metric_count,
    "PERIOD": _Compiler.period,
    "REMOVE_EMPTY": _Compiler.remove_empty,
    "SLICE": _Compiler.slice,
    "SORT": _Compiler.sort,
    "TIME_SERIES": _Compiler.time_series,
}


def _arguments(children: Sequence[Any]) -> list[Any]:
    return list(children[0].children) if children else []


# ------------------------------------------------------------------------------------------------ combining


def _as_series(part: _Typed, inputs: Inputs) -> Series:
    value = part.run(inputs)
    return finite(inputs.constant(value)) if part.kind is Kind.NUMBER else value


def _reducer(name: str) -> Callable[[Inputs, Series], float]:
    """From a series to a number; of an empty one nothing but the count is a number."""
    reduce, missing_as_zero = AGGREGATES[name]

    def number(inputs: Inputs, series: Series) -> float:
        if not series and name != "DATAPOINT_COUNT":
            return math.nan
        return reduce([series.get(at, 0.0) for at in inputs.grid.starts] if missing_as_zero else [*series.values()])

    return number


def _each(of: _Typed, change: Callable[[Inputs, Series], Series]) -> _Typed:
    """A change of a series, done to each series of an array."""
    if of.kind is Kind.ARRAY:
        return _Typed(Kind.ARRAY, lambda inputs: [change(inputs, series) for series in of.run(inputs)])
    return _Typed(Kind.SERIES, lambda inputs: change(inputs, of.run(inputs)))


def _mapped(of: _Typed, change: Callable[[float], float | None]) -> _Typed:
    """A change of a value, done to every value."""

    def series(_: Inputs, found: Series) -> Series:
        return {at: new for at, value in found.items() if (new := change(value)) is not None}

    if of.kind is Kind.NUMBER:
        return _Typed(Kind.NUMBER, lambda inputs: math.nan if (new := change(of.run(inputs))) is None else new)
    return _each(of, series)


def _combined(left: _Typed, right: _Typed, apply: Callable[[float, float], float | None]) -> _Typed:
    """An operator between two values: with a number, every datapoint; with a series, period by period.

    Between two series a value that only one of them has meets 0; where neither has one there is none.
    """

    def calculate(a: float, b: float) -> float | None:
        found = None if math.isnan(a) or math.isnan(b) else apply(a, b)
        return found if found is not None and math.isfinite(found) else None

    def number(inputs: Inputs) -> float:
        found = calculate(left.run(inputs), right.run(inputs))
        return math.nan if found is None else found

    if Kind.ARRAY in (left.kind, right.kind):
        return _combined_arrays(left, right, calculate)
    if left.kind is right.kind is Kind.NUMBER:
        return _Typed(Kind.NUMBER, number)
    return _Typed(Kind.SERIES, lambda inputs: pair_by_pair(left.run(inputs), right.run(inputs), calculate))


def _combined_arrays(left: _Typed, right: _Typed, apply: Callable[[float, float], float | None]) -> _Typed:
    def run(inputs: Inputs) -> list[Series]:
        a, b = left.run(inputs), right.run(inputs)
        if left.kind is right.kind:
            return [pair_by_pair(one, other, apply) for one, other in zip(a, b, strict=False)]
        if left.kind is Kind.ARRAY:
            return [pair_by_pair(one, b, apply) for one in a]
        return [pair_by_pair(a, other, apply) for other in b]

    return _Typed(Kind.ARRAY, run)


# ------------------------------------------------------------------------------------------------ the table


def functions() -> Mapping[str, str | None]:
    """Every function of the page -> None where it is evaluated here, else why it is not. For the documents."""
    known = (*_SPECIAL, *BY_VALUE, *BY_SERIES, *AGGREGATES, *MOMENTS)
    return {**dict.fromkeys(sorted(known)), **_REFUSED}
