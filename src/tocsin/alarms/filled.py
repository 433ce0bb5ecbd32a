"""Whether metric math has a value for every period, whatever was published: such an alarm never lacks data.

"FILL replaces that missing data point with the requested value": *Metric math syntax and functions*,
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html#metric-math-syntax

Said only of what is certain. The rules are those of `metric_math`, and the tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lark import Tree

from tocsin.alarms.cloudwatch import order_of
from tocsin.alarms.metric_functions import AGGREGATES, MOMENTS
from tocsin.alarms.metric_math import Kind, compile_expression, parse
from tocsin.errors import InvalidInput
from tocsin.model.system import MetricAlarm

_MAPPED = ("ABS", "CEIL", "FLOOR", "RUNNING_SUM")
"""They give a value for every value. A logarithm may not, and a difference lacks the first one."""


@dataclass(frozen=True)
class _Part:
    """What is certain of a part of an expression."""

    kind: Kind
    always: bool = False
    """A number that there is; a series with a value for every period; an array of such series, and of one at least."""
    some: bool = False
    """An array with at least one series in it."""


def always_has_data(alarm: MetricAlarm) -> bool:
    """Whether the metric math of an alarm gives a value for every period; False, too, where it cannot be evaluated."""
    texts = {query.id: query.expression for query in alarm.metrics}
    filled: set[str] = set()
    try:
        for name in order_of({name: compile_expression(text) if text else None for name, text in texts.items()}):
            text = texts[name]
            if text and is_filled(text, filled):
                filled.add(name)
    except InvalidInput:  # which is told elsewhere
        return False
    return any(query.return_data and query.id in filled for query in alarm.metrics)


def is_filled(expression: str, filled: Collection[str] = ()) -> bool:
    """Whether a valid expression has a value for every period; `filled` are the ids that do.

    Raises:
        InvalidInput: it cannot be read.
    """
    return _Reader(filled).read(parse(expression)).always


class _Reader:
    def __init__(self, filled: Collection[str]) -> None:
        self._filled = filled

    def read(self, tree: Tree[Any]) -> _Part:
        """What is certain of a subtree."""
        children = tree.children
        match tree.data:
            case "number":
                return _Part(Kind.NUMBER, always=True)
            case "name":
                return _Part(Kind.SERIES, always=str(children[0]) in self._filled)
            case "array":
                return self._array([self.read(part) for part in _arguments(children)])
            case "minus":
                return self.read(children[0])
            case "call":
                return self._call(str(children[0]), _arguments(children[1:]))
        operands = [child for child in children if isinstance(child, Tree)]
        signs = [str(child) for child in children if not isinstance(child, Tree)]
        if tree.data == "power":
            signs = ["^"]
        found = self.read(operands[0])
        for index, operand in enumerate(operands[1:]):
            sign = signs[index] if signs else ""
            found = _combined(found, self.read(operand), loses="^" in sign or (sign == "/" and not _nonzero(operand)))
        return found

    def _array(self, parts: Sequence[_Part]) -> _Part:
        some = any(part.some or part.kind is Kind.SERIES for part in parts)
        return _Part(Kind.ARRAY, always=all(part.always for part in parts), some=some)

    def _call(self, name: str, arguments: Sequence[Tree[Any]]) -> _Part:
        if name == "METRICS":
            # Those whose ids have a part may be none.
            return _Part(Kind.ARRAY, some=not arguments)
        if name in ("METRIC_COUNT", "PERIOD"):
            return _Part(Kind.NUMBER, always=True)
        if name in MOMENTS:
            return _Part(Kind.SERIES, always=True)
        if name == "FILL":
            return self._fill(*arguments)
        if name == "IF":
            return self._if([self.read(argument) for argument in arguments])
        of = self.read(arguments[0])
        if name in AGGREGATES:
            if of.kind is Kind.ARRAY:
                return _Part(Kind.SERIES, of.always)
            return _Part(Kind.NUMBER, of.always or name == "DATAPOINT_COUNT")
        if name in ("TIME_SERIES", "FIRST", "LAST"):
            return _Part(Kind.SERIES, of.always)
        if name in _MAPPED:
            return of
        # The rest leaves something out, or may: series of an array, values of a series.
        return _Part(of.kind, some=of.some and name not in ("SLICE", "SORT", "REMOVE_EMPTY"))

    def _fill(self, series: Tree[Any], filler: Tree[Any]) -> _Part:
        of = self.read(series)
        with_value = filler.data != "word" and self.read(filler).always
        always = of.always or (with_value and (of.kind is Kind.SERIES or of.some))
        return _Part(of.kind, always, of.some)

    def _if(self, parts: Sequence[_Part]) -> _Part:
        condition, then = parts[:2]
        # Between two series a missing value is 0.
        chosen = then.always or condition.kind is then.kind is Kind.SERIES
        return _Part(Kind.SERIES, condition.always and chosen and len(parts) == 3 and parts[2].always)


def _combined(left: _Part, right: _Part, *, loses: bool) -> _Part:
    """Two operands; `loses`: the operator may give no value."""
    both = left.always and right.always and not loses
    if Kind.ARRAY in (left.kind, right.kind):
        some = all(part.some or part.kind is not Kind.ARRAY for part in (left, right))
        return _Part(Kind.ARRAY, both, some)
    if left.kind is not right.kind:
        return _Part(Kind.SERIES, both)
    # Between two series a missing value is 0 beside one that is there.
    either = left.kind is Kind.SERIES and (left.always or right.always) and not loses
    return _Part(left.kind, both or either)


def _nonzero(tree: Tree[Any]) -> bool:
    return bool(tree.data == "number" and float(str(tree.children[0])))


def _arguments(children: Sequence[Any]) -> list[Tree[Any]]:
    return list(children[0].children) if children else []
