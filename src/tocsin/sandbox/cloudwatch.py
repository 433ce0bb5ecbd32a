"""CloudWatch as the sandbox runs it: alarms on a ticker of production time, and answers from the metric store.

Metrics are seen by alarms at the next system minute; AWS publishes them one to three minutes later, which is not
modelled: times to detect are those of the best case.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from tocsin.alarms.cloudwatch import (
    AlarmEvaluator,
    CompositeRule,
    Datapoint,
    Evaluation,
    MetricKey,
    Samples,
    StateValue,
    check_statistic,
    compile_expression,
    metric_key,
    reason_text,
    statistic_value,
)
from tocsin.errors import InvalidInput
from tocsin.model.system import MetricAlarm
from tocsin.sandbox.metrics import MetricStore, Scope, SystemTime
from tocsin.sandbox.ministack_adapter import Ministack

_logger = logging.getLogger("tocsin.sandbox")

_QUERY_FIELDS = ("Id", "MetricStat", "Expression", "ReturnData")
_STAT_FIELDS = ("Metric", "Period", "Stat")
_ACTIONS: Mapping[str, str] = {
    "ALARM": "AlarmActions",
    "OK": "OKActions",
    "INSUFFICIENT_DATA": "InsufficientDataActions",
}
_FIELDS = frozenset(field.alias or name for name, field in MetricAlarm.model_fields.items())
_TRIGGER_FIELDS = (
    "MetricName",
    "Namespace",
    "Period",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "ComparisonOperator",
    "Threshold",
    "TreatMissingData",
    "EvaluateLowSampleCountPercentile",
    "Metrics",
    "Unit",
)
_MOST_DATAPOINTS = 1440


@dataclass(frozen=True)
class _Compiled:
    updated: float
    evaluator: AlarmEvaluator | None
    """None when the definition cannot be evaluated: the alarm stays as it is."""


class Alarms:
    """Evaluates all alarms of the sandbox and does what follows from their transitions."""

    def __init__(self, ministack: Ministack, store: MetricStore) -> None:
        self._ministack = ministack
        self._store = store
        self._time = store.system_time
        self._compiled: dict[tuple[Scope, str], _Compiled] = {}
        ministack.adapt_alarms(self._transition, self._evaluate_composites)

    def tick(self, now_s: int) -> None:
        """Evaluate the alarms that are due at a system second (a multiple of ten)."""
        for scope in self._ministack.alarm_scopes():
            with self._ministack.scope(scope):
                for alarm in self._ministack.metric_alarms():
                    self._evaluate(scope, alarm, now_s)
                if now_s % 60 == 0:
                    self._evaluate_composites(scope)

    def _evaluate(self, scope: Scope, alarm: dict[str, Any], now_s: int) -> None:
        evaluator = self._evaluator(scope, alarm)
        if evaluator is None or now_s % evaluator.tick_s:
            return

        def buckets(metric: MetricKey, start_s: int, end_s: int) -> Sequence[Samples]:
            return self._store.buckets(scope, metric, start_s, end_s)

        state = cast("StateValue", alarm["StateValue"])
        found = evaluator.evaluate(state, now_s, buckets)
        if found.state != state:
            reason = reason_text(evaluator, state, found)
            data = _reason_data(evaluator.alarm, found, self._time)
            self._transition(scope, alarm, found.state, reason, data)

    def _evaluator(self, scope: Scope, alarm: dict[str, Any]) -> AlarmEvaluator | None:
        where = (scope, alarm["AlarmName"])
        updated = float(alarm.get("AlarmConfigurationUpdatedTimestamp", 0))
        compiled = self._compiled.get(where)
        if compiled is None or compiled.updated != updated:
            compiled = self._compiled[where] = _Compiled(updated, _compile(alarm))
        return compiled.evaluator

    def _evaluate_composites(self, scope: Scope) -> None:
        """Evaluate composite alarms, and those above them, until nothing changes."""
        composites = self._ministack.composite_alarms()
        for _ in range(len(composites)):
            everything = [*self._ministack.metric_alarms(), *composites]
            states = {alarm["AlarmName"]: alarm["StateValue"] for alarm in everything}
            changed = [alarm for alarm in composites if _composite_state(alarm, states) != alarm["StateValue"]]
            if not changed:
                return
            for alarm in changed:
                new = _composite_state(alarm, states)
                children = [one for one in everything if one["AlarmName"] in _children(alarm)]
                self._transition(scope, alarm, new, *_composite_reason(alarm, new, children), nested=True)

    def _transition(
        self,
        scope: Scope,
        alarm: dict[str, Any],
        new: str,
        reason: str,
        reason_data: dict[str, Any] | None,
        *,
        nested: bool = False,
    ) -> None:
        """Change an alarm's state, write its history and run its actions."""
        old, now = alarm["StateValue"], time.time()
        alarm["StateReason"] = reason
        alarm["StateUpdatedTimestamp"] = now
        alarm.pop("StateReasonData", None)
        if reason_data is not None:
            alarm["StateReasonData"] = json.dumps(reason_data)
        if old == new:
            return
        alarm["StateValue"] = new
        alarm["StateTransitionedTimestamp"] = now
        kind = "CompositeAlarm" if "AlarmRule" in alarm else "MetricAlarm"
        state: dict[str, Any] = {"stateValue": new, "stateReason": reason}
        if reason_data is not None:
            state["stateReasonData"] = reason_data
        self._ministack.record_history(
            alarm["AlarmName"],
            "StateUpdate",
            f"Alarm updated from {old} to {new}",
            {"version": "1.0", "oldState": {"stateValue": old}, "newState": state},
            wall=now,
            alarm_type=kind,
        )
        self._act(scope, alarm, old, now, kind)
        if not nested:
            self._evaluate_composites(scope)

    def _act(self, scope: Scope, alarm: dict[str, Any], old: str, now: float, kind: str) -> None:
        if not alarm.get("ActionsEnabled", True):
            return
        for action in alarm.get(_ACTIONS[alarm["StateValue"]]) or ():
            message = json.dumps(_notification(scope, alarm, old, now))
            subject = f'{alarm["StateValue"]}: "{alarm["AlarmName"]}" in {scope[1]}'[:100]
            done = ":sns:" in action and self._ministack.notify(action, message, subject)
            outcome = "Successfully executed" if done else "Failed to execute"
            self._ministack.record_history(
                alarm["AlarmName"],
                "Action",
                f"{outcome} action {action}",
                {"actionState": "Succeeded" if done else "Failed", "notificationResource": action},
                alarm_type=kind,
            )


def _compile(alarm: dict[str, Any]) -> AlarmEvaluator | None:
    try:
        return AlarmEvaluator(parse_alarm(alarm))
    except (InvalidInput, ValueError) as error:
        _logger.warning("alarm %s cannot be evaluated: %s", alarm["AlarmName"], error)
        return None


def parse_alarm(record: Mapping[str, Any]) -> MetricAlarm:
    """The definition in an answer of DescribeAlarms.

    Raises:
        ValueError: a field has a value that no alarm can have.
    """
    known = {name: value for name, value in record.items() if name in _FIELDS and value is not None}
    if "Metrics" in known:
        known["Metrics"] = [_known_query(query) for query in known["Metrics"]]
    return MetricAlarm.model_validate(known)


def _known_query(query: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: query[name] for name in _QUERY_FIELDS if name in query}
    if "MetricStat" in known:
        known["MetricStat"] = {name: known["MetricStat"][name] for name in _STAT_FIELDS}
    return known


@lru_cache(maxsize=1000)
def _rule(rule: str) -> CompositeRule | None:
    """None when the rule cannot be read: the alarm stays as it is."""
    try:
        return CompositeRule(rule)
    except InvalidInput as error:
        _logger.warning("a composite alarm cannot be evaluated: %s", error)
        return None


def _composite_state(alarm: Mapping[str, Any], states: Mapping[str, str]) -> str:
    rule = _rule(alarm["AlarmRule"])
    if rule is None:
        return str(alarm["StateValue"])
    return "ALARM" if rule.holds(states) else "OK"


def _children(alarm: Mapping[str, Any]) -> frozenset[str]:
    rule = _rule(alarm["AlarmRule"])
    return rule.children if rule else frozenset()


def _composite_reason(
    alarm: Mapping[str, Any], new: str, children: Iterable[Mapping[str, Any]]
) -> tuple[str, dict[str, Any]]:
    ordered = sorted(children, key=lambda child: float(child.get("StateUpdatedTimestamp", 0)), reverse=True)
    triggering = [
        {
            "arn": child["AlarmArn"],
            "state": {"value": child["StateValue"], "timestamp": _stamp(float(child["StateUpdatedTimestamp"]))},
        }
        for child in ordered
    ]
    if not ordered or alarm["StateValue"] == "INSUFFICIENT_DATA":
        return f"{alarm['AlarmArn']} was created and its alarm rule evaluates to {new}", {
            "triggeringAlarms": triggering
        }
    newest = ordered[0]
    when = time.strftime("%A %d %B, %Y %H:%M:%S UTC", time.gmtime(float(newest["StateUpdatedTimestamp"])))
    return f"{newest['AlarmArn']} transitioned to {newest['StateValue']} at {when}", {
        "triggeringAlarms": triggering[:1]
    }


def _reason_data(alarm: MetricAlarm, found: Evaluation, system_time: SystemTime) -> dict[str, Any]:
    """`StateReasonData` as CloudWatch writes it; times are wall-clock, the period is that of production."""

    def wall(point: Datapoint) -> str:
        return _stamp(system_time.wall(point.start_s))

    data: dict[str, Any] = {"version": "1.0", "queryDate": _stamp(time.time())}
    if found.evaluated:
        data["startDate"] = wall(found.evaluated[0])
    statistic = alarm.extended_statistic or alarm.statistic
    if statistic:
        data["statistic"] = statistic
    return data | {
        "period": alarm.period_s,
        "recentDatapoints": [point.value for point in found.evaluated],
        "threshold": alarm.threshold,
        "evaluatedDatapoints": [
            {"timestamp": wall(point), "sampleCount": point.sample_count, "value": point.value}
            for point in reversed(found.evaluated)
        ],
    }


def _stamp(epoch: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch))
    return f"{whole}.{int(epoch * 1000) % 1000:03d}+0000"


def _notification(scope: Scope, alarm: Mapping[str, Any], old: str, now: float) -> dict[str, Any]:
    """The message that CloudWatch sends to SNS."""
    message: dict[str, Any] = {
        "AlarmName": alarm["AlarmName"],
        "AlarmDescription": alarm.get("AlarmDescription"),
        "AWSAccountId": scope[0],
        "AlarmConfigurationUpdatedTimestamp": _stamp(float(alarm.get("AlarmConfigurationUpdatedTimestamp", now))),
        "NewStateValue": alarm["StateValue"],
        "NewStateReason": alarm["StateReason"],
        "StateChangeTime": _stamp(now),
        "Region": scope[1],
        "AlarmArn": alarm["AlarmArn"],
        "OldStateValue": old,
        "OKActions": alarm.get("OKActions") or [],
        "AlarmActions": alarm.get("AlarmActions") or [],
        "InsufficientDataActions": alarm.get("InsufficientDataActions") or [],
    }
    if "AlarmRule" in alarm:
        return message | {"AlarmRule": alarm["AlarmRule"]}
    return message | {"Trigger": _trigger(alarm)}


def _trigger(alarm: Mapping[str, Any]) -> dict[str, Any]:
    trigger: dict[str, Any] = {name: alarm[name] for name in _TRIGGER_FIELDS if alarm.get(name) is not None}
    trigger["Dimensions"] = [
        {"name": dimension["Name"], "value": dimension["Value"]} for dimension in alarm.get("Dimensions") or ()
    ]
    if alarm.get("ExtendedStatistic"):
        return trigger | {"StatisticType": "ExtendedStatistic", "ExtendedStatistic": alarm["ExtendedStatistic"]}
    if alarm.get("Statistic"):
        return trigger | {"StatisticType": "Statistic", "Statistic": alarm["Statistic"].upper()}
    return trigger


class MetricQueries:
    """GetMetricStatistics, GetMetricData and ListMetrics.

    As everywhere in the sandbox, a `Period` is production time and a timestamp is wall-clock time: at scale 60 the
    datapoints of `Period=60` are one wall second apart.
    """

    def __init__(self, ministack: Ministack, store: MetricStore) -> None:
        self._ministack = ministack
        self._store = store
        ministack.answer_metrics(
            {
                "_get_metric_statistics": self.statistics,
                "_get_metric_data": self.data,
                "_list_metrics": self.metrics,
            }
        )

    def statistics(self, request: dict[str, Any]) -> dict[str, Any]:
        """GetMetricStatistics."""
        key = metric_key(request["Namespace"], request["MetricName"], _dimensions(request))
        scope, unit = self._ministack.current_scope(), ""
        unit = self._store.unit(scope, key)
        simple, extended = request.get("Statistics") or [], request.get("ExtendedStatistics") or []
        for name in (*simple, *extended):
            check_statistic(name)
        datapoints = []
        for start_s, end_s in self._periods(request, int(request["Period"])):
            buckets = self._store.buckets(scope, key, start_s, end_s)
            if buckets:
                point: dict[str, Any] = {"Timestamp": self._store.system_time.wall(start_s), "Unit": unit}
                point |= _values(buckets, simple)
                if extended:
                    point["ExtendedStatistics"] = _values(buckets, extended)
                datapoints.append(point)
        return {"Label": request["MetricName"], "Datapoints": datapoints}

    def data(self, request: dict[str, Any]) -> dict[str, Any]:
        """GetMetricData, with metric math."""
        found: dict[str, dict[int, float]] = {}
        pending = list(request.get("MetricDataQueries", []))
        while pending:
            query = next((query for query in pending if self._is_ready(query, found)), None)
            if query is None:
                names = ", ".join(query["Id"] for query in pending)
                raise InvalidInput(f"{names} use an id that is not among the queries, or each other")
            pending.remove(query)
            found[query["Id"]] = self._series(request, query, found)
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
                for key in self._store.keys(self._ministack.current_scope())
                if _is_listed(key, request)
            ]
        }

    @staticmethod
    def _is_ready(query: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
        return not query.get("Expression") or compile_expression(query["Expression"])[1] <= found.keys()

    def _series(
        self, request: Mapping[str, Any], query: Mapping[str, Any], found: Mapping[str, Mapping[int, float]]
    ) -> dict[int, float]:
        if query.get("Expression"):
            return _calculated(query["Expression"], found)
        stat = query["MetricStat"]
        metric = stat["Metric"]
        check_statistic(stat["Stat"])
        key = metric_key(metric["Namespace"], metric["MetricName"], _dimensions(metric))
        scope = self._ministack.current_scope()
        series = {}
        for start_s, end_s in self._periods(request, int(stat["Period"])):
            pair = statistic_value(self._store.buckets(scope, key, start_s, end_s), stat["Stat"])
            if pair is not None:
                series[start_s] = pair[0]
        return series

    def _periods(self, request: Mapping[str, Any], period_s: int) -> Iterator[tuple[int, int]]:
        if period_s not in (10, 20, 30) and (period_s < 60 or period_s % 60):
            raise InvalidInput(f"expected a Period of 10, 20, 30 or a multiple of 60 seconds, found {period_s}")
        system_time, parse = self._store.system_time, self._ministack.parse_time
        start = system_time.at(parse(request.get("StartTime")) or 0.0)
        end = min(system_time.at(parse(request.get("EndTime")) or time.time()), system_time.now())
        first = int(max(start, end - _MOST_DATAPOINTS * period_s) // period_s) * period_s
        for start_s in range(first, int(end) + 1, period_s):
            yield start_s, start_s + period_s


def _calculated(expression: str, found: Mapping[str, Mapping[int, float]]) -> dict[int, float]:
    operand, ids = compile_expression(expression)
    series = {}
    for start_s in sorted({start_s for name in ids for start_s in found[name]}):
        value = operand({name: found[name].get(start_s) for name in ids})
        if value is not None:
            series[start_s] = value
    return series


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
