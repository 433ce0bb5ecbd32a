"""What an experiment may say of Chaos Toolkit's own: obeyed, or refused by name with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.drill.plan import Planner
from tocsin.errors import InvalidInput

SYSTEM = """\
system: till
title: Till
endpoint: {url: "http://127.0.0.1:9"}
"""
EXPERIMENT = """\
title: The till is closed
description: By a process.
configuration: {patience: 2}
secrets: {till: {token: {type: env, key: TILL_TOKEN}}}
controls: []
runtime: {hypothesis: {strategy: default}, rollbacks: {strategy: always}}
steady-state-hypothesis:
  title: It sells
  probes:
    - {type: probe, name: sells, tolerance: 0, provider: {type: process, path: "true"}}
method:
  - type: action
    name: close
    background: true
    pauses: {before: "${patience}"}
    provider: {type: process, path: "true", arguments: ["${token}"], secrets: [till]}
rollbacks:
  - {type: action, name: open, provider: {type: http, url: "http://127.0.0.1:9"}}
  - {ref: sells}
extensions:
  - name: tocsin
    system: till
    load: null
    expect: {gap: Nobody looks., recovery: {within: 5m}}
"""
FAULT = "{type: python, module: tocsin.faults, func: sqs_poison_message, arguments: {queue: a}}"
UNKNOWN = FAULT.replace("queue: a", 'queue: "${name}"')
PROCESS = 'provider: {type: process, path: "true", arguments: ["${token}"], secrets: [till]}'


@pytest.fixture
def till(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TILL_TOKEN", "plum-velvet-harbour")
    monkeypatch.setenv("TILL_WAIT", "2")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "systems").mkdir()
    (tmp_path / "systems" / "till.yaml").write_text(SYSTEM)
    (tmp_path / "till_listens.py").write_text("def configure_control(event_registry):\n    pass\n")
    (tmp_path / "till_mistyped.py").write_text("def before_activty_control(context):\n    pass\n")
    return tmp_path


def experiment(till: Path, before: str = "", after: str = "") -> Path:
    assert before in EXPERIMENT
    path = till / "experiment.yaml"
    path.write_text(EXPERIMENT.replace(before, after) if before else EXPERIMENT)
    return path


def test_what_chaos_toolkit_obeys_is_read(till: Path) -> None:
    plan = Planner(till).plan(experiment(till))
    (close,) = plan.activities("method")
    assert close.background
    assert plan.variables.pauses(close) == (2.0, 0.0)
    assert plan.variables.filled(close).provider.arguments == ["plum-velvet-harbour"]
    assert [activity.name for activity in plan.activities("rollbacks")] == ["open", "sells"]
    recorded = plan.loaded.experiment.model_dump_json()
    assert "plum" not in recorded
    assert "TILL_TOKEN" not in recorded


CONTROL = "controls: [{{name: c, provider: {{type: python, module: {}}}}}]"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("tolerance: 0,", "tolerance: '${patience}',"),
        ("tolerance: 0,", "tolerance: {type: range, range: [1, 1]},"),
        ('url: "http://127.0.0.1:9"}', "url: '${base}/orders'}"),
        ("{patience: 2}", "{patience: 2, shape: {type: value, side: 3}}"),
        ("secrets: {till:", "secrets: {shape: {type: square, side: a}, till:"),
    ],
)
def test_what_is_much_like_a_mistake_and_is_none(till: Path, before: str, after: str) -> None:
    assert Planner(till).plan(experiment(till, before, after))


@pytest.mark.parametrize(
    ("before", "after", "line", "message"),
    [
        ("strategy: always", "strategy: never", 6, "expected `default` or `always`, found 'never'"),
        ("strategy: always", "strategy: deviated", 6, "a drill runs its rollbacks, whatever failed before"),
        ("strategy: default", "strategy: continuously", 6, "a drill asks before the fault and after the recovery"),
        ("strategy: default", "strategy: skip", 6, "expected `default`, found 'skip'"),
        ("description: By", "dry: actions\ndescription: By", 2, "expected a drill that acts, found `dry`"),
        ("{ref: sells}", "{ref: sell}", 19, "expected a `ref` to an activity of the method or of the hypothesis"),
        ("{ref: sells}", "{ref: open}", 19, "found 'open'"),
        ("{ref: sells}", "{ref: sells, name: again}", 19, "unknown name 'name'"),
        ("{ref: sells}", "{ref: sells, tolerance: 1}", 19, "found it beside `ref`, where nothing asks it"),
        ("name: close", "name: sells", 19, "expected a `ref` to one activity, found 2 of the name 'sells'"),
        (
            "name: close",
            "name: close\n    tolerance: 0",
            12,
            "expected a `tolerance` on a probe, found it on an action",
        ),
        ("name: close", "name: close\n    timeout: 3", 14, "put it in `provider`"),
        ("name: close", "name: close\n    secrets: [till]", 14, "put them in `provider`"),
        ("secrets: [till]}", "secrets: till}", 16, "secrets"),
        ("background: true", "background: 1", 14, "background"),
        ("tolerance: 0,", "tolerance: 0.5,", 10, "expected a whole number, a text, a boolean, or a list of values"),
        ("tolerance: 0,", "tolerance: '${nope}',", 10, "expected a value for ${nope} in `configuration` or `secrets`"),
        ("tolerance: 0,", "tolerance: [],", 10, "expected a list of values, found an empty one"),
        ("tolerance: 0,", "tolerance: {type: range, range: [2, 1]},", 10, "expected the lower bound before the upper"),
        (
            'url: "http://127.0.0.1:9"',
            'url: "::::"',
            18,
            "expected an address such as `https://host/path`, found '::::'",
        ),
        ('url: "http://127.0.0.1:9"', 'url: "http://[x"', 18, "expected an address such as"),
        ("{patience: 2}", "{patience: 2, a: {type: envv}}", 3, "expected `type: env`, or `type: vault` of a secret"),
        ("{patience: 2}", "{patience: 2, a: {type: file, key: A}}", 3, "found 'file'"),
        ("secrets: {till:", "secrets: {safe: {type: vault}, till:", 4, "expected the `path` of a secret of a vault"),
        ("secrets: {till:", "secrets: {safe: {type: vaultt, path: a}, till:", 4, "`type: vault`, found 'vaultt'"),
        ("secrets: {till:", "secrets: {safe: {a: {type: valut, path: a}}, till:", 4, "found 'valut'"),
        ("tolerance: 0,", "", 10, "expected a `tolerance` on a probe of the hypothesis, found none"),
        ("tolerance: 0,", "tolerance: {type: rnge},", 10, "probe, regex, jsonpath or range"),
        ("tolerance: 0,", "tolerance: {type: regex, pattern: '('},", 10, "expected a regular expression"),
        ("tolerance: 0,", "tolerance: {type: jsonpath, path: '$..['},", 10, "JSON path"),
        ("{type: probe, name: sells, tolerance: 0,", "{type: action, name: sells,", 10, "found an action"),
        ("name: sells,", "name: sells, background: true,", 10, "expected a probe of the hypothesis to be waited for"),
        ('before: "${patience}"', 'before: "${patient}"', 15, "as the value of ${patient}, found nothing"),
        ('before: "${patience}"', "before: soon", 15, "expected real seconds, a day at most, or `${name}`"),
        ("{patience: 2}", "{patience: 86401}", 15, "expected seconds, a day at most, as the value of ${patience}"),
        ('before: "${patience}"', "before: 86401", 15, "expected real seconds, a day at most"),
        ("{patience: 2}", "{patience: {type: env, key: TILL_WAIT}}", 15, "found a value of the type str"),
        ("{patience: 2}", "{patience: {type: env, key: TILL_NONE}}", 3, "TILL_NONE"),
        ("{patience: 2}", "{patience: {type: env, key: TILL_TOKEN, env_var_type: int}}", 3, "found ValueError instead"),
        ("{patience: 2}", "{patience: {type: probe, name: p, provider: {}}}", 3, "a drill asks no probe for a value"),
        (
            "{token: {type: env, key: TILL_TOKEN}}",
            "{type: env, key: TILL_TOKEN}",
            4,
            "expected names with their values",
        ),
        ("key: TILL_TOKEN", "key: TILL_TOKEN, default: x", 4, "unknown name 'default'"),
        (PROCESS, f"provider: {FAULT}", 14, "expected 'close', which is Tocsin's own, to be waited for"),
        (
            f'background: true\n    pauses: {{before: "${{patience}}"}}\n    {PROCESS}',
            f"provider: {UNKNOWN}",
            14,
            "${name}",
        ),
        ("{type: http, url:", "{type: http, expected_status: 200, url:", 18, "Use a `tolerance`"),
        ("{type: http, url:", "{type: ssh, url:", 18, "'python', 'process', 'http'"),
        (
            "controls: []",
            CONTROL.format("till_missing"),
            5,
            "till_missing: expected to import it, found Mod",
        ),
        ("controls: []", CONTROL.format("till_listens"), 5, "asks for the event registry"),
        ("controls: []", CONTROL.format("till_mistyped"), 5, "it would never be called"),
        ("controls: []", "controls: [{name: c, provider: {type: process, path: x}}]", 5, "python"),
    ],
)
def test_what_a_drill_does_not_obey_is_refused_by_name(
    till: Path, before: str, after: str, line: int, message: str
) -> None:
    path = experiment(till, before, after)
    with pytest.raises(InvalidInput) as caught:
        Planner(till).plan(path)
    assert message in str(caught.value)
    assert f"{path}:{line}: " in str(caught.value)
    assert "plum" not in str(caught.value)
