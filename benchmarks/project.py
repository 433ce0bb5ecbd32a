"""What the projects are made of in which things are measured."""

from __future__ import annotations

from pathlib import Path

LINKED = ("systems", "replicas", "contracts", "synthetics", "loadtests")


def copies(root: Path, text: str, count: int) -> Path:
    """A directory with the same experiment many times."""
    directory = root / "experiments" / "many"
    directory.mkdir()
    for number in range(count):
        (directory / f"{number:03}.yaml").write_text(text, encoding="utf-8")
    return directory
