"""CloudWatch alarm evaluation as pure functions: no clock, no network, no state of its own.

Rules and their sources (Amazon CloudWatch user guide): *Evaluating an alarm* and *alarm evaluation windows* (windows
slide by one minute, by ten seconds for high-resolution periods), *Configuring how alarms treat missing data* (the
evaluation range is longer than the evaluation periods), *Percentile-based alarms and low data samples*, *Creating an
alarm based on a metric math expression* and *Combining alarms*.

Times are whole production seconds on any axis the caller likes; they only need to be multiples of `tick_s`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple, Protocol

from tocsin.errors import InvalidInput
from tocsin.model.system import Dimension, MetricAlarm, MetricRef

StateValue = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]

EXTRA_DATAPOINTS = 2
"""Datapoints fetched beyond `EvaluationPeriods`. AWS documents one example only (3 periods, range 5)."""

_MINUTE_S = 60
_HIGH_RESOLUTION_S = 10
_HOUR_S = 3600
_DAY_S = 86400


class MetricKey(NamedTuple):
    """What identifies one CloudWatch metric; dimensions are sorted by name."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]


def metric_key(namespace: str, name: str, dimensions: Mapping[str, str]) -> MetricKey:
    """The key of a metric, whatever the order of its dimensions."""
    return MetricKey(namespace, name, tuple(sorted(dimensions.items())))


class Samples(Protocol):
    """What was published in one bucket, or in several merged ones."""

    @property
    def sample_count(self) -> float: ...
    @property
    def total(self) -> float: ...
    @property
    def minimum(self) -> float: ...
    @property
    def maximum(self) -> float: ...
    @property
    def values(self) -> Mapping[float, float] | None:
        """Value -> how often; None when the single values are not known (a statistic set was published)."""


Buckets = Callable[[MetricKey, int, int], Sequence[Samples]]
"""(metric, start second, end second) -> the non-empty buckets that begin in [start, end)."""

_Series = Callable[[Buckets, int, int], "tuple[float, float] | None"]
"""(buckets, start, end) -> (value, sample count) of one period, or None when it is missing."""


class Datapoint(NamedTuple):
    """One period of an alarm: when it starts, its value, how many samples it is made of, does it breach."""

    start_s: int
    value: float
    sample_count: float
    breaching: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluation saw. `datapoints` is the evaluation range, oldest first, None where data is missing."""

    state: StateValue
    datapoints: tuple[Datapoint | None, ...]
    evaluated: tuple[Datapoint, ...]
    """The (at most N) newest real datapoints, which decided; oldest first."""


# ------------------------------------------------------------------------------------------------ statistics


def percentile(values: Mapping[float, float], percent: float) -> float:
    """The percentile (0 to 100) of weighted values, interpolated between the two nearest ranks."""
    ordered = sorted(values.items())
    reach = list(accumulate(weight for _, weight in ordered))
    rank = percent / 100 * (reach[-1] - 1)
    lower, fraction = int(rank), rank - int(rank)
    low = _at_rank(ordered, reach, lower)
    return low + fraction * (_at_rank(ordered, reach, lower + 1) - low) if fraction else low


def _at_rank(ordered: Sequence[tuple[float, float]], reach: Sequence[float], rank: int) -> float:
    return next((value for (value, _), end in zip(ordered, reach, strict=True) if rank < end), ordered[-1][0])


def _merged_values(buckets: Iterable[Samples]) -> dict[float, float] | None:
    merged: dict[float, float] = {}
    for bucket in buckets:
        if bucket.values is None:
            return None
        for value, weight in bucket.values.items():
            merged[value] = merged.get(value, 0.0) + weight
    return merged or None


_SIMPLE: Mapping[str, Callable[[Sequence[Samples], float], float]] = {
    "SampleCount": lambda _, count: count,
    "Sum": lambda buckets, _: sum(bucket.total for bucket in buckets),
    "Average": lambda buckets, count: sum(bucket.total for bucket in buckets) / count,
    "Minimum": lambda buckets, _: min(bucket.minimum for bucket in buckets),
    "Maximum": lambda buckets, _: max(bucket.maximum for bucket in buckets),
}
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")


def percentile_of(statistic: str) -> float | None:
    """95.0 for "p95"; None for a statistic that is not a percentile."""
    match = _PERCENTILE.fullmatch(statistic)
    return float(match[1]) if match else None


def check_statistic(statistic: str) -> None:
    """Raises InvalidInput unless the statistic is a simple one or pNN."""
    if statistic not in _SIMPLE and percentile_of(statistic) is None:
        raise InvalidInput(
            f"expected a statistic of {', '.join(_SIMPLE)} or a percentile such as p95, found '{statistic}'"
        )


def statistic_value(buckets: Sequence[Samples], statistic: str) -> tuple[float, float] | None:
    """(value, sample count) of a statistic that passed `check_statistic`, over buckets.

    None when there are no samples, or for a percentile when single values are not known.
    """
    count = sum(bucket.sample_count for bucket in buckets)
    if count <= 0:
        return None
    simple = _SIMPLE.get(statistic)
    if simple is not None:
        return simple(buckets, count), count
    values = _merged_values(buckets)
    return (percentile(values, percentile_of(statistic) or 0.0), count) if values else None


def _stat_series(metric: MetricKey, statistic: str) -> _Series:
    check_statistic(statistic)

    def series(buckets: Buckets, start_s: int, end_s: int) -> tuple[float, float] | None:
        return statistic_value(buckets(metric, start_s, end_s), statistic)

    return series


# ------------------------------------------------------------------------------------------------ metric math

_LONGEST_EXPRESSION = 1024
"""CloudWatch's own limit (API reference, MetricDataQuery); it also bounds how deep an expression can nest."""

_Operand = Callable[[Mapping[str, float | None]], float | None]
_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float | None]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b if b else None,
}


def compile_expression(expression: str) -> tuple[_Operand, frozenset[str]]:
    """Compile a metric math expression; returns the function of the named values, and the ids it uses.

    Understood: numbers, ids, + - * /, parentheses, and FILL(id, number). A missing operand, or a division by zero,
    gives a missing datapoint.

    Raises:
        InvalidInput: anything else is in the expression.
    """
    ids: set[str] = set()
    if len(expression) > _LONGEST_EXPRESSION:
        raise InvalidInput(
            f"expected a metric math expression of at most {_LONGEST_EXPRESSION} characters, found {len(expression)}"
        )
    try:
        return _compile_node(ast.parse(expression.strip(), mode="eval").body, expression, ids), frozenset(ids)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"expected a metric math expression, found '{expression}': {error}") from error


def _compile_node(node: ast.expr, expression: str, ids: set[str]) -> _Operand:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            constant = float(number)
            return lambda _: constant
        case ast.Name(id=name):
            ids.add(name)
            return lambda values: values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _compile_node(operand, expression, ids)
            return lambda values: None if (value := inner(values)) is None else -value
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return _binary(
                _compile_node(left, expression, ids),
                _compile_node(right, expression, ids),
                _OPERATORS[type(operator)],
            )
        case ast.Call(func=ast.Name(id="FILL"), args=[filled, ast.expr() as default], keywords=[]):
            return _fill(_compile_node(filled, expression, ids), _compile_node(default, expression, ids))
        case _:
            raise InvalidInput(
                f"expected ids, numbers, + - * /, parentheses and FILL(id, number) in a metric math expression, "
                f"found '{ast.unparse(node)}' in '{expression}'"
            )


def _binary(left: _Operand, right: _Operand, apply: Callable[[float, float], float | None]) -> _Operand:
    def operand(values: Mapping[str, float | None]) -> float | None:
        a, b = left(values), right(values)
        return None if a is None or b is None else apply(a, b)

    return operand


def _fill(filled: _Operand, default: _Operand) -> _Operand:
    def operand(values: Mapping[str, float | None]) -> float | None:
        value = filled(values)
        return default(values) if value is None else value

    return operand


def _math_series(alarm: MetricAlarm) -> _Series:
    returned = [query for query in alarm.metrics if query.return_data]
    if len(returned) != 1:
        raise InvalidInput(
            f"alarm '{alarm.alarm_name}': expected exactly one element of Metrics with ReturnData true, "
            f"found {len(returned)}"
        )
    series: dict[str, _Series] = {}
    pending = list(alarm.metrics)
    while pending:
        ready = [query for query in pending if _is_ready(query.expression, series)]
        if not ready:
            names = ", ".join(query.id for query in pending)
            raise InvalidInput(f"alarm '{alarm.alarm_name}': {names} use an id that is not in Metrics, or each other")
        for query in ready:
            pending.remove(query)
            if query.expression is not None:
                series[query.id] = _expression_series(query.expression, series)
            elif query.metric_stat is not None:
                series[query.id] = _stat_series(key_of(query.metric_stat.metric), query.metric_stat.stat)
            else:
                raise InvalidInput(f"alarm '{alarm.alarm_name}': '{query.id}' has neither MetricStat nor Expression")
    return series[returned[0].id]


def _is_ready(expression: str | None, known: Mapping[str, _Series]) -> bool:
    return expression is None or compile_expression(expression)[1] <= known.keys()


def _expression_series(expression: str, known: Mapping[str, _Series]) -> _Series:
    operand, ids = compile_expression(expression)
    operands = {name: known[name] for name in sorted(ids)}

    def series(buckets: Buckets, start_s: int, end_s: int) -> tuple[float, float] | None:
        found = {name: read(buckets, start_s, end_s) for name, read in operands.items()}
        value = operand({name: None if pair is None else pair[0] for name, pair in found.items()})
        if value is None:
            return None
        return value, min((pair[1] for pair in found.values() if pair is not None), default=0.0)

    return series


# ------------------------------------------------------------------------------------------------ evaluation


def judge(
    breaching: Sequence[bool | None],
    evaluation_periods: int,
    datapoints_to_alarm: int,
    treat_missing_data: str,
    state: StateValue,
) -> StateValue:
    """The state that an evaluation range asks for.

    `breaching` is oldest first, None where a datapoint is missing. While there are at least `evaluation_periods` real
    datapoints in the range, missing ones are passed over; otherwise `treat_missing_data` decides. A state that the
    AWS page leaves unsaid ("the alarm keeps its state") is `state`.
    """
    real = [breach for breach in breaching if breach is not None]
    if len(real) >= evaluation_periods:
        return "ALARM" if sum(real[-evaluation_periods:]) >= datapoints_to_alarm else "OK"
    if not real:
        return _judge_silence(treat_missing_data, state)
    breaches = sum(real)
    if breaches >= datapoints_to_alarm:
        return "ALARM"
    if treat_missing_data == "breaching":
        return "ALARM" if breaches + evaluation_periods - len(real) >= datapoints_to_alarm else "OK"
    if treat_missing_data == "notBreaching" or breaches < len(real):
        return "OK"
    if treat_missing_data == "ignore":
        return state
    # "missing": an old breach with nothing newer is enough, so that a late datapoint cannot hide it.
    oldest_age = len(breaching) - next(index for index, breach in enumerate(breaching) if breach is not None)
    return "ALARM" if oldest_age >= datapoints_to_alarm else state


def _judge_silence(treat_missing_data: str, state: StateValue) -> StateValue:
    match treat_missing_data:
        case "breaching":
            return "ALARM"
        case "notBreaching":
            return "OK"
        case "ignore":
            return state
        case _:
            return "INSUFFICIENT_DATA"


_BREACH: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


def breaches(value: float, comparison_operator: str, threshold: float) -> bool:
    """Whether a datapoint is on the wrong side of the threshold."""
    return _BREACH[comparison_operator](value, threshold)


def key_of(metric: MetricRef) -> MetricKey:
    """The key of the `Metric` of a definition."""
    return metric_key(metric.namespace, metric.metric_name, _dimensions(metric.dimensions))


def _dimensions(dimensions: Iterable[Dimension]) -> dict[str, str]:
    return {dimension.name: dimension.value for dimension in dimensions}


class AlarmEvaluator:
    """One metric alarm, compiled once and then evaluated as often as wanted.

    Raises:
        InvalidInput: the definition cannot be evaluated (no metric, unknown statistic, bad expression).
    """

    def __init__(self, alarm: MetricAlarm, extra_datapoints: int = EXTRA_DATAPOINTS) -> None:
        self.alarm = alarm
        self.period_s = alarm.period_s
        self._periods = alarm.evaluation_periods
        self._needed = alarm.datapoints_to_alarm or alarm.evaluation_periods
        self._range = alarm.evaluation_periods + extra_datapoints
        self._breach = _BREACH[alarm.comparison_operator]
        self._least_samples = least_samples(alarm)
        self._series = _math_series(alarm) if alarm.metrics else _single_series(alarm)

    @property
    def tick_s(self) -> int:
        """Production seconds between two evaluations."""
        return evaluation_tick_s(self.alarm)

    def evaluate(self, state: StateValue, now_s: int, buckets: Buckets) -> Evaluation:
        """The state at `now_s`, from windows that end there.

        `state` is the present state, which some rules retain.
        """
        period_s, series, breach, threshold = self.period_s, self._series, self._breach, self.alarm.threshold
        datapoints: list[Datapoint | None] = []
        breaching: list[bool | None] = []
        for start_s in range(now_s - self._range * period_s, now_s, period_s):
            pair = series(buckets, start_s, start_s + period_s)
            if pair is None:
                datapoints.append(None)
                breaching.append(None)
            else:
                breaches = breach(pair[0], threshold)
                datapoints.append(Datapoint(start_s, pair[0], pair[1], breaches))
                breaching.append(breaches)
        evaluated = tuple([point for point in datapoints if point is not None][-self._periods :])
        if any(point.sample_count < self._least_samples for point in evaluated):
            return Evaluation(state, tuple(datapoints), evaluated)
        new = judge(breaching, self._periods, self._needed, self.alarm.treat_missing_data, state)
        return Evaluation(new, tuple(datapoints), evaluated)


def evaluation_tick_s(alarm: MetricAlarm) -> int:
    """Production seconds between two evaluations: 10, 60 or 3600."""
    if alarm.period_s < _MINUTE_S:
        return _HIGH_RESOLUTION_S
    return _MINUTE_S if alarm.period_s * alarm.evaluation_periods <= _DAY_S else _HOUR_S


def _single_series(alarm: MetricAlarm) -> _Series:
    statistic = alarm.extended_statistic or alarm.statistic
    if alarm.namespace is None or alarm.metric_name is None or statistic is None:
        raise InvalidInput(
            f"alarm '{alarm.alarm_name}': expected Namespace, MetricName and Statistic, or Metrics; found neither"
        )
    return _stat_series(metric_key(alarm.namespace, alarm.metric_name, _dimensions(alarm.dimensions)), statistic)


def least_samples(alarm: MetricAlarm) -> float:
    """Samples a period needs before a percentile alarm with `ignore` may change: 10/(1-p), or 10/p below p50."""
    percent = percentile_of(alarm.extended_statistic or "")
    if percent is None or alarm.evaluate_low_sample_count_percentile != "ignore":
        return 0.0
    rest = 100 - max(percent, 100 - percent)
    # Rounded: 100 - 99.9 is a little less than 0.1, and exactly 10,000 samples are enough.
    return round(1000 / rest, 6) if rest > 0 else float("inf")


def reason_text(evaluator: AlarmEvaluator, old: StateValue, found: Evaluation) -> str:
    """`StateReason` in the words of CloudWatch."""
    alarm = evaluator.alarm
    missing = alarm.evaluation_periods - len(found.evaluated)
    if not found.evaluated:
        if found.state == "INSUFFICIENT_DATA":
            return f"Insufficient Data: {_counted(alarm.evaluation_periods, 'datapoint')} were unknown."
        treated = "Breaching" if alarm.treat_missing_data == "breaching" else "NonBreaching"
        return (
            f"Threshold Crossed: no datapoints were received for {_counted(alarm.evaluation_periods, 'period')} "
            f"and {_counted(missing, 'missing datapoint')} were treated as [{treated}]."
        )
    breaches = [point for point in found.evaluated if point.breaching]
    shown = breaches if found.state == "ALARM" else [point for point in found.evaluated if not point.breaching]
    values = ", ".join(f"{point.value:g}" for point in reversed(shown or list(found.evaluated)))
    negation = "" if found.state == "ALARM" else "not "
    needed = alarm.datapoints_to_alarm or alarm.evaluation_periods
    return (
        f"Threshold Crossed: {len(shown)} out of the last {_counted(len(found.evaluated), 'datapoint')} [{values}] "
        f"were {negation}{_OPERATOR_WORDS[alarm.comparison_operator]} the threshold ({alarm.threshold:g}) "
        f"(minimum {_counted(needed, 'datapoint')} for {old} -> {found.state} transition)."
    )


_OPERATOR_WORDS = {
    "GreaterThanOrEqualToThreshold": "greater than or equal to",
    "GreaterThanThreshold": "greater than",
    "LessThanThreshold": "less than",
    "LessThanOrEqualToThreshold": "less than or equal to",
}


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# ------------------------------------------------------------------------------------------------ composite rules

States = Mapping[str, str]
"""Alarm name -> its state."""
_Rule = Callable[[States], bool]
_TOKEN = re.compile(r'\s*(?:([()])|"((?:[^"\\]|\\.)*)"|([^\s()"]+))')


class CompositeRule:
    """A parsed `AlarmRule`: ALARM(x), OK(x), INSUFFICIENT_DATA(x), AND, OR, NOT, TRUE, FALSE and parentheses.

    An alarm is named bare, in double quotes, or by its ARN. NOT binds tighter than AND, AND tighter than OR.

    Raises:
        InvalidInput: the rule cannot be read.
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        self._tokens = _tokens(rule)
        self._at = 0
        self._names: set[str] = set()
        try:
            self._holds = self._disjunction()
        except RecursionError as error:
            raise InvalidInput("AlarmRule: expected fewer parentheses within each other") from error
        if self._at < len(self._tokens):
            raise self._unexpected("the end, AND or OR")

    @property
    def children(self) -> frozenset[str]:
        """Names of the alarms that the rule looks at."""
        return frozenset(self._names)

    def holds(self, states: States) -> bool:
        """Whether the composite alarm is in ALARM; an alarm that is not in `states` matches no state."""
        return self._holds(states)

    def _disjunction(self) -> _Rule:
        parts = [self._conjunction()]
        while self._accept("OR"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else lambda states: any(part(states) for part in parts)

    def _conjunction(self) -> _Rule:
        parts = [self._negation()]
        while self._accept("AND"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else lambda states: all(part(states) for part in parts)

    def _negation(self) -> _Rule:
        if self._accept("NOT"):
            inner = self._negation()
            return lambda states: not inner(states)
        return self._primary()

    def _primary(self) -> _Rule:
        if self._accept("("):
            inner = self._disjunction()
            self._expect(")")
            return inner
        if self._accept("TRUE"):
            return lambda _: True
        if self._accept("FALSE"):
            return lambda _: False
        for state in ("ALARM", "OK", "INSUFFICIENT_DATA"):
            if self._accept(state):
                return self._state_of(state)
        raise self._unexpected("ALARM(...), OK(...), INSUFFICIENT_DATA(...), TRUE, FALSE, NOT or '('")

    def _state_of(self, state: str) -> _Rule:
        self._expect("(")
        if self._at >= len(self._tokens) or self._tokens[self._at] in (("word", "("), ("word", ")")):
            raise self._unexpected("the name of an alarm")
        name = self._tokens[self._at][1].rpartition(":alarm:")[2]
        self._at += 1
        self._expect(")")
        self._names.add(name)
        return lambda states: states.get(name) == state

    def _accept(self, word: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("word", word):
            self._at += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._accept(word):
            raise self._unexpected(f"'{word}'")

    def _unexpected(self, expected: str) -> InvalidInput:
        found = f"'{self._tokens[self._at][1]}'" if self._at < len(self._tokens) else "the end"
        return InvalidInput(f"AlarmRule: expected {expected}, found {found} in: {self.rule}")


def _tokens(rule: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    while rule[at:].strip():
        match = _TOKEN.match(rule, at)
        if match is None:
            raise InvalidInput(f"AlarmRule: expected a closing double quote, found none in: {rule}")
        parenthesis, quoted, word = match.groups()
        tokens.append(("word", parenthesis or word) if quoted is None else ("name", quoted.replace('\\"', '"')))
        at = match.end()
    return tokens
