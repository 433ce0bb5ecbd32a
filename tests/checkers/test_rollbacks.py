"""The experiment's own rollbacks put everything back."""

from __future__ import annotations

from tests.checkers.histories import (
    drop,
    passing,
    tweak,
    without,
)
from tests.checkers.spoiled import (
    F,
    P,
    Row,
    U,
    check_planted,
    in_act,
    left_broken,
    planted,
    stage,
)

from tocsin.model.events import (
    Act,
    ActivityRan,
    FaultStage,
)
from tocsin.model.verdict import Reason

ROWS: list[Row] = [
    (
        "the rollbacks left the fault in place",
        lambda: left_broken(after_rollbacks=True),
        "rollbacks",
        F,
        Reason.NOT_ROLLED_BACK,
    ),
    (
        "nobody saw what the rollbacks left",
        lambda: drop(left_broken(after_rollbacks=True), lambda event: stage(event, FaultStage.UNDONE)),
        "rollbacks",
        U,
        Reason.NO_EVIDENCE,
    ),
    ("a rollback undid the fault", lambda: left_broken(after_rollbacks=False), "rollbacks", P, Reason.AS_EXPECTED),
    (
        "rollback fails",
        lambda: tweak(passing(), in_act(Act.RECOVERY, ActivityRan), ok=False),
        "rollbacks",
        F,
        Reason.ACTIVITY_FAILED,
    ),
    ("rollback not run", lambda: without(passing(), ActivityRan), "rollbacks", U, Reason.NO_EVIDENCE),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)
