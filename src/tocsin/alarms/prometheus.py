"""Prometheus alerting rules, as their standard file says them, and what a server's answers mean.

https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import httpx
import yaml
from dateutil.parser import isoparse
from pydantic import Field, ValidationError

from tocsin.errors import InvalidInput, TargetError, Unavailable
from tocsin.model.base import Model
from tocsin.model.system import AlarmState, PrometheusAlarm, PrometheusAlert, System

_DURATION = re.compile(r"(\d+)(ms|[smhdwy])")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
_TIMEOUT_S = 10.0
_RANGE = re.compile(r"\[((?:\d+(?:ms|[smhdwy]))+)")


class AlertRule(Model):
    """One alerting rule: standard fields, durations in Prometheus notation (`2m`, `1h30m`)."""

    alert: str
    expr: str
    for_: str = Field(default="0s", alias="for")
    keep_firing_for: str = "0s"
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @property
    def for_s(self) -> float:
        """How long the expression must hold before the alert fires, in seconds."""
        return parse_duration(self.for_)

    @property
    def range_s(self) -> float:
        """The longest range its expression looks back over, in seconds."""
        return max((parse_duration(text) for text in _RANGE.findall(self.expr)), default=0.0)


class RecordingRule(Model):
    """One recording rule; alerts may be built on it."""

    record: str
    expr: str
    labels: dict[str, str] = Field(default_factory=dict)


class RuleGroup(Model):
    """Rules that are evaluated together, in order."""

    name: str
    interval: str | None = None
    rules: tuple[AlertRule | RecordingRule, ...] = ()


class RuleFile(Model):
    """A whole rules file."""

    groups: tuple[RuleGroup, ...]

    @property
    def alerts(self) -> dict[str, AlertRule]:
        """The alerting rules by name."""
        return {rule.alert: rule for rule in self._rules() if isinstance(rule, AlertRule)}

    @property
    def expressions(self) -> tuple[str, ...]:
        """Every expression of the file."""
        return tuple(rule.expr for rule in self._rules())

    def _rules(self) -> Iterator[AlertRule | RecordingRule]:
        return (rule for group in self.groups for rule in group.rules)


def load_rules(path: Path) -> RuleFile:
    """Read a rules file.

    Raises:
        InvalidInput: it is missing, not YAML, or not a rules file.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return RuleFile.model_validate(document)
    except OSError as error:
        raise InvalidInput(f"expected a Prometheus rules file: {error.strerror}", file=path) from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"expected YAML: {error}", file=path) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"expected a Prometheus rules file; {place}: {first['msg']}", file=path) from None


def parse_duration(text: str) -> float:
    """Seconds of a duration in Prometheus notation.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(rf"(?:{_DURATION.pattern})+", text):
        raise ValueError(f"expected a duration such as 5m or 1h30m, found '{text}'")
    return sum(int(number) * _UNIT_S[unit] for number, unit in _DURATION.findall(text))


def rules_of(root: Path, system: System) -> dict[str, AlertRule]:
    """The documented alerting rules of a system by name; none when it has no Prometheus.

    Raises:
        InvalidInput: the rules file cannot be used.
    """
    return {} if system.prometheus is None else load_rules(root / system.prometheus.rules).alerts


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
    """Why it found nothing; empty when it was well. The instances are then those of an earlier one."""
    instances: tuple[Firing, ...]

    def firing(self, alert: PrometheusAlert) -> tuple[Firing, ...]:
        """The instances of a documented alert that fire."""
        return tuple(one for one in self.instances if one.firing and one.belongs_to(alert))

    def state(self, alert: PrometheusAlert) -> AlarmState:
        """State of a documented alert; one that is pending is OK still."""
        if self.error:
            return "INSUFFICIENT_DATA"
        return "ALARM" if self.firing(alert) else "OK"

    def joined(self, other: Evaluation) -> Evaluation:
        """Of two rules of one name, which differ in what they label: known as long as the older is."""
        return replace(
            self,
            at=min(self.at, other.at),
            error=self.error or other.error,
            instances=self.instances + other.instances,
        )


class PrometheusApi:
    """The HTTP API of a Prometheus server, as far as alerts are concerned. Its connections are its own: close it.

    Every question raises Unavailable when the server does not answer, and TargetError when it answers something else.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(timeout=_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections; safe to call twice."""
        self._client.close()

    def evaluations(self) -> dict[str, Evaluation]:
        """The alerting rules that the server evaluates, by name, each with what its last evaluation found."""
        found: dict[str, Evaluation] = {}
        for rule in (rule for group in self._get("rules", type="alert")["groups"] for rule in group["rules"]):
            evaluation, before = _evaluation(rule), found.get(rule["name"])
            found[rule["name"]] = evaluation if before is None else before.joined(evaluation)
        return found

    def evaluations_of(self, alarms: Mapping[str, PrometheusAlarm]) -> dict[str, Evaluation]:
        """The last evaluation of each documented alarm, by its name, that the server has a rule for."""
        found = self.evaluations()
        alerts = {name: found.get(alarm.prometheus.alert) for name, alarm in alarms.items()}
        return {name: evaluation for name, evaluation in alerts.items() if evaluation is not None}

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


def _evaluation(rule: Mapping[str, Any]) -> Evaluation:
    terms = {"alert": rule["name"], "expr": rule["query"], "for": f"{round(rule['duration'] * 1000)}ms"}
    return Evaluation(
        rule=AlertRule.model_validate(terms),
        at=isoparse(rule["lastEvaluation"]).timestamp(),
        error="" if rule["health"] == "ok" else rule.get("lastError") or "it was not evaluated yet",
        instances=tuple(
            Firing(alert["labels"], alert["state"] == "firing", isoparse(alert["activeAt"]).timestamp())
            for alert in rule["alerts"]
        ),
    )


def rule_drift(documented: AlertRule, found: AlertRule) -> tuple[str, ...]:
    """How the rule that a server evaluates differs from the documented one, in words."""
    differing = []
    if _plain(documented.expr) != _plain(found.expr):
        differing.append(f"expr is '{found.expr}', documented '{documented.expr}'")
    if documented.for_s != found.for_s:
        differing.append(f"for is {found.for_s:g} s, documented {documented.for_s:g} s")
    return tuple(differing)


def _plain(expr: str) -> str:
    """Without spaces: a server prints an expression in a form of its own."""
    return re.sub(r"\s+", "", expr)
