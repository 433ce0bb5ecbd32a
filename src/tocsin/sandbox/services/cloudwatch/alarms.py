"""CloudWatch as the sandbox runs it: alarms on a ticker of production time, and answers from the metric store.

Metrics are seen by alarms at the next system minute; AWS publishes them one to three minutes later, which is not
modelled: times to detect are those of the best case.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol, cast

from pydantic import BaseModel, ValidationError

from tocsin.alarms.cloudwatch import AlarmEvaluator, Datapoint, Evaluation, StateValue, reason_text
from tocsin.alarms.composite import CompositeRule, check_parents, in_cycles
from tocsin.alarms.kept import KeptPeriods
from tocsin.errors import InvalidInput
from tocsin.model.alarm_limits import not_judged
from tocsin.model.system import CompositeAlarm, MetricAlarm
from tocsin.sandbox.metrics import MetricStore, Scope, SystemTime
from tocsin.sandbox.services.cloudwatch.actions import Actions, Record
from tocsin.sandbox.services.cloudwatch.notification import stamp

_logger = logging.getLogger("tocsin.sandbox")

_OF_BANDS = ("GreaterThanUpperThreshold", "LessThanLowerOrGreaterThanUpperThreshold", "LessThanLowerThreshold")
"""Operators that only alarms on anomaly detection have."""


@dataclass(frozen=True)
class _Compiled:
    updated: float
    evaluator: AlarmEvaluator | None
    """None when the definition cannot be evaluated: the alarm stays as it is."""
    periods: KeptPeriods
    error: str = ""
    """Why it cannot be."""


class Book(Record, Protocol):
    """The alarms of the present account and region, and their histories."""

    def metric_alarms(self) -> list[dict[str, Any]]:
        """The live records of the metric alarms."""

    def composite_alarms(self) -> list[dict[str, Any]]:
        """The live records of the composite alarms."""


class Alarms:
    """Evaluates all alarms of the sandbox and does what follows from their transitions."""

    def __init__(self, book: Book, store: MetricStore, actions: Actions) -> None:
        self._book = book
        self._store = store
        self._actions = actions
        self._time = store.system_time
        self._compiled: dict[Scope, dict[str, _Compiled]] = {}

    def tick(self, scope: Scope, now_s: int) -> None:
        """Evaluate the alarms of the present scope that are due at a system second (a multiple of ten)."""
        self._store.look(now_s)
        alarms = self._book.metric_alarms()
        before = self._compiled.get(scope, {})
        # Of an alarm that is gone nothing is kept.
        compiled = self._compiled[scope] = {
            alarm["AlarmName"]: self._compile(scope, alarm, before.get(alarm["AlarmName"])) for alarm in alarms
        }
        changed = [self._evaluate_safely(scope, alarm, compiled[alarm["AlarmName"]], now_s) for alarm in alarms]
        # Once for all of them: with many alarms, and after each change, it is most of the work.
        if now_s % 60 == 0 or any(changed):
            self.evaluate_composites(scope)
        self._actions.look(scope, now_s)

    def _evaluate_safely(self, scope: Scope, alarm: dict[str, Any], compiled: _Compiled, now_s: int) -> bool:
        """Whether the alarm's state changed. One that cannot be evaluated says so, and the others are evaluated.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
        """
        if compiled.evaluator is None:
            alarm["EvaluationState"], alarm["StateReason"] = "EVALUATION_ERROR", compiled.error
            return False
        if now_s % compiled.evaluator.tick_s:
            return False
        try:
            changed = self._evaluate(scope, alarm, compiled.evaluator, compiled.periods, now_s)
        except Exception as error:  # whatever it is, it is this alarm's alone
            _logger.exception("alarm %s was not evaluated", alarm["AlarmName"])
            alarm["EvaluationState"], alarm["StateReason"] = "EVALUATION_FAILURE", f"{type(error).__name__}: {error}"
            return False
        alarm.pop("EvaluationState", None)
        return changed

    def _evaluate(
        self, scope: Scope, alarm: dict[str, Any], evaluator: AlarmEvaluator, periods: KeptPeriods, now_s: int
    ) -> bool:
        """Whether the state changed."""
        state = cast("StateValue", alarm["StateValue"])
        found = evaluator.evaluate_points(state, now_s, periods)
        if found.state == state:
            return False
        reason = reason_text(evaluator, state, found)
        data = _reason_data(evaluator.alarm, found, self._time)
        self.transition(scope, alarm, found.state, reason, data, nested=True)
        return True

    def _compile(self, scope: Scope, alarm: dict[str, Any], before: _Compiled | None) -> _Compiled:
        updated = float(alarm.get("AlarmConfigurationUpdatedTimestamp", 0))
        if before is not None and before.updated == updated:
            return before
        periods = KeptPeriods(partial(self._store.buckets, scope), partial(self._store.late_since, scope))
        return _compile(alarm, updated, periods)

    def evaluate_composites(self, scope: Scope) -> None:
        """Evaluate composite alarms, and those above them, until nothing changes."""
        composites = self._book.composite_alarms()
        circular = in_cycles({alarm["AlarmName"]: _children(alarm) for alarm in composites})
        composites = [alarm for alarm in composites if alarm["AlarmName"] not in circular]
        for _ in range(len(composites)):
            everything = [*self._book.metric_alarms(), *self._book.composite_alarms()]
            states = {alarm["AlarmName"]: alarm["StateValue"] for alarm in everything}
            changed = [alarm for alarm in composites if _composite_state(alarm, states) != alarm["StateValue"]]
            if not changed:
                return
            for alarm in changed:
                new = _composite_state(alarm, states)
                children = [one for one in everything if one["AlarmName"] in _children(alarm)]
                self.transition(scope, alarm, new, *_composite_reason(alarm, new, children), nested=True)

    def transition(
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
        now_s = self._time.at(now)
        due = self._actions.changed(scope, alarm, old, now_s)
        state: dict[str, Any] = {"stateValue": new, "stateReason": reason}
        if reason_data is not None:
            state["stateReasonData"] = reason_data
        # As in the event of such a change: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
        if "ActionsSuppressedBy" in alarm:
            state["actionsSuppressedBy"] = alarm["ActionsSuppressedBy"]
            state["actionsSuppressedReason"] = alarm["ActionsSuppressedReason"]
        self._book.record_history(
            alarm["AlarmName"],
            "StateUpdate",
            f"Alarm updated from {old} to {new}",
            {"version": "1.0", "oldState": {"stateValue": old}, "newState": state},
            wall=now,
            alarm_type="CompositeAlarm" if "AlarmRule" in alarm else "MetricAlarm",
        )
        if due:
            self._actions.run(scope, alarm, now_s)
        if not nested:
            self.evaluate_composites(scope)


def _compile(alarm: dict[str, Any], updated: float, periods: KeptPeriods) -> _Compiled:
    try:
        return _Compiled(updated, AlarmEvaluator(parse_alarm(alarm)), periods)
    except (InvalidInput, ValueError) as error:
        words = _in_words(error) if isinstance(error, ValidationError) else str(error)
        _logger.warning("alarm %s cannot be evaluated: %s", alarm["AlarmName"], words)
        return _Compiled(updated, None, periods, words)


def refuse_metric_alarm(definition: Mapping[str, Any]) -> None:
    """Refuse a definition that CloudWatch refuses, and one that nobody here would evaluate.

    Raises:
        InvalidInput: says what is wrong, or what is not evaluated.
    """
    _refuse_fields(definition)
    try:
        AlarmEvaluator(parse_alarm(definition))
    except ValidationError as error:
        raise InvalidInput(_in_words(error)) from None


def refuse_composite_alarm(definition: Mapping[str, Any], book: Book) -> None:
    """Refuse a composite alarm that CloudWatch refuses, and one that nobody here would evaluate.

    Args:
        definition: the request of PutCompositeAlarm
        book: the alarms that are there

    Raises:
        InvalidInput: says what is wrong, or what is not evaluated.
    """
    try:
        alarm = parse_composite(definition)
    except ValidationError as error:
        raise InvalidInput(_in_words(error)) from None
    others = {one["AlarmName"]: _children(one) for one in book.composite_alarms()}
    check_parents({**others, alarm.alarm_name: CompositeRule(alarm.alarm_rule).children})
    if alarm.suppressor is not None and book.find(alarm.suppressor) is None:
        raise InvalidInput(f"ActionsSuppressor: expected the name or ARN of an alarm, found none of {alarm.suppressor}")


def _refuse_fields(definition: Mapping[str, Any]) -> None:
    asked = not_judged(definition)
    if asked:
        fields = {kind: [one for one in asked if asked[one] == kind] for kind in asked.values()}
        words = (f"{kind} ({', '.join(names)})" for kind, names in fields.items())
        raise InvalidInput(f"The sandbox does not evaluate {' or '.join(words)}.")
    operator = definition.get("ComparisonOperator")
    if operator in _OF_BANDS:
        raise InvalidInput(f"The sandbox does not evaluate anomaly detection: ComparisonOperator {operator}.")


def _in_words(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"]).removeprefix("Value error, ")


def parse_alarm(record: Mapping[str, Any]) -> MetricAlarm:
    """The definition in a request of PutMetricAlarm or an answer of DescribeAlarms.

    Raises:
        ValueError: a field has a value that no alarm can have.
    """
    return MetricAlarm.model_validate(_known(record, MetricAlarm))


def parse_composite(record: Mapping[str, Any]) -> CompositeAlarm:
    """The same of PutCompositeAlarm.

    Raises:
        ValueError: a field has a value that no alarm can have.
    """
    return CompositeAlarm.model_validate(_known(record, CompositeAlarm))


def as_json(alarm: MetricAlarm | CompositeAlarm) -> dict[str, Any]:
    """The request that puts an alarm, with numbers where a template or a form has text."""
    written = alarm.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {field: value for field, value in written.items() if value != []}


def _known(record: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    names = {field.alias or name for name, field in model.model_fields.items()}
    return {name: value for name, value in record.items() if name in names and value is not None}


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
            "state": {"value": child["StateValue"], "timestamp": stamp(float(child["StateUpdatedTimestamp"]))},
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
        return stamp(system_time.wall(point.start_s))

    data: dict[str, Any] = {"version": "1.0", "queryDate": stamp(time.time())}
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
