"""Who begins when: the longest first, and who takes processors on purpose has the machine to itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.checkers.histories import passing
from tests.commands.conftest import Folder

from tocsin.checkers import judge
from tocsin.cli_run import run
from tocsin.commands.parallel.running import burns_processor, how_many
from tocsin.commands.run import plan_all, summarise
from tocsin.commands.selection import in_order
from tocsin.drill.options import RunOptions
from tocsin.drill.plan import Planner
from tocsin.report import write_run

ROOT = Path(__file__).parents[3]
CLOCKED = ROOT / "experiments" / "clocked"


@pytest.mark.parametrize(("name", "burns"), [("cpu-stress-8m", True), ("kill-one-task", False)])
def test_a_fault_that_burns_processors_says_so(name: str, burns: bool) -> None:
    assert burns_processor(Planner(ROOT).plan(CLOCKED / f"{name}.yaml")) is burns


def test_one_worker_more_than_processors_and_no_more_than_drills(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert how_many(RunOptions(root=ROOT, parallel="auto"), drills=9) == 3
    assert how_many(RunOptions(root=ROOT, parallel="auto"), drills=1) == 1
    assert how_many(RunOptions(root=ROOT, parallel=4), drills=9) == 4


@pytest.mark.parametrize(("given", "code"), [("0", 2), ("many", 2), ("2.5", 2)])
def test_what_is_no_number_of_workers_is_refused(given: str, code: int) -> None:
    answer = CliRunner().invoke(run, ["experiments", "--parallel", given])
    assert answer.exit_code == code
    assert "--parallel" in answer.output


def test_the_longest_begins_first_by_what_it_took_and_else_by_its_deadlines(tmp_path: Path) -> None:
    for name in ("systems", "replicas", "synthetics", "contracts", "loadtests"):
        (tmp_path / name).symlink_to(ROOT / name)
    files = [CLOCKED / f"{name}.yaml" for name in ("cpu-stress-8m", "kill-one-task", "redis-down")]

    def order(parallel: int | None) -> list[str]:
        options = RunOptions(root=tmp_path, parallel=parallel)
        return [plan.loaded.experiment.slug for plan in in_order(plan_all(files, options), options)]

    assert order(None) == ["cpu-stress-8m", "kill-one-task", "redis-down"]
    assert order(2) == ["cpu-stress-8m", "redis-down", "kill-one-task"]
    before = judge(passing())
    took = {"experiment": "kill-one-task", "system": "clocked", "scale": 60.0, "started_at": 0.0, "ended_at": 100.0}
    write_run(tmp_path / ".tocsin" / "runs" / "1", summarise([before.model_copy(update=took)], 0, 100))
    assert order(2) == ["kill-one-task", "cpu-stress-8m", "redis-down"]
    (tmp_path / ".tocsin" / "runs" / "1" / "verdict.json").write_text("{}")
    assert order(2) == ["cpu-stress-8m", "redis-down", "kill-one-task"], "a report that cannot be read says nothing"


def test_where_nothing_could_begin_because_of_the_input_it_is_invalid(folder: Folder) -> None:
    answer = folder.tocsin("run", "experiments/shop/nothing.yaml", "--parallel", "2")
    assert answer.returncode == 2
    assert "expected a replica, found no" in answer.stderr
