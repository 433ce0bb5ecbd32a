"""Prometheus alerting rules, as their standard file says them, and what a server's answers mean.

https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from tocsin.errors import InvalidInput
from tocsin.model.base import Model

_DURATION = re.compile(r"(\d+)(ms|[smhdwy])")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
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
