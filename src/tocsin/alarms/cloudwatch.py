"""CloudWatch alarm evaluation as pure functions: no clock, no network, no state of its own.

Rules and their sources (Amazon CloudWatch user guide): *Evaluating an alarm* and *alarm evaluation windows* (windows
slide by one minute, by ten seconds for high-resolution periods), *Configuring how alarms treat missing data* (the
evaluation range is longer than the evaluation periods), *Percentile-based alarms and low data samples*, *Creating an
alarm based on a metric math expression* and *Combining alarms*.

Times are whole production seconds on any axis the caller likes; they only need to be multiples of `tick_s`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tocsin.alarms.metric_functions import Grid, Inputs, Series
from tocsin.alarms.metric_math import Expression, Kind, compile_expression
from tocsin.alarms.statistics import Samples, check_statistic, percentile_of, statistic_value
from tocsin.errors import InvalidInput, NotEvaluated
from tocsin.model.alarm_fields import Dimension, MetricDataQuery, MetricRef
from tocsin.model.alarm_limits import not_judged
from tocsin.model.system import MetricAlarm

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
    unit: str | None = None
    """Only datapoints that were published with this unit; None: whatever their unit."""


def metric_key(namespace: str, name: str, dimensions: Mapping[str, str]) -> MetricKey:
    """The key of a metric, whatever the order of its dimensions."""
    return MetricKey(namespace, name, tuple(sorted(dimensions.items())))


Buckets = Callable[[MetricKey, int, int], Sequence[Samples]]
"""(metric, start second, end second) -> the non-empty buckets that begin in [start, end)."""

Point = tuple[float, float]
"""(value, sample count) of one period."""
Points = Callable[[MetricKey, str, Grid], Mapping[int, Point]]
"""(metric, statistic, periods) -> start of each period that has a datapoint -> the datapoint."""
_Series = Callable[[Points, Grid], Mapping[int, Point]]


def summed_anew(buckets: Buckets) -> Points:
    """Points for which each period is summed whenever it is asked for."""

    def points(metric: MetricKey, statistic: str, grid: Grid) -> Mapping[int, Point]:
        pairs = ((at, statistic_value(buckets(metric, at, at + grid.period_s), statistic)) for at in grid.starts)
        return {at: pair for at, pair in pairs if pair is not None}

    return points


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


def _stat_series(metric: MetricKey, statistic: str) -> _Series:
    check_statistic(statistic)
    return lambda points, grid: points(metric, statistic, grid)


# ------------------------------------------------------------------------------------------------ metric math


def order_of(expressions: Mapping[str, Expression | None], known: Iterable[str] = ()) -> list[str]:
    """Ids in an order in which each stands after those that it uses; None is a metric, which uses none.

    Raises:
        InvalidInput: one uses an id that is not there or yields no time series, or two use each other.
    """
    _check_uses({name: expression for name, expression in expressions.items() if expression is not None})
    done, pending, ordered = set(known), dict(expressions), []
    while pending:
        metrics_left = any(expression is None for expression in pending.values())
        ready = [
            name
            for name, expression in pending.items()
            if expression is None or (expression.ids <= done and not (expression.uses_metrics and metrics_left))
        ]
        if not ready:
            raise InvalidInput(f"{', '.join(pending)} use an id that is not in Metrics, or each other")
        for name in ready:
            del pending[name]
        done.update(ready)
        ordered += ready
    return ordered


def _check_uses(expressions: Mapping[str, Expression]) -> None:
    """An id that stands for an array would be read as its first series: refused, rather than wrong.

    A number is the result of no expression: *Metric math syntax and functions*.
    """
    for user in expressions.values():
        if user.kind is Kind.NUMBER:
            raise InvalidInput(
                f"expected an expression that yields one time series, found '{user.text}': {user.kind.value}"
            )
        for used in (expressions[name] for name in sorted(user.ids) if name in expressions):
            if used.kind is not Kind.SERIES:
                raise InvalidInput(
                    f"expected an expression that yields one time series where '{user.text}' uses it, found "
                    f"'{used.text}', which yields {used.kind.value}"
                )


def _math_series(alarm: MetricAlarm) -> _Series:
    try:
        expressions = {query.id: _expression(query) for query in alarm.metrics}
        order = order_of(expressions)
    except InvalidInput as error:
        kind = NotEvaluated if isinstance(error, NotEvaluated) else InvalidInput
        raise kind(f"alarm '{alarm.alarm_name}': {error}") from None
    wanted = next(query.id for query in alarm.metrics if query.return_data)
    watched = expressions[wanted]
    if watched is not None and watched.kind is not Kind.SERIES:
        raise InvalidInput(
            f"alarm '{alarm.alarm_name}': expected an expression that yields one time series, found "
            f"'{watched.text}', which yields {watched.kind.value}"
        )
    metrics = {query.id: query.metric_stat for query in alarm.metrics if query.metric_stat is not None}
    reads = {
        name: _stat_series(key_of(stat.metric)._replace(unit=stat.unit), stat.stat) for name, stat in metrics.items()
    }
    periods = {name: stat.period for name, stat in metrics.items()}

    def series(points: Points, grid: Grid) -> Mapping[int, Point]:
        read = {name: one(points, grid) for name, one in reads.items()}
        found: dict[str, Series] = {name: {at: value for at, (value, _) in of.items()} for name, of in read.items()}
        inputs = Inputs(grid, found, tuple(metrics), periods)
        for name in order:
            expression = expressions[name]
            if expression is not None:
                found[name] = expression.series(inputs)
        least = {at: min((of[at][1] for of in read.values() if at in of), default=0.0) for at in grid.starts}
        return {at: (value, least[at]) for at, value in found[wanted].items() if at in least}

    return series


def _expression(query: MetricDataQuery) -> Expression | None:
    """The compiled expression of an element of Metrics; None for one that is a metric. Raises InvalidInput."""
    return None if query.expression is None else compile_expression(query.expression)


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
        InvalidInput: the definition cannot be evaluated (unknown statistic, bad expression).
    """

    def __init__(self, alarm: MetricAlarm, extra_datapoints: int = EXTRA_DATAPOINTS) -> None:
        _refuse_what_only_cloudwatch_does(alarm)
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
        return self.evaluate_points(state, now_s, summed_anew(buckets))

    def evaluate_points(self, state: StateValue, now_s: int, points: Points) -> Evaluation:
        """As `evaluate`, from what summed the periods: anew, or once (`KeptPeriods`)."""
        period_s, series, breach, threshold = self.period_s, self._series, self._breach, self.alarm.threshold
        datapoints: list[Datapoint | None] = []
        breaching: list[bool | None] = []
        grid = Grid(now_s - self._range * period_s, period_s, self._range)
        found = series(points, grid)
        for start_s in grid.starts:
            pair = found.get(start_s)
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
        new = judge(breaching, self._periods, self._needed, self.alarm.missing_data, state)
        return Evaluation(new, tuple(datapoints), evaluated)


def _refuse_what_only_cloudwatch_does(alarm: MetricAlarm) -> None:
    asked = {"EvaluationWindow": alarm.evaluation_window, "WarmUpConfiguration": alarm.warm_up_configuration}
    for field, kind in not_judged(asked).items():
        raise NotEvaluated(f"alarm '{alarm.alarm_name}': {kind} is not evaluated here ({field})")


def evaluation_tick_s(alarm: MetricAlarm) -> int:
    """Production seconds between two evaluations: 10, 60 or 3600."""
    if alarm.period_s < _MINUTE_S:
        return _HIGH_RESOLUTION_S
    return _MINUTE_S if alarm.period_s * alarm.evaluation_periods <= _DAY_S else _HOUR_S


def _single_series(alarm: MetricAlarm) -> _Series:
    statistic = alarm.extended_statistic or alarm.statistic
    # The model refuses an alarm without these, and without Metrics.
    assert alarm.namespace is not None
    assert alarm.metric_name is not None
    assert statistic is not None
    key = metric_key(alarm.namespace, alarm.metric_name, _dimensions(alarm.dimensions))
    return _stat_series(key._replace(unit=alarm.unit), statistic)


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
        treated = "Breaching" if alarm.missing_data == "breaching" else "NonBreaching"
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
