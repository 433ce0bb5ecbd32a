"""Evaluation of a metric alarm, a second time: period by period, from the single samples that were published.

Sources: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tests.differential.second_math import SCALAR, SERIES, Request, Row, ids_of, kind_of, read, row_of
from tests.differential.second_parser import NoSuchExpression, everything
from tests.differential.second_statistics import Published, percentile_number, value_of
from tests.differential.second_statistics import read as read_statistic

FURTHER = 2
"""Periods that are looked at beyond EvaluationPeriods. docs/SANDBOX.md: AWS shows 5 for 3."""


@dataclass(frozen=True)
class Answer:
    """The state, and the evaluation range, oldest first: (start, value, breaching), None where there is nothing."""

    state: str
    points: tuple[tuple[int, float, bool] | None, ...]
    tick_s: int
    counts: tuple[float, ...]
    """Samples of each datapoint; empty for metric math."""


@dataclass(frozen=True)
class _Read:
    """One metric of an alarm."""

    metric: str
    statistic: str
    unit: str | None


def evaluate(
    definition: Mapping[str, Any],
    published: Sequence[Published],
    state: str,
    now_s: int,
) -> Answer:
    """What an alarm does at one moment. Raises NoSuchStatistic or NoSuchExpression."""
    period_s, periods = period_of(definition), int(definition["EvaluationPeriods"])
    starts = [now_s - age * period_s for age in range(periods + FURTHER, 0, -1)]
    row, counts = _row(definition, published, starts, period_s)
    points = tuple(
        None if value is None else (at, value, _breaches(value, definition))
        for at, value in zip(starts, row, strict=True)
    )
    tick_s = 10 if period_s in (10, 20, 30) else 60 if period_s * periods <= 24 * 60 * 60 else 60 * 60
    there = tuple(count for count in counts if count is not None)
    if _too_few(definition, there[-periods:]):
        return Answer(state, points, tick_s, there)
    letters = "".join("-" if point is None else "X" if point[2] else "0" for point in points)
    needed = int(definition.get("DatapointsToAlarm") or periods)
    return Answer(decide(letters, periods, needed, treatment_of(definition), state), points, tick_s, there)


def period_of(definition: Mapping[str, Any]) -> int:
    """The period; of metric math the longest one of its metrics."""
    return int(
        definition.get("Period")
        or max(query["MetricStat"]["Period"] for query in definition["Metrics"] if "MetricStat" in query)
    )


def treatment_of(definition: Mapping[str, Any]) -> str:
    """How missing data is treated; of a metric of DynamoDB always in one way, says PutMetricAlarm."""
    of = [definition.get("Namespace")]
    of += [
        query["MetricStat"]["Metric"]["Namespace"] for query in definition.get("Metrics", ()) if "MetricStat" in query
    ]
    return "ignore" if "AWS/DynamoDB" in of else str(definition.get("TreatMissingData") or "missing")


def decide(letters: str, periods: int, needed: int, treatment: str, state: str) -> str:
    """The state that a range asks for: X breaches, 0 does not, - is missing; oldest first.

    The page: as few missing datapoints as possible are used. Where there are enough real ones, the newest decide;
    otherwise all real ones do, with the missing ones treated as configured.
    """
    real = letters.replace("-", "")
    if len(real) >= periods:
        return "ALARM" if real[-periods:].count("X") >= needed else "OK"
    treated = {"breaching": "X", "notBreaching": "0"}.get(treatment)
    if treated is not None:
        filled = real + treated * (periods - len(real))
        return "ALARM" if filled.count("X") >= needed else "OK"
    if real.count("X") >= needed:
        return "ALARM"
    if "0" in real:
        return "OK"
    if treatment == "ignore":
        return state
    if not real:
        return "INSUFFICIENT_DATA"
    # Only breaching ones, too few: the alarm goes off early where the oldest of them is at least `needed` old,
    # with nothing but missing data or breaches since; otherwise it stays as it is.
    return "ALARM" if len(letters.lstrip("-")) >= needed else state


def _breaches(value: float, definition: Mapping[str, Any]) -> bool:
    threshold = float(definition["Threshold"])
    return {
        "GreaterThanOrEqualToThreshold": not value < threshold,
        "GreaterThanThreshold": not value <= threshold,
        "LessThanThreshold": not value >= threshold,
        "LessThanOrEqualToThreshold": not value > threshold,
    }[definition["ComparisonOperator"]]


def _too_few(definition: Mapping[str, Any], counts: Sequence[float]) -> bool:
    """The page on percentiles and low data samples: 10/(1-percentile) are needed, or 10/percentile below one half."""
    if definition.get("EvaluateLowSampleCountPercentile") != "ignore":
        return False
    percent = percentile_number(definition.get("ExtendedStatistic") or "")
    if percent is None:
        return False
    share = percent / 100
    tail = 1 - share if share >= Fraction(1, 2) else share
    return any(tail == 0 or count < 10 / tail for count in counts)


# ------------------------------------------------------------------------------------------------ datapoints


def _row(
    definition: Mapping[str, Any],
    published: Sequence[Published],
    starts: Sequence[int],
    period_s: int,
) -> tuple[Row, list[float | None]]:
    """The values of all periods, and how many samples each is made of."""
    if "Metrics" not in definition:
        one = _Read(definition["MetricName"], statistic_of(definition), definition.get("Unit"))
        pairs = [_datapoint(one, definition["Namespace"], published, at, period_s) for at in starts]
        return [pair and pair[0] for pair in pairs], [pair and pair[1] for pair in pairs]
    rows: dict[str, Row] = {}
    periods: dict[str, int] = {}
    for query in definition["Metrics"]:
        stat = query.get("MetricStat")
        if stat is not None:
            one = _Read(stat["Metric"]["MetricName"], stat["Stat"], stat.get("Unit"))
            of = stat["Metric"]["Namespace"]
            pairs = [_datapoint(one, of, published, at, period_s) for at in starts]
            rows[query["Id"]] = [pair and pair[0] for pair in pairs]
            periods[query["Id"]] = stat["Period"]
    _calculate(definition, rows, Request(starts, rows, periods, period_s))
    wanted = next(query["Id"] for query in definition["Metrics"] if query.get("ReturnData", True))
    return rows[wanted], []


def _calculate(definition: Mapping[str, Any], rows: dict[str, Row], request: Request) -> None:
    """Expression after expression, each when what it uses is there."""
    trees = {query["Id"]: read(query["Expression"]) for query in definition["Metrics"] if "Expression" in query}
    for query in definition["Metrics"]:
        tree = trees.get(query["Id"])
        if tree is not None and query.get("ReturnData", True) and kind_of(tree) != SERIES:
            raise NoSuchExpression("an alarm watches one time series")
    if SCALAR in map(kind_of, trees.values()):
        raise NoSuchExpression("the result of any expression is a time series or an array of them")
    for tree in trees.values():
        named = {one[1] for one in everything(tree) if one[0] == "id"}
        if any(kind_of(trees[name]) != SERIES for name in named & trees.keys()):
            raise NoSuchExpression("docs/SANDBOX.md: an expression that another one uses yields one time series")
    while trees:
        ready = [name for name, tree in trees.items() if ids_of(tree, request.periods) <= set(rows)]
        if not ready:
            raise NoSuchExpression("an id that is not there")
        for name in ready:
            rows[name] = row_of(trees.pop(name), request)


def statistic_of(definition: Mapping[str, Any]) -> str:
    """The statistic of an alarm on one metric."""
    return str(definition.get("ExtendedStatistic") or definition["Statistic"])


def _datapoint(
    one: _Read,
    namespace: str,
    published: Sequence[Published],
    start_s: int,
    period_s: int,
) -> tuple[float, float] | None:
    if one.statistic not in ("SampleCount", "Sum", "Average", "Minimum", "Maximum"):
        read_statistic(one.statistic)
    # What AWS publishes itself has one value a minute: a shorter period finds no datapoint of its own (SANDBOX.md).
    if namespace.startswith("AWS/") and period_s < 60:
        return None
    inside = [
        of
        for of in published
        if of.metric == one.metric and start_s <= of.at_s < start_s + period_s and one.unit in (None, of.unit)
    ]
    return value_of(one.statistic, inside)
