"""The fault really changed something."""

from __future__ import annotations

from tests.checkers.histories import (
    add,
    drop,
    passing,
    without,
)
from tests.checkers.spoiled import (
    SCENE,
    Row,
    U,
    check_planted,
    planted,
    stage,
    staged,
)

from tocsin.model.events import (
    FaultChanged,
    FaultFelt,
    FaultStage,
)
from tocsin.model.verdict import Reason


def verified() -> list[FaultChanged]:
    """What was told of faults that are undone."""
    return [one for one in passing() if isinstance(one, FaultChanged) and one.stage is FaultStage.VERIFIED]


ROWS: list[Row] = [
    (
        "accepted and nothing changed",
        lambda: staged(passing(), FaultStage.EFFECTIVE, FaultStage.NO_EFFECT),
        "effect",
        U,
        Reason.NO_EFFECT,
    ),
    (
        "no evidence of effect",
        lambda: drop(passing(), lambda e: stage(e, FaultStage.EFFECTIVE)),
        "effect",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "whether it took effect could not be read",
        lambda: staged(passing(), FaultStage.EFFECTIVE, FaultStage.NOT_SEEN),
        "effect",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "in place, and no call was refused",
        lambda: add(passing(), *(FaultFelt(at=one.at, entry=one.entry, calls=0) for one in verified())),
        "effect",
        U,
        Reason.NO_EFFECT,
    ),
    ("no fault at all", lambda: without(passing(), FaultChanged), "effect", U, Reason.NO_EVIDENCE),
    (
        "one of two faults without effect",
        lambda: add(
            passing(),
            FaultChanged(at=SCENE.accepted, entry="2", fault="other", stage=FaultStage.ACCEPTED),
            FaultChanged(at=SCENE.verified, entry="2", fault="other", stage=FaultStage.VERIFIED),
        ),
        "effect",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "took effect, and was never accepted",
        lambda: drop(passing(), lambda e: stage(e, FaultStage.ACCEPTED)),
        "effect",
        U,
        Reason.NO_EVIDENCE,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)
