"""Metric math, a second time: walks the tree over rows, lists that have None where a datapoint is missing.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html#metric-math-syntax

A value is a float (None where there is none, as the average of nothing), a row, or a list of rows. What that page
leaves open is taken as docs/SANDBOX.md says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tests.differential.second_parser import Node, NoSuchExpression, everything, parse

Row = list[float | None]

SCALAR, SERIES, ARRAY = "S", "TS", "TS[]"
_REFUSED = (
    *("SEARCH", "ANOMALY_DETECTION_BAND", "INSIGHT_RULE_METRIC", "SERVICE_QUOTA", "DB_PERF_INSIGHTS"),
    "LAMBDA",
)
_SAME_KIND = ("ABS", "CEIL", "FLOOR", "LOG", "LOG10", "DIFF", "DIFF_TIME", "RATE", "RUNNING_SUM")
_DOWN = ("AVG", "DATAPOINT_COUNT", "MAX", "MIN", "STDDEV", "SUM")
_OF_TIME = ("MINUTE", "HOUR", "DAY", "DATE", "MONTH", "YEAR", "EPOCH")
_TRUTH = ("==", "!=", "<=", ">=", "<", ">", "AND", "OR")


@dataclass(frozen=True)
class Request:
    """What an expression is evaluated in."""

    starts: Sequence[int]
    rows: Mapping[str, Row]
    periods: Mapping[str, int]
    """Of each metric, in the order of the request."""
    period_s: int


# ------------------------------------------------------------------------------------------------ kinds


def kind_of(node: Node) -> str:
    """What a part of an expression yields. Raises NoSuchExpression."""
    name, *rest = node
    if name == "number":
        return SCALAR
    if name == "id":
        return SERIES
    if name in ("string", "word"):
        raise NoSuchExpression(f"{rest[0]} where it cannot stand")
    if name == "minus":
        return kind_of(rest[0])
    if name == "array":
        if not rest[0] or any(kind_of(one) == SCALAR for one in rest[0]):
            raise NoSuchExpression("an array of something else than time series")
        return ARRAY
    if name == "call":
        return _kind_of_call(rest[0], rest[1])
    left, right = (kind_of(one) for one in rest)
    if name in _TRUTH and ARRAY in (left, right):
        raise NoSuchExpression(f"an array beside {name}")
    return next((kind for kind in (ARRAY, SERIES) if kind in (left, right)), SCALAR)


def _kind_of_call(name: str, arguments: tuple[Node, ...]) -> str:
    if name in _REFUSED:
        raise NoSuchExpression(name)
    if name in _SAME_KIND or name in _DOWN:
        _count(arguments, 1)
        kind = kind_of(arguments[0])
        _need(kind, SERIES, ARRAY)
        if name in _SAME_KIND:
            return kind
        return SCALAR if kind == SERIES else SERIES
    if name in _OF_TIME:
        _count(arguments, 1)
        _need(kind_of(arguments[0]), SERIES)
        return SERIES
    check = _CHECKS.get(name)
    if check is None:
        raise NoSuchExpression(name)
    return check(arguments)


def _count(arguments: Sequence[Node], *allowed: int) -> None:
    if len(arguments) not in allowed:
        raise NoSuchExpression(f"{len(arguments)} arguments")


def _need(kind: str, *allowed: str) -> None:
    if kind not in allowed:
        raise NoSuchExpression(kind)


def _check_fill(arguments: tuple[Node, ...]) -> str:
    _count(arguments, 2)
    kind = kind_of(arguments[0])
    _need(kind, SERIES, ARRAY)
    if arguments[1] not in (("word", "REPEAT"), ("word", "LINEAR")):
        _need(kind_of(arguments[1]), SCALAR, SERIES)
    return kind


def _check_if(arguments: tuple[Node, ...]) -> str:
    _count(arguments, 2, 3)
    kinds = [kind_of(one) for one in arguments]
    if ARRAY in kinds or kinds[:2] == [SCALAR, SCALAR]:
        raise NoSuchExpression(f"IF of {kinds}")
    return SERIES


def _check_metrics(arguments: tuple[Node, ...]) -> str:
    _count(arguments, 0, 1)
    if arguments and arguments[0][0] != "string":
        raise NoSuchExpression("METRICS of something else than a string")
    return ARRAY


def _check_of_array(result: str) -> Callable[[tuple[Node, ...]], str]:
    def check(arguments: tuple[Node, ...]) -> str:
        _count(arguments, 1)
        _need(kind_of(arguments[0]), ARRAY)
        return result

    return check


def _check_period(arguments: tuple[Node, ...]) -> str:
    _count(arguments, 1)
    _need(arguments[0][0], "id")
    return SCALAR


def _check_time_series(arguments: tuple[Node, ...]) -> str:
    _count(arguments, 1)
    _need(kind_of(arguments[0]), SCALAR)
    return SERIES


def _check_slice(arguments: tuple[Node, ...]) -> str:
    _count(arguments, 2, 3)
    _need(kind_of(arguments[0]), ARRAY)
    for one in arguments[1:]:
        _need(kind_of(one), SCALAR)
    return ARRAY


def _check_sort(arguments: tuple[Node, ...]) -> str:
    _count(arguments, 3, 4)
    _need(kind_of(arguments[0]), ARRAY)
    _need(arguments[1][0], "word")
    _need(arguments[1][1], "AVG", "MIN", "MAX", "SUM")
    _need(arguments[2][0], "word")
    _need(arguments[2][1], "ASC", "DESC")
    for one in arguments[3:]:
        _need(kind_of(one), SCALAR)
    return ARRAY


_CHECKS: Mapping[str, Callable[[tuple[Node, ...]], str]] = {
    "FILL": _check_fill,
    "IF": _check_if,
    "METRICS": _check_metrics,
    "FIRST": _check_of_array(SERIES),
    "LAST": _check_of_array(SERIES),
    "REMOVE_EMPTY": _check_of_array(ARRAY),
    "METRIC_COUNT": _check_of_array(SCALAR),
    "PERIOD": _check_period,
    "TIME_SERIES": _check_time_series,
    "SLICE": _check_slice,
    "SORT": _check_sort,
}


# ------------------------------------------------------------------------------------------------ values


def read(text: str) -> Node:
    """The tree of an expression that yields what CloudWatch allows. Raises NoSuchExpression."""
    tree = parse(text)
    kind_of(tree)
    return tree


def ids_of(tree: Node, metrics: Iterable[str]) -> set[str]:
    """What has to be known before it: the ids that it names; all metrics where it asks for METRICS()."""
    nodes = everything(tree)
    named = {node[1] for node in nodes if node[0] == "id"}
    return named | (set(metrics) if any(node[:2] == ("call", "METRICS") for node in nodes) else set())


def row_of(tree: Node, request: Request) -> Row:
    """The row that an expression yields, of an array the first one."""
    found = _value(tree, request)
    if kind_of(tree) == ARRAY:
        return found[0] if found else [None] * len(request.starts)
    return list(found)


def _value(node: Node, request: Request) -> Any:
    name, *rest = node
    if name == "number":
        return rest[0]
    if name == "id":
        return request.rows[rest[0]]
    if name == "minus":
        return _pairwise("-", 0.0, SCALAR, _value(rest[0], request), kind_of(rest[0]))
    if name == "array":
        found: list[Row] = []
        for one in rest[0]:
            value = _value(one, request)
            found += value if kind_of(one) == ARRAY else [value]
        return found
    if name == "call":
        return _call(rest[0], rest[1], request)
    left, right = rest
    return _pairwise(name, _value(left, request), kind_of(left), _value(right, request), kind_of(right))


def _pairwise(sign: str, a: Any, kind_a: str, b: Any, kind_b: str) -> Any:
    if ARRAY in (kind_a, kind_b):
        if kind_a == kind_b:
            return [_pairwise(sign, one, SERIES, other, SERIES) for one, other in zip(a, b, strict=False)]
        if kind_a == ARRAY:
            return [_pairwise(sign, one, SERIES, b, kind_b) for one in a]
        return [_pairwise(sign, a, kind_a, other, SERIES) for other in b]
    if kind_a == kind_b == SCALAR:
        return None if a is None or b is None else _calculate(sign, a, b)
    if (kind_a == SCALAR and a is None) or (kind_b == SCALAR and b is None):
        return [None] * len(b if kind_a == SCALAR else a)
    length = len(a) if kind_a == SERIES else len(b)
    found: Row = []
    for at in range(length):
        x = a[at] if kind_a == SERIES else a
        y = b[at] if kind_b == SERIES else b
        # "Missing values in a time series are treated as 0", where the other one has a value.
        missing = [value is None for value, kind in ((x, kind_a), (y, kind_b)) if kind == SERIES]
        found.append(None if all(missing) else _calculate(sign, x or 0.0, y or 0.0))
    return found


def _calculate(sign: str, a: float, b: float) -> float | None:
    if sign == "+":
        return a + b
    if sign == "-":
        return a - b
    if sign == "*":
        return a * b
    if sign == "/":
        return None if b == 0 else a / b
    if sign == "^":
        try:
            power = math.pow(a, b)
        except (ValueError, OverflowError):  # 0 ^ -1, the root of a negative number, too large
            return None
        return power
    if sign == "AND":
        return 1.0 if a != 0 and b != 0 else 0.0
    if sign == "OR":
        return 1.0 if a != 0 or b != 0 else 0.0
    true = {"==": a == b, "!=": a != b, "<=": a <= b, ">=": a >= b, "<": a < b, ">": a > b}[sign]
    return 1.0 if true else 0.0


def _call(name: str, arguments: tuple[Node, ...], request: Request) -> Any:
    if name in _SAME_KIND:
        value = _value(arguments[0], request)
        if kind_of(arguments[0]) == ARRAY:
            return [_same_kind(name, row, request) for row in value]
        return _same_kind(name, value, request)
    if name in _DOWN:
        value = _value(arguments[0], request)
        if kind_of(arguments[0]) == SERIES:
            return _down(name, value)
        columns = ([row[at] for row in value] for at in range(len(request.starts)))
        return [None if all(cell is None for cell in column) else _down(name, column) for column in columns]
    if name in _OF_TIME:
        return [_of_time(name, at) for at in request.starts]
    if name == "PERIOD":
        return float(request.periods.get(arguments[0][1], request.period_s))
    if name == "METRICS":
        part = arguments[0][1] if arguments else ""
        return [request.rows[one] for one in request.periods if part in one]
    return _SPECIAL[name](arguments, request)


def _same_kind(name: str, row: Row, request: Request) -> Row:
    if name in ("ABS", "CEIL", "FLOOR", "LOG", "LOG10"):
        return [None if cell is None else _of_cell(name, cell) for cell in row]
    found: Row = []
    before: tuple[int, float] | None = None
    total = 0.0
    for at, cell in zip(request.starts, row, strict=True):
        if cell is None:
            found.append(None)
            continue
        total += cell
        if name == "RUNNING_SUM":
            found.append(total)
        elif before is None:
            found.append(None)
        else:
            seconds, change = at - before[0], cell - before[1]
            found.append({"DIFF": change, "DIFF_TIME": float(seconds), "RATE": change / seconds}[name])
        before = (at, cell)
    return found


def _of_cell(name: str, cell: float) -> float | None:
    if name == "ABS":
        return -cell if cell < 0 else cell
    if name == "CEIL":
        return -float(-cell // 1)
    if name == "FLOOR":
        return float(cell // 1)
    if cell <= 0:
        return None
    return math.log(cell) if name == "LOG" else math.log10(cell)


def _down(name: str, row: Row) -> float | None:
    there = [Fraction(cell) for cell in row if cell is not None]
    if name == "DATAPOINT_COUNT":
        return float(len(there))
    if not there:
        return None
    if name == "MAX":
        return float(sorted(there)[-1])
    if name == "MIN":
        return float(sorted(there)[0])
    if name == "SUM":
        return float(sum(there))
    if name == "AVG":  # missing values are treated as 0
        return float(sum(there) / len(row))
    mean = sum(there) / len(there)
    return math.sqrt(sum((cell - mean) ** 2 for cell in there) / len(there))


def _of_time(name: str, at: int) -> float:
    """Of a second since 1970, in UTC; the calendar is counted on from 1970-01-01, a Thursday."""
    days, second = divmod(at, 86400)
    year, month, left = 1970, 1, days
    while left >= (length := 366 if _is_leap(year) else 365):
        left -= length
        year += 1
    while left >= (length := _length_of(month, year)):
        left -= length
        month += 1
    answers = {
        "EPOCH": at,
        "MINUTE": second // 60 % 60,
        "HOUR": second // 3600,
        "DAY": (days + 3) % 7 + 1,
        "DATE": left + 1,
        "MONTH": month,
        "YEAR": year,
    }
    return float(answers[name])


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _length_of(month: int, year: int) -> int:
    return 29 if month == 2 and _is_leap(year) else (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]


# ------------------------------------------------------------------------------------------------ functions


def _fill(arguments: tuple[Node, ...], request: Request) -> Any:
    of, filler = arguments
    value = _value(of, request)
    if filler == ("word", "REPEAT"):
        fill = _repeat
    elif filler == ("word", "LINEAR"):
        fill = _linear
    else:
        given = _value(filler, request)
        other: Row = list(given) if kind_of(filler) == SERIES else [given] * len(request.starts)

        def fill(row: Row) -> Row:
            return [there if cell is None else cell for cell, there in zip(row, other, strict=True)]

    return [fill(row) for row in value] if kind_of(of) == ARRAY else fill(value)


def _repeat(row: Row) -> Row:
    found = list(row)
    for at in range(1, len(row)):
        if found[at] is None:
            found[at] = found[at - 1]
    return found


def _linear(row: Row) -> Row:
    found = list(row)
    for at in range(len(row)):
        left = [one for one in range(at) if row[one] is not None]
        right = [one for one in range(at + 1, len(row)) if row[one] is not None]
        if row[at] is None and left and right:
            a, b = Fraction(row[left[-1]] or 0), Fraction(row[right[0]] or 0)
            found[at] = float(a + (b - a) * Fraction(at - left[-1], right[0] - left[-1]))
    return found


def _if(arguments: tuple[Node, ...], request: Request) -> Row:
    values = [(_value(one, request), kind_of(one)) for one in arguments]
    (condition, kind), (yes, kind_of_yes) = values[:2]
    no, kind_of_no = values[2] if len(values) == 3 else (None, SCALAR)
    found: Row = []
    for at in range(len(request.starts)):
        holds = condition[at] if kind == SERIES else condition
        if holds is None:
            found.append(None)
        elif holds == 0:
            found.append(no[at] if kind_of_no == SERIES else no)
        elif kind_of_yes == SCALAR:
            found.append(yes)
        elif kind == SERIES and yes[at] is None:
            found.append(0.0)
        else:
            found.append(yes[at])
    return found


def _empty(row: Row) -> bool:
    return all(cell is None for cell in row)


def _whole(value: float | None) -> int:
    return 0 if value is None else int(value)


def _slice(arguments: tuple[Node, ...], request: Request) -> list[Row]:
    rows, *numbers = (_value(one, request) for one in arguments)
    if None in numbers:
        return []
    last = _whole(numbers[1]) if len(numbers) == 2 else len(rows)
    return [row for at, row in enumerate(rows) if _whole(numbers[0]) <= at < last]


def _sort(arguments: tuple[Node, ...], request: Request) -> list[Row]:
    rows: list[Row] = _value(arguments[0], request)
    by, order = arguments[1][1], arguments[2][1]
    found: list[Row] = []
    for row in rows:  # by insertion, so that equal ones stay in order; without any datapoint at the end
        at = 0
        while at < len(found) and not _before(row, found[at], by, order):
            at += 1
        found.insert(at, row)
    if len(arguments) == 3:
        return found
    limit = _value(arguments[3], request)
    return [] if limit is None else found[: _whole(limit)]


def _before(row: Row, other: Row, by: str, order: str) -> bool:
    if _empty(row) or _empty(other):
        return _empty(other) and not _empty(row)
    a, b = _down(by, row) or 0.0, _down(by, other) or 0.0
    return a < b if order == "ASC" else a > b


_SPECIAL: Mapping[str, Callable[[tuple[Node, ...], Request], Any]] = {
    "FILL": _fill,
    "IF": _if,
    "SLICE": _slice,
    "SORT": _sort,
    "METRIC_COUNT": lambda arguments, request: float(len(_value(arguments[0], request))),
    "TIME_SERIES": lambda arguments, request: [_value(arguments[0], request)] * len(request.starts),
    "REMOVE_EMPTY": lambda arguments, request: [row for row in _value(arguments[0], request) if not _empty(row)],
    "FIRST": lambda arguments, request: next(iter(_value(arguments[0], request)), [None] * len(request.starts)),
    "LAST": lambda arguments, request: next(iter(_value(arguments[0], request)[::-1]), [None] * len(request.starts)),
}
