"""Which dimensions a metric of EventBridge is published with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tocsin.alarms.cloudwatch import MetricKey
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.services.events.metrics import RuleMetrics, matched, put_events, schedule

SCOPE = ("123456789012", "eu-central-1")
BUS = ("EventBusName", "orders")
RULE = ("RuleName", "r")


@dataclass
class Published:
    """What was published."""

    found: list[tuple[MetricKey, float, str]] = field(default_factory=list)

    def put(self, scope: Scope, key: MetricKey, value: float, unit: str = "None", **_: Any) -> None:
        assert scope == SCOPE
        self.found.append((key, value, unit))

    def dimensions(self, name: str) -> list[tuple[tuple[str, str], ...]]:
        return [tuple(key.dimensions) for key, _, _ in self.found if key.name == name]


def test_a_rule_of_the_default_bus_is_named_alone_and_one_of_another_bus_with_it() -> None:
    published = Published()
    RuleMetrics(published, SCOPE, "default", "r").count("FailedInvocations")
    RuleMetrics(published, SCOPE, "orders", "r").count("FailedInvocations")
    assert published.dimensions("FailedInvocations") == [(RULE,), (BUS, RULE)]


def test_the_levels_of_a_metric_are_those_of_its_page() -> None:
    published = Published()
    rule = RuleMetrics(published, SCOPE, "orders", "r")
    rule.count("Invocations", "InvocationAttempts", "InvocationsCreated", "MatchedEvents")
    matched(published, SCOPE, "orders")
    assert published.dimensions("Invocations") == [(), (BUS, RULE)]
    assert published.dimensions("InvocationAttempts") == [(), (BUS,), (BUS, RULE)]
    assert published.dimensions("InvocationsCreated") == [()]
    assert published.dimensions("MatchedEvents") == [(BUS, RULE), (BUS,)]


def test_the_latency_of_the_account_is_written_otherwise_than_that_of_a_rule() -> None:
    published = Published()
    RuleMetrics(published, SCOPE, "default", "r").started(7.0)
    assert published.dimensions("IngestionToInvocationStartLatency") == [()]
    assert published.dimensions("IngestiontoInvocationStartLatency") == [(("EventBusName", "default"),), (RULE,)]
    assert {(value, unit) for _, value, unit in published.found} == {(7.0, "Milliseconds")}


def test_a_call_of_put_events() -> None:
    published = Published()
    put_events(published, SCOPE, 3, 1)
    assert {key.name: value for key, value, _ in published.found} == {
        "PutEventsApproximateCallCount": 1.0,
        "PutEventsApproximateSuccessCount": 1.0,
        "PutEventsEntriesCount": 3.0,
        "PutEventsFailedEntriesCount": 1.0,
    }


def test_a_schedule_is_counted_for_its_group_and_for_all() -> None:
    published = Published()
    schedule(published, SCOPE, "default", "TargetErrorCount")
    assert published.dimensions("TargetErrorCount") == [(), (("ScheduleGroup", "default"),)]
