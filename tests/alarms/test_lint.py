"""Rules that cannot keep what they promise, each beside the rule that can."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tocsin.alarms.exposition import Labels, series
from tocsin.alarms.lint import Page, lint_rules
from tocsin.alarms.prometheus import RuleFile, load_rules
from tocsin.cli import main
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


OBJECTIVES = Objectives.model_validate({"max_error_share": "0.1%", "p95_ms": 500})
FAILED = 'rate(http_requests_total{status=~"5.."}[5m])'
LATENCY = "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))"


def test_alerts_that_disagree_with_the_objectives() -> None:
    assert kinds(f"{FAILED} > 0.01", objectives=OBJECTIVES) == ["slo_disagrees"]
    share = f"sum({FAILED}) / sum(rate(http_requests_total[5m])) > 0.001"
    assert kinds(share, objectives=OBJECTIVES) == []
    assert kinds(f"{LATENCY} > 0.5", objectives=OBJECTIVES) == []
    assert kinds(f"{LATENCY} > 2", objectives=OBJECTIVES) == ["slo_disagrees"]
    in_ms = LATENCY.replace("seconds", "milliseconds")
    assert kinds(f"{in_ms} > 500", objectives=OBJECTIVES) == []
    assert kinds(f"{in_ms} > 2000", objectives=OBJECTIVES) == ["slo_disagrees"]


def test_of_several_limits_one_is_what_is_promised() -> None:
    assert kinds(f"{LATENCY} > 0.5", f"{LATENCY} > 2", objectives=OBJECTIVES) == []


@pytest.mark.parametrize(
    "expression",
    [
        "rate(till_context_switches_total[5m]) > 40000",
        "rate(till_gc_seconds_sum[5m]) > 0.05",
        "rate(till_spans_refused_total[5m]) > 0",
        "rate(till_network_bytes_total[5m]) > 1e6",
        'rate(http_requests_total{route="/till"}[5m]) > 100',
        'rate(apiserver_request_total{code=~"5.."}[5m]) > 1',
        "histogram_quantile(0.95, sum by (le) (rate(till_nightly_job_seconds_bucket[1h]))) > 900",
        "histogram_quantile(0.95, sum by (le) (rate(etcd_request_duration_seconds_bucket[5m]))) > 0.15",
    ],
)
def test_what_is_not_about_the_requests_of_callers_disagrees_with_no_objective(expression: str) -> None:
    assert kinds(expression, objectives=OBJECTIVES) == []


def test_the_requests_on_the_systems_own_page_are_those_of_callers() -> None:
    expression = 'rate(till_request_total{code="500"}[5m]) > 1'
    assert kinds(expression, objectives=OBJECTIVES) == []
    page = {one("till_request_total", code="500"): 0.0}
    assert kinds(expression, objectives=OBJECTIVES, page=page) == ["slo_disagrees"]


@pytest.mark.parametrize(
    "inner",
    [
        "sum without (instance) (rate(http_request_duration_seconds_bucket[5m]))",
        "sum by (le) (rate(http_request_duration_seconds_bucket[5m]))",
        "till:request_duration_seconds_bucket:rate5m",
        "rate(http_request_duration_seconds[5m])",
    ],
)
def test_a_quantile_over_all_instances_or_of_what_may_be_aggregated_is_well(inner: str) -> None:
    assert kinds(f"histogram_quantile(0.99, {inner}) > 1") == []


def test_a_sum_that_loses_the_buckets_is_no_quantile() -> None:
    inner = "sum without (le) (rate(http_request_duration_seconds_bucket[5m]))"
    assert kinds(f"histogram_quantile(0.99, {inner}) > 1") == ["quantile_per_series"]


@pytest.mark.parametrize("operator", ["or", "unless"])
def test_what_needs_no_match_may_have_none(operator: str) -> None:
    page = {one("used", pool="main"): 1.0, one("allowed"): 2.0}
    assert kinds(f"used {operator} allowed", page=page) == []
    assert kinds("used and allowed", page=page) == ["never_matches"]


@pytest.mark.parametrize(
    "rule",
    ["rate(node_errors_total[5m]) > 0", "rate(till:errors:sum[5m]) > 0", 'rate(requests_total{job="till"}[5m]) > 0'],
)
def test_of_a_metric_of_another_page_nothing_is_known(rule: str) -> None:
    assert kinds(rule, page={one("requests_total", status="200"): 5.0}) == []


@pytest.mark.parametrize(
    "rule", ["absent(up)", "up == 0", "absent_over_time(requests_total[5m])", "(sum(sold) or vector(0)) == 0"]
)
def test_somebody_must_notice_that_everything_is_gone(rule: str) -> None:
    assert [c.kind for c in lint_rules(rules("cpu > 80"))] == ["blind_to_absence"]
    assert [c.kind for c in lint_rules(rules("cpu > 80", rule))] == []


def test_a_recorded_up_is_asked_for_too() -> None:
    recorded = {"groups": [{"name": "g", "rules": [{"record": "job:up:sum", "expr": "sum by (job) (up)"}]}]}
    recorded["groups"][0]["rules"].append({"alert": "Gone", "expr": "job:up:sum < 1"})
    assert list(lint_rules(RuleFile.model_validate(recorded))) == []


def test_of_what_only_prometheus_can_read_nothing_is_said() -> None:
    assert kinds("holt_winters(x[5m], 0.1, 0.1) > 1") == []


def test_the_rules_of_a_runbook() -> None:
    """What four plausible rules hide: their figures are right, and still nobody sees the service vanish."""
    whole = load_rules(CLOCKED)
    runbook = RuleFile(groups=tuple(group for group in whole.groups if group.name != "proposed"))
    found = list(lint_rules(runbook, Objectives.model_validate({"max_error_share": "0.1%", "p95_ms": 500})))
    assert [(complaint.alert, complaint.kind) for complaint in found] == [
        ("HighResponseTime", "quantile_per_series"),
        ("HighErrorRate", "slo_disagrees"),
        (None, "blind_to_absence"),
    ]
    assert "agree only where one series has 10 requests/s" in found[1].message


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
    # Our own parser alone: no engine is at hand.
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
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
        (["lint", "shop", "--metrics", "no-such-file"], "no-such-file: expected a file, found none", 2),
        (["lint", "shop", "--metrics", "http://127.0.0.1:1/metrics"], "expected a page of /metrics at", 3),
        (["lint", "shop", "--metrics", "bad"], "bad: expected a page of /metrics, found something else", 2),
    ],
)
def test_wrong_input(shop: Path, arguments: list[str], said: str, code: int) -> None:
    (shop / "bad").write_text("used{pool= 1\n")
    answer = CliRunner().invoke(main, arguments)
    assert answer.exit_code == code
    assert said in answer.output


def test_every_expression_that_is_no_promql_is_told_at_its_line(shop: Path) -> None:
    rules = "groups:\n- name: g\n  rules:\n"
    rules += "  - {alert: A, expr: 'up =='}\n  - {alert: B, expr: up}\n  - {alert: C, expr: ')'}\n"
    rules += "  - {record: 'd:sum', expr: 'sum('}\n"
    (shop / "systems" / "shop.rules.yaml").write_text(rules)
    answer = CliRunner().invoke(main, ["lint", "shop"])
    assert answer.exit_code == 2
    told = [line.split("systems/shop.rules.yaml")[1] for line in answer.output.splitlines()]
    assert [one[: one.index(", found")] for one in told] == [
        ":4: A: expected PromQL",
        ":6: C: expected PromQL",
        ":7: d:sum: expected PromQL",
    ]


@pytest.mark.parametrize("expression", ["(" * 100_000 + "1" + ")" * 100_000, "1+" * 5_000 + "1", "1 or " * 5_000 + "1"])
def test_an_expression_that_is_nested_without_end_is_told_and_ends_nothing(shop: Path, expression: str) -> None:
    (shop / "systems" / "shop.rules.yaml").write_text(
        f"groups: [{{name: g, rules: [{{alert: A, expr: '{expression}'}}]}}]"
    )
    answer = CliRunner().invoke(main, ["lint", "shop"])
    assert answer.exit_code == 2
    assert "shop.rules.yaml:1: A: expected PromQL of at most 500 operators and brackets" in answer.output


def test_many_words_in_a_text_are_no_operators(shop: Path) -> None:
    pods = "|".join(f"pod-{number}" for number in range(1_000))
    (shop / "systems" / "shop.rules.yaml").write_text(
        f"groups: [{{name: g, rules: [{{alert: A, expr: 'up{{pod=~\"{pods}\"}} {'+ 1' * 490}'}}]}}]"
    )
    assert CliRunner().invoke(main, ["lint", "shop"]).output == "0 complaints\n"
