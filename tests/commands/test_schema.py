"""An editor with a schema is content with every file that we ship, and marks a typing mistake."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner
from tests.house import ROOT

from tocsin.cli import main

SMALL = ROOT / "tests" / "fuzz" / "project"
EXPERIMENTS = sorted([*(ROOT / "experiments").rglob("*.yaml"), *(SMALL / "experiments").iterdir()])
SYSTEMS = sorted(path for root in (ROOT, SMALL) for path in (root / "systems").glob("*.yaml") if "." not in path.stem)


def validator(*what: str) -> Any:
    answer = CliRunner().invoke(main, ["schema", *what])
    assert answer.exit_code == 0
    return jsonschema_rs.validator_for(json.loads(answer.stdout))


def complaints(schema: Any, document: Any) -> list[str]:
    return [error.message for error in schema.iter_errors(document)]


def test_every_experiment_is_as_its_schema_says() -> None:
    schema = validator()
    found = {path.name: complaints(schema, yaml.safe_load(path.read_text())) for path in EXPERIMENTS}
    assert {name: told for name, told in found.items() if told} == {}


def test_every_system_is_as_its_schema_says() -> None:
    schema = validator("system")
    found = {path.name: complaints(schema, yaml.safe_load(path.read_text())) for path in SYSTEMS}
    assert {name: told for name, told in found.items() if told} == {}


def test_targets_are_as_their_schema_says() -> None:
    schema = validator("target")
    document = json.loads(json.dumps(tomllib.loads((SMALL / "tocsin.toml").read_text()), default=str))
    assert complaints(schema, document) == []
    for table in ("sandbox", "staging"):
        wrong = copy.deepcopy(document)
        wrong["targets"][table]["max_durations"] = "20m"
        assert complaints(schema, wrong)


def test_the_block_alone_has_a_schema() -> None:
    schema = validator("block")
    for path in EXPERIMENTS:
        (block,) = yaml.safe_load(path.read_text())["extensions"]
        assert schema.is_valid(block), path
        assert not schema.is_valid({**block, "expects": {}})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rollbacks", "rollback"),
        ("steady-state-hypothesis", "steady-state-hypotesis"),
        ("tolerance", "tolerence"),
        ("arguments", "argument"),
        ("must", "most"),
        ("within", "withn"),
        ("python", "pyhton"),
        ("name: tocsin", "name: toxin"),
        ("11m", "11 minutes"),
    ],
)
def test_a_typing_mistake_in_an_experiment_is_marked(before: str, after: str) -> None:
    path: Path = SMALL / "experiments" / "throttled.yaml"
    text = path.read_text()
    assert before in text
    assert complaints(validator(), yaml.safe_load(text.replace(before, after, 1)))


@pytest.mark.parametrize(("before", "after"), [("Threshold", "Treshold"), ("title", "titel"), ("http_api", "httpapi")])
def test_a_typing_mistake_in_a_system_is_marked(before: str, after: str) -> None:
    text = (SMALL / "systems" / "shop.yaml").read_text()
    assert complaints(validator("system"), yaml.safe_load(text.replace(before, after, 1)))
