"""Bad input gets one message, with file, line and the near match; good input becomes frozen models."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from tocsin.drill.plan import Planner
from tocsin.errors import InvalidInput
from tocsin.project.documents import find_experiments, load_experiment, load_system, system_names

SYSTEM = """\
system: shop
title: Shop
lookups:
  api_id: {http_api: shop}
endpoint: {http_api: shop}
canaries: {file: canaries.py}
contract: contract.yaml
third_parties:
  graph: {stub: microsoft-graph, env: GRAPH_BASE_URL, functions: [shop-api]}
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

_FAULT = "rds_proxy_throttle\n      arguments: {proxy: shop, max_connections_percent: 1}"
_THIRD_PARTY = "third_party\n      arguments: {{system: shop, {}}}"


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
    assert plan.loaded.toolkit.document() == yaml.safe_load(EXPERIMENT)


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
        (
            _FAULT,
            _THIRD_PARTY.format("name: grap, mode: drop"),
            10,
            "third_party: expected a third party of systems/shop.yaml, found 'grap'. Did you mean 'graph'?",
        ),
        (
            _FAULT,
            _THIRD_PARTY.format("name: graph"),
            10,
            "third_party: expected what is wrong (`mode`, `case`, `status`, `headers`, `body` or `delay_s`), found",
        ),
        (
            _FAULT,
            _THIRD_PARTY.format("name: graph, case: htlm"),
            10,
            "third_party: expected a case of the stub microsoft-graph, found 'htlm'. Did you mean 'html'?",
        ),
        (
            _FAULT,
            _THIRD_PARTY.format("name: graph, case: html, status: 503"),
            10,
            "third_party: expected no `status` with the case html: the name stands for it",
        ),
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
        ("within: 11m", "within: 0s", 18, "expected more than 0, found 0.0"),
        ("within: 11m", "within: .inf", 18, "expected a finite number, found .inf"),
        ("within: 11m", "within: 300", 18, "expected a duration with its unit, found 300. Did you mean '300s'?"),
        ("within: 11m", "within: 9999h", 18, "expected a duration of at most a year, found '9999h'"),
        ("  must:", "  quiet: [other, other]\n      must:", 17, "expected the alarm 'other' once"),
        (
            "  must:",
            "  blind: [{alarm: errors, because: x}]\n      must:",
            17,
            "found it in `must` and again in `blind`",
        ),
        ("rollbacks:\n", "rollback:\n", 11, "unknown name 'rollback'. Did you mean 'rollbacks'?"),
        ("    name: throttle", "    tolerence: 1\n    name: throttle", 5, "Did you mean 'tolerance'?"),
        ("      type: python", "      type: pyhton", 7, "found 'pyhton'. Did you mean 'python'?"),
        ("      arguments: {proxy", "      argument: {proxy", 10, "Did you mean 'arguments'?"),
        ("extensions:\n", "extensions:\n  - {name: tocsin}\n", 15, "the first is on line 14"),
        ("description: It is.", "description: It is.\ndescription: Or not.", 3, "first on line 2"),
        ("description: It is.", "description: It is.\nsecrets:", 3, "expected a value after 'secrets:', found nothing"),
        ("description: It is.", "description: It is.\nsecrets: 3", 3, "secrets: expected a mapping, found 3"),
        ("method:\n", "steady-state-hypotesis: {title: x}\nmethod:\n", 3, "Did you mean 'steady-state-hypothesis'?"),
        ("- name: tocsin", "- name: toxin", 13, "expected a block named 'tocsin'"),
        ("title: Proxy throttled", "title: ''", 1, "title: String should have at least 1 character"),
        (
            "description: It is.",
            "descriptio: It is.",
            2,
            "unknown name 'descriptio'. Did you mean 'description'?",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(shop: Path, before: str, after: str, line: int, message: str) -> None:
    path = broken(shop, before, after)
    with pytest.raises(InvalidInput) as caught:
        Planner(shop).plan(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")


REDRIVE = """\
  - type: action
    name: redrive
    provider: {type: python, module: tocsin.procedures, func: sqs_redrive, arguments: {queue: q}}
rollbacks:
"""
LOOK = """\
  - {type: probe, name: look, tolerance: 0, provider: {type: process, path: "true"}}
extensions:
"""


def changing(shop: Path, changes: str, *, look: bool = True) -> Path:
    """The experiment with a procedure in its method, and what is said of it."""
    text = EXPERIMENT.replace("rollbacks:\n", REDRIVE).replace("    expect:", f"{changes}    expect:")
    path = shop / "broken.yaml"
    path.write_text(text.replace("extensions:\n", LOOK) if look else text)
    return path


@pytest.mark.parametrize(
    ("changes", "look", "line", "message"),
    [
        ("", True, 11, "to say what becomes of what 'redrive' changes, found nothing"),
        ("    changes: [{activity: redrive}]\n", True, 20, "or `leaves` (a reason) for redrive, found neither"),
        ("    changes: [{activity: redrive, leaves: x, undone_by: undo}]\n", True, 20, "for redrive, found both"),
        ("    changes: [{activity: redrive, undone_by: und}]\n", True, 20, "found 'und'. Did you mean 'undo'?"),
        (
            "    changes: [{activity: redrive, undone_by: undo}]\n",
            False,
            19,
            "with a tolerance after the rollback 'undo'",
        ),
        ("    changes: [{activity: redriv, leaves: x}]\n", True, 20, "found 'redriv'. Did you mean 'redrive'?"),
        ("    changes: [{activity: throttle, leaves: x}]\n", True, 20, "that changes something, found 'throttle'"),
        (
            "    changes: [{activity: redrive, leaves: x}, {activity: redrive, leaves: y}]\n",
            True,
            20,
            "expected 'redrive' once in `changes`, found it again",
        ),
    ],
)
def test_what_becomes_of_a_change_is_said(shop: Path, changes: str, look: bool, line: int, message: str) -> None:
    path = changing(shop, changes, look=look)
    with pytest.raises(InvalidInput) as caught:
        Planner(shop).plan(path)
    assert message in str(caught.value)
    assert f"{path}:{line}: " in str(caught.value)


@pytest.mark.parametrize("said", ["undone_by: undo", "leaves: the messages"])
def test_a_change_that_is_undone_or_left_is_taken(shop: Path, said: str) -> None:
    plan = Planner(shop).plan(changing(shop, f"    changes: [{{activity: redrive, {said}}}]\n"))
    assert [one.activity for one in plan.loaded.experiment.extension.changes] == ["redrive"]


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
    with pytest.raises(InvalidInput, match="expected a mapping of names to values, found a list"):
        load_experiment(path)


def test_an_empty_directory_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="expected experiments"):
        find_experiments([tmp_path])


def test_a_typing_mistake_in_a_system_file(shop: Path) -> None:
    path = shop / "systems" / "shop.yaml"
    path.write_text(SYSTEM.replace("Threshold: 1", "Treshold: 1"))
    with pytest.raises(InvalidInput, match=r"shop\.yaml:\d+: .*(Treshold|Threshold)"):
        load_system(shop, "shop")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "env: GRAPH_BASE_URL, functions: [shop-api]",
            "",
            "expected `functions` or `services` that call the third party, or `topics`, found none",
        ),
        (
            ", functions: [shop-api]",
            ", topics: [alarms]",
            "expected `env` with `functions` or `services`, and only with",
        ),
        ("env: GRAPH_BASE_URL, ", "", "expected `env` with `functions` or `services`, and only with them"),
        ("functions: [shop-api]", "services: [shop-api]", "services.0"),
        ("env: GRAPH_BASE_URL", "env: GRAPH-BASE-URL", "env"),
        ("stub: microsoft-graph, ", "", "stub"),
        ("stub:", "stubb:", "Did you mean 'stub'?"),
    ],
)
def test_a_third_party_that_cannot_be_found_in_an_account(shop: Path, before: str, after: str, message: str) -> None:
    path = shop / "systems" / "shop.yaml"
    assert before in SYSTEM
    path.write_text(SYSTEM.replace(before, after))
    with pytest.raises(InvalidInput, match=rf"shop\.yaml:9: .*{re.escape(message)}"):
        load_system(shop, "shop")


def test_a_placeholder_that_nothing_defines(shop: Path) -> None:
    path = shop / "systems" / "shop.yaml"
    path.write_text(SYSTEM.replace("${api_id}", "${api}"))
    with pytest.raises(InvalidInput, match=r"shop\.yaml:\d+: expected '\$\{api\}' to be account, region or one of"):
        Planner(shop).plan(shop / "good.yaml")


def test_an_alarm_cannot_be_both_must_and_quiet(shop: Path) -> None:
    path = broken(shop, "      recovery:", "      quiet: [errors]\n      recovery:")
    with pytest.raises(
        InvalidInput,
        match=r"broken\.yaml:21: .*expected the alarm 'errors' once, found it in `must` and again in `quiet`",
    ):
        Planner(shop).plan(path)


def test_an_experiment_that_expects_nothing_is_refused(shop: Path) -> None:
    must = textwrap.indent("- {alarm: errors, within: 11m}\n- {canary: home, within: 5m}\n", " " * 8)
    path = broken(shop, f"      must:\n{must}", "")
    with pytest.raises(InvalidInput, match="expected at least one entry in `must` or `quiet`, or a `gap`"):
        Planner(shop).plan(path)


def test_a_rules_file_beside_a_system_is_no_system(shop: Path) -> None:
    (shop / "systems" / "shop.rules.yaml").write_text("groups: []\n")
    assert system_names(shop) == ["shop"]
