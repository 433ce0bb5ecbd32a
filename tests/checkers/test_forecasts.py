"""Alarms that cannot ring, whatever happens: said where the drill was refused for it."""

from __future__ import annotations

from tests.checkers.histories import add, forecast, passing
from tests.checkers.spoiled import SCENE, Row, U, check_planted, planted

from tocsin.checkers import judge
from tocsin.model.verdict import Outcome, Reason

ROWS: list[Row] = [
    (
        "cannot ring",
        lambda: add(SCENE.refused(), forecast("api-5xx", feasible=False)),
        "must:api-5xx",
        U,
        Reason.INFEASIBLE,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_an_alarm_that_can_ring_is_no_reason_to_refuse() -> None:
    refused = judge(add(SCENE.refused(), forecast("api-5xx")))
    assert [judgement.id for judgement in refused.judgements] == ["guard:alarms_quiet"]
    assert judge(add(passing(), forecast("api-5xx"))).outcome is Outcome.PASS
