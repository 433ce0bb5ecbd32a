"""What a Prometheus server answers about alerts, and what its answers mean.

https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx
from dateutil.parser import isoparse

from tocsin.alarms.prometheus import AlertRule
from tocsin.errors import TargetError, Unavailable
from tocsin.model.system import AlarmState, PrometheusAlarm, PrometheusAlert
from tocsin.project.proxies import is_loopback

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class _Instance:
    labels: Mapping[str, str]

    def belongs_to(self, alert: PrometheusAlert) -> bool:
        """Whether it is an instance of this documented alert."""
        wanted = {"alertname": alert.alert, **alert.labels}
        return all(self.labels.get(name) == value for name, value in wanted.items())


@dataclass(frozen=True)
class Firing(_Instance):
    """One instance of an alert that is pending or firing."""

    firing: bool
    active_at: float
    """Epoch seconds at which its expression began to hold."""


@dataclass(frozen=True)
class Fired(_Instance):
    """One instance of an alert that fired lately."""

    at: tuple[float, ...]
    """Epoch seconds of the evaluations at which it was firing, oldest first"""


@dataclass(frozen=True)
class Evaluation:
    """What the last evaluation of one alerting rule found. Between two of them nobody looks at the metrics."""

    rule: AlertRule
    at: float
    """Epoch seconds at which it was made; long ago when there was none."""
    error: str
    """Why it found nothing; empty when it was well."""
    instances: tuple[Firing, ...]
    """None where it failed: the server goes on showing those of an earlier one."""


@dataclass(frozen=True)
class Evaluated:
    """What the last evaluations found of all rules that a documented alarm stands for."""

    alert: PrometheusAlert
    evaluations: tuple[Evaluation, ...]

    @property
    def rules(self) -> tuple[AlertRule, ...]:
        """As the server has them."""
        return tuple(one.rule for one in self.evaluations)

    @property
    def firing(self) -> tuple[Firing, ...]:
        """The instances of the alarm that fire."""
        found = (instance for one in self.evaluations for instance in one.instances)
        return tuple(one for one in found if one.firing and one.belongs_to(self.alert))

    @property
    def state(self) -> AlarmState:
        """State of the alarm: one that is pending is OK still, one of whose rules failed is known only if it rings."""
        if self.firing:
            return "ALARM"
        return "INSUFFICIENT_DATA" if self.error else "OK"

    @property
    def error(self) -> str:
        """Why a rule of it was not evaluated; empty when all were."""
        return next((one.error for one in self.evaluations if one.error), "")

    @property
    def at(self) -> float:
        """Epoch seconds as of which the state is known: one rule can make it ring, only all can tell that none does."""
        times = [one.at for one in self.evaluations]
        return max(times) if self.firing else min(times)

    @property
    def newest(self) -> float:
        """Epoch seconds of the newest evaluation of any of the rules."""
        return max(one.at for one in self.evaluations)


class PrometheusApi:
    """The HTTP API of a Prometheus server, as far as alerts are concerned. Its connections are its own: close it.

    Every question raises Unavailable when the server does not answer, and TargetError when it answers something else.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=not is_loopback(url))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections; safe to call twice."""
        self._client.close()

    def evaluations(self) -> tuple[Evaluation, ...]:
        """The alerting rules that the server evaluates, each with what its last evaluation found."""
        groups = self._get("rules", type="alert")["groups"]
        return tuple(_evaluation(rule) for group in groups for rule in group["rules"])

    def evaluations_of(self, alarms: Mapping[str, PrometheusAlarm]) -> dict[str, Evaluated]:
        """The last evaluations of each documented alarm, by its name, that the server has a rule for."""
        found = self.evaluations()
        evaluated = {name: _of(alarm.prometheus, found) for name, alarm in alarms.items()}
        return {name: one for name, one in evaluated.items() if one.evaluations}

    def fired(self, within_s: float) -> tuple[Fired, ...]:
        """Every instance that was firing at an evaluation of the last `within_s`, whatever it is now.

        The server keeps a sample of the series `ALERTS` for each evaluation: its time is that of the evaluation.
        """
        query = f'ALERTS{{alertstate="firing"}}[{max(1, round(within_s * 1000))}ms]'
        series = self._get("query", query=query)["result"]
        return tuple(Fired(one["metric"], tuple(float(at) for at, _ in one["values"])) for one in series)

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"{self._url}/api/v1/{path}"
        try:
            answer = self._client.get(url, params=parameters)
            document = answer.json()
        except httpx.HTTPError as error:
            raise Unavailable(f"asking Prometheus at {url}: {error}") from error
        except ValueError as error:
            raise TargetError(f"expected Prometheus at {url}, found an answer that is no JSON") from error
        if answer.is_error or not isinstance(document, dict) or document.get("status") != "success":
            raise TargetError(f"asking Prometheus at {url}: it answered {answer.status_code}: {document}")
        return document["data"]


def _of(alert: PrometheusAlert, found: tuple[Evaluation, ...]) -> Evaluated:
    mine = (one for one in found if one.rule.alert == alert.alert and one.rule.may_have(alert.labels))
    return Evaluated(alert, tuple(mine))


def _evaluation(rule: Mapping[str, Any]) -> Evaluation:
    terms = {
        "alert": rule["name"],
        "expr": rule["query"],
        "for": f"{round(rule['duration'] * 1000)}ms",
        # Servers before 2.42 do not know it.
        "keep_firing_for": f"{round(rule.get('keepFiringFor', 0) * 1000)}ms",
        "labels": rule.get("labels"),
    }
    error = "" if rule["health"] == "ok" else rule.get("lastError") or "it was not evaluated yet"
    return Evaluation(
        rule=AlertRule.model_validate(terms),
        at=isoparse(rule["lastEvaluation"]).timestamp(),
        error=error,
        instances=tuple(
            Firing(alert["labels"], alert["state"] == "firing", isoparse(alert["activeAt"]).timestamp())
            for alert in (() if error else rule["alerts"])
        ),
    )
