"""Accepted work is done, once."""

from __future__ import annotations

from tests.checkers.histories import (
    passing,
    tweak,
    without,
)
from tests.checkers.spoiled import (
    F,
    Row,
    U,
    check_planted,
    planted,
)

from tocsin.model.events import (
    WorkCounted,
)
from tocsin.model.verdict import Reason

ROWS: list[Row] = [
    (
        "work lost",
        lambda: tweak(passing(), lambda e: isinstance(e, WorkCounted), processed=36, lost=("a",), lost_count=1),
        "conserved:labels",
        F,
        Reason.WORK_LOST,
    ),
    (
        "work done twice",
        lambda: tweak(passing(), lambda e: isinstance(e, WorkCounted), duplicated=("a",), duplicated_count=1),
        "conserved:labels",
        F,
        Reason.WORK_DUPLICATED,
    ),
    (
        "fewer processed than accepted",
        lambda: tweak(passing(), lambda e: isinstance(e, WorkCounted), processed=30),
        "conserved:labels",
        F,
        Reason.WORK_LOST,
    ),
    (
        "no work",
        lambda: tweak(passing(), lambda e: isinstance(e, WorkCounted), accepted=0, processed=0),
        "conserved:labels",
        U,
        Reason.NO_TRAFFIC,
    ),
    ("nobody counted", lambda: without(passing(), WorkCounted), "conserved:labels", U, Reason.NO_EVIDENCE),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)
