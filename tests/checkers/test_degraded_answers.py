"""The answers that callers got during the fault."""

from __future__ import annotations

from dataclasses import replace

from tests.checkers.histories import (
    EXPECT,
    HEALTHY,
    Scene,
    drop,
    passing,
    without,
)
from tests.checkers.spoiled import (
    SCENE,
    F,
    History,
    P,
    Row,
    U,
    check_planted,
    found,
    older,
    planted,
    with_expect,
)

from tocsin.checkers import judge
from tocsin.model.events import Event, LoadSecond
from tocsin.model.experiment import Degraded, LoadPlan
from tocsin.model.verdict import Reason

FEW = Reason.TOO_FEW_ANSWERS

ROWS: list[Row] = [
    ("no answers in the fault", lambda: without(passing(), LoadSecond), "answers", U, Reason.NO_TRAFFIC),
    (
        "undocumented answers",
        lambda: Scene(fault_statuses={"500": 0.5, "503": 0.5}).history(),
        "answers",
        F,
        Reason.UNDOCUMENTED_ANSWER,
    ),
    (
        "no answer at all",
        lambda: Scene(fault_statuses={"error": 0.5, "503": 0.5}).history(),
        "answers",
        F,
        Reason.UNDOCUMENTED_ANSWER,
    ),
    (
        "a documented answer where none is allowed",
        lambda: with_expect(degraded=None).history(),
        "answers",
        F,
        Reason.UNDOCUMENTED_ANSWER,
    ),
    (
        "healthy answers where no other is allowed",
        lambda: replace(with_expect(degraded=None), fault_statuses=HEALTHY).history(),
        "answers",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "more degraded answers than allowed",
        lambda: with_expect(
            degraded=EXPECT.degraded.model_copy(update={"max_share": 0.5}) if EXPECT.degraded else None
        ).history(),
        "answers",
        F,
        Reason.TOO_MANY_ERRORS,
    ),
    ("too few answers to tell", lambda: replace(SCENE, load=LoadPlan(arrivals_per_s=2)).history(), "answers", U, FEW),
    (
        "as many degraded answers as may just be",
        lambda: with_expect(degraded=Degraded(status=(503,), max_share=0.79)).history(),
        "answers",
        U,
        FEW,
    ),
    (
        "one operation is forbidden to everybody under a fault with quiet alarms only",
        lambda: clock_in_forbidden(passing()),
        "answers",
        F,
        Reason.UNDOCUMENTED_ANSWER,
    ),
    (
        "nobody knows what was answered before the fault",
        lambda: drop(passing(), lambda e: isinstance(e, LoadSecond) and e.at < SCENE.requested),
        "answers",
        U,
        Reason.NO_EVIDENCE,
    ),
    ("an older history", lambda: older(passing()), "answers", P, Reason.AS_EXPECTED),
    (
        "undocumented answers in an older history",
        lambda: older(Scene(fault_statuses={"500": 0.5, "503": 0.5}).history()),
        "answers",
        F,
        Reason.UNDOCUMENTED_ANSWER,
    ),
    (
        "more degraded answers than allowed, in an older history",
        lambda: older(with_expect(degraded=Degraded(status=(503,), max_share=0.5)).history()),
        "answers",
        F,
        Reason.TOO_MANY_ERRORS,
    ),
]


def clock_in_forbidden(history: History) -> History:
    """From the injection on one operation, a quarter of the load, is answered with 403."""

    def named(event: Event) -> Event:
        if not isinstance(event, LoadSecond):
            return event
        of_one = {"403": 5} if SCENE.accepted <= event.at < SCENE.verified else {"201": 5}
        both = {"GET /logs": {"200": 15}, "POST /clock-in": of_one}
        statuses = {"200": 15, **of_one}
        return event.model_copy(update={"by_name": both, "statuses": statuses})

    return [named(event) for event in history]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_what_changed_is_named_with_what_was_before() -> None:
    judged = found(judge(clock_in_forbidden(passing())), "answers")
    assert "of POST /clock-in were 403, before the fault 0.0%" in judged.message
    # Of all operations together the same answers are told once.
    assert judged.message.count("403") == 1


def test_what_an_experiment_expects_may_change() -> None:
    expected = with_expect(degraded=Degraded(status=(403, 503)))
    assert found(judge(clock_in_forbidden(expected.history())), "answers").outcome is P
