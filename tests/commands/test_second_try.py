"""Where the machine did not keep up, `--try-again` drills once more: the second verdict stands, both are kept.

The drills are histories made by hand; beside the shelf of planted bugs it is done with real ones.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.checkers.histories import Scene, lagged, on_busy_machine, passing, tweak, write_history
from tests.checkers.spoiled import SCENE, silent

from tocsin.aws.target import Target
from tocsin.commands import run
from tocsin.drill.options import RunOptions
from tocsin.drill.plan import Plan
from tocsin.errors import Interrupted
from tocsin.model.events import DrillStarted, Event, FirstTry, WorkCounted
from tocsin.model.verdict import Outcome, Verdict

LATE = lagged(SCENE.accepted + 1, SCENE.accepted + 4)
NOWHERE = Target(name="sandbox", region="eu-west-1", endpoint_url="http://127.0.0.1:9", scale=60.0, timeout_s=0.2)


def busy() -> list[Event]:
    return on_busy_machine(silent("api-5xx"), LATE)


def lost() -> list[Event]:
    return tweak(busy(), lambda event: isinstance(event, WorkCounted), lost=("a",), lost_count=1)


class Drills:
    """Stands in for the drills: each leaves the next of some histories."""

    def __init__(self, *histories: list[Event]) -> None:
        self._histories = list(histories)
        self.tries: list[FirstTry | None] = []

    def __call__(
        self, plan: Plan, target: Target, options: RunOptions, out: Path, first: FirstTry | None = None
    ) -> tuple[list[Event], Path]:
        self.tries.append(first)
        events = tweak(self._histories.pop(0), lambda event: isinstance(event, DrillStarted), first_try=first)
        directory = out / SCENE.slug
        directory.mkdir(exist_ok=True)
        write_history(directory / run.HISTORY, events)
        return events, directory


@pytest.fixture
def plan() -> Plan:
    """As much of one as is looked at."""
    loaded = SimpleNamespace(experiment=Scene().experiment())
    return cast("Plan", SimpleNamespace(loaded=loaded, system=Scene().system))


def drill(monkeypatch: pytest.MonkeyPatch, drills: Drills, plan: Plan, out: Path, **options: Any) -> Verdict:
    monkeypatch.setattr(run, "_run_one", drills)
    return run._drill(plan, NOWHERE, RunOptions(root=out, try_again=True, **options), out)[1]


def test_the_second_verdict_stands_and_the_first_is_kept(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, tmp_path: Path
) -> None:
    drills = Drills(busy(), passing())
    verdict = drill(monkeypatch, drills, plan, tmp_path)
    assert verdict.outcome is Outcome.PASS
    assert [finding.kind for finding in verdict.findings].count("tried_again") == 1
    first = tmp_path / SCENE.slug / run.FIRST_TRY
    kept = Verdict.model_validate_json((first / "verdict.json").read_text())
    assert kept.outcome is Outcome.UNKNOWN
    assert drills.tries[0] is None
    assert drills.tries[1] is not None
    assert "this machine did not keep up" in drills.tries[1].because
    (first / "report.html").unlink()
    (again,) = run.report_again(tmp_path).run.drills
    assert again == verdict, "the first try is no drill of its own"
    assert (first / "report.html").exists()


def test_twice_is_enough(monkeypatch: pytest.MonkeyPatch, plan: Plan, tmp_path: Path) -> None:
    assert drill(monkeypatch, Drills(busy(), busy()), plan, tmp_path).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("history", [passing(), silent("api-5xx"), lost()], ids=["passed", "failed", "busy and failed"])
def test_what_the_machine_did_not_spoil_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, tmp_path: Path, history: list[Event]
) -> None:
    drills = Drills(history)
    drill(monkeypatch, drills, plan, tmp_path)
    assert len(drills.tries) == 1


def test_what_rings_for_ever_leaves_the_first_verdict(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, tmp_path: Path
) -> None:
    drills, notes = Drills(busy()), []
    monkeypatch.setattr(run, "resolve_system", lambda system, _: system)
    monkeypatch.setattr(run, "read_states", lambda *_: {"dead-letters": "ALARM"})
    at = iter(range(0, 1_000_000, 600))
    monkeypatch.setattr(run.time, "monotonic", lambda: float(next(at)))
    monkeypatch.setattr(run, "_LOOK_WALL_S", 0.0)
    verdict = drill(monkeypatch, drills, plan, tmp_path, note=notes.append)
    assert (verdict.outcome, len(drills.tries)) == (Outcome.UNKNOWN, 1), "a refusal says less than what was seen"
    assert "its alarms still ring, and would refuse it: the first try stands" in notes
    assert not (tmp_path / SCENE.slug / run.FIRST_TRY).exists()


def test_nobody_who_asked_for_the_end_waits_for_a_second_try(
    monkeypatch: pytest.MonkeyPatch, plan: Plan, tmp_path: Path
) -> None:
    drills = Drills(busy())
    options = RunOptions(root=tmp_path)
    options.stop.ask(Interrupted("SIGINT"))
    drill(monkeypatch, drills, plan, tmp_path, stop=options.stop)
    assert len(drills.tries) == 1
    assert (tmp_path / SCENE.slug / "verdict.json").exists()


def test_unasked_nothing_is_broken_twice(monkeypatch: pytest.MonkeyPatch, plan: Plan, tmp_path: Path) -> None:
    drills = Drills(busy())
    monkeypatch.setattr(run, "_run_one", drills)
    run._drill(plan, NOWHERE, RunOptions(root=tmp_path), tmp_path)
    assert len(drills.tries) == 1
