"""The steady state holds before and after."""

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
    in_act,
    planted,
)

from tocsin.model.events import (
    Act,
    HypothesisChecked,
)
from tocsin.model.verdict import Reason

ROWS: list[Row] = [
    (
        "steady state not there before",
        lambda: tweak(passing(), in_act(Act.PREFLIGHT, HypothesisChecked), met=False),
        "steady-state:before",
        F,
        Reason.HYPOTHESIS_NOT_MET,
    ),
    (
        "steady state does not return",
        lambda: tweak(passing(), in_act(Act.RECOVERY, HypothesisChecked), met=False),
        "steady-state:after",
        F,
        Reason.HYPOTHESIS_NOT_MET,
    ),
    (
        "steady state not checked",
        lambda: without(passing(), HypothesisChecked),
        "steady-state:after",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "steady state not checked before",
        lambda: without(passing(), HypothesisChecked),
        "steady-state:before",
        U,
        Reason.NO_EVIDENCE,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)
