"""Nothing is left in the ledger."""

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
    ResidueChecked,
)
from tocsin.model.verdict import Reason

ROWS: list[Row] = [
    (
        "residue",
        lambda: tweak(passing(), lambda e: isinstance(e, ResidueChecked), open_entries=("entry-1",)),
        "residue",
        F,
        Reason.RESIDUE,
    ),
    (
        "a rollback is owed",
        lambda: tweak(passing(), lambda e: isinstance(e, ResidueChecked), owed=("redrive",)),
        "residue",
        F,
        Reason.RESIDUE,
    ),
    ("nobody asked the ledger", lambda: without(passing(), ResidueChecked), "residue", U, Reason.NO_EVIDENCE),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)
