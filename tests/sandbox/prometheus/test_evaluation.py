"""Step by step comes out as one evaluation of the whole history by the same engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.sandbox.prometheus.steps import INTERVAL_S, ORIGIN, stepped, stepwise, whole

from tocsin.alarms.prometheus import load_rules
from tocsin.sandbox.parts.programs import Promtool
from tocsin.sandbox.prometheus.evaluation import Evaluator, Instance
from tocsin.sandbox.prometheus.plan import Plan
from tocsin.sandbox.prometheus.samples import STALE, Value


def written(directory: Path, text: str) -> Path:
    path = directory / "rules.yaml"
    path.write_text(text)
    return path


def burst(ticks: int, first: int, last: int, per_tick: float = 5.0) -> list[Value]:
    """A counter that grows between two ticks only."""
    return [per_tick * min(max(tick - first, 0), last - first) for tick in range(ticks)]


def growing(ticks: int, per_tick: float = 100.0) -> list[Value]:
    return [per_tick * tick for tick in range(ticks)]


BURN = """
groups:
- name: shares
  rules:
  - record: till:failed:share30m
    expr: sum(rate(till_total{outcome="failed"}[30m])) / sum(rate(till_total[30m]))
  - record: till:failed:share5m
    expr: sum(rate(till_total{outcome="failed"}[5m])) / sum(rate(till_total[5m]))
  - {alert: TillBurns, expr: 'till:failed:share30m > 0.004 and till:failed:share5m > 0.02', for: 2m}
"""
CASES = {
    "recorded": BURN,
    "recorded by a later group, twice over": """
groups:
- name: readers
  rules:
  - {alert: Often, expr: 'max_over_time(till:sum[10m]) > 0.1', for: 1m}
- name: writers
  rules:
  - {record: 'till:rate', expr: 'rate(till_total{outcome="failed"}[5m])'}
  - {record: 'till:sum', expr: 'sum(till:rate)'}
""",
    "offset": """
groups:
- name: g
  rules:
  - {alert: Earlier, expr: 'rate(till_total{outcome="failed"}[2m] offset 10m) > 0', for: 1m}
  - {alert: More, expr: 'rate(till_total[2m]) > 1.1 * rate(till_total[2m] offset 15m)'}
""",
    "subqueries": """
groups:
- name: g
  rules:
  - {alert: Lately, expr: 'max_over_time(sum(rate(till_total{outcome="failed"}[5m]))[10m:1m]) > 0.1', for: 1m}
  - {alert: Twice, expr: 'avg_over_time(max_over_time(rate(till_total{outcome="failed"}[2m])[7m:90s])[11m:2m]) > 0.1'}
  - {alert: Plain, expr: 'count_over_time((rate(till_total{outcome="failed"}[1m]) > 0)[10m:]) > 3'}
""",
    "keep_firing_for": """
groups:
- name: g
  rules:
  - {alert: Kept, expr: 'rate(till_total{outcome="failed"}[1m]) > 0', for: 1m, keep_firing_for: 9m}
  - {alert: Chained, expr: 'changes(till_total{outcome="failed"}[30s]) > 0', for: 0s, keep_firing_for: 3m}
  - {alert: Pulse, expr: 'till_open == 0', for: 45s, keep_firing_for: 5m}
""",
    "alerts on alerts, and a rule that reads itself": """
groups:
- name: g
  rules:
  - {alert: Cause, expr: 'rate(till_total{outcome="failed"}[1m]) > 0', for: 2m}
  - {alert: Any, expr: 'count(ALERTS{alertname!="Any"}) > 0', for: 30s}
  - {record: 'till:count', expr: 'till:count + 1 or sum(till_open * 0)'}
  - {alert: Counted, expr: 'till:count > 20'}
  - {alert: Late, expr: 'till:late > 0.1'}
  - {record: 'till:late', expr: 'rate(till_total{outcome="failed"}[5m])'}
""",
    "absent, and ends": """
groups:
- name: g
  rules:
  - {alert: Gone, expr: 'absent(till_open)', for: 1m}
  - {alert: NeverThere, expr: 'absent_over_time(nothing[20m])', for: 20m}
  - {alert: Closed, expr: 'till_open == 0', for: 1m, labels: {till: '{{ $labels.till }}-x', was: '{{ $value }}'}}
""",
    "one name": """
groups:
- name: a
  rules: [{alert: Full, expr: 'till_total{outcome="failed"} > 20', for: 1m, labels: {severity: page}}]
- name: b
  rules:
  - {alert: Full, expr: 'till_total{outcome="failed"} > 10', for: 5m, labels: {severity: ticket}}
  - {alert: Full, expr: 'till_open == 0', for: 2m}
""",
}
TICKS = 100
SERIES: dict[str, list[Value]] = {
    'till_total{outcome="failed",till="1"}': burst(TICKS, 20, 32),
    'till_total{outcome="sold",till="1"}': growing(TICKS),
    'till_open{till="1"}': [*([1.0] * 30), *([0.0] * 12), 1.0, *([0.0] * 8), STALE, *([None] * 20), *([1.0] * 27)],
}


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_steps_are_the_whole_history(promtool: Promtool, tmp_path: Path, text: str) -> None:
    rules = written(tmp_path, text)
    # Rules that read what comes after them are evaluated one moment after the other, each in a run of its own.
    steps = [1, 7, 20, 1, 1, 1, 4] if "ALERTS" in text else [1, 7, 20, 1, 1, 1, 20, 5, 30, 14]
    expected = whole(promtool, rules, SERIES, sum(steps))
    assert any(expected)
    assert stepwise(promtool, rules, SERIES, steps) == expected


def _instances(evaluator: Evaluator) -> dict[str, Instance]:
    """Where each alert has one."""
    return {evaluator.plan.rules[number].rule.name: one for (number, _), one in evaluator.instances.items()}


def test_a_group_is_evaluated_at_its_own_interval(promtool: Promtool, tmp_path: Path) -> None:
    rules = written(
        tmp_path,
        """
groups:
- name: slow
  interval: 2m
  rules:
  - {record: 'till:open', expr: till_open}
  - {alert: Slow, expr: 'till_open == 0', for: 2m}
- name: odd
  interval: 20s
  rules: [{alert: Odd, expr: 'till:open == 0', for: 40s}]
""",
    )
    # From 0 s to 585 s every 15 s; closed from 135 s on, and open again at 495 s.
    _, evaluator = stepped(promtool, rules, {"till_open": [1.0] * 9 + [0.0] * 24 + [1.0] * 7}, [3, 9, 28])
    times = {
        evaluator.plan.rules[number].rule.name: (
            [at - ORIGIN for at in one.pending],
            [at - ORIGIN for at in one.firing],
        )
        for (number, _), one in evaluator.instances.items()
    }
    # The slow group looks at 240, 360, 480 and finds it open at 600 only.
    assert times["Slow"] == ([240], [360, 480])
    # What it recorded at 240 is what the other finds until 480, and then still for the last look.
    assert times["Odd"] == ([240, 260], list(range(280, 585, 20)))


def test_an_expression_that_fails_stops_no_other(promtool: Promtool, tmp_path: Path) -> None:
    rules = written(
        tmp_path,
        """
groups:
- name: g
  rules:
  - {record: 'till:share', expr: 'till_open / on(till) till_known'}
  - {alert: Reads, expr: 'till:share > 0', for: 1m}
  - {alert: Fails, expr: 'till_open / on(till) till_known > 0', for: 1m}
  - {alert: Works, expr: 'till_open > 0', for: 1m}
""",
    )
    # From the third tick on there are two of what may be there once.
    series = {
        'till_open{till="1"}': [1.0] * 12,
        'till_known{till="1"}': [1.0] * 12,
        'till_known{till="1",again="yes"}': [None, None, 1.0, 1.0, STALE],
    }
    _, broken = stepped(promtool, rules, series, [1, 1, 1, 1])
    told = {rule.rule.name: broken.health(rule) for rule in broken.plan.rules}
    assert told["Works"] == (ORIGIN + 45, "")
    assert told["Fails"][0] == ORIGIN + 45
    assert "found duplicate series for the match group" in told["Fails"][1]
    assert told["Reads"][1].startswith("it reads what till:share writes: found duplicate series")
    _, mended = stepped(promtool, rules, series, [4, 8])
    assert {mended.health(rule)[1] for rule in mended.plan.rules} == {""}
    firing = {
        mended.plan.rules[number].rule.name: one.firing[0] - ORIGIN for (number, _), one in mended.instances.items()
    }
    # An evaluation that failed left the alert pending as it was.
    assert firing == {"Reads": 60, "Fails": 60, "Works": 60}


@pytest.mark.parametrize("expr", ["time() - till_open > 60", "hour() > 5 and till_open", "till_open @ 1609746000 > 0"])
def test_what_asks_for_the_time_of_day_is_not_evaluated(promtool: Promtool, tmp_path: Path, expr: str) -> None:
    rules = written(tmp_path, f"groups: [{{name: g, rules: [{{alert: A, expr: '{expr}'}}]}}]")
    _, evaluator = stepped(promtool, rules, {"till_open": [1.0] * 3}, [3])
    at, error = evaluator.health(evaluator.plan.rules[0])
    assert at == ORIGIN + 30
    assert error.startswith("the sandbox's time is not that of a clock, and the expression reads")


def test_a_limit_that_is_exceeded_is_an_error(promtool: Promtool, tmp_path: Path) -> None:
    rules = written(tmp_path, "groups: [{name: g, limit: 1, rules: [{alert: A, expr: till_open}]}]")
    _, evaluator = stepped(promtool, rules, {'till_open{till="1"}': [1.0], 'till_open{till="2"}': [1.0]}, [1])
    assert evaluator.health(evaluator.plan.rules[0])[1] == "exceeded limit of 1 with 2 series"


def test_only_as_much_of_the_past_is_kept_as_a_rule_can_read(promtool: Promtool, tmp_path: Path) -> None:
    rules = written(
        tmp_path,
        """
groups:
- name: g
  rules:
  - {record: 'till:rate', expr: 'rate(till_total[10m] offset 5m)'}
  - {alert: A, expr: 'max_over_time(till:rate[30m:5m]) > 0 and till_open', for: 2h}
""",
    )
    plan = Plan(load_rules(rules), INTERVAL_S)
    back = {metric: plan.back_s(metric) for metric in ("till_total", "till:rate", "till_open", "other")}
    assert back == {"till_total": 915, "till:rate": 2115, "till_open": 315, "other": None}
    assert (plan.alignment_s, plan.one_by_one) == (300, False)
