"""Canaries pass before the fault and after it."""

from __future__ import annotations

from tests.checkers.histories import (
    START,
    drop,
    passing,
    tweak,
    without,
)
from tests.checkers.spoiled import (
    SCENE,
    F,
    P,
    Row,
    U,
    canaries_not_named,
    check_planted,
    found,
    planted,
    ran,
    unverified,
)

from tocsin.checkers import judge
from tocsin.model.events import CanaryRan, Event
from tocsin.model.verdict import Reason

HEALTH_BEFORE = [event for event in passing() if ran(event, "health", START, SCENE.requested)]
HEALTH_AFTER = [event for event in passing() if ran(event, "health", SCENE.verified, SCENE.end)]


def retried(runs: list[Event]) -> list[Event]:
    """The drill that passes, in which these runs passed only at their second attempt."""
    return tweak(passing(), lambda e: e in runs, ok=False, detail="create: expected 201, found 503")


def only(runs: list[Event], left: list[Event]) -> list[Event]:
    """The drill that passes, of whose `runs` only some are left, and passed at their second attempt."""
    return drop(
        retried(left), lambda e: any(isinstance(e, CanaryRan) and e.at == run.at for run in runs if run not in left)
    )


ROWS: list[Row] = [
    (
        "canary fails before",
        lambda: tweak(passing(), lambda e: ran(e, "health", START, SCENE.requested), ok=False, ok_after_retry=False),
        "canaries:before",
        F,
        Reason.CANARY_FAILED,
    ),
    (
        "canary broken before",
        lambda: tweak(passing(), lambda e: ran(e, "health", START, SCENE.requested), broken=True),
        "canaries:before",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "canary did not run before",
        lambda: drop(passing(), lambda e: ran(e, "health", START, SCENE.requested)),
        "canaries:before",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "one blip before",
        lambda: retried(HEALTH_BEFORE[:1]),
        "canaries:before",
        P,
        Reason.AS_EXPECTED,
    ),
    ("lives on its retries before", lambda: retried(HEALTH_BEFORE), "canaries:before", F, Reason.CANARY_FAILED),
    ("half on retries before", lambda: retried(HEALTH_BEFORE[::2]), "canaries:before", F, Reason.CANARY_FAILED),
    (
        "its only run before needed its retry",
        lambda: only(HEALTH_BEFORE, HEALTH_BEFORE[:1]),
        "canaries:before",
        U,
        Reason.NO_EVIDENCE,
    ),
    ("one blip after", lambda: retried(HEALTH_AFTER[-1:]), "canaries:after", P, Reason.AS_EXPECTED),
    ("lives on its retries after", lambda: retried(HEALTH_AFTER), "canaries:after", F, Reason.NOT_RECOVERED),
    (
        "canary does not return",
        lambda: tweak(passing(), lambda e: ran(e, "health", SCENE.verified, SCENE.end), ok=False, ok_after_retry=False),
        "canaries:after",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "canary stopped running",
        lambda: drop(passing(), lambda e: ran(e, "health", SCENE.verified, SCENE.end)),
        "canaries:after",
        U,
        Reason.NO_EVIDENCE,
    ),
    ("no canary at all", lambda: without(passing(), CanaryRan), "canaries:after", U, Reason.NO_EVIDENCE),
    ("no canary ran before", canaries_not_named, "canaries:before", U, Reason.NO_EVIDENCE),
    ("no canary ran after", canaries_not_named, "canaries:after", U, Reason.NO_EVIDENCE),
    ("undo never verified", lambda: unverified(passing()), "canaries:after", U, Reason.NO_EVIDENCE),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_a_second_attempt_is_told() -> None:
    assert len(HEALTH_BEFORE) >= 4
    told = found(judge(retried(HEALTH_BEFORE[:1])), "canaries:before")
    assert told.message.endswith(f"only at their second attempt passed runs of health: 1 of {len(HEALTH_BEFORE)}")
    assert told.measured["retried"] == 1
    assert "attempt" not in found(judge(passing()), "canaries:before").message
    habit = found(judge(retried(HEALTH_BEFORE)), "canaries:before").message
    count = len(HEALTH_BEFORE)
    assert f"health passed only at its second attempt in {count} of {count} runs" in habit
    assert "create: expected 201, found 503" in habit
    assert "second attempt" in found(judge(retried(HEALTH_AFTER[-1:])), "canaries:after").message


def test_runs_that_failed_before_it_was_well_again_do_not_count() -> None:
    """After the undo a system needs its time; what counts is how it does from then on."""
    slow = tweak(retried(HEALTH_AFTER[:1]), lambda e: e in HEALTH_AFTER[1:2], ok=False, ok_after_retry=False)
    assert "attempt" not in found(judge(slow), "canaries:after").message
