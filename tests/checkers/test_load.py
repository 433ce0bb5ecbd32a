"""The load arrived as planned."""

from __future__ import annotations

from dataclasses import replace

from tests.checkers.histories import (
    SYSTEM,
    add,
    drop,
    passing,
    tweak,
    without,
)
from tests.checkers.spoiled import (
    SCENE,
    History,
    Row,
    U,
    check_planted,
    found,
    in_act,
    planted,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    Act,
    ActEnded,
    ActStarted,
    AlarmsPolled,
    CanaryRan,
    DrillEnded,
    Event,
    LoadSecond,
    ResidueChecked,
    WorkCounted,
)
from tocsin.model.verdict import Outcome, Reason


def ran_since(event: Event, at: float) -> bool:
    return isinstance(event, CanaryRan) and event.known_at > at


ROWS: list[Row] = [
    ("no load", lambda: without(passing(), LoadSecond), "load", U, Reason.NO_TRAFFIC),
    (
        "load that sends nothing",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond), sent=0, offered=0, statuses={}, latency_ms={}),
        "load",
        U,
        Reason.NO_TRAFFIC,
    ),
    ("no act is recorded", lambda: without(passing(), ActStarted, ActEnded), "load", U, Reason.NO_EVIDENCE),
    (
        "arrivals dropped",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond), dropped=2),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "requests leave late",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond), lag_ms=900.0),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "generator stalls for four seconds",
        lambda: drop(passing(), lambda e: isinstance(e, LoadSecond) and SCENE.accepted < e.at < SCENE.accepted + 4),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "generator ends with the fault",
        lambda: drop(passing(), lambda e: isinstance(e, LoadSecond) and e.at > SCENE.verified),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "offers a tenth of the plan",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond), offered=2, sent=2),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    ("finds nothing", lambda: refused({"404": 96, "200": 4}), "load", U, Reason.LOAD_INVALID),
    ("is not let in", lambda: refused({"401": 92, "200": 8}), "load", U, Reason.LOAD_INVALID),
    ("is sent to a page for signing in", lambda: refused({"302": 100}), "load", U, Reason.LOAD_INVALID),
]


def refused(statuses: dict[str, int]) -> History:
    """What the load is answered from the beginning on."""
    return tweak(passing(), lambda e: isinstance(e, LoadSecond), statuses=statuses)


def after_undo(event: Event, wall_s: float = 0.0) -> bool:
    return isinstance(event, LoadSecond) and event.at >= SCENE.verified + wall_s


ROWS += [
    (
        "offers half of the plan",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond), offered=10, sent=10),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "offers half of the plan after the undo only",
        lambda: tweak(passing(), after_undo, offered=10, sent=10),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "ends three seconds after the undo",
        lambda: drop(passing(), lambda e: after_undo(e, 3)),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "ends three seconds after the undo, and no canary ran since",
        lambda: drop(
            passing(), lambda e: after_undo(e, 3) or (isinstance(e, CanaryRan) and e.at > SCENE.undo_requested)
        ),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
    (
        "drops arrivals after the undo only",
        lambda: tweak(passing(), lambda e: after_undo(e, 4), dropped=1),
        "load",
        U,
        Reason.LOAD_INVALID,
    ),
]
"""What is lost in one mean over the whole drill."""


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_counting_work_for_long_does_not_make_the_load_look_cut() -> None:
    waited = 9.0
    history = [
        event.model_copy(update={"at": event.at + waited, "waited_s": waited})
        if isinstance(event, WorkCounted)
        else event.model_copy(update={"at": event.at + waited})
        if isinstance(event, ResidueChecked | DrillEnded) or in_act(Act.RECOVERY, ActEnded)(event)
        else event
        for event in passing()
    ]
    polls = (
        AlarmsPolled(at=SCENE.end + second, polls=4, states=dict.fromkeys(SYSTEM.alarms, "OK"))
        for second in range(int(waited) + 1)
    )
    verdict = judge(add(history, *polls))
    assert found(verdict, "load").outcome == Outcome.PASS
    assert verdict.outcome == Outcome.PASS


def test_an_experiment_without_load_says_so() -> None:
    verdict = judge(replace(SCENE, load=None).history())
    assert verdict.outcome == Outcome.PASS
    assert any("under load" in what for what in verdict.not_observed)
    assert not any(judgement.id in ("load", "answers") for judgement in verdict.judgements)


def test_the_act_is_named_and_chance_is_none() -> None:
    half = found(judge(tweak(passing(), after_undo, offered=10, sent=10)), "load")
    assert half.message == "in the act recovery: only 10.0 a second were offered, planned were 20"
    # Eight seconds of a Poisson process of 20/s hold 160 +- 13: 120 are three deviations fewer.
    few = found(judge(tweak(passing(), after_undo, offered=17, sent=17)), "load")
    assert few.outcome is Outcome.PASS


def test_a_load_that_is_refused_is_told_what_it_got() -> None:
    judged = found(judge(refused({"404": 96, "200": 4})), "load")
    assert "answers before the fault were refusals or redirects" in judged.message
    # 304 is what a cache is told that has everything, and every fourth answer may be a no that is meant.
    assert found(judge(refused({"304": 100})), "load").outcome is Outcome.PASS
    assert found(judge(refused({"200": 75, "404": 25})), "load").outcome is Outcome.PASS


def test_an_operation_that_was_never_served_is_not_observed() -> None:
    by_name = {"GET /parcels": {"200": 15}, "POST /parcels": {"403": 5}}
    verdict = judge(tweak(passing(), lambda e: isinstance(e, LoadSecond), by_name=by_name))
    assert [what for what in verdict.not_observed if "only refused" in what] == [
        f"POST /parcels under load: before the fault it was only refused or redirected ({5 * 6} x 403)."
    ]
