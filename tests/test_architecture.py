"""The house's rules that can be executed: which part may know which, and what may never be named."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tests import house
from tests.house import HOUSE, SOURCE, imports_of, is_in, modules, room_of, wrong_imports

SYSTEMS = ("leave.attendance", "attendance", "itcenter", "rescheduler", "namecard", "classpoint", "clocked")
SOCKETS = {"boto3", "botocore", "httpx", "socket", "urllib.request", "urllib import", "requests", "pg8000"}


def test_every_part_has_a_row() -> None:
    without = [f"tocsin.{module}" for module in modules() if room_of(module) is None]
    assert without == [], "expected a row for each in HOUSE of tests/house.py"


@pytest.mark.parametrize("room", HOUSE)
def test_imports_point_one_way(room: str) -> None:
    inside = [path for module, path in modules().items() if room_of(module) == room]
    assert [wrong for path in inside for wrong in wrong_imports(room, path)] == []


def test_a_part_without_a_row_is_noticed() -> None:
    assert room_of("cellar") is None
    assert room_of("cellar.wine") is None


def test_a_part_of_the_sandbox_without_a_row_is_noticed() -> None:
    assert room_of("sandbox.cellar") is None
    assert room_of("sandbox.cellar.wine") is None
    assert room_of("sandbox.world") == room_of("sandbox") == "sandbox core"
    assert room_of("sandbox.services.sqs") == "sandbox services"


def test_every_row_has_a_part() -> None:
    """A row of something that is gone is no rule."""
    for name, room in HOUSE.items():
        assert [one for one in room.modules if one not in modules()] == [], name
        assert [one for one in room.may_import if one not in HOUSE and one not in modules()] == [], name
        assert any(room_of(module) == name for module in modules()), name


def never(room: str) -> Iterator[str]:
    """Every arrow of a room that the table does not have: a module that it must not import.

    Of a room that may be known in part, each module that may not.
    """
    row = HOUSE[room]
    for other, there in HOUSE.items():
        if other == room or other in row.may_import:
            continue
        in_part = any(room_of(one) == other for one in row.may_import if one in modules())
        targets = [one for one in modules() if room_of(one) == other] if in_part else there.modules
        for target in targets:
            if not any(is_in(target, one) for one in row.may_import if one in modules()):
                yield target


def ways(target: str) -> Iterator[str]:
    """Each way in which an import can be written."""
    package, _, name = f"tocsin.{target or '__version__'}".rpartition(".")
    whole = f"tocsin.{target}".rstrip(".")
    yield from (f"from {package} import {name}", f"import {whole}", f'importlib.import_module("{whole}")')
    yield from (f'__import__("{whole}")', f'import_module(name="{whole}")')


@pytest.mark.parametrize("room", HOUSE)
def test_a_wrong_import_is_caught(room: str, tmp_path: Path) -> None:
    """Planted inside a function."""
    lines = [line for target in never(room) for line in ways(target)]
    assert lines
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n" + "".join(f"    {line}\n" for line in lines))
    caught = Counter(one.partition(" ")[0] for one in wrong_imports(room, planted))
    missed = [line for number, line in enumerate(lines, start=2) if caught[f"planted.py:{number}:"] != 1]
    assert (missed, caught.total()) == ([], len(lines))


def test_a_relative_import_is_caught(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("from ..sandbox import control\nfrom . import base\n")
    assert len(wrong_imports("actors", planted)) == 2


def test_a_name_in_a_room_that_may_be_known_is_no_wrong_import(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("import tocsin.model.system\nfrom tocsin.model.system import System\nfrom tocsin import aws\n")
    assert wrong_imports("actors", planted) == []


@cache
def neighbours(module: str) -> tuple[str, ...]:
    """Modules of ours that a module imports itself."""
    names = (name for _, name in imports_of(modules()[module]))
    return tuple(name if name in modules() else name.rpartition(".")[0] for name in names)


@cache
def reached_from(module: str) -> frozenset[str]:
    """Modules of ours that are imported when `module` is, by whatever path."""
    found: set[str] = set()
    left = [module]
    while left:
        here = left.pop()
        if here not in found:
            found.add(here)
            left += neighbours(here)
    return frozenset(found)


INSIDE = [one for one in modules() if (room_of(one) or "").startswith("sandbox ") and room_of(one) != "sandbox host"]


def test_the_sandbox_learns_nothing_of_aws_from_the_harness_by_whatever_path() -> None:
    assert {module: one for module in INSIDE for one in reached_from(module) if room_of(one) == "aws"} == {}


@pytest.mark.parametrize("module", [one for one in modules() if one.endswith(".plant")])
def test_a_plant_does_not_know_who_answers_the_api(module: str) -> None:
    """What really runs stands for itself; what ministack remembers of it is put beside it by the service."""
    assert not {"sandbox.ministack", "sandbox.world", "sandbox.service"} & reached_from(module)


def test_one_module_imports_the_package_ministack() -> None:
    found = {
        module
        for module, path in modules().items()
        if re.search(r"^\s*(import|from) ministack\b|import_module\(.*ministack", path.read_text(), re.MULTILINE)
    }
    assert found <= {"sandbox.ministack"}


@pytest.mark.parametrize("room", ["alarms", "checkers", "report"])
def test_what_is_pure_reaches_nothing_that_opens_a_socket(room: str) -> None:
    pure = [one for one in modules() if room_of(one) == room]
    assert pure
    from_where = {reached: module for module in pure for reached in reached_from(module)}
    for reached, module in from_where.items():
        text = modules()[reached].read_text(encoding="utf-8")
        opened = {found for found in SOCKETS if re.search(rf"^\s*(import|from) {found}\b", text, re.MULTILINE)}
        assert not opened, f"{module} reaches {reached}, which imports {opened}"


def test_the_table_of_the_design_is_that_of_the_test() -> None:
    assert house.main(["--check"]) == 0, "call: python -m tests.house"


def test_a_table_that_differs_is_noticed_and_mended(tmp_path: Path) -> None:
    other = tmp_path / "DESIGN.md"
    other.write_text(f"# Design\n{house.BEGIN}\n| part | may import |\n{house.END}\nThe end.\n")
    assert house.main(["--check", "--file", str(other)]) == 1
    assert house.main(["--file", str(other)]) == 0
    assert house.main(["--check", "--file", str(other)]) == 0
    assert other.read_text().endswith("\nThe end.\n")


def test_tests_mirror_the_house() -> None:
    """Every package has tests of its own, and every directory of tests a package or a purpose that is named here."""
    across = {"clocked", "differential", "fuzz", "planted", "replicas", "root", "second_target", "study", "sweep"}
    packages = {path.parent.relative_to(SOURCE).as_posix() for path in SOURCE.glob("*/__init__.py")}
    directories = {path.name for path in Path(__file__).parent.iterdir() if any(path.glob("**/*.py"))}
    assert packages <= directories
    assert directories - packages <= across


def test_nothing_in_the_harness_names_a_system() -> None:
    named = re.compile(rf"\b(?:{'|'.join(SYSTEMS)})\b", re.IGNORECASE)
    texts = {str(path): path.read_text(encoding="utf-8") for path in modules().values()}
    assert {path: found for path, text in texts.items() if (found := named.findall(text))} == {}


def test_importing_every_module_does_nothing() -> None:
    names = [
        f"tocsin.{module}".rstrip(".")
        for module, path in modules().items()
        # Run inside Locust's and Schemathesis' own processes, whose import is an act of its own.
        if path.name != "__main__.py" and module != "load" and "child" not in path.name
    ]
    code = f"import importlib, threading\nfor name in {names!r}:\n    importlib.import_module(name)\n"
    code += "assert threading.active_count() == 1, threading.enumerate()\n"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
