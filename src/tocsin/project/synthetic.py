"""The clean-ups that a system file names: functions in files of the checkout, read without being run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tocsin.errors import InvalidInput, near_match
from tocsin.model.system import System
from tocsin.project.documents import Document
from tocsin.project.python_files import parse_python


def cleanup_problems(root: Path, system: System, document: Document) -> Iterator[InvalidInput]:
    """Every clean-up that is not there."""
    if system.test_data is None:
        return
    for name, kind in system.test_data.kinds.items():
        if kind.cleanup is None:
            continue
        file, _, function = kind.cleanup.rpartition(":")
        try:
            known = functions_of(root / file)
        except InvalidInput as error:
            yield error
            continue
        if function not in known:
            yield document.invalid(
                f"test_data.kinds.{name}: expected a function of {file}, found '{function}'. "
                f"{near_match(function, known)}",
                ("test_data", "kinds", name, "cleanup"),
            )


def functions_of(path: Path) -> tuple[str, ...]:
    """Names of the functions that a file defines.

    Raises:
        InvalidInput: it cannot be read, or it is not Python.
    """
    return tuple(node.name for node in parse_python(path).body if isinstance(node, ast.FunctionDef))
