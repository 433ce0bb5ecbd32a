"""Where things are in a checkout: the files people write, and the directory that Tocsin writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tocsin.errors import InvalidInput

WORKER = "TOCSIN_WORKER"
"""Environment variable: the name of the worker, of a run side by side, of which a process and all that it starts are.

Each has a sandbox and a ledger of its own. A process that inherits it works on them as everybody else does on those of
the checkout.
"""
_WORKER = re.compile(r"[1-9][0-9]{0,3}")
_MARKS = ("tocsin.toml", "systems")


def here() -> Path:
    """The working directory.

    Raises:
        InvalidInput: it was deleted.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise InvalidInput(
            f"expected a working directory, found none: {error.strerror}. It was deleted: go to another"
        ) from None


def find_root(start: Path) -> Path:
    """The nearest directory, from `start` upwards, with a `tocsin.toml` or a `systems` directory; else `start`."""
    start = start.resolve()
    for directory in (start, *start.parents):
        if any((directory / mark).exists() for mark in _MARKS):
            return directory
    return start


def project_directory(root: Path) -> Path:
    """What Tocsin keeps for itself of a whole checkout: runs, kill switches, workers. Safe to ignore in git."""
    return root / ".tocsin"


def work_directory(root: Path) -> Path:
    """Where ledgers and the sandbox's state are: that of the checkout, or of the worker that this process is.

    Raises:
        InvalidInput: the environment names a worker that cannot be one.
    """
    name = worker_here()
    return project_directory(root) if name is None else project_directory(root) / "workers" / name


def worker_here() -> str | None:
    """The worker that this process is; None where it is none.

    Raises:
        InvalidInput: the environment names one that cannot be.
    """
    name = os.environ.get(WORKER) or None
    if name is not None and _WORKER.fullmatch(name) is None:
        raise InvalidInput(f"expected the number of a worker in {WORKER}, found {name!r}. Unset it.")
    return name


def workers_known(root: Path) -> list[str]:
    """The workers of this checkout that have, or had, a sandbox."""
    try:
        found = [place.name for place in (project_directory(root) / "workers").iterdir()]
    except OSError:
        return []
    return sorted((name for name in found if _WORKER.fullmatch(name)), key=int)


def places_of(root: Path) -> tuple[str | None, ...]:
    """Where sandboxes of this checkout may be: its own (None) and those of workers; in a worker only its own."""
    here = worker_here()
    return (None, *workers_known(root)) if here is None else (here,)


@contextmanager
def as_worker(name: str | None) -> Iterator[None]:
    """Work in the place of a worker, or with None in that of the checkout; of the whole process, so for commands."""
    before = os.environ.pop(WORKER, None)
    if name is not None:
        os.environ[WORKER] = name
    try:
        yield
    finally:
        os.environ.pop(WORKER, None)
        if before is not None:
            os.environ[WORKER] = before


def ledger_path(root: Path, target: str) -> Path:
    """The ledger of one target."""
    return work_directory(root) / "ledger" / f"{target}.sqlite"


def parity_path(root: Path, target: str) -> Path:
    """The latest report of `tocsin parity` on one target; beside its ledger."""
    return ledger_path(root, target).with_name(f"{target}.parity.json")


def runs_directory(root: Path) -> Path:
    """Where runs are kept when no `--out` is given."""
    return project_directory(root) / "runs"


def note_run(root: Path, directory: Path) -> None:
    """Remember a run that is kept elsewhere (`--out`), so that it is not overlooked."""
    if directory.is_relative_to(runs_directory(root).resolve()):
        return
    with _elsewhere(root).open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(str(directory))}\n")


def kept_runs(root: Path) -> list[Path]:
    """Directories with runs that are still there: that of all runs, then those of runs with `--out`."""
    file = _elsewhere(root)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    noted = [Path(json.loads(line)) for line in dict.fromkeys(lines) if line.endswith('"')]
    return [directory for directory in (runs_directory(root), *noted) if directory.is_dir()]


def _elsewhere(root: Path) -> Path:
    return project_directory(root) / "runs-elsewhere.jsonl"


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
