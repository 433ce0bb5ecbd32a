"""Which features a case has in truth, whatever it was made for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.differential import second_rules
from tests.differential.cases import FEATURES, AlarmCase, RuleCase, SuppressedCase
from tests.differential.compare import REFUSED, Asked
from tests.differential.second_alarm import Answer, period_of
from tests.differential.second_math import ARRAY, SCALAR, SERIES, kind_of
from tests.differential.second_parser import Node, everything, parse


def features_of(asked: Asked) -> frozenset[str]:
    """Names of `FEATURES`."""
    return frozenset({asked.case.made_for, *_found(asked)} & FEATURES.keys())


def _found(asked: Asked) -> Iterator[str]:
    case = asked.case
    if asked.second == REFUSED:
        return
    if isinstance(case, RuleCase):
        yield from _of_rule(case)
    if isinstance(case, RuleCase | SuppressedCase):
        return
    definition, answers = case.definition, asked.second
    yield f"operator {definition['ComparisonOperator']}"
    if any(None in answer.points for answer in answers):
        yield f"missing data: {definition.get('TreatMissingData', 'not said')}"
    yield from _of_window(case, answers)
    yield f"statistic {definition.get('Statistic')}"
    yield f"period {period_of(definition)}"
    for query in definition.get("Metrics", ()):
        if "Expression" in query:
            for node in everything(parse(query["Expression"])):
                yield from _of_node(node)


def _of_window(case: AlarmCase, answers: list[Answer]) -> Iterator[str]:
    periods = int(case.definition["EvaluationPeriods"])
    needed = int(case.definition.get("DatapointsToAlarm", periods))
    if periods > 1:
        yield "N of N" if needed == periods else "1 of N" if needed == 1 else "M of N"
    period_s = period_of(case.definition)
    if period_s > 60 and case.now_s % period_s:
        yield "window that slides"
    elif period_s > 60:
        yield "window on the clock"
    for answer in answers:
        if None in answer.points[-periods:] and any(point is not None for point in answer.points[:-periods]):
            yield "evaluation range beyond N"


def _of_rule(case: RuleCase) -> Iterator[str]:
    words = second_rules.words_of(case.rule)
    for word in ("ALARM", "OK", "INSUFFICIENT_DATA", "AND", "OR", "NOT"):
        if word in words:
            yield f"rule {word}"
    if "TRUE" in words or "FALSE" in words:
        yield "rule TRUE and FALSE"


_SHAPES: Mapping[tuple[str, ...], str] = {
    (SCALAR, SERIES): "S {} TS",
    (SERIES, SCALAR): "TS {} S",
    (SERIES, SERIES): "TS {} TS",
    (SCALAR, SCALAR): "S and S",
    (SCALAR, ARRAY): "S and TS[]",
}


def _of_node(node: Node) -> Iterator[str]:
    kind, *rest = node
    if kind == "call":
        yield from _of_call(rest[0], rest[1])
    elif kind == "minus":
        yield "math minus of an array" if kind_of(rest[0]) == ARRAY else "math minus"
    elif kind == "array":
        yield "math array"
    elif kind not in ("number", "string", "id", "word"):
        kinds = (kind_of(rest[0]), kind_of(rest[1]))
        if kind not in ("+", "-", "*", "/", "^"):
            yield f"math {kind}" if kinds == (SERIES, SERIES) else "math series and number compared"
        elif kinds[0] == ARRAY:
            yield f"math arrays {kind}"
        else:
            yield f"math {_SHAPES.get(kinds, '').format(kind)}"


def _of_call(name: str, arguments: tuple[Node, ...]) -> Iterator[str]:
    if name in ("AVG", "DATAPOINT_COUNT", "MAX", "MIN", "STDDEV", "SUM"):
        yield f"math {name} of {'an array' if kind_of(arguments[0]) == ARRAY else 'a series'}"
    elif name == "METRICS":
        yield 'math METRICS("part")' if arguments else "math METRICS()"
    elif name == "IF":
        kinds = " ".join(kind_of(one) for one in arguments)
        yield f"math IF {kinds}" if len(arguments) == 3 else "math IF without else"
    elif name == "FILL":
        yield f"math FILL with {_filler(arguments[1])}"
    else:
        yield f"math {name}"


def _filler(node: Node) -> Any:
    return node[1] if node[0] == "word" else {SCALAR: "number", SERIES: "series"}[kind_of(node)]


def states_of(asked: Asked) -> str:
    """What came out: the last state, of a rule whether it holds, or that it is refused."""
    if isinstance(asked.case, SuppressedCase):
        return ""
    if isinstance(asked.second, list):
        return str(asked.second[-1].state)
    return {True: "ALARM", False: "OK"}.get(asked.second, REFUSED)
