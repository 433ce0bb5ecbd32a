"""The house's rules that can be executed: which part may know which, and what may never be named."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tocsin"

# part -> parts of ours that it may import. Single modules are parts of their own.
MAY_IMPORT = {
    "masking": set(),
    "model": set(),
    "errors": {"masking"},
    "history": {"model", "errors", "masking"},
    "project": set(),
    "iam": {"model"},
    "target": {"model", "errors", "iam"},
    "targets": {"model", "errors", "project", "target"},
    "ledger": {"model", "errors"},
    "loader": {"model", "errors"},
    "resolve": {"model", "errors", "iam", "target"},
    "alarms": {"model", "errors", "iam", "target"},
    "faults": {"model", "errors", "guards", "iam", "ledger", "project", "target", "targets"},
    "guards": {"model", "errors", "alarms", "iam", "ledger", "project", "target"},
    "checkers": {"model", "errors", "alarms"},
    "report": {"model", "errors", "checkers"},
    "doctor": {"model", "errors", "alarms", "guards", "ledger", "loader", "project", "resolve", "sandbox"}
    | {"coverage", "faults", "permissions", "target", "targets", "validation"},
    "coverage": {"model", "errors", "loader", "report"},
    "context": {"model", "errors", "history", "target"},
}
NEVER = {
    "actors": {"checkers", "report", "sandbox", "drill", "run", "cli"},
    "sandbox": {"actors", "checkers", "faults", "report", "drill", "run", "cli", "ledger"},
    "canary": {"checkers", "report", "sandbox", "drill", "run", "cli"},
    "load": {"checkers", "report", "sandbox", "drill", "run", "cli"},
}
SYSTEMS = ("leave.attendance", "attendance", "itcenter", "rescheduler", "namecard", "classpoint", "clocked")


def part_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Parts of ours that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "tocsin":
            names = [f"tocsin.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        found |= {name.split(".")[1] for name in names if name.startswith("tocsin.")}
    return {name for name in found if not name.startswith("__")}


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    part = part_of(path)
    imported = imports_of(path) - {part}
    if part in MAY_IMPORT:
        assert imported <= MAY_IMPORT[part], f"{part} must not know {imported - MAY_IMPORT[part]}"
    assert not imported & NEVER.get(part, set()), f"{part} must not know {imported & NEVER[part]}"


def test_the_rule_would_notice_a_wrong_import(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def f():\n    from tocsin.sandbox import control\n    from tocsin import drill\n")
    assert imports_of(planted) == {"sandbox", "drill"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_nothing_in_the_harness_names_a_system(path: Path) -> None:
    text = path.read_text(encoding="utf-8").lower()
    found = [name for name in SYSTEMS if re.search(rf"\b{name}\b", text)]
    assert not found, f"{path.name} names {found}"


def test_importing_every_module_does_nothing() -> None:
    modules = [
        ".".join(("tocsin", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for path in FILES
        # Run inside Locust's and Schemathesis' own processes, whose import is an act of its own.
        if path.name not in {"__main__.py", "load.py"} and "child" not in path.name
    ]
    code = f"import importlib, threading\nfor name in {modules!r}:\n    importlib.import_module(name)\n"
    code += "assert threading.active_count() == 1, threading.enumerate()\n"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
