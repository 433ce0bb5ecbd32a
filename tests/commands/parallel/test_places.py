"""What is done to the sandbox of a checkout is done to those of workers, and each has a place of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tocsin.commands.parallel import places
from tocsin.commands.parallel.places import everywhere, is_owing, make_room_for, recover_everywhere
from tocsin.commands.recover import ledger_lines
from tocsin.commands.session import settled_scale, the_only_run
from tocsin.drill.options import RunOptions
from tocsin.errors import InvalidInput, Refused, ResidueLeft, TargetError
from tocsin.guards.kill_switch import stop_file
from tocsin.model.base import Model
from tocsin.project.places import (
    WORKER,
    as_worker,
    ledger_path,
    runs_directory,
    work_directory,
    worker_here,
    workers_known,
)
from tocsin.record.ledger import Ledger
from tocsin.sandbox.control import directory


class Nothing(Model):
    """What a fault of no consequence is told and remembers."""


def place(root: Path, name: str) -> None:
    with as_worker(name):
        work_directory(root).mkdir(parents=True)


def broken(root: Path, name: str | None) -> None:
    """Something is open in the ledger of a worker."""
    with as_worker(name):
        ledger = Ledger(ledger_path(root, "sandbox"), "sandbox")
        ledger.intend(drill="d", fault="sqs_purge", resource=f"queue-{name}", arguments=Nothing(), prior=Nothing())
        ledger.close()


def test_each_worker_has_a_ledger_and_a_sandbox_of_its_own_and_all_have_the_runs_and_the_kill_switch(
    tmp_path: Path,
) -> None:
    seen = []
    for name in (None, "1", "2"):
        with as_worker(name):
            seen.append((directory(tmp_path), ledger_path(tmp_path, "sandbox")))
            assert runs_directory(tmp_path) == tmp_path / ".tocsin" / "runs"
            assert stop_file(tmp_path, "sandbox") == tmp_path / ".tocsin" / "stop" / "sandbox"
    assert len(set(seen)) == 3
    assert seen[0] == (tmp_path / ".tocsin/sandbox", tmp_path / ".tocsin/ledger/sandbox.sqlite")
    assert WORKER not in os.environ


@pytest.mark.parametrize("name", ["../x", "0", "a", "1/2", "-1"])
def test_no_name_of_a_worker_leads_elsewhere(tmp_path: Path, name: str) -> None:
    with as_worker(name), pytest.raises(InvalidInput, match="expected the number of a worker"):
        work_directory(tmp_path)


def test_workers_are_known_by_their_places(tmp_path: Path) -> None:
    assert workers_known(tmp_path) == []
    for name in ("10", "2"):
        place(tmp_path, name)
    (tmp_path / ".tocsin" / "workers" / "notes").mkdir()
    assert workers_known(tmp_path) == ["2", "10"]


def test_work_is_done_in_each_place_that_is_concerned(tmp_path: Path) -> None:
    for name in ("1", "2"):
        place(tmp_path, name)
    broken(tmp_path, "2")

    def work() -> Iterator[str]:
        yield work_directory(tmp_path).name

    assert list(everywhere(tmp_path, "sandbox", work, is_owing)) == [".tocsin", "worker 2: 2"]
    assert list(everywhere(tmp_path, "staging", work, is_owing)) == [".tocsin"]
    with as_worker("1"):
        assert list(everywhere(tmp_path, "sandbox", work, is_owing)) == ["1"]


def test_of_several_failures_the_loudest_is_raised_when_all_was_tried_and_the_others_are_told(tmp_path: Path) -> None:
    for name in ("1", "2"):
        place(tmp_path, name)
    errors = {".tocsin": TargetError("no answer"), "1": ResidueLeft("left"), "2": None}

    def work() -> Iterator[str]:
        error = errors[work_directory(tmp_path).name]
        if error is not None:
            raise error
        yield "well"

    lines = everywhere(tmp_path, "sandbox", work, lambda root: True)
    assert next(lines) == "worker 2: well"
    assert next(lines) == "no answer"
    with pytest.raises(ResidueLeft, match="left"):
        next(lines)


def test_recover_closes_what_is_gone_with_the_sandbox_of_a_dead_worker(tmp_path: Path) -> None:
    broken(tmp_path, "1")
    told = list(recover_everywhere(tmp_path, "sandbox", rollbacks=False))
    assert told == [
        "nothing to recover on target 'sandbox'",
        "worker 1: closed in its ledger: 1 open, gone with the sandbox that it was in",
    ]
    with as_worker("1"):
        assert not is_owing(tmp_path)
        assert list(ledger_lines(tmp_path, "sandbox", everything=False)) == [
            "no open entry in the ledger of target 'sandbox'"
        ]
    assert list(recover_everywhere(tmp_path, "sandbox", rollbacks=False)) == ["nothing to recover on target 'sandbox'"]


def test_a_worker_of_another_run_keeps_its_place(tmp_path: Path) -> None:
    options = RunOptions(root=tmp_path, parallel=2)
    make_room_for(["1", "2"], options)
    with ExitStack() as theirs:
        with as_worker("2"):
            theirs.enter_context(the_only_run(options, "somebody"))
        with pytest.raises(Refused, match="in use by somebody"):
            make_room_for(["1", "2"], options)


def test_no_worker_has_workers(tmp_path: Path) -> None:
    with as_worker("1"), pytest.raises(InvalidInput, match="within a worker of another run"):
        make_room_for(["1"], RunOptions(root=tmp_path, parallel=2))


def test_on_an_account_drills_run_one_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "tocsin.toml").write_text('[targets.staging]\naccount = "210987654321"\nregion = "eu-west-1"\n')
    with pytest.raises(InvalidInput, match=r"expected no --parallel for target 'staging'.*one at a time"):
        settled_scale(RunOptions(root=tmp_path, target="staging", parallel="auto"))


@pytest.mark.parametrize("goes", [True, False])
def test_a_sandbox_that_goes_while_it_is_told_to_stop_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, goes: bool
) -> None:
    """The first worker that is told ends the run, which takes down the sandboxes of the others."""
    place(tmp_path, "1")
    looks = iter([True, True, not goes])
    monkeypatch.setattr(places, "is_running", lambda root: next(looks, not goes))
    monkeypatch.setattr(places, "_GOING_WALL_S", 10.0 if goes else 0.1)  # a hundredth of it between two looks

    def unreachable(root: Path, target: str, reason: str | None) -> Iterator[str]:
        if worker_here() is not None:
            raise TargetError("Could not connect to the endpoint URL")
        yield "set on this machine"

    monkeypatch.setattr(places, "stop_target", unreachable)
    told = places.stop_everywhere(tmp_path, "sandbox", "enough")
    if goes:
        gone = "worker 1: not in an account: its sandbox went while it was told"
        assert list(told) == ["set on this machine", gone]
    else:
        with pytest.raises(TargetError, match="Could not connect"):
            list(told)
