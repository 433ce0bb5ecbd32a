"""The documents are true: links lead somewhere, commands exist, every field and every verdict is described."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tests.attacks import ATTACKS

from tocsin import errors
from tocsin.cli import main
from tocsin.coverage.table import coverage_of, experiments_of
from tocsin.coverage.words import markdown
from tocsin.model import alarm_fields, experiment, messages, only_cloudwatch, rules, synthetic, system
from tocsin.model.base import Model
from tocsin.model.duration import parse_duration, parse_share
from tocsin.model.experiment import Extension
from tocsin.model.system import System
from tocsin.model.verdict import Outcome, Reason, Verdict
from tocsin.probes import PROBES
from tocsin.procedures import PROCEDURES
from tocsin.project.documents import load_system, system_names
from tocsin.project.targets import SandboxSpec, TargetSpec

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("replicas/*/README.md")])
EXPERIMENTS = (ROOT / "docs/EXPERIMENTS.md").read_text(encoding="utf-8")
VERDICTS = (ROOT / "docs/VERDICTS.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


# ------------------------------------------------------------------------------------------------ links

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """Heading ids as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> list[str]:
    links = LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8")))
    return [link for link in links if not link.startswith(("https://", "mailto:")) and not _leads_somewhere(path, link)]


def _leads_somewhere(path: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = (path.parent / file).resolve() if file else path
    return target.exists() and (not anchor or anchor in anchors(target))


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


def test_a_dead_link_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A title\n[here](#a-title) [gone](gone.md) [nowhere](#nowhere) [out](https://example.com)\n")
    assert broken_links(page) == ["gone.md", "#nowhere"]


PLACES = (ROOT, ROOT / "src/tocsin", ROOT / "src/tocsin/sandbox")
"""From where documents name files of the harness."""
YOURS = {"replicas", "synthetics", "loadtests"}
"""Where the tutorial has its reader write files."""
NAMED = re.compile(r"`((?:\w+/)+\w+\.py)(?:::\w+)?`")


def missing_files(path: Path) -> list[str]:
    """Python files that a document names below a directory of ours and that are not there."""
    named = dict.fromkeys(NAMED.findall(FENCE.sub("", path.read_text(encoding="utf-8"))))
    tops = {one: one.split("/")[0] for one in named}
    ours = (one for one, top in tops.items() if top not in YOURS and any((p / top).is_dir() for p in PLACES))
    return [one for one in ours if not any((place / one).is_file() for place in PLACES)]


@each_document
def test_files_that_are_named_are_there(path: Path) -> None:
    assert missing_files(path) == []


def test_a_file_that_moved_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("`aws/sqs.py` `checkers/gone.py` `src/tocsin/cli.py` `tests/gone.py::test_a` `elsewhere/x.py`\n")
    assert missing_files(page) == ["checkers/gone.py", "tests/gone.py"]


# ------------------------------------------------------------------------------------------------ commands

CODE = re.compile(r"^```.*?\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|[\s/$;])tocsin ([a-z]+(?: [a-z]+)?)?((?: [^\n|;&`]+)?)", re.MULTILINE)


def commands(text: str) -> Iterator[tuple[click.Command, str]]:
    """Every `tocsin ...` in code, as (the command it names, the rest of the line)."""
    for block, span in CODE.findall(text):
        for match in COMMAND.finditer(block or span):
            words = (match[1] or "").split()
            if words:
                yield _find(words), match[2]


def _find(words: list[str]) -> click.Command:
    found: click.Command = main
    for word in words:
        if isinstance(found, click.Group):
            assert word in found.commands, f"`tocsin {' '.join(words)}`: there is no '{word}'"
            found = found.commands[word]
    return found


@each_document
def test_commands_and_options_exist(path: Path) -> None:
    for command, rest in commands(path.read_text(encoding="utf-8")):
        known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}
        used = {word.split("=")[0] for word in rest.split() if word.startswith("--")}
        assert used <= known, f"`tocsin {command.name}` has no {used - known}"


def test_an_invented_command_would_be_noticed() -> None:
    with pytest.raises(AssertionError, match="no 'explode'"):
        list(commands("Run `tocsin explode everything`."))


def test_the_readme_shows_every_command() -> None:
    shown = {command.name for command, _ in commands(README)}
    assert set(main.commands) - {"sandbox"} <= shown
    assert shown >= {"up"}


def test_the_table_of_coverage_is_what_the_command_prints() -> None:
    tables = [coverage_of(load_system(ROOT, name), experiments_of(ROOT, name), {}) for name in system_names(ROOT)]
    renew = "renew it: tocsin coverage --written --format markdown > docs/COVERAGE.md"
    assert (ROOT / "docs/COVERAGE.md").read_text(encoding="utf-8") == markdown(tables) + "\n", renew


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in DOCUMENTS:
        code = "\n".join(block or span for block, span in CODE.findall(path.read_text(encoding="utf-8")))
        named = set(re.findall(r"(?:^|\$ )make ([a-z-]+)", code, re.MULTILINE))
        assert named <= targets, path.name


def test_the_example_of_the_readme_says_what_the_experiment_says() -> None:
    experiment_file = (ROOT / "experiments/leave-attendance/throttle-rds-proxy.yaml").read_text()
    example = next(block for block, _ in CODE.findall(README) if "rds_proxy_throttle" in block)
    squeezed = re.sub(r"\s+", "", experiment_file)
    for line in example.splitlines():
        said = re.sub(r"\s+", "", line.split("  # ")[0]).lstrip("-")
        if ":" in said and not said.endswith(":"):
            assert said in squeezed, line


# ------------------------------------------------------------------------------------------------ exit codes


def table(text: str, heading: str) -> dict[str, str]:
    """First and second column of the table whose header begins with `heading`."""
    lines = text[text.index(heading) :].splitlines()[2:]
    rows = [line.strip("|").split("|") for line in lines[: next(i for i, x in enumerate([*lines, ""]) if not x)]]
    return {row[0].strip(): row[1].strip() for row in rows}


CODES = {"0": "pass", "1": "fail", "2": "invalid input", "3": "unknown", "4": "refused or stopped", "5": "residue"}


@pytest.mark.parametrize(
    "found",
    [table(README, "| exit code |"), table(VERDICTS, "| code | meaning |")],
    ids=["README", "VERDICTS"],
)
def test_exit_codes_are_those_of_the_code(found: dict[str, str]) -> None:
    assert found.keys() == CODES.keys() == {str(code) for code in errors.EXIT_PRECEDENCE}
    for code, meaning in CODES.items():
        assert found[code].startswith(meaning)
    assert errors.InvalidInput("x").exit_code == 2
    assert errors.TargetError("x").exit_code == 3
    assert errors.Refused("guard", "x").exit_code == 4
    assert errors.ResidueLeft("x").exit_code == 5


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"outcome": Outcome.PASS}, "0"),
        ({"outcome": Outcome.FAIL}, "1"),
        ({"outcome": Outcome.UNKNOWN}, "3"),
        ({"outcome": Outcome.UNKNOWN, "stopped": "alarms"}, "4"),
        ({"outcome": Outcome.FAIL, "residue": ("e",)}, "5"),
    ],
)
def test_a_verdict_leaves_with_the_documented_code(fields: dict[str, Any], code: str) -> None:
    assert str(Verdict.model_construct(residue=(), stopped=None).model_copy(update=fields).exit_code) == code


def test_the_precedence_is_the_documented_one() -> None:
    assert f"the first in {', '.join(map(str, errors.EXIT_PRECEDENCE))} decides" in VERDICTS


# ------------------------------------------------------------------------------------------------ activities


def test_every_probe_and_procedure_is_described_with_its_arguments() -> None:
    rows = dict(re.findall(r"^\| `(tocsin\.(?:probes|procedures): \w+)` \| (.*) \|$", EXPERIMENTS, re.MULTILINE))
    declared = {f"tocsin.probes: {name}": one for name, one in PROBES.items()}
    declared |= {f"tocsin.procedures: {name}": one for name, one in PROCEDURES.items()}
    assert rows.keys() == declared.keys()
    for name, one in declared.items():
        parameters = inspect.signature(one.function).parameters.values()
        required = [parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty]
        assert [argument for argument in required if f"`{argument}`" not in rows[name]] == []


# ------------------------------------------------------------------------------------------------ fields


def models_of(*roots: type[BaseModel]) -> set[type[BaseModel]]:
    """All models that can be written in a file, from the outermost inwards."""
    found: set[type[BaseModel]] = set()
    todo = list(roots)
    while todo:
        model = todo.pop()
        if model not in found:
            found.add(model)
            todo += [inner for field in model.model_fields.values() for inner in _models_in(field.annotation)]
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def documented_models() -> dict[str, str]:
    """Model name -> the text after each of its markers, up to the next marker or heading."""
    parts = re.split(r"<!-- model: ([\w ]+) -->", EXPERIMENTS)
    found: dict[str, str] = defaultdict(str)
    for names, text in zip(parts[1::2], parts[2::2], strict=True):
        for name in names.split():
            found[name] += re.split(r"^## ", text, flags=re.MULTILINE)[0]
    return found


MODELS = sorted(models_of(Extension, System, TargetSpec, SandboxSpec), key=lambda model: model.__name__)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_described(model: type[BaseModel]) -> None:
    text = documented_models().get(model.__name__, "")
    names = {field.alias or name for name, field in model.model_fields.items()}
    missing = {name for name in names if not re.search(rf"`{re.escape(name)}`", text)}
    assert not missing, f"docs/EXPERIMENTS.md does not describe {model.__name__}: {sorted(missing)}"


def default_problems(model: type[BaseModel], text: str) -> list[str]:
    """Rows whose default is not the one of the model."""
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| [^|]*\|$", text, re.MULTILINE)
    return [
        f"{name}: {said.strip()}"
        for name, said in rows
        if name in fields and not _is_default(fields[name], said.strip())
    ]


def _is_default(field: FieldInfo, said: str) -> bool:
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    if said == "required" or field.is_required():
        return said == "required" and field.is_required()
    if said == "none":
        return default in (None, (), {})
    value = said.strip("`")
    for read in (parse_duration, parse_share, float):
        try:
            if read(value) == default:
                return True
        except ValueError:
            continue
    # Free text ("the longest `within` of `must`") is for people to check.
    return (
        value in (str(default), str(default).lower())
        or " " in said
        or not said
        or said == "below"
        or value in ("true", "N", "evaluate")
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_defaults_are_those_of_the_model(model: type[BaseModel]) -> None:
    assert default_problems(model, documented_models().get(model.__name__, "")) == []


def test_a_wrong_default_would_be_noticed() -> None:
    class Sample(Model):
        needed: str
        wait: float = 600.0
        many: int = 20

    table = "| `needed` | none | x |\n| `wait` | `11m` | x |\n| `many` | 20 | x |\n"
    assert default_problems(Sample, table) == ["needed: none", "wait: `11m`"]


def test_the_reference_names_no_model_that_is_gone() -> None:
    known = {
        name
        for module in (alarm_fields, experiment, messages, only_cloudwatch, rules, synthetic, system)
        for name in vars(module)
    }
    known |= {"TargetSpec", "SandboxSpec"}
    assert documented_models().keys() <= known


# ------------------------------------------------------------------------------------------------ verdicts


def section(heading: str) -> str:
    return re.split(r"^#+ ", VERDICTS.split(f"{heading}\n", 1)[1], flags=re.MULTILINE)[0]


UNKNOWN_FROM = list(Reason).index(Reason.NO_EFFECT)


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_every_reason_is_described_under_its_outcome(reason: Reason) -> None:
    position = list(Reason).index(reason)
    heading = "### Pass" if position == 0 else "### Fail" if position < UNKNOWN_FROM else "### Unknown"
    assert re.search(rf"^\| `{reason.value}` \| .+ \| .+ \|$", section(heading), re.MULTILINE)


def test_no_reason_is_described_that_is_gone() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", section("### Fail") + section("### Unknown"), re.MULTILINE))
    assert described <= {reason.value for reason in Reason}


def calls(name: str) -> Iterator[ast.Call]:
    for path in (ROOT / "src/tocsin/checkers").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                yield node


def judgement_ids() -> set[str]:
    """`must:` of f"must:{alarm}", `undo` of "undo"."""
    ids = set()
    for call in calls("Question"):
        first = call.args[0]
        literal = first.values[0] if isinstance(first, ast.JoinedStr) else first
        if isinstance(literal, ast.Constant):
            ids.add(str(literal.value))
    return ids


@pytest.mark.parametrize("judgement", sorted(judgement_ids()))
def test_every_judgement_is_described(judgement: str) -> None:
    assert f"`{judgement}" in section("## What is asked") or f"`{judgement.split(':')[0]}:<" in section(
        "## What is asked"
    )


def test_the_judgements_were_found() -> None:
    assert {"effect", "undo", "must:", "quiet:"} <= judgement_ids()


def test_every_kind_of_finding_is_described() -> None:
    kinds = {
        str(k.value.value)
        for c in calls("Finding")
        for k in c.keywords
        if k.arg == "kind" and isinstance(k.value, ast.Constant)
    }
    assert kinds
    assert all(f"| `{kind}` |" in section("## Findings") for kind in kinds)


# ------------------------------------------------------------------------------------------------ safety

PROOF = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def promises(text: str) -> list[list[str]]:
    """The rows of all tables: promise, how it is kept, proved by."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:2] == "| "]
    return [row for row in rows if row[0] != "promise"]


def unproved(text: str, root: Path) -> list[str]:
    """Promises without a proof, and proofs that are no test."""
    found = []
    for promise, *_, proof in promises(text):
        tests = PROOF.findall(proof)
        found += [] if tests else [f"{promise}: no test"]
        found += [f"{file}::{name}" for file, name in tests if not _is_test(root / file, name)]
    return found


def _is_test(path: Path, name: str) -> bool:
    return path.exists() and f"\ndef {name}(" in path.read_text(encoding="utf-8")


def test_every_promise_of_safety_is_proved_by_a_test_that_exists() -> None:
    text = (ROOT / "docs/SAFETY.md").read_text(encoding="utf-8")
    assert len(promises(text)) >= 10
    assert unproved(text, ROOT) == []


def test_an_empty_promise_would_be_noticed() -> None:
    rows = "| promise | how it is kept | proved by |\n|---|---|---|\n| safe | by luck | trust us |\n| and |"
    assert unproved(f"{rows} so | `tests/test_docs.py::test_nothing` |\n", ROOT) == [
        "safe: no test",
        "tests/test_docs.py::test_nothing",
    ]


def untried(text: str) -> list[str]:
    """Promises that no end and no attack tries."""
    tried = {test for tests in ATTACKS.values() for test in tests}
    return [row[0] for row in promises(text) if tried.isdisjoint(name for _, name in PROOF.findall(row[-1]))]


def test_every_promise_of_safety_is_tried_by_an_end_or_an_attack() -> None:
    text = (ROOT / "docs/SAFETY.md").read_text(encoding="utf-8")
    assert untried(text) == [], "name a test of each that attacks it, and list that in tests/attacks.py"
    named = {name for _, name in PROOF.findall(text)}
    assert {test for tests in ATTACKS.values() for test in tests} - named == set(), "no promise names them any more"


def test_a_promise_that_nobody_tries_would_be_noticed() -> None:
    kind, tests = next(iter(ATTACKS.items()))
    assert kind
    row = f"| tried | by many means | `tests/test_docs.py::{tests[0]}` |"
    assert untried(f"{row}\n| shown | when all is well | `tests/test_docs.py::test_make_targets_exist` |\n") == [
        "shown"
    ]


# ------------------------------------------------------------------------------------------------ what no file may hold


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name]


class Forbidden(Enum):
    """Spelled apart, so that this file does not hold them."""

    A_MACHINE = r"(?<![\w.$}:/-])/(?:wo" r"rk|ro" r"ot|home/[a-z]\w*|Us" r"ers/\w+)/"
    A_NEIGHBOUR = r"\.\./sha" r"red"
    A_REGISTRY = r"(?:py" r"pi\.org|pythonho" r"sted\.org|--(?:extra-)?index-url \S)"


@pytest.mark.parametrize("forbidden", Forbidden, ids=lambda forbidden: forbidden.name)
def test_no_file_names(forbidden: Forbidden) -> None:
    pattern = re.compile(forbidden.value)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked_files()
        if path.is_file() and path.suffix not in {".png", ".svg"}
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_what_is_forbidden_would_be_noticed() -> None:
    assert re.search(Forbidden.A_MACHINE.value, "/".join(["see ", "root", "notes.txt"]))
    assert not re.search(Forbidden.A_MACHINE.value, "https://example.com/work/list")
