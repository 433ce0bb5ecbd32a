"""What this checkout and an older revision of it take for the same, in turn, in one run, with the same interpreter.

Seconds are those of a processor, of a command and of what it starts: what else the machine does meanwhile counts less.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.day import write_day
from benchmarks.project import LINKED, copies

_FILES = 100
_VERDICTS = (0, 1, 3)
"""Exit codes of a command that did what it should: a day's drill may well have failed."""
_EVALUATIONS = Path(__file__).with_name("evaluations.py")


@dataclass(frozen=True)
class Compared:
    """One measure of both."""

    what: str
    unit: str
    now: float
    then: float | None
    """None where the older revision cannot do it."""
    why_not: str = ""

    @property
    def times(self) -> float | None:
        """The present figure as a multiple of the older one."""
        return None if self.then is None else self.now / self.then


@contextmanager
def tree_of(checkout: Path, revision: str) -> Iterator[Path]:
    """The files of a revision, in a directory that is gone afterwards; leaves with a message when there is none."""
    directory = Path(tempfile.mkdtemp(prefix="tocsin-bench-then-"))
    try:
        archive = directory / "then.tar"
        command = ("git", "-C", str(checkout), "archive", "--format=tar", f"--output={archive}", revision)
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            sys.exit(f"expected a revision of this checkout, found {revision!r}: {made.stderr.strip()}")
        shutil.unpack_archive(archive, directory / "tree")
        yield directory / "tree"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def compared(checkout: Path, then: Path, system: str, repeat: int, day_s: int) -> Iterator[Compared]:
    """Start of the command, the check of a hundred experiments, alarm evaluations, the report of a day.

    Args:
        checkout: of today.
        then: the files of the older revision.
        system: whose experiments are checked.
        repeat: runs of each; the median counts.
        day_s: wall seconds of the day that is reported.
    """
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as root:
        trees = {tree: _project(tree, Path(root) / name, system) for name, tree in (("now", checkout), ("then", then))}
        yield _compared("tocsin --help", trees, ("--help",), repeat)
        yield _compared(f"tocsin validate, {_FILES} files", trees, ("validate", "experiments/many"), repeat)
        yield from _evaluations(checkout, then)
        for project in trees.values():
            write_day(project / "day" / "drill" / "history.jsonl", day_s)
        yield _compared(f"report of {day_s:,} s", trees, ("report", "day"), 1)


def _project(tree: Path, root: Path, system: str) -> Path:
    """A project with the files of a revision, and one of its experiments many times."""
    for name in LINKED:
        if (tree / name).is_dir():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(tree / name)
    shutil.copytree(tree / "experiments" / system, root / "experiments" / system)
    text = min((root / "experiments" / system).glob("*.yaml")).read_text(encoding="utf-8")
    copies(root, text, _FILES)
    return root


def _compared(what: str, trees: Mapping[Path, Path], arguments: tuple[str, ...], repeat: int) -> Compared:
    found: dict[Path, list[float]] = {tree: [] for tree in trees}
    for _ in range(repeat):
        for tree, project in trees.items():
            try:
                found[tree].append(_processor_s(tree, project, *arguments))
            except RuntimeError as error:
                if tree == next(iter(trees)):
                    sys.exit(f"{what}: {error}")
                return Compared(what, "s", statistics.median(next(iter(found.values()))), None, str(error))
    now, then = (statistics.median(took) for took in found.values())
    return Compared(what, "s", now, then)


def _processor_s(tree: Path, project: Path, *arguments: str) -> float:
    """Seconds of a processor that a command of a revision takes.

    Raises:
        RuntimeError: it cannot do that; its last line.
    """
    with tempfile.TemporaryFile() as said:
        command = (sys.executable, "-P", "-m", "tocsin.cli", *arguments)
        child = subprocess.Popen(command, cwd=project, env=_with(tree), stdout=said, stderr=said)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in _VERDICTS:
            said.seek(0)
            lines = said.read().decode(errors="replace").splitlines() or [""]
            raise RuntimeError(f"exit code {child.returncode}: {lines[-1][:120]}")
    return used.ru_utime + used.ru_stime


def _evaluations(checkout: Path, then: Path) -> Iterator[Compared]:
    rates = [_rates(tree) for tree in (checkout, then)]
    for kind, now in rates[0].items():
        yield Compared(f"alarm evaluations, {kind}", "1/s", now, rates[1][kind])


def _rates(tree: Path) -> dict[str, float]:
    command = (sys.executable, "-P", str(_EVALUATIONS))
    done = subprocess.run(command, env=_with(tree), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"expected alarm evaluations of {tree}, found: {done.stderr[-500:]}")
    return {str(kind): float(rate) for kind, rate in json.loads(done.stdout).items()}


def _with(tree: Path) -> dict[str, str]:
    """An environment in which `tocsin` is that of a revision."""
    return {**os.environ, "PYTHONPATH": str(tree / "src")}
