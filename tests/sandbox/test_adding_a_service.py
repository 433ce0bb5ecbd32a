"""What a service may do is written down for those who add one."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from tocsin.sandbox import service
from tocsin.sandbox.service import Service

PAGE = Path(__file__).parents[2] / "docs" / "ADDING_A_SERVICE.md"


def powers() -> dict[str, set[str]]:
    """Protocol -> what a class must have for it."""
    found = {
        name: {one for one in (*vars(kind), *kind.__annotations__) if not one.startswith("_")}
        for name, kind in vars(service).items()
        if inspect.isclass(kind) and getattr(kind, "_is_runtime_protocol", False) and kind is not Service
    }
    return {name: members for name, members in found.items() if members}


def documented() -> dict[str, set[str]]:
    rows = re.findall(r"^\| `([A-Z]\w+)` \| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)", members)) for name, members in rows}


def test_every_power_is_described() -> None:
    assert len(powers()) > 10
    assert documented() == powers()
