"""What an actor that died did not see, nobody saw."""

from __future__ import annotations

from tests.checkers.histories import (
    add,
    passing,
)
from tests.checkers.spoiled import (
    MINUTE,
    RUNG,
    SCENE,
    F,
    P,
    Row,
    U,
    check_planted,
    planted,
    ringing,
    silent,
)

from tocsin.model.events import (
    ActorDied,
)
from tocsin.model.verdict import Reason


def load_died(at: float) -> ActorDied:
    return ActorDied(at=at, actor="load", detail="exit code -9")


ROWS: list[Row] = [
    (
        "an actor dies",
        lambda: add(passing(), ActorDied(at=SCENE.accepted, actor="load", detail="exit code -9")),
        "actor:load",
        U,
        Reason.ACTOR_DIED,
    ),
    (
        "an alarm that stays silent after the load died",
        lambda: add(silent("api-5xx"), load_died(SCENE.accepted + MINUTE)),
        "must:api-5xx",
        U,
        Reason.ACTOR_DIED,
    ),
    (
        "an alarm that flaps after the load died",
        lambda: add(passing(), *ringing("api-5xx", SCENE.accepted + 2 * MINUTE), load_died(SCENE.accepted + MINUTE)),
        "must:api-5xx",
        U,
        Reason.ACTOR_DIED,
    ),
    (
        "an alarm that was silent until its deadline while the load lived",
        lambda: add(silent("api-5xx"), load_died(SCENE.accepted + 11.1 * MINUTE)),
        "must:api-5xx",
        F,
        Reason.DID_NOT_RING,
    ),
    (
        "an alarm that stays silent after a canary died",
        lambda: add(silent("api-5xx"), ActorDied(at=SCENE.accepted, actor="canary home", detail="SystemExit")),
        "must:api-5xx",
        F,
        Reason.DID_NOT_RING,
    ),
    (
        "an alarm that rang before the load died",
        lambda: add(passing(), load_died(RUNG + 0.1)),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)
