"""Commands that print: to a reader that goes away, a full disk, closed streams, a terminal that knows no `é`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tocsin.cli import main

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
NAME = "caisse-fermée"
PRINTS = {
    "--help": 0,
    "--version": 0,
    "faults": 0,
    "faults sqs_poison": 2,
    "schema": 0,
    "ledger": 0,
    f"coverage {NAME}": 2,
    f"validate {NAME}": 2,
    f"lint {NAME}": 2,
    f"report {NAME}": 2,
    f"permissions {NAME}": 2,
    "sandbox status": 3,
    "sandbox down": 0,
    **{
        f"{name} --help": 0 for name in ("run", "recover", "parity", "smoke", "cleanup", "stop", "doctor", "sandbox up")
    },
}
"""Arguments -> the exit code, whatever becomes of the output; every command is among them."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("systems", "experiments"):
        (tmp_path / name).mkdir()
    return tmp_path


def shell(checkout: Path, arguments: str, redirected: str, **environment: str) -> tuple[int, str]:
    """Exit code of the command, and what it said on standard error where that is not redirected."""
    line = f"{shlex.quote(sys.executable)} -m tocsin.cli {arguments} {redirected}"
    script = ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"]
    found = subprocess.run(script, cwd=checkout, env={**os.environ, **environment}, capture_output=True, check=False)
    told = found.stderr.decode("utf-8", "replace")
    assert "Traceback" not in told, told
    assert "Exception ignored" not in told, told
    return found.returncode, told


def test_every_command_is_here() -> None:
    names = set()
    for name, command in main.commands.items():
        names |= {f"{name} {inner}" for inner in command.commands} if isinstance(command, click.Group) else {name}
    assert {name for name in names if not any(one.startswith(name) for one in PRINTS)} == set()


@pytest.mark.parametrize("arguments", PRINTS)
def test_what_becomes_of_the_output_is_no_failure_of_the_command(checkout: Path, arguments: str) -> None:
    code = PRINTS[arguments]
    assert shell(checkout, arguments, "| true")[0] == code
    assert shell(checkout, arguments, ">&-")[0] == code
    assert shell(checkout, arguments, "2>&-")[0] == code
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert shell(checkout, arguments, "", **ascii_only)[0] == code


@needs_full
@pytest.mark.parametrize("arguments", PRINTS)
def test_a_full_disk_is_said_once_and_is_no_success(checkout: Path, arguments: str) -> None:
    code, told = shell(checkout, arguments, f"> {FULL}")
    assert code == (PRINTS[arguments] or 3)
    full = [line for line in told.splitlines() if "No space left on device" in line]
    # Bad input is told on standard error, most of it there alone.
    assert len(full) in ((0, 1) if PRINTS[arguments] == 2 else (1,)), told
