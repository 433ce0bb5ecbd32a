"""The evaluation of many alarms: one that is bad is told, and the others go on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from tocsin.alarms.cloudwatch import AlarmEvaluator, MetricKey, metric_key
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.metrics import Bucket, MetricStore, SystemTime
from tocsin.sandbox.services.cloudwatch.actions import Actions
from tocsin.sandbox.services.cloudwatch.alarms import Alarms

SCOPE = ("000000000001", "us-east-1")
NOW_S = 86400 + 600


class Book:
    """Alarms and their histories, in memory."""

    def __init__(self, *alarms: dict[str, Any]) -> None:
        self.alarms = {alarm["AlarmName"]: alarm for alarm in alarms}
        self.history: list[tuple[str, str]] = []

    def metric_alarms(self) -> list[dict[str, Any]]:
        return [alarm for alarm in self.alarms.values() if "AlarmRule" not in alarm]

    def composite_alarms(self) -> list[dict[str, Any]]:
        return [alarm for alarm in self.alarms.values() if "AlarmRule" in alarm]

    def find(self, alarm_name: str) -> dict[str, Any] | None:
        return self.alarms.get(alarm_name)

    def record_history(
        self,
        alarm_name: str,
        kind: str,
        summary: str,
        data: Mapping[str, Any],
        *,
        wall: float | None = None,
        alarm_type: str = "MetricAlarm",
    ) -> None:
        del data, wall, alarm_type
        self.history.append((alarm_name, summary if kind == "StateUpdate" else kind))


class BadStore(MetricStore):
    """One metric of it cannot be read."""

    bad = True

    def buckets(self, scope: Any, key: MetricKey, start_s: int, end_s: int) -> list[Bucket]:
        if self.bad and key.name == "bad":
            raise ZeroDivisionError("bad bucket")
        return list(super().buckets(scope, key, start_s, end_s))


def metric_alarm(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "AlarmName": name,
        "AlarmArn": f"arn:aws:cloudwatch:us-east-1:000000000001:alarm:{name}",
        "Namespace": "Desk",
        "MetricName": name,
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
        "StateValue": "INSUFFICIENT_DATA",
        "StateReason": "new",
        "StateUpdatedTimestamp": 0.0,
        **fields,
    }


def composite(name: str, rule: str) -> dict[str, Any]:
    arn = f"arn:aws:cloudwatch:us-east-1:000000000001:alarm:{name}"
    return {"AlarmName": name, "AlarmArn": arn, "AlarmRule": rule, "StateValue": "OK", "StateReason": "new"}


def store() -> BadStore:
    return BadStore(SystemTime(Clock(60), time.time()))


def evaluated(book: Book, metrics: MetricStore) -> Alarms:
    return Alarms(book, metrics, Actions(book, lambda *_: False, lambda *_: None))


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ({"Period": 0}, "Period"),
        ({"Statistic": None, "ExtendedStatistic": "p"}, "p"),
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "ComparisonOperator"),
    ],
    ids=str,
)
def test_a_definition_that_cannot_be_evaluated_is_told_and_the_others_go_on(spoilt: dict[str, Any], why: str) -> None:
    book = Book(metric_alarm("first", **spoilt), metric_alarm("second"))
    evaluated(book, store()).tick(SCOPE, NOW_S)
    first = book.alarms["first"]
    assert (first["StateValue"], first["EvaluationState"]) == ("INSUFFICIENT_DATA", "EVALUATION_ERROR")
    assert why in first["StateReason"]
    assert book.alarms["second"]["StateValue"] == "OK"
    assert "EvaluationState" not in book.alarms["second"]


def test_an_evaluation_that_breaks_is_told_until_one_succeeds() -> None:
    book, metrics = Book(metric_alarm("bad"), metric_alarm("second")), store()
    alarms = evaluated(book, metrics)
    alarms.tick(SCOPE, NOW_S)
    bad = book.alarms["bad"]
    assert (bad["StateValue"], bad["EvaluationState"]) == ("INSUFFICIENT_DATA", "EVALUATION_FAILURE")
    assert bad["StateReason"] == "ZeroDivisionError: bad bucket"
    assert book.alarms["second"]["StateValue"] == "OK"
    metrics.bad = False
    alarms.tick(SCOPE, NOW_S + 60)
    assert bad["StateValue"] == "OK"
    assert "EvaluationState" not in bad


def test_composite_alarms_are_evaluated_once_for_all_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"alarm-{number}" for number in range(50)]
    rule = " OR ".join(f"ALARM({name})" for name in names)
    book = Book(*[metric_alarm(name) for name in names], composite("any", rule), composite("above", "ALARM(any)"))
    metrics = store()
    for name in names:
        metrics.put(SCOPE, metric_key("Desk", name, {}), 5, wall=metrics.system_time.wall(NOW_S - 30))
    alarms, times = evaluated(book, metrics), []
    once = alarms.evaluate_composites
    monkeypatch.setattr(alarms, "evaluate_composites", lambda scope: (times.append(scope), once(scope)))
    alarms.tick(SCOPE, NOW_S)
    assert len(times) == 1
    assert {alarm["StateValue"] for alarm in book.alarms.values()} == {"ALARM"}
    assert book.history.count(("any", "Alarm updated from OK to ALARM")) == 1


def test_an_alarm_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = AlarmEvaluator.__init__

    def counting(self: AlarmEvaluator, alarm: Any, *more: Any) -> None:
        made.append(alarm.alarm_name)
        real(self, alarm, *more)

    monkeypatch.setattr(AlarmEvaluator, "__init__", counting)
    book = Book(*[metric_alarm(f"alarm-{number}") for number in range(5)])
    alarms = evaluated(book, store())
    for tick in range(6):
        alarms.tick(SCOPE, NOW_S + 10 * tick)
    assert len(made) == 5


def test_a_value_that_comes_after_the_evaluation_of_its_minute_rings_at_the_next_one() -> None:
    book, metrics = Book(metric_alarm("slow", Period=300)), store()
    alarms = evaluated(book, metrics)
    for minute in range(6):
        alarms.tick(SCOPE, NOW_S + 60 * minute)
    assert book.alarms["slow"]["StateValue"] == "OK"
    metrics.put(SCOPE, metric_key("Desk", "slow", {}), 5, wall=metrics.system_time.wall(NOW_S + 270))
    for minute, state in ((6, "ALARM"), (9, "ALARM"), (20, "OK")):
        alarms.tick(SCOPE, NOW_S + 60 * minute)
        assert book.alarms["slow"]["StateValue"] == state, minute


def test_nothing_is_kept_of_an_alarm_that_is_gone() -> None:
    """The next one of its name was put at the same time, as the clock shows it, and looks at something else."""
    book, metrics = Book(metric_alarm("first", MetricName="quiet")), store()
    metrics.put(SCOPE, metric_key("Desk", "loud", {}), 5, wall=metrics.system_time.wall(NOW_S + 30))
    alarms = evaluated(book, metrics)
    alarms.tick(SCOPE, NOW_S)
    gone = book.alarms.pop("first")
    alarms.tick(SCOPE, NOW_S + 10)
    book.alarms["first"] = {**gone, "MetricName": "loud"}
    alarms.tick(SCOPE, NOW_S + 60)
    assert book.alarms["first"]["StateValue"] == "ALARM"
