"""The drill ran to its end."""

from __future__ import annotations

from tests.checkers.histories import (
    drop,
    passing,
    without,
)
from tests.checkers.spoiled import (
    Row,
    U,
    check_planted,
    in_act,
    interrupted,
    planted,
)

from tocsin.model.events import (
    Act,
    ActEnded,
    DrillEnded,
)
from tocsin.model.verdict import Reason

ROWS: list[Row] = [
    ("cut off in the middle", lambda: without(passing(), DrillEnded), "drill", U, Reason.WINDOW_CUT),
    ("a signal ended it in the fault", interrupted, "drill", U, Reason.WINDOW_CUT),
    (
        "an act never ended",
        lambda: drop(passing(), in_act(Act.RECOVERY, ActEnded)),
        "drill",
        U,
        Reason.WINDOW_CUT,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)
