"""Bad input gets one message, with file, line and the near match; good input becomes frozen models."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import yaml

from tocsin.errors import InvalidInput
from tocsin.loader import find_experiments, load_experiment, load_system, system_names
from tocsin.validation import Planner

SYSTEM = """\
system: shop
title: Shop
lookups:
  api_id: {http_api: shop}
endpoint: {http_api: shop}
canaries: {file: canaries.py}
contract: contract.yaml
alarms:
  errors:
    title: Errors
    cloudwatch:
      AlarmName: shop-errors
      Namespace: AWS/ApiGateway
      MetricName: 5xx
      Dimensions: [{Name: ApiId, Value: "${api_id}"}]
      Statistic: Sum
      Period: 60
      EvaluationPeriods: 1
      Threshold: 1
      ComparisonOperator: GreaterThanOrEqualToThreshold
"""

CONTRACT = """\
openapi: 3.1.0
info: {title: Shop, version: "1"}
paths:
  /orders/{id}:
    get:
      responses:
        "200": {description: an order}
        "503": {description: no database}
components:
  schemas:
    Unavailable: {type: object}
"""

EXPERIMENT = """\
title: Proxy throttled
description: It is.
method:
  - type: action
    name: throttle
    provider:
      type: python
      module: tocsin.faults
      func: rds_proxy_throttle
      arguments: {proxy: shop, max_connections_percent: 1}
rollbacks:
  - {type: action, name: undo, provider: {type: python, module: tocsin.faults, func: undo}}
extensions:
  - name: tocsin
    system: shop
    expect:
      must:
        - {alarm: errors, within: 11m}
        - {canary: home, within: 5m}
      degraded: {status: [503], schema: Unavailable}
      recovery: {within: 5m}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems" / "shop.yaml").write_text(SYSTEM)
    (tmp_path / "canaries.py").write_text("def canary_home(api):\n    pass\n")
    (tmp_path / "contract.yaml").write_text(CONTRACT)
    (tmp_path / "good.yaml").write_text(EXPERIMENT)
    return tmp_path


def broken(shop: Path, before: str, after: str) -> Path:
    assert before in EXPERIMENT
    path = shop / "broken.yaml"
    path.write_text(EXPERIMENT.replace(before, after))
    return path


def test_a_good_experiment(shop: Path) -> None:
    plan = Planner(shop).plan(shop / "good.yaml")
    assert plan.loaded.experiment.extension.expect.must_alarms[0].within == 660
    assert plan.loaded.raw == yaml.safe_load(EXPERIMENT)


@pytest.mark.parametrize(
    ("before", "after", "line", "message"),
    [
        ("system: shop", "system: shopp", 15, "found 'shopp'. Did you mean 'shop'?"),
        (
            "alarm: errors",
            "alarm: errors-5xx",
            18,
            "expected a known alarm, found 'errors-5xx'. Did you mean 'errors'?",
        ),
        ("canary: home", "canary: hom", 19, "expected a known canary, found 'hom'. Did you mean 'home'?"),
        ("func: rds_proxy_throttle", "func: rds_proxy_throtle", 9, "Did you mean 'rds_proxy_throttle'?"),
        ("proxy: shop,", "proxi: shop,", 10, "found 'proxi'. Did you mean 'proxy'?"),
        ("max_connections_percent: 1", "max_connections_percent: 101", 10, "less than or equal to 100, found 101"),
        ("within: 11m", "within: -11m", 18, "expected a duration such as '11m', '90s' or '1h30m', found '-11m'"),
        ("within: 11m", "withn: 11m", 18, "unknown name 'withn'"),
        ("recovery: {within: 5m}", "recover: {within: 5m}", 21, "Did you mean 'recovery'?"),
        ("schema: Unavailable", "schema: Unavailble", 20, "Did you mean 'Unavailable'?"),
        ("status: [503]", "status: [502]", 20, "expected contract.yaml to document the status 502"),
        (
            "    expect:",
            "    stop_conditions: [error]\n    expect:",
            16,
            "expected a known CloudWatch alarm, found 'error'",
        ),
        (
            "    expect:",
            "    stop_conditions: [errors]\n    expect:",
            16,
            "expected a stop condition other than what the drill is about, found 'errors'",
        ),
        ("- name: tocsin", "- name: toxin", 13, "expected a block named 'tocsin'"),
        ("title: Proxy throttled", "title: ''", 1, "expected a text as 'title'"),
        ("description: It is.", "descriptio: It is.", 1, "Chaos Toolkit: experiment requires a description"),
    ],
)
def test_a_mistake_is_named_with_its_place(shop: Path, before: str, after: str, line: int, message: str) -> None:
    path = broken(shop, before, after)
    with pytest.raises(InvalidInput) as caught:
        Planner(shop).plan(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_broken_yaml(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("title: [unclosed\nmethod: []\n")
    with pytest.raises(InvalidInput, match=r"broken\.yaml:2: expected YAML"):
        load_experiment(path)


def test_a_missing_file_offers_its_neighbour(shop: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected a file, found none\. Did you mean 'good\.yaml'\?"):
        load_experiment(shop / "god.yaml")


def test_a_list_is_no_experiment(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- one\n")
    with pytest.raises(InvalidInput, match="expected a YAML mapping, found list"):
        load_experiment(path)


def test_an_empty_directory_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected experiments"):
        find_experiments([tmp_path])


def test_a_typing_mistake_in_a_system_file(shop: Path) -> None:
    path = shop / "systems" / "shop.yaml"
    path.write_text(SYSTEM.replace("Threshold: 1", "Treshold: 1"))
    with pytest.raises(InvalidInput, match=r"shop\.yaml:\d+: .*(Treshold|Threshold)"):
        load_system(shop, "shop")


def test_a_placeholder_that_nothing_defines(shop: Path) -> None:
    path = shop / "systems" / "shop.yaml"
    path.write_text(SYSTEM.replace("${api_id}", "${api}"))
    with pytest.raises(InvalidInput, match=r"expected '\$\{api\}' to be one of the system's lookups"):
        Planner(shop).plan(shop / "good.yaml")


def test_an_alarm_cannot_be_both_must_and_quiet(shop: Path) -> None:
    path = broken(shop, "      recovery:", "      quiet: [errors]\n      recovery:")
    with pytest.raises(InvalidInput, match="cannot be both in `must` and in `quiet`: errors"):
        Planner(shop).plan(path)


def test_an_experiment_that_expects_nothing_is_refused(shop: Path) -> None:
    must = textwrap.indent("- {alarm: errors, within: 11m}\n- {canary: home, within: 5m}\n", " " * 8)
    path = broken(shop, f"      must:\n{must}", "")
    with pytest.raises(InvalidInput, match="expected at least one entry in `must` or `quiet`, or a `gap`"):
        Planner(shop).plan(path)


def test_a_rules_file_beside_a_system_is_no_system(shop: Path) -> None:
    (shop / "systems" / "shop.rules.yaml").write_text("groups: []\n")
    assert system_names(shop) == ["shop"]
