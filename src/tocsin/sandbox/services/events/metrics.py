"""The metrics of `AWS/Events` and `AWS/Scheduler`: which dimensions each one is published with.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html and
https://docs.aws.amazon.com/scheduler/latest/UserGuide/monitoring-cloudwatch.html

A rule of the default bus is named by `RuleName`, one of another bus by `EventBusName` and `RuleName`. Metrics that are
sent only when they are not zero, and counts of things that did not happen, are not published here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tocsin.alarms.cloudwatch import metric_key
from tocsin.sandbox.metrics import MetricStore, Scope

_EVENTS = "AWS/Events"
_SCHEDULER = "AWS/Scheduler"
_MILLISECONDS = "Milliseconds"

_ACCOUNT, _BUS, _RULE = "account", "bus", "rule"

_DIMENSIONS: Mapping[str, frozenset[str]] = {
    "DeadLetterInvocations": frozenset({_RULE}),
    "FailedInvocations": frozenset({_RULE}),
    "Invocations": frozenset({_ACCOUNT, _RULE}),
    "InvocationAttempts": frozenset({_ACCOUNT, _BUS, _RULE}),
    "InvocationsCreated": frozenset({_ACCOUNT}),
    "InvocationsFailedToBeSentToDlq": frozenset({_RULE}),
    "InvocationsSentToDlq": frozenset({_RULE}),
    "MatchedEvents": frozenset({_RULE}),
    "RetryInvocationAttempts": frozenset({_ACCOUNT, _BUS, _RULE}),
    "SuccessfulInvocationAttempts": frozenset({_ACCOUNT, _BUS, _RULE}),
    "TriggeredRules": frozenset({_ACCOUNT, _BUS, _RULE}),
}
_START_LATENCY = "IngestiontoInvocationStartLatency"
_SUCCESS_LATENCY = "IngestionToInvocationSuccessLatency"


@dataclass(frozen=True)
class RuleMetrics:
    """What is counted of one rule."""

    store: MetricStore
    scope: Scope
    bus: str
    rule: str

    def count(self, *names: str) -> None:
        """One more of each of them."""
        for name in names:
            for dimensions in self._dimensions(_DIMENSIONS[name]):
                self.store.put(self.scope, metric_key(_EVENTS, name, dimensions), 1.0, "Count")

    def started(self, latency_ms: float) -> None:
        """The first attempt began so long after the event was taken in.

        AWS writes the name of the account's total with a capital more than that of a rule or a bus:
        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-ge-create-endpoint.html has the one,
        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html the other.
        """
        self._latency(_START_LATENCY.replace("Ingestionto", "IngestionTo"), latency_ms, {_ACCOUNT})
        self._latency(_START_LATENCY, latency_ms, {_BUS, _RULE})

    def delivered(self, latency_ms: float) -> None:
        """The target took the event so long after it was taken in."""
        self._latency(_SUCCESS_LATENCY, latency_ms, {_ACCOUNT, _BUS, _RULE})

    def _latency(self, name: str, latency_ms: float, levels: set[str]) -> None:
        for dimensions in self._dimensions(frozenset(levels)):
            self.store.put(self.scope, metric_key(_EVENTS, name, dimensions), latency_ms, _MILLISECONDS)

    def _dimensions(self, levels: frozenset[str]) -> Iterator[dict[str, str]]:
        if _ACCOUNT in levels:
            yield {}
        if _BUS in levels:
            yield {"EventBusName": self.bus}
        if _RULE in levels:
            yield (
                {"RuleName": self.rule}
                if self.bus == "default"
                else {
                    "EventBusName": self.bus,
                    "RuleName": self.rule,
                }
            )


def matched(store: MetricStore, scope: Scope, bus: str) -> None:
    """An event of a bus matched at least one of its rules."""
    store.put(scope, metric_key(_EVENTS, "MatchedEvents", {"EventBusName": bus}), 1.0, "Count")


def put_events(store: MetricStore, scope: Scope, entries: int, failed: int) -> None:
    """One call of PutEvents; `failed` of its entries were not taken in."""
    counts = {
        "PutEventsApproximateCallCount": 1,
        "PutEventsApproximateSuccessCount" if failed < entries else "PutEventsApproximateFailedCount": 1,
        "PutEventsEntriesCount": entries,
        "PutEventsFailedEntriesCount": failed,
    }
    for name, value in counts.items():
        store.put(scope, metric_key(_EVENTS, name, {}), float(value), "Count")


def schedule(store: MetricStore, scope: Scope, group: str, name: str) -> None:
    """One more of a metric of EventBridge Scheduler, of the group and of all groups."""
    for dimensions in ({}, {"ScheduleGroup": group}):
        store.put(scope, metric_key(_SCHEDULER, name, dimensions), 1.0, "Count")
