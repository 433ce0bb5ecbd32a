"""Where things are in a checkout: the files people write, and the directory that Tocsin writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

_MARKS = ("tocsin.toml", "systems")


def find_root(start: Path) -> Path:
    """The nearest directory, from `start` upwards, with a `tocsin.toml` or a `systems` directory; else `start`."""
    start = start.resolve()
    for directory in (start, *start.parents):
        if any((directory / mark).exists() for mark in _MARKS):
            return directory
    return start


def work_directory(root: Path) -> Path:
    """What Tocsin keeps for itself: ledgers, the sandbox's state, runs. Safe to ignore in git."""
    return root / ".tocsin"


def ledger_path(root: Path, target: str) -> Path:
    """The ledger of one target."""
    return work_directory(root) / "ledger" / f"{target}.sqlite"


def runs_directory(root: Path) -> Path:
    """Where runs are kept when no `--out` is given."""
    return work_directory(root) / "runs"


def commit_of(root: Path) -> str | None:
    """The commit of a checkout, marked when files differ from it; None outside git."""
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
