"""A guard that said no and did not stop the drill."""

from __future__ import annotations

from tests.checkers.histories import (
    START,
    add,
    passing,
    tweak,
)
from tests.checkers.spoiled import (
    MINUTE,
    SCENE,
    Row,
    U,
    check_planted,
    interrupted,
    planted,
)

from tocsin.model.events import (
    Event,
    GuardChecked,
    Stopped,
)
from tocsin.model.verdict import Reason


def refused_by(guard: str) -> list[Event]:
    """A drill that a guard ended before anything was broken."""
    return tweak(SCENE.refused(), lambda event: isinstance(event, Stopped), guard=guard)


ROWS: list[Row] = [
    (
        "the clock jumped",
        lambda: add(
            SCENE.interrupted(), Stopped(at=SCENE.accepted + MINUTE, guard="clock", detail="it jumped ahead by 1h")
        ),
        "guard:clock",
        U,
        Reason.CLOCK_JUMPED,
    ),
    (
        "a guard that said no and stopped nothing",
        lambda: add(passing(), GuardChecked(at=START, guard="lock", ok=False, detail="held by another run")),
        "guard:lock",
        U,
        Reason.REFUSED,
    ),
    ("somebody died in the baseline", lambda: refused_by("actors"), "guard:actors", U, Reason.ACTOR_DIED),
    ("load did not come", lambda: refused_by("traffic"), "guard:traffic", U, Reason.NO_TRAFFIC),
    ("a guard said no before the fault", SCENE.refused, "guard:alarms_quiet", U, Reason.REFUSED),
    ("a signal ended it", interrupted, "guard:interrupted", U, Reason.INTERRUPTED),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)
