"""The rows of every checker's tests, for what holds of all of them."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.checkers.spoiled import Row

TESTS = sorted(Path(__file__).parent.glob("test_*.py"))
ROWS: list[Row] = [
    row
    for path in TESTS
    if "\nROWS: list[Row] = [\n" in path.read_text(encoding="utf-8")
    for row in importlib.import_module(f"tests.checkers.{path.stem}").ROWS
]
