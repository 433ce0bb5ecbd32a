"""Every file of a call is looked at, and everything that is wrong is told: once, where it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.project.test_documents import CONTRACT, EXPERIMENT, SYSTEM

from tocsin.commands.validate import Validation, validate
from tocsin.drill.plan import Planner
from tocsin.errors import InvalidInput
from tocsin.project.python_files import try_import


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "systems").mkdir()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "systems" / "shop.yaml").write_text(SYSTEM)
    (tmp_path / "canaries.py").write_text("def canary_home(api):\n    pass\n")
    (tmp_path / "contract.yaml").write_text(CONTRACT)
    for name in ("one", "two", "three"):
        (tmp_path / "experiments" / f"{name}.yaml").write_text(EXPERIMENT)
    return tmp_path


def told(shop: Path) -> list[str]:
    """What is said, without the directory."""
    answer = validate(shop, [shop / "experiments"])
    return [str(problem).replace(f"{shop}/", "") for problem in answer.problems]


def test_nothing_is_wrong(shop: Path) -> None:
    assert validate(shop, [shop / "experiments"]).valid == 3
    assert told(shop) == []


def test_all_mistakes_of_all_files(shop: Path) -> None:
    one = EXPERIMENT.replace("alarm: errors,", "alarm: error,").replace("[503]", "[502, 504]")
    (shop / "experiments" / "one.yaml").write_text(one)
    (shop / "experiments" / "two.yaml").write_text(
        EXPERIMENT.replace("rollbacks:", "rollback:").replace("within: 5m}", "in: 5m}")
    )
    (shop / "experiments" / "three.yaml").write_bytes(b"\xff")
    assert [message.split(" ")[0] for message in told(shop)] == [
        "experiments/one.yaml:18:",
        "experiments/one.yaml:20:",
        "experiments/one.yaml:20:",
        "experiments/three.yaml:1:",
        "experiments/two.yaml:11:",
        "experiments/two.yaml:19:",
        "experiments/two.yaml:21:",
    ]


def test_a_mistake_in_a_system_file_is_told_once_where_it_is(shop: Path) -> None:
    wrong = (
        SYSTEM.replace("Treshold", "x")
        .replace("      Threshold: 1", "      Treshold: 1")
        .replace("title: Shop", "titel: Shop")
    )
    (shop / "systems" / "shop.yaml").write_text(wrong)
    line = wrong[: wrong.index("Treshold")].count("\n") + 1
    assert told(shop) == [
        "systems/shop.yaml:2: unknown name 'titel'. Did you mean 'title'?",
        f"systems/shop.yaml:{line}: unknown name 'Treshold' in alarms.errors.cloudwatch. Did you mean 'Threshold'?",
    ]
    with pytest.raises(InvalidInput) as caught:
        Planner(shop).plan_all(sorted((shop / "experiments").iterdir()))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("EvaluationCriteria: {PromQLCriteria: {Query: up == 0}}", {"EvaluationInterval", "Threshold"}),
        ("ScheduledQueryConfiguration: {QueryString: fields @message}", {"QueryResultsToEvaluate", "Namespace"}),
        ("ThresholdMetricId: band", {"no Threshold", "an anomaly detection band"}),
    ],
)
def test_of_the_kinds_of_alarms_the_one_is_told_about_that_was_meant(shop: Path, field: str, names: set[str]) -> None:
    (shop / "systems" / "shop.yaml").write_text(
        SYSTEM.replace("      Period: 60\n", f"      Period: 60\n      {field}\n")
    )
    messages = " ".join(told(shop))
    assert all(name in messages for name in names), messages
    assert "Alarm." not in messages


def test_composite_alarms_that_look_at_each_other_are_told(shop: Path) -> None:
    pair = """alarms:
  left:
    title: Left
    untested: it waits for the other one
    cloudwatch: {AlarmName: shop-left, AlarmRule: ALARM(shop-right)}
  right:
    title: Right
    untested: it waits for the other one
    cloudwatch: {AlarmName: shop-right, AlarmRule: OK(shop-left)}
"""
    (shop / "systems" / "shop.yaml").write_text(SYSTEM.replace("alarms:\n", pair))
    message = "expected a rule that looks at other alarms, found one that looks at itself in the end"
    assert [problem.partition(": ")[2].partition(message)[0] for problem in told(shop)] == [
        "alarms.left: ",
        "alarms.right: ",
    ]


def test_of_a_union_the_member_is_told_about_that_fits_best(shop: Path) -> None:
    wrong = SYSTEM.replace("{http_api: shop}\nendpoint", "{topicc: shop}\nendpoint").replace("Period: 60", "Period: 61")
    (shop / "systems" / "shop.yaml").write_text(wrong)
    first, second = told(shop)
    assert first == "systems/shop.yaml:4: unknown name 'topicc' in lookups.api_id. Did you mean 'topic'?"
    assert "alarms.errors.cloudwatch.Period: " in second
    assert "MetricAlarm" not in second


@pytest.mark.parametrize(
    ("python", "line", "message"),
    [
        ("def canary_home(api):\n    pass\ndef canary_(:\n", 3, "expected Python: invalid syntax"),
        ("def canary_home(api):\n    pass\nreturn 1\n", 3, "expected Python: 'return' outside function"),
        ("x = 1\ny = x / 0\n\ndef canary_home(api): ...\n", 2, "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(0)\n\ndef canary_home(api): ...\n", 2, "SystemExit: 0"),
        ("import nowhere\n\ndef canary_home(api): ...\n", 1, "ModuleNotFoundError: No module named 'nowhere'"),
        ("import os\nos._exit(7)\n\ndef canary_home(api): ...\n", None, "ends the process (exit code 7)"),
        ("import os\nos.kill(os.getpid(), 9)\n\ndef canary_home(api): ...\n", None, "ends the process (signal 9)"),
        (
            "class E(Exception):\n  def __str__(self): raise E\nraise E\ndef canary_home(api): ...\n",
            3,
            "cannot be shown",
        ),
        (
            "import httpx\n\ndef canary_home(api):\n    httpx.post('https://shop.test')\n",
            4,
            "expected requests that are sent with the `api` of a canary, found `httpx.post`",
        ),
        ("import boto3\n\ndef canary_home(api): ...\n", 1, "found `boto3`: what it sends would be in no record"),
        ("x = \x00\n", 1, "source code string cannot contain null bytes"),
        ("x = " + "(" * 500, 1, "expected Python: "),
    ],
)
def test_a_file_of_canaries_is_told_of_at_its_own_line(shop: Path, python: str, line: int | None, message: str) -> None:
    (shop / "canaries.py").write_text(python)
    found = [one for one in told(shop) if not one.startswith("experiments/")]
    assert len(found) == 1
    assert found[0].startswith("canaries.py: " if line is None else f"canaries.py:{line}: ")
    assert message in found[0]


CANARIES = """\
from functools import wraps

def at_night(function):
    @wraps(function)
    def canary(api):
        return function(api, "night")
    return canary

@at_night
def canary_night(api, when): ...
def canary_home(api, *others, **named): ...
def canary_alone(): ...
def canary_two(api, other): ...
async def canary_later(api): ...
async def canary_stream(api):
    yield
def canary_yields(api):
    yield
"""


def test_a_canary_of_which_nothing_would_run_is_told(shop: Path) -> None:
    """What a decorator makes of one counts, and not what it wraps."""
    (shop / "canaries.py").write_text(CANARIES)
    assert [one.partition(": nothing")[0] for one in told(shop) if not one.startswith("experiments/")] == [
        "canaries.py:12: expected of canary_alone that it takes its journey, found (): too many positional arguments",
        "canaries.py:13: expected of canary_two that it takes its journey, found (api, other): missing a required "
        "argument: 'other'",
        "canaries.py:14: expected of canary_later a plain function, found an `async def`",
        "canaries.py:15: expected of canary_stream a plain function, found an `async def`",
        "canaries.py:17: expected of canary_yields a plain function, found one with `yield`",
    ]


def test_a_file_without_a_canary_is_told(shop: Path) -> None:
    (shop / "canaries.py").write_text("x = 1\n")
    assert "canaries.py: expected functions named canary_*, found none" in told(shop)


def test_an_import_that_hangs_is_ended_where_it_hangs(tmp_path: Path) -> None:
    path = tmp_path / "canaries.py"
    path.write_text("import time\nwhile True: time.sleep(0.1)\n")
    with pytest.raises(InvalidInput, match=r"canaries\.py:2: expected its import to end within 5 s"):
        try_import(path, within_s=5.0)


PROMISE = "promises:\n  open:\n    {title: It is open, kind: check, runbook: page 1, canaries: [home]}\n"


@pytest.mark.parametrize("python", ["from nowhere import canary_home\n", "def canary_home(:\n", "1 / 0\n"])
def test_a_file_of_canaries_that_cannot_be_used_is_one_mistake(shop: Path, python: str) -> None:
    (shop / "systems" / "shop.yaml").write_text(SYSTEM + PROMISE)
    (shop / "canaries.py").write_text(python)
    (found,) = told(shop)
    assert found.startswith("canaries.py:1: ")


METHOD = EXPERIMENT[EXPERIMENT.index("method:") : EXPERIMENT.index("rollbacks:")]
EXTENSIONS = EXPERIMENT[EXPERIMENT.index("extensions:") :]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (METHOD, "method:\n", "3: expected a value after 'method:', found nothing"),
        (METHOD, "method: null\n", "3: expected 'method', found nothing"),
        ("title: Proxy throttled", "title:", "1: expected a value after 'title:', found nothing"),
        ("system: shop", "system:", "15: expected a value after 'system:', found nothing"),
        (EXTENSIONS, "extensions:\n", "13: expected a value after 'extensions:', found nothing"),
        (EXTENSIONS, "extensions: {name: tocsin}\n", "13: extensions: expected a list, found {'name': 'tocsin'}"),
        (EXTENSIONS, "extensions: [tocsin]\n", "13: extensions.0: expected a mapping, found 'tocsin'"),
        (EXTENSIONS, "extensions: []\n", "13: expected a block named 'tocsin' under 'extensions', found none"),
        (EXTENSIONS, "", "1: expected a block named 'tocsin' under 'extensions', found none"),
    ],
)
def test_one_mistake_has_one_message(shop: Path, before: str, after: str, message: str) -> None:
    for name in ("two", "three"):
        (shop / "experiments" / f"{name}.yaml").unlink()
    (shop / "experiments" / "one.yaml").write_text(EXPERIMENT.replace(before, after))
    (found,) = told(shop)
    assert found.startswith(f"experiments/one.yaml:{message}")


def test_another_mistake_than_that_of_the_empty_value_is_told_too(shop: Path) -> None:
    (shop / "systems" / "shop.yaml").write_text(SYSTEM.replace("title: Shop", "title:").replace("lookups", "lookup"))
    assert [one[:40] for one in told(shop)] == [
        "systems/shop.yaml:2: expected a value af",
        "systems/shop.yaml:3: unknown name 'looku",
    ]


def test_the_files_of_a_wrong_system_are_looked_at_too(shop: Path) -> None:
    wrong = SYSTEM.replace("title: Shop", "titel: Shop") + "load: gone.py\n"
    wrong += 'prometheus: {url: "http://127.0.0.1:1", rules: rules.yaml}\n'
    (shop / "systems" / "shop.yaml").write_text(wrong)
    (shop / "contract.yaml").write_text("swagger: '2.0'\npaths: {}\n")
    (shop / "canaries.py").write_text("x = 1\nclass:\n")
    (shop / "rules.yaml").write_text("group: []\n")
    line = SYSTEM.count("\n") + 1
    assert told(shop) == [
        "systems/shop.yaml:2: unknown name 'titel'. Did you mean 'title'?",
        f"systems/shop.yaml:{line}: expected the file gone.py, found none",
        "contract.yaml:1: expected an OpenAPI 3 document, found Swagger 2. Convert it: its schemas stand elsewhere",
        "canaries.py:2: expected Python: invalid syntax",
        "rules.yaml:1: unknown name 'group'. Did you mean 'groups'?",
    ]


RULES = """\
groups:
- name: shop
  rules:
  - {alert: Gone, expr: absent(up)}
  - {alert: Slow, expr: 'latency > >'}
"""


@pytest.mark.parametrize(("promtool", "refused"), [(None, True), ("exit 1", True), ("exit 0", False)])
def test_an_expression_that_is_no_promql_is_told_unless_prometheus_itself_takes_it(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promtool: str | None, refused: bool
) -> None:
    """The program on the PATH stands for another version of Prometheus."""
    (shop / "systems" / "shop.yaml").write_text(
        SYSTEM + 'prometheus: {url: "http://127.0.0.1:1", rules: systems/shop.rules.yaml}\n'
    )
    (shop / "systems" / "shop.rules.yaml").write_text(RULES)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if promtool is not None:
        program = tmp_path / "bin" / "promtool"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{promtool}\n")
        program.chmod(0o755)
    found = told(shop)
    assert len(found) == refused
    assert all(one.startswith("systems/shop.rules.yaml:5: Slow: expected PromQL, found 'latency > >'") for one in found)
    (shop / "systems" / "shop.rules.yaml").write_text(RULES.replace("> >", "> 1"))
    assert told(shop) == []


def test_a_contract_is_one(shop: Path) -> None:
    cases = {
        "swagger: '2.0'\npaths: {}\n": "contract.yaml:1: expected an OpenAPI 3 document, found Swagger 2",
        "hello: world\n": "contract.yaml:1: expected 'openapi', found nothing",
        "openapi: 3.1.0\npaths:\n": "contract.yaml:2: paths: expected a mapping, found nothing (null)",
        "openapi: 3.1.0\npaths: {}\ncomponents:\n": "contract.yaml:3: components: expected a mapping, found nothing",
        "openapi: 3.1.0\npaths: {/a: {get: {responses: [1]}}}": "contract.yaml:2: paths./a.get.responses: expected a m",
    }
    for content, message in cases.items():
        (shop / "contract.yaml").write_text(content)
        assert any(one.startswith(message) for one in told(shop)), (message, told(shop))


def test_a_contract_may_be_in_several_files(shop: Path) -> None:
    get = 'get: {responses: {200: {description: a}, 5XX: {$ref: "answers.yaml#/away"}}}\n'
    (shop / "orders.yaml").write_text(get)
    head, _, schemas = CONTRACT.partition("  /orders/{id}:\n")
    components = schemas[schemas.index("components:") :]
    (shop / "contract.yaml").write_text(f"{head}  /orders/{{id}}: {{$ref: orders.yaml}}\n{components}")
    assert told(shop) == [
        "orders.yaml:1: expected the file answers.yaml that 'answers.yaml#/away' refers to, found none"
    ]
    (shop / "answers.yaml").write_text("away: {description: away}\n")
    assert told(shop) == []


def test_what_nobody_looks_at_of_a_contract_is_a_note(shop: Path) -> None:
    assert validate(shop, [shop / "experiments"]).notes == ()
    lines = '"200": {description: an order, content: {application/x-ndjson: {schema: {type: object}}}}'
    (shop / "contract.yaml").write_text(CONTRACT.replace('"200": {description: an order}', lines))
    (note,) = validate(shop, [shop / "experiments"]).notes
    assert note.endswith("of an answer 200 as application/x-ndjson the media type is looked at, and not its schema")


def test_an_action_of_ones_own_that_nothing_shows_to_be_undone_is_a_note(shop: Path) -> None:
    called = "provider: {type: python, module: posixpath, func: isabs, arguments: {s: /}}}"
    look, action = f"{{type: probe, name: look, tolerance: true, {called}", f"{{type: action, name: break, {called}"
    rollbacks = EXPERIMENT[EXPERIMENT.index("rollbacks:") : EXPERIMENT.index("extensions:")]
    own = EXPERIMENT.replace(rollbacks, f"rollbacks:\n  - {action}\n{{look}}")
    own = own.replace(METHOD, f"method:\n  - {action}\n  - {look}\n")
    path = shop / "experiments" / "one.yaml"
    path.write_text(own.replace("{look}", f"  - {look}\n"))
    assert validate(shop, [path]) == Validation((), 1, 1)
    path.write_text(own.replace("{look}", ""))
    found = validate(shop, [path])
    (note,) = found.notes
    assert found.valid == 1
    assert note.startswith(
        f"{path}: no probe with a tolerance among the rollbacks, after their actions, shows that all"
    )
    assert "what posixpath.isabs did, so a drill fails `undo`" in note


def test_an_account_to_which_nobody_may_write_is_a_note(shop: Path) -> None:
    table = '[targets.{}]\naccount = "123456789012"\nregion = "eu-west-1"\n{}\n'
    (shop / "tocsin.toml").write_text(
        table.format("staging", "")
        + table.format("elsewhere", 'systems = ["till"]')
        + table.format("emulator", 'endpoint_url = "http://127.0.0.1:9"')
    )
    (note,) = validate(shop, [shop / "experiments"]).notes
    assert "on target 'staging', an account, a drill is refused: `test_data` does not say what becomes of what" in note
    assert note.endswith("canaries and contract would write there")
    (shop / "systems" / "shop.yaml").write_text(SYSTEM + "test_data: {reads_only: [canaries, contract]}\n")
    assert validate(shop, [shop / "experiments"]).notes == ()
    health = EXPERIMENT[EXPERIMENT.index("rollbacks:") :]
    order = "{type: action, name: order, provider: {type: http, url: 'https://shop.test/', method: POST}}"
    (shop / "experiments" / "one.yaml").write_text(EXPERIMENT.replace(health, f"  - {order}\n{health}"))
    notes = validate(shop, [shop / "experiments"]).notes
    assert any("what activities (action 'order' (sends POST) in the method of" in one for one in notes)


def test_a_clean_up_that_is_not_there_is_told(shop: Path) -> None:
    kind = (
        "{title: o, written_by: [canaries], tag: a, mark: drill, counted_apart: so, cleanup: 'canaries.py:canary_hom'}"
    )
    (shop / "systems" / "shop.yaml").write_text(f"{SYSTEM}test_data:\n  kinds:\n    orders: {kind}\n")
    assert told(shop) == [
        "systems/shop.yaml:25: test_data.kinds.orders: expected a function of canaries.py, found 'canary_hom'. Did you "
        "mean 'canary_home'?"
    ]


def test_an_answer_named_by_a_bare_number_is_one(shop: Path) -> None:
    (shop / "contract.yaml").write_text(CONTRACT.replace('"503"', "503").replace('"200"', "200"))
    assert told(shop) == []


def test_a_load_file_is_python(shop: Path) -> None:
    (shop / "systems" / "shop.yaml").write_text(SYSTEM + "load: load.py\n")
    (shop / "load.py").write_text("x = 1\nclass:\n")
    assert told(shop) == ["load.py:2: expected Python: invalid syntax"]


def test_what_a_path_leads_to(shop: Path) -> None:
    os.mkfifo(shop / "pipe.yaml")
    paths = [shop / "none.yaml", shop / ("x" * 300), shop / "pipe.yaml", Path("/dev/null"), shop / "a\0b"]
    answer = validate(shop, [*paths, shop / "experiments"])
    assert (len(answer.problems), answer.valid, answer.looked_at) == (5, 3, 8)


def test_of_very_many_mistakes_the_first_are_told(shop: Path) -> None:
    (shop / "systems" / "shop.yaml").write_text(SYSTEM + "".join(f"name{index}: 1\n" for index in range(30_000)))
    found = told(shop)
    assert len(found) == 21
    line = SYSTEM.count("\n") + 1
    assert found[0].startswith(f"systems/shop.yaml:{line}: unknown name 'name0'.")
    assert "and 29980 mistakes more in this file" in found[-1]


def test_an_empty_directory_keeps_no_other_path_from_being_looked_at(shop: Path) -> None:
    (shop / "empty").mkdir()
    answer = validate(shop, [shop / "empty", shop / "experiments"])
    assert (len(answer.problems), answer.valid, answer.looked_at) == (1, 3, 3)


def test_a_working_directory_that_was_deleted(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from tocsin.cli import main; main(['validate', 'x.yaml'])"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=gone, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith("tocsin: expected a working directory, found none")
