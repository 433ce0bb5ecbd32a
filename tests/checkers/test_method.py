"""Activities of the method ran and succeeded."""

from __future__ import annotations

import pytest
from tests.checkers.histories import (
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
    idle,
    in_act,
    planted,
)

from tocsin.checkers.answers import Question
from tocsin.checkers.method import judge_activities
from tocsin.model.events import (
    Act,
    ActivityRan,
)
from tocsin.model.experiment import PlannedActivity
from tocsin.model.verdict import Outcome, Reason

ROWS: list[Row] = [
    (
        "action fails",
        lambda: tweak(passing(), in_act(Act.FAULT, ActivityRan), ok=False),
        "method",
        F,
        Reason.ACTIVITY_FAILED,
    ),
    ("action not run", lambda: without(passing(), ActivityRan), "method", U, Reason.NO_EVIDENCE),
    ("an experiment that does nothing", idle, "method", U, Reason.NO_EVIDENCE),
]


@pytest.mark.parametrize(
    ("runs", "outcome"),
    [((True, True), P), ((False, True), F), ((True, False), F), ((True,), U)],
)
def test_an_activity_that_another_refers_to_must_succeed_each_time(runs: tuple[bool, ...], outcome: Outcome) -> None:
    planned = (PlannedActivity(name="look", type="probe", provider_type="python"),) * 2
    ran = [ActivityRan(at=at, act=Act.FAULT, name="look", ok=ok, duration_s=0) for at, ok in enumerate(runs)]
    assert judge_activities(Question("method", "all succeed"), planned, ran).outcome is outcome


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)
