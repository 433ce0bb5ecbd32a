"""Right before the first change it is asked whether everybody is still there to see it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.actors.conftest import Stage

from tocsin.drill.acts import _Drill
from tocsin.errors import Refused
from tocsin.model.events import ActorDied, Event, FaultChanged, FaultStage, GuardChecked
from tocsin.model.experiment import LoadPlan
from tocsin.model.toolkit import ExperimentFile
from tocsin.record.ledger import Ledger

BROKEN = "broken"


class Begun:
    """A drill whose baseline is over, with a method that leaves a file behind when it is run."""

    def __init__(self, stage: Stage, ledger: Ledger) -> None:
        self.ctx = stage.context(load=LoadPlan())
        self._stage = stage
        breaks = {"type": "process", "path": "touch", "arguments": [str(stage.root / BROKEN)]}
        method = [{"type": "action", "name": "break", "provider": breaks}]
        document = {"title": "A drill", "description": "of a test", "method": method}
        self.drill = _Drill(self.ctx, ExperimentFile.model_validate(document), ledger)

    def record(self, event: Event) -> None:
        self.ctx.history.record(event)

    @property
    def asked(self) -> list[tuple[str, bool]]:
        return [(event.guard, event.ok) for event in self._stage.events() if isinstance(event, GuardChecked)]


@pytest.fixture
def begun(stage: Stage, tmp_path: Path) -> Iterator[Begun]:
    ledger = Ledger(tmp_path / "ledger", "test")
    drill = Begun(stage, ledger)
    yield drill
    drill.ctx.history.close()
    ledger.close()


def died(actor: str) -> ActorDied:
    return ActorDied(at=time.time(), actor=actor, detail="exit code -9")


@pytest.mark.parametrize("actor", ["load", "canary home", "contract baseline", "alarms", "prometheus", "machine"])
def test_nothing_is_broken_once_one_of_them_died(begun: Begun, tmp_path: Path, actor: str) -> None:
    begun.record(died(actor))
    with pytest.raises(Refused, match=f"somebody died before the fault: {actor}: exit code -9") as refusal:
        begun.drill.fault()
    assert refusal.value.guard == "actors"
    assert begun.asked == [("actors", False)]
    assert not (tmp_path / BROKEN).exists()


def test_while_all_live_nothing_is_refused(begun: Begun) -> None:
    begun.drill._watched_until_now()
    assert begun.asked == [("actors", True)]


def test_what_is_broken_already_is_seen_to_its_end(begun: Begun) -> None:
    begun.record(FaultChanged(at=time.time(), entry="1", fault="sqs_purge", stage=FaultStage.REQUESTED))
    begun.record(died("load"))
    begun.drill._watched_until_now()
    assert begun.asked == []
