"""A Prometheus that belongs to a sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.sandbox.aws.shop import Shop

from tocsin.alarms.prometheus import load_rules
from tocsin.alarms.prometheus_api import PrometheusApi
from tocsin.errors import SandboxError
from tocsin.sandbox import control
from tocsin.sandbox.parts.promtool import find_promtool

RULES = Path(__file__).parents[3] / "systems" / "clocked.rules.yaml"


@pytest.fixture(autouse=True)
def _engine() -> None:
    try:
        find_promtool()
    except SandboxError as error:
        pytest.skip(str(error))


def test_it_evaluates_the_rules_it_is_given_and_is_shown_with_the_sandbox(shop: Shop) -> None:
    url = shop.account.start_prometheus(RULES, {"nothing": ["127.0.0.1:1"]})
    documented = load_rules(RULES).alerts
    with PrometheusApi(url) as api:
        found = api.evaluations()
    assert {one.rule.name: (one.rule.expr, one.rule.for_s) for one in found} == {
        name: (rule.expr, rule.for_s) for name, (rule,) in documented.items()
    }
    state = control.status(shop.root)
    assert state is not None
    assert ("prometheus", int(url.rpartition(":")[2])) in [(part.name, part.port) for part in state.parts]


def test_rules_that_prometheus_refuses(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("groups: [{name: a, rules: [{alert: A, expr: 'rate(x[5m]'}]}]")
    with pytest.raises(SandboxError, match="expected rules that Prometheus can load"):
        shop.account.start_prometheus(tmp_path / "rules.yaml", {})
