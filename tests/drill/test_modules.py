"""Modules that an experiment names are anybody's code: what goes wrong when they are imported is told, and no more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.project.test_documents import CONTRACT, EXPERIMENT, SYSTEM

from tocsin.drill.plan import Planner
from tocsin.errors import InvalidInput
from tocsin.project.python_files import try_modules

ACTIVITY = "  - {{type: probe, name: {0}, provider: {{type: python, module: {0}, func: look}}}}\n"
CONTROL = "  - {{name: {0}, provider: {{type: python, module: {0}}}}}\n"
BAD = {
    "leaves": ("import os\nos._exit(0)\n", "expected to import it, found that it ends the process (exit code 0)"),
    "raises": ("class Odd(BaseException): ...\nraise Odd('no')\n", "expected to import it, found Odd: no"),
    "interrupts": ("raise KeyboardInterrupt\n", "expected to import it, found KeyboardInterrupt"),
    "quits": ("import sys\nsys.exit(0)\n", "expected to import it, found SystemExit: 0"),
}
FINE = "import os\n{}\ndef look(): ...\ndef before_activity_control(): ...\n"
COMMAND = "import sys; from tocsin.cli import main; main(sys.argv[1:])"
HANGS = "while True: pass\n"
MARK = "open({!r}, 'a').write(f'{{os.getpid()}} {{__name__}}\\n')"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "systems").mkdir()
    (tmp_path / "modules").mkdir()
    (tmp_path / "systems" / "shop.yaml").write_text(SYSTEM)
    (tmp_path / "canaries.py").write_text("def canary_home(api):\n    pass\n")
    (tmp_path / "contract.yaml").write_text(CONTRACT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    return tmp_path


def with_activities(*names: str) -> str:
    return EXPERIMENT.replace("method:\n", "method:\n" + "".join(ACTIVITY.format(name) for name in names))


def with_controls(*names: str) -> str:
    controls = "controls:\n" + "".join(CONTROL.format(name) for name in names)
    return EXPERIMENT.replace("method:\n", f"{controls}method:\n")


def validate(shop: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "validate", "one.yaml"],
        cwd=shop,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("written", [with_activities, with_controls])
def test_a_module_that_cannot_be_imported_is_told_of_at_its_line(shop: Path, written: Callable[..., str]) -> None:
    for name, (python, _) in BAD.items():
        (shop / "modules" / f"{name}.py").write_text(python)
    text = written(*BAD)
    (shop / "one.yaml").write_text(text)
    answer = validate(shop)
    assert answer.returncode == 2, answer
    assert "Traceback" not in answer.stderr
    for name, (_, message) in BAD.items():
        line = text[: text.index(f"module: {name}")].count("\n") + 1
        assert f"one.yaml:{line}: module {name}: {message}" in answer.stderr


def test_a_module_that_hangs_is_ended_and_the_others_are_tried(shop: Path) -> None:
    modules = {"hangs": HANGS, "harmless": FINE.format(""), "leaves": BAD["leaves"][0]}
    for name, python in modules.items():
        (shop / "modules" / f"{name}.py").write_text(python)
    told = try_modules(["hangs", "harmless", "leaves", "nowhere", "a\0b", "hangs"], within_s=5.0)
    assert told["hangs"] == "expected its import to end within 5 s, found it still going on"
    assert told["harmless"] is None
    assert told["leaves"] == BAD["leaves"][1]
    assert told["nowhere"] == "expected to import it, found ModuleNotFoundError: No module named 'nowhere'"
    assert set(told) == {"hangs", "harmless", "leaves", "nowhere", "a\0b"}
    assert told["a\0b"] is not None


def test_a_module_that_hangs_does_not_hang_the_command(shop: Path) -> None:
    (shop / "modules" / "hangs.py").write_text(HANGS)
    (shop / "one.yaml").write_text(with_activities("hangs"))
    answer = validate(shop)
    assert answer.returncode == 2
    assert "one.yaml:4: module hangs: expected its import to end within 30 s" in answer.stderr


def test_good_modules_cost_one_process_more_and_each_is_tried_once(shop: Path) -> None:
    seen = shop / "seen.txt"
    for name in ("first", "second"):
        (shop / "modules" / f"{name}.py").write_text(FINE.format(MARK.format(str(seen))))
    text = with_activities("first", "second", "first")
    (shop / "one.yaml").write_text(text.replace("method:\n", "controls:\n" + CONTROL.format("second") + "method:\n"))
    answer = validate(shop)
    assert answer.returncode == 0, answer
    lines = seen.read_text().splitlines()
    assert sorted(line.split()[1] for line in lines) == ["first", "first", "second", "second"]
    assert len({line.split()[0] for line in lines}) == 2


def test_what_chaos_toolkit_finds_is_told_of_every_activity_at_its_line(shop: Path) -> None:
    (shop / "modules" / "shop_looks.py").write_text("def look(far): ...\n")
    activities = (
        "  - {type: probe, name: a, provider: {type: python, module: shop_looks, func: look, arguments: {far: 1}}}\n"
        "  - {type: probe, name: b, provider: {type: python, module: shop_looks, func: lok}}\n"
        "  - {type: probe, name: c, provider: {type: python, module: shop_looks, func: look}}\n"
        "  - {type: probe, name: d, provider: {type: process, path: /nowhere/at/all}}\n"
    )
    (shop / "one.yaml").write_text(EXPERIMENT.replace("method:\n", f"method:\n{activities}  - {{ref: b}}\n"))
    with pytest.raises(InvalidInput) as caught:
        Planner(shop).plan(shop / "one.yaml")
    told = [(problem.line, problem.message) for problem in caught.value.problems]
    assert told == [
        (5, "Chaos Toolkit: The python module 'shop_looks' does not expose a function called 'lok' in probe 'b'"),
        (6, "Chaos Toolkit: required argument 'far' is missing from activity 'look'"),
        (7, "Chaos Toolkit: path '/nowhere/at/all' cannot be found, in activity 'd'"),
    ]
