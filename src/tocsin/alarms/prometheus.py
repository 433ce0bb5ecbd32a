"""Prometheus alerting rules, as their standard file says them.

https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from tocsin.alarms.promql import parse
from tocsin.errors import InvalidInput, InvalidInputs, shortened
from tocsin.model.base import Model
from tocsin.model.system import PrometheusAlert, System
from tocsin.project.documents import Document, parse_model, read_document

_UNIT_S = {"y": 31536000.0, "w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONGEST_S = 2**63 / 1e9
"""Go counts nanoseconds in 64 bits."""
_PART = re.compile(r"(\d{1,15})(ms|[smhdwy])")
_PLACE_OF_RULE = re.compile(r"groups\.(?P<group>\d+)\.rules\.(?P<rule>\d+)\b")
_DURATION = re.compile("".join(rf"(?:\d{{1,15}}{unit})?" for unit in _UNIT_S))


def parse_duration(text: str) -> float:
    """Seconds of a duration in Prometheus notation: units from the largest down, each once, or a bare 0.

    Raises:
        ValueError: it is none.
    """
    if text != "0" and not (text and _DURATION.fullmatch(text)):
        raise ValueError(f"expected a duration of Prometheus such as 5m or 1h30m, found '{shortened(text)}'")
    seconds = sum(int(number) * _UNIT_S[unit] for number, unit in _PART.findall(text))
    if seconds > _LONGEST_S:
        raise ValueError(f"expected a duration of at most 292 years, found '{shortened(text)}'")
    return seconds


def _a_duration(text: str) -> str:
    parse_duration(text)
    return text


# Prometheus takes a key with nothing after it for an empty one, and an entry of a list that is nothing for none.


def _duration(value: object) -> object:
    return "0s" if value is None else value


def _entries(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(one for one in value if one is not None)
    return () if value is None else value


def _texts(value: object) -> object:
    if isinstance(value, dict):
        return {name: "" if text is None else text for name, text in value.items()}
    return {} if value is None else value


def _whole(value: object) -> object:
    """The reader of Prometheus cuts a number down to a whole one."""
    try:
        return 0 if value is None else int(float(str(value)))
    except (ValueError, OverflowError):
        return value


def _recorded(value: object) -> object:
    """Of a recording rule what only alerts have, where it says nothing: empty, or no time at all."""
    if not isinstance(value, dict) or not value.get("record"):
        return value
    said = dict(value)
    for name in ("alert", "annotations", "for", "keep_firing_for"):
        if name in said and said[name] in (None, "", {}, "0", "0s", "0m", "0h", "0ms", "0d", "0w", "0y"):
            del said[name]
    return said


PromDuration = Annotated[str, BeforeValidator(_duration), AfterValidator(_a_duration)]
Labels = Annotated[dict[str, str], BeforeValidator(_texts)]
RuleName = Annotated[str, Field(min_length=1)]


class AlertRule(Model):
    """One alerting rule: standard fields, durations in Prometheus notation (`2m`, `1h30m`)."""

    alert: RuleName
    expr: str
    for_: PromDuration = Field(default="0s", alias="for")
    keep_firing_for: PromDuration = "0s"
    labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.alert

    def may_have(self, wanted: Mapping[str, str]) -> bool:
        """Whether an instance of it can have these labels: what the rule does not say, its series may."""
        said = {name: self.labels[name] for name in wanted if name in self.labels}
        return all("{{" in value or value == wanted[name] for name, value in said.items())

    @property
    def for_s(self) -> float:
        """How long the expression must hold before the alert fires, in seconds."""
        return parse_duration(self.for_)

    @property
    def keep_firing_s(self) -> float:
        """How long the alert goes on firing after its expression held last, in seconds."""
        return parse_duration(self.keep_firing_for)


class RecordingRule(Model):
    """One recording rule; alerts may be built on it."""

    record: Annotated[str, Field(pattern=r"^[^{}]+$")]
    expr: str
    labels: Labels = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """The series that it writes."""
        return self.record


class RuleGroup(Model):
    """Rules that are evaluated together, in order."""

    name: RuleName
    interval: PromDuration | None = None
    query_offset: PromDuration | None = None
    limit: Annotated[int, BeforeValidator(_whole)] = 0
    labels: Labels = Field(default_factory=dict)
    rules: Annotated[tuple[AlertRule | RecordingRule, ...], BeforeValidator(_entries)] = ()

    @field_validator("rules", mode="before")
    @classmethod
    def _as_prometheus_reads(cls, value: object) -> object:
        return tuple(map(_recorded, value)) if isinstance(value, list | tuple) else value


class RuleFile(Model):
    """A whole rules file."""

    groups: Annotated[tuple[RuleGroup, ...], BeforeValidator(_entries)] = ()

    @model_validator(mode="after")
    def _names_each_group_once(self) -> RuleFile:
        names = [group.name for group in self.groups]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"expected each group once, found '{shortened(twice)}' twice")
        return self

    @property
    def alerts(self) -> dict[str, tuple[AlertRule, ...]]:
        """The alerting rules by name, with the labels of their groups; several may have one name."""
        found: dict[str, tuple[AlertRule, ...]] = {}
        for group, rule in self.placed:
            if isinstance(rule, AlertRule):
                whole = rule.model_copy(update={"labels": group.labels | rule.labels}) if group.labels else rule
                found[rule.alert] = (*found.get(rule.alert, ()), whole)
        return found

    def rules_of(self, alert: PrometheusAlert) -> tuple[AlertRule, ...]:
        """The rules that an alarm may stand for: those of its name that can have its labels."""
        return tuple(rule for rule in self.alerts.get(alert.alert, ()) if rule.may_have(alert.labels))

    @property
    def placed(self) -> Iterator[tuple[RuleGroup, AlertRule | RecordingRule]]:
        """Every rule with its group, in the order of the file."""
        return ((group, rule) for group in self.groups for rule in group.rules)


def load_rules(path: Path) -> RuleFile:
    """Read a rules file.

    Raises:
        InvalidInput: it is missing, not YAML, or not a rules file: all that is wrong, with its lines.
    """
    return read_rules(path)[0]


def read_rules(path: Path) -> tuple[RuleFile, Document]:
    """A rules file, with its lines; as `load_rules`."""
    document = read_document(path, texts=True)
    try:
        return parse_model(RuleFile, document.data, document), document
    except InvalidInput as error:
        raise InvalidInputs(_with_rule(problem, document.data) for problem in error.problems) from None


def _with_rule(problem: InvalidInput, data: Any) -> InvalidInput:
    """A mistake in a rule, with the rule's name: a number says little in a file of fifty."""
    place = _PLACE_OF_RULE.match(problem.message)
    if place is None:
        return problem
    group = _entries(data.get("groups"))[int(place["group"])]
    rule = _entries(group.get("rules"))[int(place["rule"])]
    name = isinstance(rule, dict) and (rule.get("alert") or rule.get("record"))
    words = f"rule '{shortened(str(name))}': {problem.message}" if name else problem.message
    return InvalidInput(words, file=problem.file, line=problem.line)


def rules_of(root: Path, system: System) -> dict[str, tuple[AlertRule, ...]]:
    """The documented rules that each alarm on Prometheus stands for, by the alarm's name in the system file.

    Raises:
        InvalidInput: the rules file cannot be used.
    """
    if system.prometheus is None:
        return {}
    rules = load_rules(root / system.prometheus.rules)
    return {name: rules.rules_of(alarm.prometheus) for name, alarm in system.prometheus_alarms.items()}


def rule_drift(documented: Sequence[AlertRule], found: Sequence[AlertRule]) -> tuple[str, ...]:
    """How the rules that a server evaluates for an alarm differ from the documented ones, in words."""
    missing, more = list(documented), []
    for rule in found:
        same = next((one for one in missing if not _differences(one, rule)), None)
        if same is None:
            more.append(rule)
        else:
            missing.remove(same)
    # What is left on both sides is compared as it stands in the files.
    told = [words for one, other in zip(missing, more, strict=False) for words in _differences(one, other)]
    told += [f"there is no rule '{one.expr}'{_with(one)}" for one in missing[len(more) :]]
    told += [f"there is a rule '{one.expr}'{_with(one)} too" for one in more[len(missing) :]]
    return tuple(told)


def _differences(documented: AlertRule, found: AlertRule) -> list[str]:
    told = []
    if _plain(documented.expr) != _plain(found.expr):
        told.append(f"expr is '{found.expr}', documented '{documented.expr}'")
    if documented.for_s != found.for_s:
        told.append(f"for is {found.for_s:g} s, documented {documented.for_s:g} s")
    if documented.keep_firing_s != found.keep_firing_s:
        told.append(f"keep_firing_for is {found.keep_firing_s:g} s, documented {documented.keep_firing_s:g} s")
    if documented.labels != found.labels:
        told.append(f"labels are {found.labels}, documented {documented.labels}")
    return told


def _with(rule: AlertRule) -> str:
    return f" with {rule.labels}" if rule.labels else ""


def _plain(expr: str) -> str:
    """In the one form that our parser prints: a server has one of its own. Without spaces where it cannot be read."""
    try:
        return str(parse(expr, "").prettify())
    except InvalidInput:
        return re.sub(r"\s+", "", expr)
