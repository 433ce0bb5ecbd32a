"""Rules that cannot keep what they promise, each beside the rule that can."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tocsin.alarms.exposition import Labels, series
from tocsin.alarms.lint import Page, lint_rules
from tocsin.alarms.prometheus import RuleFile, load_rules
from tocsin.cli import main
from tocsin.errors import InvalidInput
from tocsin.model.system import Objectives

CLOCKED = Path(__file__).parents[2] / "systems" / "clocked.rules.yaml"
NOTICES = "absent(up)"
"""Keeps the complaint about the whole file away."""


def rules(*expressions: str) -> RuleFile:
    alerts = [{"alert": f"A{number}", "expr": expr} for number, expr in enumerate(expressions)]
    return RuleFile.model_validate({"groups": [{"name": "g", "rules": alerts}]})


def kinds(*expressions: str, objectives: Objectives | None = None, page: Page | None = None) -> list[str]:
    return [complaint.kind for complaint in lint_rules(rules(*expressions, NOTICES), objectives, page)]


def one(name: str, **labels: str) -> Labels:
    return series({"__name__": name, **labels})


BUCKETS = "rate(duration_seconds_bucket[5m])"


def test_a_quantile_needs_a_sum_by_le() -> None:
    assert kinds(f"histogram_quantile(0.95, {BUCKETS}) > 1") == ["quantile_per_series"]
    assert kinds(f"histogram_quantile(0.95, sum by (route) ({BUCKETS})) > 1") == ["quantile_per_series"]
    assert kinds(f"histogram_quantile(0.95, sum by (le) ({BUCKETS})) > 1") == []
    assert kinds(f"histogram_quantile(0.95, (sum by (le, route) ({BUCKETS}))) > 1") == []


def test_labels_that_never_match() -> None:
    apart = {one("used", pool="main"): 1.0, one("allowed"): 2.0}
    together = {one("used", pool="main"): 1.0, one("allowed", pool="main"): 2.0, one("allowed", pool="other"): 1.0}
    assert kinds("used / allowed > 0.9", page=apart) == ["never_matches"]
    assert kinds("used / allowed > 0.9", page=together) == []
    assert kinds("used / ignoring(pool) allowed > 0.9", page=apart) == []
    assert kinds("used / on(pool) allowed > 0.9", page=apart) == ["never_matches"]
    assert kinds("used / allowed > 0.9") == []


def test_a_counter_that_is_born_with_what_it_counts() -> None:
    unborn = {one("requests_total", status="200"): 5.0}
    born = {**unborn, one("requests_total", status="500"): 0.0}
    rule = 'rate(requests_total{status=~"5.."}[5m]) > 0'
    assert kinds(rule, page=unborn) == ["born_with_its_first_event"]
    assert kinds(rule, page=born) == []
    assert kinds('rate(requests_total{status!="200"}[5m]) > 0', page=unborn) == ["born_with_its_first_event"]
    assert kinds('rate(requests_total{status!~"5.."}[5m]) > 0', page=unborn) == []


def test_alerts_that_disagree_with_the_objectives() -> None:
    objectives = Objectives.model_validate({"max_error_share": "0.1%", "p95_ms": 500})
    assert kinds("rate(errors_total[5m]) > 0.01", objectives=objectives) == ["slo_disagrees"]
    share = "sum(rate(errors_total[5m])) / sum(rate(requests_total[5m])) > 0.001"
    assert kinds(share, objectives=objectives) == []
    quantile = f"histogram_quantile(0.95, sum by (le) ({BUCKETS}))"
    assert kinds(f"{quantile} > 0.5", objectives=objectives) == []
    assert kinds(f"{quantile} > 2", objectives=objectives) == ["slo_disagrees"]


@pytest.mark.parametrize("rule", ["absent(up)", "up == 0", "absent_over_time(requests_total[5m])"])
def test_somebody_must_notice_that_everything_is_gone(rule: str) -> None:
    assert [c.kind for c in lint_rules(rules("cpu > 80"))] == ["blind_to_absence"]
    assert [c.kind for c in lint_rules(rules("cpu > 80", rule))] == []


def test_what_is_no_promql() -> None:
    with pytest.raises(InvalidInput, match="A0: expected PromQL"):
        list(lint_rules(rules("rate(x[5m]")))


def test_the_rules_of_a_runbook() -> None:
    """What four plausible rules hide: their figures are right, and still nobody sees the service vanish."""
    whole = load_rules(CLOCKED)
    runbook = RuleFile(groups=tuple(group for group in whole.groups if group.name != "proposed"))
    found = list(lint_rules(runbook, Objectives.model_validate({"max_error_share": "0.1%", "p95_ms": 500})))
    assert [(complaint.alert, complaint.kind) for complaint in found] == [
        ("HighErrorRate", "slo_disagrees"),
        ("HighResponseTime", "quantile_per_series"),
        (None, "blind_to_absence"),
    ]
    assert "agree only where one series has 10 requests/s" in found[0].message


SYSTEM = """
system: shop
title: Shop
endpoint: {url: "http://127.0.0.1"}
prometheus: {url: "http://127.0.0.1", rules: systems/shop.rules.yaml}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems" / "shop.yaml").write_text(SYSTEM)
    text = "groups: [{name: g, rules: [{alert: Gone, expr: absent(up)}, {alert: Full, expr: used / allowed > 0.9}]}]"
    (tmp_path / "systems" / "shop.rules.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_lint_reads_rules_and_a_page(shop: Path) -> None:
    healthy = CliRunner().invoke(main, ["lint", "shop"])
    assert (healthy.exit_code, healthy.output) == (0, "0 complaints\n")
    (shop / "page").write_text('used{pool="main"} 1\nallowed 2\n')
    answer = CliRunner().invoke(main, ["lint", "shop", "--metrics", "page"])
    assert answer.exit_code == 1
    assert "systems/shop.rules.yaml: Full: no series on the left of `/`" in answer.output


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["lint", "nobody"], "nobody", 2),
        (["lint", "shop", "--metrics", "no-such-file"], "no-such-file: expected a page of /metrics", 2),
        (["lint", "shop", "--metrics", "http://127.0.0.1:1/metrics"], "expected a page of /metrics at", 3),
        (["lint", "shop", "--metrics", "bad"], "bad: expected a page of /metrics, found something else", 2),
    ],
)
def test_wrong_input(shop: Path, arguments: list[str], said: str, code: int) -> None:
    (shop / "bad").write_text("used{pool= 1\n")
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == code
    assert said in answer.output
