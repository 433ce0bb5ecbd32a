"""Alarms that must ring: in time, after the injection, told to somebody, and clear again."""

from __future__ import annotations

import pytest
from tests.checkers.histories import (
    Scene,
    add,
    drop,
    forecast,
    passing,
    tweak,
    without,
)
from tests.checkers.spoiled import (
    MINUTE,
    RUNG,
    SCENE,
    F,
    History,
    P,
    Row,
    U,
    bare,
    blind_polls,
    breached,
    changed,
    check_planted,
    found,
    interrupted,
    planted,
    ringing,
    silent,
    stage,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    AlarmChanged,
    AlarmNotified,
    AlarmSeen,
    AlarmsPolled,
    DrillEnded,
    FaultChanged,
    FaultStage,
)
from tocsin.model.verdict import Outcome, Reason

LOST = SCENE.verified + 7.5 * MINUTE
"""When an alarm has no data any more, after it had cleared."""


def lost_data_after_clearing(missing_data: str) -> History:
    """The alarm is OK after the undo, and then in INSUFFICIENT_DATA to the end."""
    alarm = SCENE.system.cloudwatch_alarms["api-5xx"]
    definition = alarm.cloudwatch.model_copy(update={"treat_missing_data": missing_data})
    alarms = {**SCENE.system.alarms, "api-5xx": alarm.model_copy(update={"cloudwatch": definition})}
    history = bare(SCENE, alarms=alarms).history()
    gone = AlarmChanged(at=LOST, alarm="api-5xx", before="OK", after="INSUFFICIENT_DATA")
    return add(
        [_without_data(event) if isinstance(event, AlarmsPolled) and event.at > LOST else event for event in history],
        gone,
    )


def _without_data(event: AlarmsPolled) -> AlarmsPolled:
    return event.model_copy(update={"states": {**event.states, "api-5xx": "INSUFFICIENT_DATA"}})


ROWS: list[Row] = [
    ("never rings", lambda: silent("api-5xx"), "must:api-5xx", F, Reason.DID_NOT_RING),
    (
        "silent although it could ring",
        lambda: add(silent("api-5xx"), forecast("api-5xx")),
        "must:api-5xx",
        F,
        Reason.DID_NOT_RING,
    ),
    ("rings as forecast", lambda: add(passing(), forecast("api-5xx")), "must:api-5xx", P, Reason.AS_EXPECTED),
    ("never rang, never clears", lambda: silent("api-5xx"), "clears:api-5xx", U, Reason.NO_EVIDENCE),
    (
        "rings a minute late",
        lambda: Scene(rings={"api-5xx": (720.0, 300.0)}, hold_s=900).history(),
        "must:api-5xx",
        F,
        Reason.RANG_LATE,
    ),
    (
        "rings, goes back to OK, and rings again under the fault",
        lambda: add(passing(), *ringing("api-5xx", SCENE.accepted + 2 * MINUTE)),
        "must:api-5xx",
        F,
        Reason.FLAPPED,
    ),
    (
        "rings once under the fault, and once more after it",
        lambda: add(passing(), *ringing("api-5xx", SCENE.verified + 7.5 * MINUTE)),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "rings for datapoints that breached before the fault",
        lambda: breached("api-5xx", SCENE.accepted - 6 * MINUTE),
        "must:api-5xx",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "rings for a datapoint that ended while the injection was made",
        lambda: breached("api-5xx", (SCENE.requested + SCENE.accepted) / 2 - 5 * MINUTE),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "rings for a datapoint in whose period the fault began",
        lambda: breached("api-5xx", SCENE.accepted - 4 * MINUTE),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "nobody is told",
        lambda: drop(passing(), lambda e: isinstance(e, AlarmNotified) and e.alarm == "api-5xx"),
        "must:api-5xx",
        F,
        Reason.NOT_NOTIFIED,
    ),
    (
        "told only that it is OK again",
        lambda: drop(passing(), lambda e: isinstance(e, AlarmNotified) and e.state == "ALARM"),
        "must:api-latency",
        F,
        Reason.NOT_NOTIFIED,
    ),
    (
        "rings already at the first look",
        lambda: tweak(passing(), lambda e: isinstance(e, AlarmSeen) and e.alarm == "api-5xx", state="ALARM"),
        "must:api-5xx",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "rings between baseline and injection",
        lambda: add(passing(), *ringing("api-5xx", SCENE.requested - 2 * MINUTE)),
        "must:api-5xx",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "rings at the very instant of the injection, not after it",
        lambda: add(silent("api-5xx"), *ringing("api-5xx", SCENE.accepted)),
        "must:api-5xx",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "silent while the watcher looked away",
        lambda: blind_polls(silent("api-5xx"), SCENE.accepted, SCENE.undo_requested),
        "must:api-5xx",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "silent and never looked at",
        lambda: without(silent("api-5xx"), AlarmsPolled, AlarmSeen),
        "must:api-5xx",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "rings, but nobody knows what it was before",
        lambda: without(passing(), AlarmSeen),
        "must:api-5xx",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "a poll saw it, its history holds no transition",
        lambda: drop(passing(), lambda e: changed(e, "api-5xx")),
        "must:api-5xx",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "the fault ended before the deadline",
        lambda: Scene(rings={}, hold_s=300).history(),
        "must:api-5xx",
        U,
        Reason.WINDOW_CUT,
    ),
    ("stopped before the deadline", interrupted, "must:api-5xx", U, Reason.WINDOW_CUT),
    (
        "nothing injected",
        lambda: without(passing(), FaultChanged),
        "must:api-5xx",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "does not clear",
        lambda: Scene(rings={"api-5xx": (372, 2000), "api-latency": (312, 300)}).history(),
        "clears:api-5xx",
        F,
        Reason.DID_NOT_CLEAR,
    ),
    (
        "clears too late",
        lambda: Scene(rings={"api-5xx": (372, 500), "api-latency": (312, 300)}).history(),
        "clears:api-5xx",
        F,
        Reason.DID_NOT_CLEAR,
    ),
    (
        "seen to be OK by polls alone, which tell no time",
        lambda: drop(passing(), lambda e: changed(e, "api-5xx", "OK")),
        "clears:api-5xx",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "no longer has data instead of clearing",
        lambda: tweak(
            drop(passing(), lambda e: isinstance(e, AlarmsPolled) and e.at > SCENE.verified + 6.0),
            lambda e: changed(e, "api-5xx", "OK"),
            after="INSUFFICIENT_DATA",
        ),
        "clears:api-5xx",
        F,
        Reason.DID_NOT_CLEAR,
    ),
    (
        "loses its data after it cleared, where missing data counts as OK",
        lambda: lost_data_after_clearing("notBreaching"),
        "clears:api-5xx",
        U,
        Reason.NOT_EVALUATED,
    ),
    (
        "loses its data after it cleared, where it may",
        lambda: lost_data_after_clearing("missing"),
        "clears:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "a transition that was written down twice",
        lambda: add(passing(), *(event for event in passing() if changed(event, "api-5xx"))),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "rings again",
        lambda: add(passing(), *ringing("api-5xx", SCENE.verified + 7.5 * MINUTE)),
        "clears:api-5xx",
        F,
        Reason.RANG_AGAIN,
    ),
    (
        "the drill ended before it could clear",
        lambda: Scene(recovery_s=200).history(),
        "clears:api-5xx",
        U,
        Reason.WINDOW_CUT,
    ),
    (
        "cleared, and then nobody looked whether it stayed clear",
        lambda: blind_polls(passing(), SCENE.verified + 4, SCENE.end + 1),
        "clears:api-latency",
        U,
        Reason.NOT_WATCHED,
    ),
    (
        "undo never verified, so no clock to clear against",
        lambda: drop(passing(), lambda e: stage(e, FaultStage.VERIFIED)),
        "clears:api-5xx",
        U,
        Reason.NO_EVIDENCE,
    ),
    (
        "rings where no pager can be watched",
        lambda: bare(SCENE, notifications=None).history(),
        "must:api-5xx",
        P,
        Reason.AS_EXPECTED,
    ),
    (
        "rings, and the drill ends before anybody could be told",
        lambda: [
            *drop(passing(), lambda e: isinstance(e, AlarmNotified) or e.at > RUNG + MINUTE / 2),
            DrillEnded(at=RUNG + MINUTE / 2),
        ],
        "must:api-5xx",
        U,
        Reason.WINDOW_CUT,
    ),
    (
        "nobody looked whether it cleared",
        lambda: blind_polls(
            Scene(rings={"api-5xx": (372, 2000), "api-latency": (312, 300)}).history(), SCENE.verified, SCENE.end
        ),
        "clears:api-5xx",
        U,
        Reason.NOT_WATCHED,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_detection_counts_stages_in_production_seconds_whatever_the_scale() -> None:
    for scale in (1.0, 60.0):
        detection = judge(Scene(scale=scale).history()).detections[0]
        assert detection.alarm == "api-5xx"
        assert detection.accepted_s == pytest.approx(4, abs=0.1)
        assert detection.effective_s == pytest.approx(22, abs=0.1)
        assert detection.breached_s == pytest.approx(286, abs=0.1)
        assert detection.alarm_s == pytest.approx(376, abs=0.1)
        assert detection.notified_s == pytest.approx(384, abs=0.1)
        assert detection.cleared_s == pytest.approx(361, abs=0.1)


def test_a_breach_is_never_shown_before_the_injection_that_caused_it() -> None:
    early = tweak(passing(), lambda e: changed(e, "api-5xx", "ALARM"), breached_at=SCENE.requested - 3)
    detection = judge(early).detections[0]
    assert detection.breached_s == detection.accepted_s


def test_an_alarm_that_cleared_during_the_undo_is_clear() -> None:
    history = Scene(rings={"api-5xx": (372, -5), "api-latency": (312, 300)}).history()
    judgement = found(judge(history), "clears:api-5xx")
    assert judgement.outcome == Outcome.PASS
    assert judgement.measured["cleared_s"] == 0


def test_a_poll_that_crossed_a_transition_is_not_a_second_ring() -> None:
    cleared = SCENE.verified + 361 / SCENE.scale
    stale = AlarmsPolled(at=cleared + 0.05, polls=1, states={"api-5xx": "ALARM"})
    assert judge(add(passing(), stale)).outcome == Outcome.PASS


def test_a_notification_stamped_in_whole_milliseconds_is_the_one_of_this_ring() -> None:
    ring = next(e for e in passing() if changed(e, "api-5xx", "ALARM"))
    told = tweak(
        passing(),
        lambda e: isinstance(e, AlarmNotified) and e.alarm == "api-5xx" and e.state == "ALARM",
        at=ring.at - 0.0009,
    )
    assert found(judge(told), "must:api-5xx").outcome == Outcome.PASS
