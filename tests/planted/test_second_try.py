"""Where the machine did not keep up, `--try-again` drills once more: the second verdict stands, both are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.planted.bench import Bench, Drilled
from tests.planted.shelf import message_lost, reaches
from tests.planted.shelf_of_machines import stop_harness

from tocsin.commands.run import FIRST_TRY, HISTORY, report_again
from tocsin.model.events import DrillStarted, FaultStage
from tocsin.model.verdict import Outcome, Reason, Verdict
from tocsin.project.histories import read_history

pytestmark = [pytest.mark.planted, pytest.mark.timeout(900)]


def busy(verdict: Verdict) -> list[str]:
    return [judgement.id for judgement in verdict.judgements if judgement.reason is Reason.MACHINE_BUSY]


def first_of(drilled: Drilled) -> Verdict | None:
    file = drilled.directory / FIRST_TRY / "verdict.json"
    return Verdict.model_validate_json(file.read_text()) if file.exists() else None


def was_stopped_early(verdict: Verdict | None) -> bool:
    """Whether the machine was too busy before the fault: what the test does to the drill comes later."""
    return verdict is not None and verdict.stopped == "machine"


def test_the_second_verdict_stands_and_tells_of_the_first(bench: Bench) -> None:
    @contextmanager
    def laid_out() -> Iterator[None]:
        with bench.set_up("outage"):
            bench.when(reaches(FaultStage.ACCEPTED), stop_harness)  # once
            yield

    for _ in range(3):
        drilled = bench.run_until_the_machine_kept_up(laid_out, try_again=True)
        first = first_of(drilled)
        if not was_stopped_early(first):
            break
    assert drilled.verdict.outcome is Outcome.PASS
    (told,) = (finding for finding in drilled.verdict.findings if finding.kind == "tried_again")
    assert "the second try" in told.message
    assert first is not None
    assert first.outcome is Outcome.UNKNOWN
    assert first.drill in told.message
    begun = [next(iter(read_history(where / HISTORY))) for where in (drilled.directory / FIRST_TRY, drilled.directory)]
    assert [isinstance(one, DrillStarted) and one.tries_again for one in begun] == [True, False]
    assert "canary:order" in busy(first)
    (drilled.directory / FIRST_TRY / "report.html").unlink()
    (again,) = report_again(drilled.directory.parent).run.drills
    assert again == drilled.verdict, "the first try is no drill of its own"
    assert (drilled.directory / FIRST_TRY / "report.html").exists()


def test_what_failed_is_not_tried_again(bench: Bench) -> None:
    for _ in range(3):
        with bench.set_up("stopped worker"):
            message_lost(bench)
            bench.when(reaches(FaultStage.ACCEPTED), stop_harness)
            drilled = bench.run(try_again=True)
        if not (was_stopped_early(first_of(drilled)) or was_stopped_early(drilled.verdict)):
            break
    assert drilled.verdict.outcome is Outcome.FAIL
    assert not (drilled.directory / FIRST_TRY).exists()
