"""What the API of a Prometheus shows of its alerts: all of it as of one moment, between two evaluations.

https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tocsin.alarms.exposition import Labels
from tocsin.alarms.prometheus import AlertRule
from tocsin.sandbox.metrics import SystemTime
from tocsin.sandbox.prometheus.evaluation import Evaluator, Instance
from tocsin.sandbox.prometheus.plan import Planned


class Shown:
    """The answers of the API. Whoever evaluates goes on meanwhile, so they are taken from it at once."""

    def __init__(self, rings: Evaluator, system_time: SystemTime) -> None:
        self._rings = rings
        self._time = system_time
        self._evaluated = rings.evaluated
        alerting = [rule for rule in rings.plan.rules if isinstance(rule.rule, AlertRule)]
        self.groups = list(self._groups(alerting))
        """Of `/api/v1/rules?type=alert`."""
        self.alerts = [alert for group in self.groups for rule in group["rules"] for alert in rule["alerts"]]
        """Of `/api/v1/alerts`."""
        self._series = list(self._all_series(alerting))

    def fired(self, matchers: Mapping[str, str], within_s: float) -> list[dict[str, Any]]:
        """The samples of `ALERTS` of the last `within_s` system seconds."""
        oldest, found = self._evaluated - within_s, []
        for metric, times in self._series:
            values = [[self._time.wall(at), "1"] for at in times if at > oldest]
            if values and all(metric.get(name) == value for name, value in matchers.items()):
                found.append({"metric": metric, "values": values})
        return found

    def _groups(self, alerting: Sequence[Planned]) -> Iterator[dict[str, Any]]:
        by_name: dict[str, list[Planned]] = {}
        for rule in alerting:
            by_name.setdefault(rule.group.name, []).append(rule)
        for name, rules in by_name.items():
            yield {"name": name, "interval": rules[0].interval_s, "rules": [self._rule(rule) for rule in rules]}

    def _rule(self, rule: Planned) -> dict[str, Any]:
        assert isinstance(rule.rule, AlertRule)
        last, error = self._rings.health(rule)
        alerts = [
            self._alert(rule.rule, labels, one) for labels, one in self._instances(rule) if last and one.last == last
        ]
        return {
            "type": "alerting",
            "name": rule.rule.alert,
            "query": rule.rule.expr,
            "duration": rule.rule.for_s,
            "keepFiringFor": rule.rule.keep_firing_s,
            "labels": rule.group.labels | rule.rule.labels,
            "annotations": rule.rule.annotations,
            "alerts": alerts,
            "state": _most_severe(alerts),
            "health": "err" if error and last else "unknown" if error else "ok",
            "lastError": error,
            "lastEvaluation": self._iso(last),
        }

    def _alert(self, rule: AlertRule, labels: Labels, instance: Instance) -> dict[str, Any]:
        return {
            "labels": {"alertname": rule.alert, **dict(labels)},
            "annotations": rule.annotations,
            "state": instance.state,
            "activeAt": self._iso(instance.active_since),
            "value": "",
        }

    def _all_series(self, alerting: Sequence[Planned]) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
        for rule in alerting:
            for labels, instance in self._instances(rule):
                for state, times in (("pending", instance.pending), ("firing", instance.firing)):
                    metric = {"__name__": "ALERTS", "alertname": rule.rule.name, "alertstate": state, **dict(labels)}
                    yield metric, tuple(times)

    def _instances(self, rule: Planned) -> Iterator[tuple[Labels, Instance]]:
        return (
            (labels, instance) for (number, labels), instance in self._rings.instances.items() if number == rule.number
        )

    def _iso(self, at: int) -> str:
        moment = datetime.fromtimestamp(self._time.wall(at), UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _most_severe(alerts: Sequence[Mapping[str, Any]]) -> str:
    states = {alert["state"] for alert in alerts}
    return next((state for state in ("firing", "pending") if state in states), "inactive")
