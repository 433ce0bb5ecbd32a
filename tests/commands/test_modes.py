"""What a command writes is its owner's alone, whatever the umask of whoever calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.checkers.histories import passing, write_history

from tocsin.commands.modes import private_files
from tocsin.record.ledger import Ledger

OPEN_TO_ALL = 0o000


def tocsin(root: Path, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "tocsin.cli", *arguments],
        cwd=root,
        umask=OPEN_TO_ALL,
        capture_output=True,
        timeout=120,
        check=False,
    )


def others_may(directory: Path) -> dict[str, str]:
    """What others than the owner may read, write or search, with its mode."""
    modes = {path: path.lstat().st_mode & 0o777 for path in directory.rglob("*") if not path.is_symlink()}
    return {str(path.relative_to(directory)): oct(mode) for path, mode in modes.items() if mode & 0o077}


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(OPEN_TO_ALL)
    yield
    os.umask(before)


def test_reports_and_ledgers_are_private(tmp_path: Path) -> None:
    (tmp_path / "systems").mkdir(mode=0o700)
    (tmp_path / "run" / "well").mkdir(parents=True)
    write_history(tmp_path / "run" / "well" / "history.jsonl", passing())
    for path in (tmp_path / "run", *(tmp_path / "run").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    tocsin(tmp_path, "report", "run")
    tocsin(tmp_path, "recover")
    tocsin(tmp_path, "stop", "--reason", "a try")
    made = {path.name for path in tmp_path.rglob("*")}
    assert {"report.html", "verdict.json", "summary.md", "junit.xml", "index.html", "sandbox.sqlite"} <= made
    assert others_may(tmp_path) == {}


@pytest.mark.usefixtures("umask")
def test_what_is_made_meanwhile_is_private_and_nothing_afterwards(tmp_path: Path) -> None:
    with private_files():
        subprocess.run(["sh", "-c", "mkdir by-a-child; date > by-a-child/file"], cwd=tmp_path, check=True)
        (tmp_path / "ours").write_text("x")
    assert others_may(tmp_path) == {}
    (tmp_path / "later").write_text("x")
    assert others_may(tmp_path) == {"later": "0o666"}


@pytest.mark.usefixtures("umask")
def test_a_ledger_that_was_open_to_all_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    path.touch(mode=0o666)
    Ledger(path, "sandbox").close()
    assert oct(path.stat().st_mode & 0o777) == "0o600"
