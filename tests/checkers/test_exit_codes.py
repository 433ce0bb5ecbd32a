"""The exit code of a drill: every way to end, with everything that can be left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.checkers.histories import Scene, add, failing, passing, tweak, without
from tests.checkers.spoiled import SCENE, interrupted

from tocsin.checkers import judge
from tocsin.model.events import (
    NO_ENTRY,
    Act,
    ActivityRan,
    AlarmsPolled,
    ChangeLooked,
    DrillEnded,
    DrillStarted,
    Event,
    FaultChanged,
    FaultStage,
    ResidueChecked,
)
from tocsin.model.experiment import MethodChange
from tocsin.model.verdict import Outcome, is_entry
from tocsin.report.words import headline, sentence

History = list[Event]
ENDS: dict[str, tuple[Callable[[], History], Outcome, int]] = {
    "passes": (passing, Outcome.PASS, 0),
    "fails": (failing, Outcome.FAIL, 1),
    "is unknown": (lambda: without(passing(), AlarmsPolled), Outcome.UNKNOWN, 3),
    "is ended by a signal": (interrupted, Outcome.UNKNOWN, 4),
    "is ended by a signal at once": (lambda: Scene().interrupted(after_s=1), Outcome.UNKNOWN, 4),
    "is refused": (SCENE.refused, Outcome.UNKNOWN, 4),
}


def end_of(history: History) -> float:
    return next(event.at for event in history if isinstance(event, DrillEnded))


def checked(history: History, **found: tuple[str, ...]) -> History:
    """What the ledger said last."""
    return tweak(history, lambda event: isinstance(event, ResidueChecked), **found)


def acted(history: History, *stages: FaultStage) -> History:
    """An action of another extension reached these stages."""
    at = end_of(history) - 0.001
    moved = (FaultChanged(at=at, entry=f"{NO_ENTRY}1", fault="close", stage=stage) for stage in stages)
    return add(history, *moved)


def rounded(history: History) -> History:
    """A procedure of the method changed something, and its rollback failed."""
    at = end_of(history) - 0.001
    experiment = next(event.experiment for event in history if isinstance(event, DrillStarted))
    change = MethodChange(activity="round", undone_by="restore")
    extension = experiment.extension.model_copy(update={"changes": (change,)})
    changing = experiment.model_copy(update={"extension": extension})
    return add(
        tweak(history, lambda event: isinstance(event, DrillStarted), experiment=changing),
        ChangeLooked(at=at, activity="round", probe="exact", when="before", held=True, detail="0"),
        ActivityRan(at=at, act=Act.FAULT, name="round", ok=True, duration_s=0.1),
        ChangeLooked(at=at, activity="round", probe="exact", when="after", held=False, detail="3"),
        ActivityRan(at=at, act=Act.RECOVERY, name="restore", ok=False, duration_s=0.1, detail="denied"),
    )


BEGUN, FAILED, DONE = FaultStage.REQUESTED, FaultStage.UNDO_FAILED, FaultStage.VERIFIED
LEFT: dict[str, tuple[Callable[[History], History], bool]] = {
    "nothing": (lambda history: history, False),
    "an entry of the ledger": (lambda history: checked(history, open_entries=("entry-1 a fault (injected)",)), True),
    "an action whose undo failed": (lambda history: acted(history, BEGUN, FAILED), True),
    "an action whose undo nobody tried": (lambda history: acted(history, BEGUN), True),
    "an action, and nobody asked the ledger": (
        lambda history: without(acted(history, BEGUN, FAILED), ResidueChecked),
        True,
    ),
    "a change whose rollback failed": (rounded, True),
    "a rollback that is owed": (lambda history: checked(history, owed=("redrive",)), True),
}


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("end", ENDS)
def test_what_is_left_is_5_however_a_drill_ends(end: str, left: str) -> None:
    (made, outcome, code), (leaving, is_left) = ENDS[end], LEFT[left]
    verdict = judge(leaving(made()))
    expected = (Outcome.FAIL, 5) if is_left else (outcome, code)
    assert (verdict.outcome, verdict.exit_code) == expected, verdict.residue
    assert bool(verdict.residue) is is_left


def test_an_action_that_was_seen_undone_leaves_nothing() -> None:
    verdict = judge(acted(interrupted(), BEGUN, DONE))
    assert (verdict.residue, verdict.exit_code) == ((), 4)


MOVES = {
    "an entry of the ledger": "Run `tocsin recover`",
    "an action whose undo failed": "look what they left",
    "a change whose rollback failed": "look what they left",
    "a rollback that is owed": "`tocsin recover --rollbacks` runs them",
}


@pytest.mark.parametrize("left", MOVES)
def test_each_thing_that_is_left_has_its_own_next_move(left: str) -> None:
    verdict = judge(LEFT[left][0](interrupted()))
    told = sentence(verdict)
    assert MOVES[left] in told
    assert [move for move in set(MOVES.values()) if move in told] == [MOVES[left]]
    assert headline(verdict) == ("Rollbacks owed" if "owed" in left else "Fault left behind")
    assert [is_entry(one) for one in verdict.residue] == [left == "an entry of the ledger"]
