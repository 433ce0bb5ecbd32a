"""The contract of leave & attendance: complete, and no wider or narrower than what is deployed and drilled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
METHODS = ("get", "post", "put", "patch", "delete")
CONTRACT: dict[str, Any] = yaml.safe_load((ROOT / "contracts/leave-attendance.openapi.yaml").read_text())
OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": item[method]
    for path, item in CONTRACT["paths"].items()
    for method in METHODS
    if method in item
}


class Template(yaml.SafeLoader):
    """YAML with CloudFormation's short tags, whose values do not matter here."""


Template.add_multi_constructor("!", lambda loader, tag, node: None)


def test_it_describes_exactly_the_routes_of_the_template() -> None:
    text = (ROOT / "replicas/leave-attendance/template.yaml").read_text()
    functions = yaml.load(text, Template)["Mappings"]["Functions"]
    routes = {name: function["RouteKey"] for name, function in functions.items() if "RouteKey" in function}
    assert {operation["operationId"]: route for route, operation in OPERATIONS.items()} == routes


@pytest.mark.parametrize("route", OPERATIONS)
def test_every_operation_says_what_it_answers_on_a_bad_day(route: str) -> None:
    assert {"500", "503"} <= OPERATIONS[route]["responses"].keys()


@pytest.mark.parametrize("path", sorted((ROOT / "experiments/leave-attendance").glob("*.yaml")), ids=lambda p: p.stem)
def test_what_experiments_call_degraded_is_documented(path: Path) -> None:
    (block,) = [block for block in yaml.safe_load(path.read_text())["extensions"] if block["name"] == "tocsin"]
    degraded = block["expect"].get("degraded", {"status": [], "schema": "Error"})
    assert degraded["schema"] in CONTRACT["components"]["schemas"]
    for status in degraded["status"]:
        assert all(str(status) in operation["responses"] for operation in OPERATIONS.values())
