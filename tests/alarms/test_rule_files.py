"""What Prometheus loads is loaded, and what it refuses is refused: our model beside the engine's own check."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tocsin.alarms.engine import load_problems
from tocsin.alarms.prometheus import read_rules
from tocsin.errors import InvalidInput
from tocsin.project.promtool import promtool_at_hand


def group(rule: str, more: str = "") -> str:
    return f"groups: [{{name: till{more}, rules: [{rule}]}}]"


LOADED = {
    "a number as a label": group("{alert: A, expr: up, labels: {priority: 2, share: 2.50, yes: true}}"),
    "a label without a value": group("{alert: A, expr: up, labels: {priority: }}"),
    "a date as a label": group("{alert: A, expr: up, annotations: {since: 2026-01-01}}"),
    "no time at all": group("{alert: A, expr: up, for: 0}"),
    "a key without a value": group("{alert: A, expr: up, for: , keep_firing_for: , labels: , annotations: }"),
    "a number for an expression": group("{alert: A, expr: 1}"),
    "a name in words": group("{alert: 'The till is shut', expr: up}"),
    "a group without rules": "groups: [{name: later, rules: }, {name: never}]",
    "no groups": "groups:",
    "an entry that is nothing": "groups: [{name: till, rules: [null, {alert: A, expr: up}]}, null]",
    "a limit and an interval": group("{alert: A, expr: up}", ", limit: 50, interval: 30s"),
    "a limit without a value": group("{alert: A, expr: up}", ", limit: , interval: "),
    "a limit that is cut down": group("{alert: A, expr: up}", ", limit: 5.5"),
    "two rules that are the same": group("{alert: A, expr: up}, {alert: A, expr: up}"),
    "an anchor": "groups: [{name: till, rules: [&a {alert: A, expr: up}, {<<: *a, alert: B}]}]",
    "a recording rule with empty fields": group("{record: a, expr: up, for: 0s, annotations: {}, alert: ''}"),
    "an expression with a comment": group('{alert: A, expr: "up # is it?"}'),
    "a template": group("{alert: A, expr: up, labels: {was: '{{ $value | humanize }}'}}"),
    "keywords in any case": group("{alert: A, expr: 'SUM(x) BY (a) > 1 AND y'}"),
}
REFUSED = {
    "a duration in words": group("{alert: A, expr: up, for: 5 minutes}"),
    "units in another order": group("{alert: A, expr: up, for: 30m1h}"),
    "a duration without a unit": group("{alert: A, expr: up, for: 5}"),
    "a duration that is longer than can be": group("{alert: A, expr: up, for: 9999y}"),
    "an expression that is cut off": group("{alert: A, expr: 'sum(rate(x[5m]) >'}"),
    "an expression that is a range": group("{alert: A, expr: 'rate(up)'}"),
    "no expression": group("{alert: A}"),
    "an alert and a record": group("{alert: A, record: b, expr: up}"),
    "neither": group("{expr: up}"),
    "an alert without a name": group("{alert: '', expr: up}"),
    "a recording rule that waits": group("{record: a, expr: up, for: 5m}"),
    "a group twice": "groups: [{name: till, rules: []}, {name: till, rules: []}]",
    "a group without a name": "groups: [{rules: []}]",
    "an unknown name": group("{alert: A, expr: up, severity: page}"),
    "a name twice": group("{alert: A, alert: B, expr: up}"),
}
ENGINE_ONLY = {
    "a template that is cut off": (group("{alert: A, expr: up, labels: {was: '{{ $value '}}"), "unclosed action"),
    "a template of another function": (
        group("{alert: A, expr: up, annotations: {a: '{{ no 1 }}'}}"),
        '"no" not defined',
    ),
    "a name of a label that is reserved": (group("{alert: A, expr: up, labels: {__name__: a}}"), "invalid label name"),
}


def problems(path: Path) -> list[InvalidInput]:
    try:
        rules, document = read_rules(path)
    except InvalidInput as error:
        return list(error.problems)
    return load_problems(path, rules, document)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    return tmp_path / "till.rules.yaml"


@pytest.fixture(params=["with the engine", "without"])
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if request.param == "without":
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    elif promtool_at_hand() is None:
        pytest.skip("no promtool is at hand")


@pytest.mark.usefixtures("_engine")
@pytest.mark.parametrize("text", LOADED.values(), ids=LOADED.keys())
def test_what_prometheus_loads_is_loaded(rules: Path, text: str) -> None:
    rules.write_text(text)
    assert problems(rules) == []


@pytest.mark.usefixtures("_engine")
@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED.keys())
def test_what_prometheus_refuses_is_refused(rules: Path, text: str) -> None:
    rules.write_text(text)
    found = problems(rules)
    assert found
    assert all(str(one).startswith(f"{rules}:") for one in found)


def test_a_mistake_in_a_rule_is_told_with_its_name(rules: Path) -> None:
    rules.write_text("groups: [{name: till, rules: [{alert: TillShut, expr: up, for: 5 minutes}]}]")
    (found,) = problems(rules)
    assert str(found).startswith(f"{rules}:1: rule 'TillShut': groups.")


@pytest.mark.parametrize(
    ("text", "loaded"),
    [*((text, True) for text in LOADED.values()), *((text, False) for text in REFUSED.values())],
    ids=[*LOADED, *REFUSED],
)
def test_the_tables_are_those_of_the_engine(rules: Path, text: str, loaded: bool) -> None:
    promtool = promtool_at_hand()
    if promtool is None:
        pytest.skip("no promtool is at hand")
    rules.write_text(text)
    answer = subprocess.run([promtool, "check", "rules", rules], capture_output=True, check=False)
    assert (answer.returncode == 0) == loaded


@pytest.mark.parametrize(("text", "said"), ENGINE_ONLY.values(), ids=ENGINE_ONLY.keys())
def test_what_only_the_engine_finds_is_told_in_its_words(rules: Path, text: str, said: str) -> None:
    if promtool_at_hand() is None:
        pytest.skip("no promtool is at hand")
    rules.write_text(text)
    (found,) = problems(rules)
    assert "expected rules that Prometheus loads, and promtool refuses: " in str(found)
    assert said in str(found)


@pytest.mark.parametrize(
    "said",
    [
        "yaml: unmarshal errors:\n  line 1: field query_offset not found in type rulefmt.RuleGroup",
        '1:9: group "till", rule 1, "A": could not parse expression: 1:1: unknown function with name "info"',
    ],
)
def test_an_engine_that_is_older_than_the_file_does_not_decide(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    rules.write_text(group("{alert: A, expr: info(up)}", ", query_offset: 30s"))
    program = tmp_path / "bin" / "promtool"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '  FAILED:' >&2\nprintf '%s\\n' '{rules}: {said}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert problems(rules) == []
