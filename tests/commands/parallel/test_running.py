"""Which drill begins when, and what a person sees of those that run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal, cast

import pytest
from rich.console import Console
from tests.checkers.histories import Scene, passing
from tests.checkers.test_machine import lost
from tests.checkers.test_pressure import ALL, as_in_the_field, taken

from tocsin.checkers import judge
from tocsin.checkers.timeline import Timeline
from tocsin.commands.parallel.board import Board
from tocsin.commands.parallel.crew import Heard, Worker
from tocsin.commands.parallel.messages import Job, Seen
from tocsin.commands.parallel.room import Room
from tocsin.commands.parallel.running import _Run
from tocsin.commands.run import plan_all
from tocsin.drill.options import RunOptions
from tocsin.model.events import DrillStarted, Event

ROOT = Path(__file__).parents[3]
CLOCKED = ROOT / "experiments" / "clocked"


class Idle:
    """A worker that does what it is told at once and never says so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.job: Job | None = None

    def begin(self, job: Job) -> None:
        self.job = job


class Measured:
    """A room that is as full as it is said to be."""

    def __init__(self) -> None:
        self.full, self.easy = False, True

    def why_not(self, *, easily: bool = False) -> str | None:
        return "full" if self.full or (easily and not self.easy) else None

    def taken(self) -> None:
        """Nothing is measured."""


class Stage:
    """A run of some experiments with two workers, or more."""

    def __init__(
        self,
        *names: str,
        parallel: int | Literal["auto"] = 2,
        workers: int = 2,
        auto: bool = False,
        scale: float | None = None,
    ) -> None:
        options = RunOptions(root=ROOT, parallel=parallel, auto_scale=auto, time_scale=scale)
        plans = plan_all([ROOT / "experiments" / f"{name}.yaml" for name in names], options)
        self.room, self.workers = Measured(), [Idle(str(number + 1)) for number in range(workers)]
        self._run = _Run(plans, options, ROOT, {}, cast("Room", self.room))
        self._run._workers = cast("list[Worker]", self.workers)
        self._run._there = {worker.name: (0.0, frozenset()) for worker in self.workers}
        self._run._anybody_drilled = True
        self._run._processors = 2

    def give_out(self) -> list[str | None]:
        """What each worker does then."""
        self._run._give_out()
        return [worker.job.path.stem if worker.job is not None else None for worker in self.workers]

    def done(self, number: int) -> None:
        self.workers[number].job = None

    def ends(self, number: int, history: list[Event]) -> None:
        """A worker has done its drill, which left this history."""
        job = self.workers[number].job
        assert job is not None
        self.done(number)
        self._run._finished(job.path.stem, (Timeline.of(history), judge(history)))


def test_each_worker_gets_the_next_one() -> None:
    stage = Stage("clocked/redis-down", "clocked/kill-one-task", "clocked/error-burst-3")
    assert stage.give_out() == ["redis-down", "kill-one-task"]
    stage.done(0)
    assert stage.give_out() == ["error-burst-3", "kill-one-task"]


def test_beside_others_a_drill_begins_only_while_there_is_room() -> None:
    stage = Stage("clocked/redis-down", "clocked/kill-one-task")
    stage.room.full = True
    assert stage.give_out() == ["redis-down", None], "the first one begins in any case"
    assert stage.give_out() == ["redis-down", None]
    stage.room.full = False
    assert stage.give_out() == ["redis-down", "kill-one-task"]


def test_one_more_than_there_are_processors_begins_only_while_that_is_easy() -> None:
    names = ("clocked/redis-down", "clocked/kill-one-task", "clocked/error-burst-3")
    stage = Stage(*names, parallel="auto", workers=3)
    stage.room.easy = False
    assert stage.give_out() == ["redis-down", "kill-one-task", None]
    stage.room.easy = True
    assert stage.give_out() == ["redis-down", "kill-one-task", "error-burst-3"]
    asked_for = Stage(*names, parallel=3, workers=3)
    asked_for.room.easy = False
    assert asked_for.give_out() == ["redis-down", "kill-one-task", "error-burst-3"], "so many were asked for"


def test_time_scales_are_shared_out_so_that_few_sandboxes_are_started_anew() -> None:
    """Two at 60 times and three at 120: each worker keeps to its own as long as there is something to do."""
    fast, slow = ("redis-down", "slow-queries-5", "error-burst-4"), ("kill-one-task", "error-burst-3")
    stage = Stage(*(f"clocked/{name}" for name in (*fast, *slow)), auto=True)
    first, second = stage.give_out()
    assert (first in fast, second in slow) == (True, True)
    stage.done(0)
    stage.done(1)
    first, second = stage.give_out()
    assert (first in fast, second in slow) == (True, True)
    stage.done(1)
    assert stage.give_out()[1] in fast, "none of its own is left"


def test_who_runs_alone_does_so_where_the_sandbox_is_there() -> None:
    stage = Stage("clocked/cpu-stress-8m", "clocked/error-burst-3", "clocked/redis-down", auto=True)
    begun = stage.give_out()
    assert sorted(map(str, begun)) == ["error-burst-3", "redis-down"]
    stage.done(0)
    stage.done(1)
    assert stage.give_out()[begun.index("redis-down")] == "cpu-stress-8m", "both at 120 times"


def test_those_that_only_start_their_sandboxes_are_not_waited_for() -> None:
    stage = Stage("clocked/redis-down", "clocked/kill-one-task", "clocked/error-burst-3", "clocked/error-burst-4")
    stage.room.full, stage._run._anybody_drilled = True, False
    assert stage.give_out() == ["redis-down", "kill-one-task"]
    begun = Seen(event=next(event for event in passing() if isinstance(event, DrillStarted)))
    stage._run._hear(Heard(cast("Worker", stage.workers[0]), begun))
    for number in (0, 1):
        stage.done(number)
    assert stage.give_out() == ["error-burst-3", None], "from then on there are sandboxes, and drills to be disturbed"


def test_who_burns_processors_runs_alone_and_last() -> None:
    stage = Stage("clocked/cpu-stress-8m", "clocked/cpu-stress-12m", "clocked/redis-down", "clocked/kill-one-task")
    assert stage.give_out() == ["redis-down", "kill-one-task"]
    stage.done(1)
    assert stage.give_out() == ["redis-down", None]
    stage.done(0)
    assert stage.give_out() == ["cpu-stress-8m", None]
    stage.done(0)
    assert stage.give_out() == ["cpu-stress-12m", None]


def test_a_failure_at_full_processors_is_once_more_alone_at_the_end() -> None:
    stage = Stage("clocked/redis-down", "clocked/kill-one-task", "clocked/error-burst-3")
    stage.give_out()
    stage.ends(0, taken(as_in_the_field(), ALL))
    assert stage.give_out() == ["error-burst-3", "kill-one-task"]
    stage.ends(0, passing())
    assert stage.give_out() == [None, "kill-one-task"], "not beside another one"
    stage.ends(1, passing())
    assert stage.give_out() == ["redis-down", None]
    again = stage.workers[0].job
    assert again is not None
    assert again.first is not None
    assert "the processors of this machine were taken" in again.first.because
    stage.ends(0, taken(as_in_the_field(), ALL))
    assert stage.give_out() == [None, None], "twice is enough"


@pytest.mark.parametrize(("auto", "scale"), [(True, 60.0), (False, 120.0)], ids=["chosen", "asked for"])
def test_the_second_try_of_a_drill_on_a_chosen_time_scale_is_slower(auto: bool, scale: float) -> None:
    stage = Stage("clocked/redis-down", auto=auto, scale=None if auto else 120.0)
    stage.give_out()
    first = stage.workers[0].job
    assert first is not None
    assert first.scale == 120
    stage.ends(0, taken(as_in_the_field(), ALL))
    stage.give_out()
    again = stage.workers[0].job
    assert again is not None
    assert again.scale == scale
    assert ("did not keep up" in again.because) is auto


def test_a_failure_that_no_machine_makes_is_not_tried_again() -> None:
    stage = Stage("clocked/redis-down")
    stage.give_out()
    stage.ends(0, taken(lost(), ALL, pressure=1.0))
    assert stage.give_out() == [None, None]


def test_a_worker_goes_on_with_the_system_that_it_has() -> None:
    stage = Stage(
        "clocked/redis-down", "leave-attendance/bad-release", "clocked/kill-one-task", "leave-attendance/graph-down"
    )
    assert stage.give_out() == ["redis-down", "bad-release"]
    stage.done(1)
    assert stage.give_out() == ["redis-down", "graph-down"]


def test_each_line_says_of_which_drill_it_is_and_the_table_shows_those_that_run() -> None:
    shown = io.StringIO()
    console = Console(width=200, file=shown)
    board = Board(console)
    for event in passing():
        board.watch("one")(event)
        if isinstance(event, DrillStarted):
            board.watch("two")(event)
    board.close()
    console.print(board.table())
    lines = shown.getvalue().splitlines()
    assert any(line.startswith("  one ") and "fault rds_proxy_throttle accepted" in line for line in lines)
    assert any(line.startswith("  two ") and Scene().title in line for line in lines)
    assert lines[-1].startswith("  two"), "the other one has ended"
