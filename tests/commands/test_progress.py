"""What a person reads while a drill runs."""

from __future__ import annotations

import io

from rich.console import Console
from tests.checkers.histories import START, Scene

from tocsin.commands.progress import Progress
from tocsin.model.events import CanaryRan, Event, FaultChanged, FaultStage

SCENE = Scene(slug="told")


def told(*events: Event) -> list[str]:
    """The lines for some events after the first of the drill."""
    out = io.StringIO()
    progress = Progress(Console(file=out, width=200, color_system=None))
    for event in (SCENE.started(), *events):
        progress.see(event)
    return [line.strip() for line in out.getvalue().splitlines()[1:]]


def ran(at: float, ended: float, *, ok: bool) -> CanaryRan:
    """One run, in production seconds after the start."""
    wall = START + at / SCENE.scale, START + ended / SCENE.scale
    return CanaryRan(
        at=wall[0], ended_at=wall[1], canary="order", ok=ok, ok_after_retry=ok, ms=0, detail="" if ok else "503"
    )


def fault(at: float, stage: FaultStage) -> FaultChanged:
    return FaultChanged(at=START + at / SCENE.scale, entry="one", fault="outage", stage=stage)


def test_a_failure_is_told_when_it_was_known() -> None:
    lines = told(fault(60, FaultStage.ACCEPTED), ran(69, 320, ok=False))
    assert lines[-1] == "5m20s  canary order fails: 503"


def test_a_run_from_before_the_injection_or_the_undo_tells_nothing_of_after_it() -> None:
    lines = told(
        ran(10, 20, ok=False),
        fault(60, FaultStage.REQUESTED),
        fault(62, FaultStage.ACCEPTED),
        ran(30, 90, ok=True),
        fault(600, FaultStage.UNDO_REQUESTED),
        fault(610, FaultStage.VERIFIED),
        ran(590, 640, ok=True),
        ran(650, 660, ok=True),
    )
    canaries = [line for line in lines if "canary" in line]
    assert canaries == ["20s  canary order fails: 503", "11m  canary order passes again"]


def test_a_failure_from_before_the_undo_is_not_told_after_it() -> None:
    lines = told(fault(600, FaultStage.VERIFIED), ran(500, 700, ok=False), ran(710, 720, ok=True))
    assert not [line for line in lines if "canary" in line]
