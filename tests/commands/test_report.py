"""`tocsin report` as a user meets it: whatever is in the histories, an answer and no traceback."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests import warm
from tests.checkers.histories import passing, rechained, write_history

HISTORY = "history.jsonl"
REPORTS = ("report.html", "verdict.json")


def report(directory: Path) -> subprocess.CompletedProcess[str]:
    return warm.python("-m", "tocsin.cli", "report", str(directory), cwd=directory)


def drill(directory: Path) -> Path:
    directory.mkdir(parents=True)
    write_history(directory / HISTORY, passing())
    return directory / HISTORY


def test_what_cannot_be_judged_is_told_and_the_others_are_judged(tmp_path: Path) -> None:
    well = drill(tmp_path / "well")
    whole = well.read_text()
    odd = {"cut": whole[:100], "empty": "", "headless": whole.partition("\n")[2], "newlines": "\n\n"}
    for name, text in odd.items():
        drill(tmp_path / name).write_text(text)
    answer = report(tmp_path)
    assert answer.returncode == 2
    assert [line.split(": ")[1] for line in answer.stderr.splitlines()] == [
        str(tmp_path / name / HISTORY) for name in odd
    ]
    assert "Traceback" not in answer.stderr
    assert all((well.parent / name).exists() for name in REPORTS)
    assert not (tmp_path / "index.html").exists()


@pytest.mark.parametrize("at", ["1e300", "-1e18", "1e308", "-1", "NaN", "Infinity", "1e400", "253402300800"])
def test_a_time_that_no_clock_gives_is_refused_with_its_line(tmp_path: Path, at: str) -> None:
    history = drill(tmp_path / "drill")
    with history.open("a") as file:
        file.write(f'{{"kind": "drill_ended", "at": {at}}}\n')
    answer = report(tmp_path)
    lines = len(history.read_text().splitlines())
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"tocsin: {history}:{lines}: expected an event of a drill")
    assert "drill_ended.at" in answer.stderr


@pytest.mark.parametrize(
    ("name", "value"), [("scale", 0), ("scale", 1e-308), ("scale", 1e308), ("scale", float("nan"))]
)
def test_a_scale_that_no_clock_has_is_refused_with_its_line(tmp_path: Path, name: str, value: float) -> None:
    history = drill(tmp_path / "drill")
    first, rest = history.read_text().split("\n", 1)
    history.write_text(f"{json.dumps({**json.loads(first), name: value})}\n{rest}")
    answer = report(tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"tocsin: {history}:1: expected an event of a drill")


def test_a_drill_of_many_years_is_drawn_with_a_handful_of_ticks(tmp_path: Path) -> None:
    history = drill(tmp_path / "drill")
    with history.open("a") as file:
        file.write('{"kind": "drill_ended", "at": 253402300799}\n')
    rechained(history)
    assert report(tmp_path).returncode in (0, 1)
    assert (history.parent / "report.html").stat().st_size < 2_000_000
