"""Everything is well again in time, and how long that took."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.checkers.histories import (
    SYSTEM,
    Scene,
    add,
    drop,
    in_buckets,
    passing,
    tweak,
)
from tests.checkers.spoiled import (
    MINUTE,
    SCENE,
    F,
    History,
    P,
    Row,
    U,
    check_planted,
    found,
    idle,
    in_act,
    interrupted,
    older,
    planted,
    ran,
    stage,
    with_expect,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    Act,
    CanaryRan,
    DrillStarted,
    Event,
    FaultStage,
    HypothesisChecked,
    LoadSecond,
)
from tocsin.model.experiment import RecoveryTarget
from tocsin.model.system import Objectives
from tocsin.model.verdict import Outcome, Reason


def load_after(wall_s: float, **changes: object) -> History:
    """The load is another one from some seconds after the undo on."""
    return tweak(passing(), lambda e: isinstance(e, LoadSecond) and e.at > SCENE.verified - 1 + wall_s, **changes)


def steady_state(unmet_minutes: float, met_minutes: float) -> History:
    """After the undo found wanting once, and met once."""
    checked = in_act(Act.RECOVERY, HypothesisChecked)
    (met,) = [event for event in passing() if checked(event)]
    looks = ((unmet_minutes, False), (met_minutes, True))
    return add(
        drop(passing(), checked),
        *(met.model_copy(update={"at": SCENE.verified + minutes * MINUTE, "met": good}) for minutes, good in looks),
    )


def one_operation(*, after: dict[str, int]) -> History:
    """Of two operations one, a quarter of the load, is answered in another way after the undo."""

    def named(event: Event) -> Event:
        if not isinstance(event, LoadSecond):
            return event
        of_one = after if event.at > SCENE.verified - 1 else {"200": 4, "404": 1}
        both = {"POST /parcels": {"201": 15}, "GET /parcels": of_one}
        return event.model_copy(update={"by_name": both})

    return [named(event) for event in passing()]


def failing_after(*errors: int, scene: Scene = SCENE) -> History:
    """One second after another since the undo, so many of the twenty answers failed; none after that."""
    left = list(errors)

    def failing(event: Event) -> Event:
        if not isinstance(event, LoadSecond) or event.at < SCENE.verified or not left:
            return event
        wrong = left.pop(0)
        statuses = {"200": 20 - wrong, "503": wrong} if wrong else {"200": 20}
        return in_buckets(event.model_copy(update={"statuses": statuses}))

    return [failing(event) for event in scene.history()]


def without_plan(history: History) -> History:
    """As a version recorded it that kept histograms, and looked after each second."""
    return tweak(history, lambda event: isinstance(event, DrillStarted), looks=None)


def late_failures() -> History:
    """None of 77 answers fails, and four of those after them: 2 % of all, which can still be 1 %."""
    return failing_after(0, 0, 0, 0, 0, 0, 2, 2)


def some_left() -> History:
    """Five of some 160 answers fail, 3 %: no minute is bad beyond doubt, some are clean, and all together are not."""
    return failing_after(0, 1, 1, 0, 1, 1, 1, 0, scene=with_expect(recovery=RecoveryTarget(within=540)))


ROWS: list[Row] = [
    (
        "three per cent of the answers fail for good",
        some_left,
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "three per cent fail for good, in an older history, whose rule looks for one lucky minute",
        lambda: older(some_left()),
        "recovery",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "one stray failure",
        lambda: failing_after(0, 0, 0, 0, 1),
        "recovery",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "too few answers after the undo to show anything",
        lambda: load_after(0, statuses={"200": 5}),
        "recovery",
        U,
        Reason.TOO_FEW_ANSWERS,
    ),
    (
        "enough answers for one look, and too few for the first that was planned",
        lambda: load_after(0, statuses={"200": 8}),
        "recovery",
        U,
        Reason.TOO_FEW_ANSWERS,
    ),
    (
        "so many, in an older history, which looked after each second",
        lambda: without_plan(load_after(0, statuses={"200": 8})),
        "recovery",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "failures after the look that passed, no more than chance explains",
        late_failures,
        "recovery",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "two failures in so few answers that they can be one in ten",
        lambda: failing_after(0, 1, 0, 0, 1, scene=replace(SCENE, recovery_s=370)),
        "recovery",
        U,
        Reason.TOO_FEW_ANSWERS,
    ),
    (
        "no canary looked whether it recovered",
        lambda: drop(passing(), lambda e: isinstance(e, CanaryRan) and e.at > SCENE.verified),
        "recovery",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "only broken canaries looked whether it recovered",
        lambda: tweak(passing(), lambda e: isinstance(e, CanaryRan) and e.at > SCENE.verified, broken=True, ok=False),
        "recovery",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "no load was there to recover",
        lambda: drop(passing(), lambda e: isinstance(e, LoadSecond) and e.at > SCENE.verified - 1),
        "recovery",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "canary returns too late",
        lambda: tweak(
            passing(),
            lambda e: ran(e, "health", SCENE.verified, SCENE.verified + 6 * MINUTE),
            ok_after_retry=False,
        ),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "steady state returns too late",
        lambda: steady_state(5.5, 6),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "nobody looked at the steady state in time",
        lambda: steady_state(4, 6),
        "recovery",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "the answers are slow after the undo",
        lambda: load_after(0, latency_ms={"p50": 4100.0, "p95": 4900.0, "p99": 5200.0, "max": 5200.0}),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "one answer in ten is slow after the undo",
        lambda: load_after(0, latency_ms={"p50": 30.0, "p95": 4900.0, "p99": 5200.0, "max": 5200.0}),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "the answers are slow again after three good seconds",
        lambda: load_after(4, latency_ms={"p50": 4100.0, "p95": 4900.0, "p99": 5200.0, "max": 5200.0}),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "everybody is forbidden everything after the undo",
        lambda: load_after(0, statuses={"403": 20}),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "one operation finds nothing any more",
        lambda: one_operation(after={"404": 5}),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "too few answers after the undo to tell",
        lambda: load_after(0, statuses={"200": 1}),
        "recovery",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "errors go on after the undo",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond) and e.at > SCENE.verified, statuses={"503": 20}),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    (
        "errors come back after three good seconds",
        lambda: tweak(
            passing(),
            lambda e: isinstance(e, LoadSecond) and e.at > SCENE.verified + 4,
            statuses={"200": 15, "503": 5},
        ),
        "recovery",
        F,
        Reason.NOT_RECOVERED,
    ),
    ("stopped before it recovered", interrupted, "recovery", U, Reason.WINDOW_CUT),
    (
        "never verified, never recovered",
        lambda: drop(passing(), lambda e: stage(e, FaultStage.VERIFIED)),
        "recovery",
        U,
        Reason.NO_EVIDENCE,
    ),
    ("nothing that could recover", idle, "recovery", U, Reason.NO_EVIDENCE),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_times_to_roll_back_and_to_recover() -> None:
    verdict = judge(passing())
    assert verdict.time_to_roll_back_s == pytest.approx(14, abs=0.1)
    assert verdict.time_to_recover_s == pytest.approx(14 + 361, abs=0.1), "the slowest alarm clears last"


def test_an_alarm_that_never_clears_is_no_recovery() -> None:
    history = Scene(rings={"api-5xx": (372, 2000), "api-latency": (312, 300)}).history()
    assert judge(history).time_to_recover_s is None


def told(history: History) -> str:
    return found(judge(history), "recovery").message


def test_answers_after_the_undo_are_judged_by_what_they_can_be() -> None:
    assert re.search(
        r"load: 2\.8% of 178 answers failed \(5 x 503\); that is at least 1\.1 % of all, and 1 % may",
        told(some_left()),
    )
    few = told(load_after(0, statuses={"200": 5}))
    assert re.match(
        r"0 of 25 answers since it was as before fail \(before the first look\): that can be up to 14 % of all, "
        r"and 5 % may; 77 answers like these would do",
        few,
    )
    older = told(without_plan(load_after(0, statuses={"200": 5})))
    assert re.match(
        r"0 of \d+ answers since it was as before fail: that can be up to .*, and 5 % may; 59 answers", older
    )


def test_a_pass_says_what_its_looks_showed() -> None:
    judged = found(judge(late_failures()), "recovery")
    assert "0 of 77 answers since it was as before fail (look 1): that is at most 5 % of all" in judged.message
    assert judged.measured["error_share_at_most"] == pytest.approx(0.0495, abs=0.0002)


def test_where_no_look_is_left_it_is_said() -> None:
    """Four in a hundred fail, five may."""
    system = SYSTEM.model_copy(update={"objectives": Objectives(max_error_share=0.05)})
    history = failing_after(*[1, 1, 1, 1, 0] * 5, scene=replace(SCENE, system=system, recovery_s=1500))
    assert re.match(
        r"1\d of 390 answers since it was as before fail \(look 5\): that can be up to [\d.]+ % of all, and 5 % may; "
        r"\d,\d{3} answers like these would do, and no look is left for that: it was the last one",
        told(history),
    )


def test_a_history_without_planned_looks_says_by_which_rule_it_is_judged() -> None:
    label = "looked after each second until a look passed"
    assert label in " ".join(judge(without_plan(passing())).not_observed)
    assert label not in " ".join(judge(passing()).not_observed)


def test_a_stray_failure_makes_no_recovery_late() -> None:
    assert found(judge(failing_after(0, 0, 0, 0, 1)), "recovery").measured["load_s"] <= 60


def test_what_is_wrong_with_the_load_is_told() -> None:
    assert "load: p95 was 4924 ms, at most 1000 ms is healthy" in told(load_after(0, latency_ms={"p95": 4900.0}))
    assert "100.0% of " in told(load_after(0, statuses={"403": 20}))
    assert "were 403, before the fault 0.0%" in told(load_after(0, statuses={"403": 20}))
    assert "answers of GET /parcels were 404, before the fault 20.0%" in told(one_operation(after={"404": 5}))


@pytest.mark.parametrize("scale", [60.0, 240.0])
def test_a_good_system_meets_a_target_of_one_second_of_load(scale: float) -> None:
    """Nothing is waited for first: what one second of load, one canary and one look show is enough."""
    target = RecoveryTarget(within=scale)
    scene = replace(with_expect(recovery=target), scale=scale, baseline_s=1800, recovery_s=2400)
    history = tweak(scene.history(), in_act(Act.RECOVERY, HypothesisChecked), at=scene.verified + 0.1)
    first = min(e.at for e in history if isinstance(e, CanaryRan) and e.at > scene.verified)
    early = first - scene.verified - 0.05
    history = [
        event.model_copy(update={"at": event.at - early, "ended_at": event.at - early + 0.05})
        if isinstance(event, CanaryRan) and event.at > scene.verified
        else event
        for event in history
    ]
    judged = found(judge(history), "recovery")
    assert judged.outcome is Outcome.PASS, judged.message


def test_one_slow_answer_and_one_stray_failure_are_no_second_outage() -> None:
    later = SCENE.verified + 4
    slow = tweak(
        passing(),
        lambda e: isinstance(e, LoadSecond) and later < e.at < later + 1,
        latency_ms={"p50": 30.0, "p95": 4900.0},
    )
    judged = found(judge(slow), "recovery")
    assert judged.outcome is Outcome.PASS
    assert judged.measured["load_s"] <= 60


def test_an_outage_between_is_not_spread_over_a_long_recovery() -> None:
    """At scale 1 ten seconds of failures in a quarter of an hour are about one per cent."""
    scene = replace(SCENE, scale=1.0, recovery_s=1500)
    again = scene.verified + 60
    failing = tweak(
        scene.history(), lambda e: isinstance(e, LoadSecond) and again < e.at < again + 10, statuses={"503": 20}
    )
    judged = found(judge(failing), "recovery")
    assert 60 < judged.measured["load_s"] < 75
