"""A run that was killed left a fault; whether it is there still, the ledger tells, and no history."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.checkers.histories import Scene, add, drop, passing, tweak, write_history

from tocsin.cli import main
from tocsin.model.base import Model
from tocsin.model.events import DrillEnded, Event, FaultChanged, FaultStage, ResidueChecked
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Debt, EntryState, Ledger

SCENE = Scene()
DRILL = SCENE.started().drill
UNSAID = "no ledger here knows of it"


class Nothing(Model):
    """Arguments and prior state of a fault that needs neither."""


def killed(entry: str) -> list[Event]:
    """`kill -9` two seconds into the fault."""
    cut = [event for event in passing() if event.at < SCENE.accepted + 2]
    return [event.model_copy(update={"entry": entry}) if isinstance(event, FaultChanged) else event for event in cut]


def undone_in_vain(entry: str) -> list[Event]:
    """A whole drill whose undo failed, and which said so."""
    ended = [FaultStage.UNDONE, FaultStage.VERIFIED]
    tried = drop(passing(), lambda event: isinstance(event, FaultChanged) and event.stage in ended)
    tried = drop(tried, lambda event: isinstance(event, ResidueChecked))
    last = next(event.at for event in tried if isinstance(event, DrillEnded))
    tried = add(tried, ResidueChecked(at=last - 0.001, open_entries=(f"{entry} a fault (injected)",)))
    return [event.model_copy(update={"entry": entry}) if isinstance(event, FaultChanged) else event for event in tried]


class Kept:
    """A run in a checkout, and the ledger there."""

    def __init__(self, root: Path) -> None:
        (root / "systems").mkdir()
        self.run = root / ".tocsin" / "runs" / "1"
        self.run.mkdir(parents=True)
        self.ledger = ledger_path(root, "sandbox")
        self.entry = self.left(DRILL)

    def left(self, drill: str) -> str:
        """Something that a drill left, in the ledger: its id."""
        ledger = Ledger(self.ledger, "sandbox")
        entry = ledger.intend(drill, SCENE.fault, "shop", Nothing(), Nothing())
        ledger.advance(entry.id, EntryState.INJECTED)
        ledger.close()
        return entry.id

    def recover(self) -> None:
        ledger = Ledger(self.ledger, "sandbox")
        ledger.advance(self.entry, EntryState.VERIFIED)
        ledger.close()

    def report(self, history: Callable[[str], list[Event]] = killed) -> tuple[int, str]:
        (self.run / "history.jsonl").unlink(missing_ok=True)
        write_history(self.run / "history.jsonl", history(self.entry))
        answer = CliRunner().invoke(main, ["report", str(self.run)])
        return answer.exit_code, " ".join(answer.output.split())


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_fault_that_is_open_in_the_ledger_is_still_in_place(kept: Kept) -> None:
    code, told = kept.report()
    assert (code, "A fault is still in place: call `tocsin recover`." in told) == (5, True)


def test_a_fault_that_was_recovered_since_is_told_as_that(kept: Kept) -> None:
    kept.recover()
    code, told = kept.report()
    assert code == 3, told
    assert "left a fault in place; it was undone and verified since, as the ledger says." in told
    assert "still in place" not in told
    assert "the drill was killed before its undo" in told


def test_pages_are_made_from_the_history_alone_and_say_no_more_than_it(kept: Kept) -> None:
    names = ("report.html", "verdict.json")
    kept.report()
    before = [(kept.run / name).read_text() for name in names]
    assert all("still in place" not in text for text in before)
    assert "the ledger tells what of it is left" in before[0]
    kept.recover()
    kept.report()
    assert [(kept.run / name).read_text() for name in names] == before


def test_another_drills_entry_says_nothing_of_this_one(kept: Kept) -> None:
    kept.recover()
    kept.left("another-drill")
    assert kept.report()[0] == 3


@pytest.mark.parametrize("spoil", [lambda ledger: ledger.unlink(), lambda ledger: ledger.write_bytes(b"no database")])
def test_without_a_ledger_the_history_alone_speaks(kept: Kept, spoil: Callable[[Path], None]) -> None:
    kept.recover()
    spoil(kept.ledger)
    code, told = kept.report()
    assert (code, UNSAID in told, "still in place" in told) == (5, True, False)


def test_an_entry_that_the_ledger_does_not_have_is_not_called_undone(kept: Kept) -> None:
    kept.recover()
    kept.entry = "0123456789ab"
    code, told = kept.report()
    assert (code, UNSAID in told) == (5, True)


def test_an_undo_that_was_tried_in_vain_stays_a_failure(kept: Kept) -> None:
    assert kept.report(undone_in_vain)[0] == 5
    kept.recover()
    code, told = kept.report(undone_in_vain)
    assert (code, "undone and verified since" in told) == (1, True)


def test_a_target_of_a_history_names_no_file_elsewhere(kept: Kept, tmp_path: Path) -> None:
    kept.recover()

    def elsewhere(entry: str) -> list[Event]:
        first, *rest = killed(entry)
        return [first.model_copy(update={"target": "../ledger/sandbox"}), *rest]

    assert kept.report(elsewhere)[0] == 5


DEBT = Debt(
    drill=DRILL,
    experiment="experiments/shop/x.yaml",
    rollbacks=("redrive",),
    digest="",
    region="us-east-1",
    created_at=1.0,
)


def owing(entry: str) -> list[Event]:
    """A drill that left nothing but a rollback that failed."""
    owed = tweak(passing(), lambda event: isinstance(event, ResidueChecked), owed=("redrive",))
    return [event.model_copy(update={"entry": entry}) if isinstance(event, FaultChanged) else event for event in owed]


def test_a_rollback_is_owed_until_the_ledger_does_not_hold_it(kept: Kept) -> None:
    kept.recover()
    ledger = Ledger(kept.ledger, "sandbox")
    ledger.owe(DEBT)
    code, told = kept.report(owing)
    assert (code, "`tocsin recover --rollbacks` runs them" in told, "still in place" in told) == (5, True, False)
    ledger.forgive()
    code, told = kept.report(owing)
    assert (code, "undone and verified since" in told) == (1, True), told
    ledger.owe(DEBT)
    ledger._db.execute("DELETE FROM owed")
    ledger.close()
    code, told = kept.report(owing)
    assert (code, "undone and verified since" in told) == (5, False), "a debt that somebody deleted is not paid by that"


def acted(entry: str) -> list[Event]:
    """A drill that left what an action of another extension did."""
    at = next(event.at for event in passing() if isinstance(event, DrillEnded)) - 0.002
    failed = FaultChanged(at=at, entry="action 1", fault="close", stage=FaultStage.UNDO_FAILED)
    return add(passing(), failed)


def test_what_no_ledger_can_know_is_never_called_undone(kept: Kept) -> None:
    kept.recover()
    code, told = kept.report(acted)
    assert (code, "no ledger knows" in told, "`tocsin recover" in told) == (5, True, False), told
