"""Every fault was undone, and seen undone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.checkers.histories import (
    add,
    drop,
    passing,
    without,
)
from tests.checkers.spoiled import (
    SCENE,
    F,
    P,
    Row,
    U,
    check_planted,
    found,
    planted,
    stage,
    staged,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    Event,
    FaultChanged,
    FaultStage,
)
from tocsin.model.verdict import Reason

ROWS: list[Row] = [
    (
        "undo fails",
        lambda: staged(passing(), FaultStage.VERIFIED, FaultStage.UNDO_FAILED),
        "undo",
        F,
        Reason.UNDO_FAILED,
    ),
    (
        "undo reported, never read back",
        lambda: drop(passing(), lambda e: stage(e, FaultStage.VERIFIED)),
        "undo",
        F,
        Reason.UNDO_FAILED,
    ),
    (
        "one of two faults left in place",
        lambda: add(passing(), FaultChanged(at=SCENE.accepted, entry="2", fault="other", stage=FaultStage.ACCEPTED)),
        "undo",
        F,
        Reason.UNDO_FAILED,
    ),
    (
        "somebody else changed it",
        lambda: staged(passing(), FaultStage.VERIFIED, FaultStage.DRIFTED),
        "undo",
        U,
        Reason.DRIFTED,
    ),
    (
        "undo fails once and works at the second attempt",
        lambda: add(
            passing(),
            FaultChanged(
                at=SCENE.verified - 0.01,
                entry=f"{SCENE.slug}-1",
                fault=SCENE.fault,
                stage=FaultStage.UNDO_FAILED,
            ),
        ),
        "undo",
        P,
        Reason.AS_EXPECTED,
    ),
    ("no fault to undo", lambda: without(passing(), FaultChanged), "undo", U, Reason.NO_EVIDENCE),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


FOREIGN = FaultChanged(at=SCENE.accepted, entry="action 1", fault="shop.break_it", stage=FaultStage.ACCEPTED)


@pytest.mark.parametrize(
    ("history", "recover", "by_hand"),
    [
        (lambda: staged(passing(), FaultStage.VERIFIED, FaultStage.UNDO_FAILED), True, False),
        (lambda: add(passing(), FOREIGN), False, True),
        (lambda: add(staged(passing(), FaultStage.VERIFIED, FaultStage.UNDO_FAILED), FOREIGN), True, True),
    ],
    ids=["in the ledger", "of another extension", "both"],
)
def test_the_next_move_fits_what_was_left(history: Callable[[], list[Event]], recover: bool, by_hand: bool) -> None:
    message = found(judge(history()), "undo").message
    assert ("Run `tocsin recover`" in message) is recover
    assert ("Look yourself what shop.break_it left, and put it back" in message) is by_hand
