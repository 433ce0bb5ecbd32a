"""Alarms that stand for rules of Prometheus: which rule is meant, and when it can ring."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.drill.kiosk import THROTTLED

from tocsin.alarms.feasibility import forecast_rules
from tocsin.alarms.prometheus import rules_of
from tocsin.drill.plan import Plan, Planner
from tocsin.errors import InvalidInput

RULES = """
groups:
- name: disk
  rules:
  - {alert: DiskFills, expr: 'disk_free_share < 0.05', for: 2m, labels: {severity: page}}
  - {alert: DiskFills, expr: 'disk_free_share < 0.15', for: 3h, labels: {severity: ticket, team: '{{ $labels.team }}'}}
- name: late
  rules:
  - {alert: DiskFills, expr: 'disk_free_share < 0.10', for: 1h, labels: {severity: ticket}}
"""
EXPERIMENT = (
    THROTTLED
    + """\
  - name: tocsin
    system: kiosk
    expect:
      must:
        - {alarm: disk, within: 11m, labels: LABELS}
      recovery: {within: 5m}
"""
)


def plan(root: Path, labels: str, *, of_system: dict[str, str] | None = None, cloudwatch: bool = False) -> Plan:
    (root / "systems").mkdir()
    alarm: dict[str, object] = {"title": "Disk", "prometheus": {"alert": "DiskFills", "labels": of_system or {}}}
    if cloudwatch:
        terms = {"MetricName": "Errors", "Namespace": "AWS/Lambda", "Statistic": "Sum", "Period": 60, "Threshold": 1}
        terms |= {"AlarmName": "a", "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold"}
        alarm = {"title": "Disk", "cloudwatch": terms}
    system = {
        "system": "kiosk",
        "title": "Kiosk",
        "endpoint": {"url": "http://127.0.0.1:9"},
        "prometheus": {"url": "http://127.0.0.1:9", "rules": "rules.yaml"},
        "alarms": {"disk": alarm},
    }
    (root / "systems" / "kiosk.yaml").write_text(yaml.safe_dump(system))
    (root / "rules.yaml").write_text(RULES)
    (root / "experiment.yaml").write_text(EXPERIMENT.replace("LABELS", labels))
    return Planner(root).plan(root / "experiment.yaml")


@pytest.mark.parametrize(
    ("labels", "of_system", "terms", "earliest_s"),
    [
        ("{severity: page}", {}, ["2m"], 120),
        ("{severity: ticket}", {}, ["3h", "1h"], None),
        ("{}", {}, ["2m", "3h", "1h"], 120),
        ("{}", {"severity": "page"}, ["2m"], 120),
        ("{device: sda}", {"severity": "page"}, ["2m"], 120),
        ("{team: till}", {"severity": "ticket"}, ["3h", "1h"], None),
    ],
)
def test_labels_say_which_rule_is_meant(
    tmp_path: Path, labels: str, of_system: dict[str, str], terms: list[str], earliest_s: float | None
) -> None:
    system = plan(tmp_path, labels, of_system=of_system).system
    assert system.prometheus_alarms["disk"].prometheus.labels == {**of_system, **yaml.safe_load(labels)}
    rules = rules_of(tmp_path, system)["disk"]
    assert [rule.for_ for rule in rules] == terms
    assert forecast_rules(rules, 660).earliest_s == earliest_s


@pytest.mark.parametrize(
    ("labels", "of_system", "said"),
    [
        ("{severity: pages}", {}, "found severity: 'pages'. Did you mean 'page'?"),
        ("{severity: page}", {"severity": "ticket"}, "expected severity: 'ticket' as in the system file, found 'page'"),
        ("{severity: page}", {"severity": "tickets"}, "found severity: 'tickets'. Did you mean 'ticket'?"),
    ],
)
def test_labels_that_no_rule_can_have_are_refused(
    tmp_path: Path, labels: str, of_system: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        plan(tmp_path, labels, of_system=of_system)
    assert said in str(refused.value)


def test_an_alarm_of_cloudwatch_has_no_labels(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="it is an alarm of CloudWatch, which has none"):
        plan(tmp_path, "{severity: page}", cloudwatch=True)
