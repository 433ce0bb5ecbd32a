"""A history whose lines are not those that the drill wrote; how that is found is in tests/record/test_chain.py."""

from __future__ import annotations

from tests.checkers.histories import add, passing, refused
from tests.checkers.spoiled import SCENE, Row, U, check_planted, planted

from tocsin.model.events import HistoryBroken
from tocsin.model.verdict import Reason

BROKEN = HistoryBroken(at=SCENE.end, detail="line 17 does not follow the one before it")

ROWS: list[Row] = [
    ("a line was changed", lambda: add(passing(), BROKEN), "history", U, Reason.HISTORY_BROKEN),
    ("a line of a refused drill was changed", lambda: add(refused(), BROKEN), "history", U, Reason.HISTORY_BROKEN),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)
