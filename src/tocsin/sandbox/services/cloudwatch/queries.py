"""The answers of CloudWatch to queries about metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tocsin.alarms.cloudwatch import MetricKey, metric_key, order_of
from tocsin.alarms.metric_functions import Grid, Inputs, Series
from tocsin.alarms.metric_math import compile_expression
from tocsin.alarms.statistics import Samples, check_statistic, statistic_value
from tocsin.errors import InvalidInput
from tocsin.sandbox.metrics import MINUTE_S, MetricStore, Scope, SystemTime

_MOST_DATAPOINTS = 1440


class MetricQueries:
    """GetMetricStatistics, GetMetricData and ListMetrics.

    As everywhere in the sandbox, a `Period` is production time and a timestamp is wall-clock time: at scale 60 the
    datapoints of `Period=60` are one wall second apart.
    """

    def __init__(
        self, store: MetricStore, current_scope: Callable[[], Scope], parse_time: Callable[[Any], float | None]
    ) -> None:
        """`current_scope` is that of the present request; `parse_time` reads a timestamp of it (epoch seconds)."""
        self._store = store
        self._current_scope = current_scope
        self._parse_time = parse_time

    def statistics(self, request: dict[str, Any]) -> dict[str, Any]:
        """GetMetricStatistics. Each unit of a metric has datapoints of its own.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#Unit
        """
        key = metric_key(request["Namespace"], request["MetricName"], _dimensions(request))
        scope = self._current_scope()
        simple, extended = request.get("Statistics") or [], request.get("ExtendedStatistics") or []
        for name in (*simple, *extended):
            check_statistic(name)
        datapoints = []
        units = (request["Unit"],) if request.get("Unit") else self._store.units(scope, key)
        for start_s, end_s in self._periods(request, int(request["Period"])):
            for unit in units:
                buckets = self._store.buckets(scope, key._replace(unit=unit), start_s, end_s)
                if buckets:
                    point: dict[str, Any] = {"Timestamp": self._store.system_time.wall(start_s), "Unit": unit}
                    point |= _values(buckets, simple)
                    if extended:
                        point["ExtendedStatistics"] = _values(buckets, extended)
                    datapoints.append(point)
        return {"Label": request["MetricName"], "Datapoints": datapoints}

    def data(self, request: dict[str, Any]) -> dict[str, Any]:
        """GetMetricData, with metric math."""
        queries = {query["Id"]: query for query in request.get("MetricDataQueries", [])}
        expressions = {
            name: compile_expression(query["Expression"]) if query.get("Expression") else None
            for name, query in queries.items()
        }
        stats = {name: query["MetricStat"] for name, query in queries.items() if query.get("MetricStat")}
        periods = {name: int(stat["Period"]) for name, stat in stats.items()}
        found: dict[str, Series] = {name: self._series(request, stat) for name, stat in stats.items()}
        grid = self._grid(request, max(periods.values(), default=MINUTE_S))
        inputs = Inputs(grid, found, tuple(stats), periods)
        for name in order_of(expressions):
            expression = expressions[name]
            if expression is not None:
                found[name] = expression.series(inputs)
        newest_first = request.get("ScanBy", "TimestampDescending") != "TimestampAscending"
        return {
            "MetricDataResults": [
                _result(query, found[query["Id"]], self._store.system_time, newest_first)
                for query in request.get("MetricDataQueries", [])
                if query.get("ReturnData", True)
            ]
        }

    def metrics(self, request: dict[str, Any]) -> dict[str, Any]:
        """ListMetrics."""
        return {
            "Metrics": [
                {
                    "Namespace": key.namespace,
                    "MetricName": key.name,
                    "Dimensions": [{"Name": name, "Value": value} for name, value in key.dimensions],
                }
                for key in self._store.keys(self._current_scope())
                if _is_listed(key, request)
            ]
        }

    def _series(self, request: Mapping[str, Any], stat: Mapping[str, Any]) -> Series:
        metric = stat["Metric"]
        check_statistic(stat["Stat"])
        key = metric_key(metric["Namespace"], metric["MetricName"], _dimensions(metric))._replace(unit=stat.get("Unit"))
        scope = self._current_scope()
        series = {}
        for start_s, end_s in self._periods(request, int(stat["Period"])):
            pair = statistic_value(self._store.buckets(scope, key, start_s, end_s), stat["Stat"])
            if pair is not None:
                series[start_s] = pair[0]
        return series

    def _periods(self, request: Mapping[str, Any], period_s: int) -> Iterator[tuple[int, int]]:
        for start_s in self._grid(request, period_s).starts:
            yield start_s, start_s + period_s

    def _grid(self, request: Mapping[str, Any], period_s: int) -> Grid:
        if period_s not in (10, 20, 30) and (period_s < 60 or period_s % 60):
            raise InvalidInput(f"expected a Period of 10, 20, 30 or a multiple of 60 seconds, found {period_s}")
        system_time, parse = self._store.system_time, self._parse_time
        start = system_time.at(parse(request.get("StartTime")) or 0.0)
        end = min(system_time.at(parse(request.get("EndTime")) or time.time()), system_time.now())
        first = int(max(start, end - _MOST_DATAPOINTS * period_s) // period_s) * period_s
        return Grid(first, period_s, len(range(first, int(end) + 1, period_s)))


def _result(
    query: Mapping[str, Any], series: Mapping[int, float], system_time: SystemTime, newest_first: bool
) -> dict[str, Any]:
    starts = sorted(series, reverse=newest_first)
    metric = (query.get("MetricStat") or {}).get("Metric", {}).get("MetricName")
    return {
        "Id": query["Id"],
        "Label": query.get("Label") or metric or query["Id"],
        "Timestamps": [system_time.wall(start_s) for start_s in starts],
        "Values": [series[start_s] for start_s in starts],
        "StatusCode": "Complete",
    }


def _values(buckets: Sequence[Samples], statistics: Iterable[str]) -> dict[str, float]:
    pairs = {name: statistic_value(buckets, name) for name in statistics}
    return {name: pair[0] for name, pair in pairs.items() if pair is not None}


def _dimensions(metric: Mapping[str, Any]) -> dict[str, str]:
    return {dimension["Name"]: dimension["Value"] for dimension in metric.get("Dimensions") or ()}


def _is_listed(key: MetricKey, request: Mapping[str, Any]) -> bool:
    if request.get("Namespace", key.namespace) != key.namespace:
        return False
    if request.get("MetricName", key.name) != key.name:
        return False
    dimensions = dict(key.dimensions)
    return all(
        wanted["Name"] in dimensions and wanted.get("Value", dimensions[wanted["Name"]]) == dimensions[wanted["Name"]]
        for wanted in request.get("Dimensions") or ()
    )
