"""Canaries that must notice the fault."""

from __future__ import annotations

from tests.checkers.histories import (
    START,
    Scene,
    add,
    drop,
    passing,
    tweak,
    without,
)
from tests.checkers.spoiled import (
    MINUTE,
    SCENE,
    F,
    Row,
    U,
    check_planted,
    found,
    planted,
    ran,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    CanaryRan,
    Event,
    FaultChanged,
)
from tocsin.model.verdict import Reason


def during(event: Event) -> bool:
    return ran(event, "create_parcel", SCENE.accepted, SCENE.undo_requested)


def long_runs() -> list[Event]:
    """Every run of the fault takes six minutes until its failure is known."""
    return [
        event.model_copy(update={"ended_at": event.at + 6 * MINUTE}) if during(event) else event for event in passing()
    ]


def straddling() -> list[Event]:
    """A run that began before the injection failed in it, one that began in it passed after the undo."""
    first = next(event for event in passing() if during(event))
    assert isinstance(first, CanaryRan)
    into = first.model_copy(update={"at": SCENE.requested - 0.1, "ended_at": SCENE.accepted + MINUTE})
    out_of = {"at": SCENE.undo_requested - 0.1, "ended_at": SCENE.verified + 0.1, "ok": True, "ok_after_retry": True}
    return add(drop(passing(), during), into, first.model_copy(update=out_of))


ROWS: list[Row] = [
    (
        "canary that cannot fail",
        lambda: Scene(failing_canaries=()).history(),
        "canary:create_parcel",
        F,
        Reason.CANARY_BLIND,
    ),
    (
        "canary that fails before the fault too",
        lambda: tweak(passing(), lambda e: ran(e, "create_parcel", START, SCENE.requested), ok_after_retry=False),
        "canary:create_parcel",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "canary that raises in itself",
        lambda: tweak(passing(), lambda e: ran(e, "create_parcel", SCENE.accepted, SCENE.end), broken=True),
        "canary:create_parcel",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "canary that notices too late",
        lambda: tweak(
            passing(),
            lambda e: ran(e, "create_parcel", SCENE.accepted, SCENE.accepted + 6 * MINUTE),
            ok_after_retry=True,
        ),
        "canary:create_parcel",
        F,
        Reason.RANG_LATE,
    ),
    (
        "canary that begins in time and is known too late",
        lambda: long_runs(),
        "canary:create_parcel",
        F,
        Reason.RANG_LATE,
    ),
    (
        "only runs that straddle the injection or the undo",
        lambda: straddling(),
        "canary:create_parcel",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "canary cut short",
        lambda: Scene(failing_canaries=(), hold_s=120).history(),
        "canary:create_parcel",
        U,
        Reason.WINDOW_CUT,
    ),
    (
        "canary that was not seen to pass before the fault",
        lambda: drop(passing(), lambda e: ran(e, "create_parcel", START, SCENE.requested)),
        "canary:create_parcel",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "canary that was broken before the fault",
        lambda: tweak(passing(), lambda e: ran(e, "create_parcel", START, SCENE.requested), broken=True),
        "canary:create_parcel",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "nothing injected for a canary to notice",
        lambda: without(passing(), FaultChanged),
        "canary:create_parcel",
        U,
        Reason.NO_EVIDENCE,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_time_to_notice_counts_to_the_end_of_the_run_and_both_times_are_told() -> None:
    took = found(judge(long_runs()), "canary:create_parcel")
    (first, *_) = [event for event in long_runs() if during(event)]
    began_s = (first.at - SCENE.accepted) * SCENE.scale
    assert took.measured["noticed_s"] == round(began_s + 360, 4)
    assert "in a run that began after" in took.message


def test_where_the_end_was_not_recorded_the_first_attempt_counts() -> None:
    """Histories of before hold the start of a run, and how long its first attempt took."""
    history = [event.model_copy(update={"ended_at": None}) if during(event) else event for event in passing()]
    then = found(judge(history), "canary:create_parcel")
    assert then == found(judge(passing()), "canary:create_parcel")
