"""Commands that print: to a reader that goes away, a full disk, closed streams, a terminal that knows no `é`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import click
import pytest
from tests import warm

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


def fresh(checkout: Path, arguments: str, **environment: str) -> int:
    """Exit code of the command in a process that begins with an environment of its own."""
    command = [sys.executable, "-m", "tocsin.cli", *arguments.split()]
    found = subprocess.run(command, cwd=checkout, env={**os.environ, **environment}, capture_output=True, check=False)
    is_told_well(found.stderr.decode("utf-8", "replace"))
    return found.returncode


def into(checkout: Path, arguments: str, out: IO[bytes] | None) -> tuple[int, str]:
    """Exit code of the command that prints into something, and what it said on standard error."""
    with tempfile.TemporaryFile() as err:
        code = warm.into(out, err, "-m", "tocsin.cli", *arguments.split(), cwd=checkout)
        err.seek(0)
        told = err.read().decode()
    is_told_well(told)
    return code, told


def is_told_well(told: str) -> None:
    assert "Traceback" not in told, told
    assert "Exception ignored" not in told, told


def nobody_reads() -> IO[bytes]:
    """As `| true`, when `true` has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "wb")


def test_every_command_is_here() -> None:
    names = set()
    for name, command in main.commands.items():
        names |= {f"{name} {inner}" for inner in command.commands} if isinstance(command, click.Group) else {name}
    assert {name for name in names if not any(one.startswith(name) for one in PRINTS)} == set()


@pytest.mark.parametrize("arguments", PRINTS)
def test_what_becomes_of_the_output_is_no_failure_of_the_command(checkout: Path, arguments: str) -> None:
    code = PRINTS[arguments]
    with nobody_reads() as pipe:
        assert into(checkout, arguments, pipe)[0] == code
    assert into(checkout, arguments, warm.CLOSED)[0] == code
    with tempfile.TemporaryFile() as out:
        assert warm.into(out, warm.CLOSED, "-m", "tocsin.cli", *arguments.split(), cwd=checkout) == code
    assert fresh(checkout, arguments, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") == code


@pytest.mark.parametrize("redirected", ["| true", ">&-", "2>&-"])
@pytest.mark.parametrize("arguments", ["--version", "faults", f"validate {NAME}", "sandbox status"])
def test_a_process_that_begins_so_ends_so_too(checkout: Path, arguments: str, redirected: str) -> None:
    """The others of this file are forked with their streams in place; these find them when they begin."""
    line = f"{shlex.quote(sys.executable)} -m tocsin.cli {arguments} {redirected}"
    script = ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"]
    found = subprocess.run(script, cwd=checkout, capture_output=True, check=False)
    is_told_well(found.stderr.decode("utf-8", "replace"))
    assert found.returncode == PRINTS[arguments]


@needs_full
@pytest.mark.parametrize("arguments", PRINTS)
def test_a_full_disk_is_said_once_and_is_no_success(checkout: Path, arguments: str) -> None:
    with FULL.open("wb", buffering=0) as disk:
        code, told = into(checkout, arguments, disk)
    assert code == (PRINTS[arguments] or 3)
    full = [line for line in told.splitlines() if "No space left on device" in line]
    # Bad input is told on standard error, most of it there alone.
    assert len(full) in ((0, 1) if PRINTS[arguments] == 2 else (1,)), told
