"""Alarms that must stay quiet, and silence that proves nothing."""

from __future__ import annotations

from tests.checkers.histories import (
    Scene,
    add,
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
    blind_polls,
    check_planted,
    interrupted,
    planted,
    ringing,
    with_expect,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    AlarmSeen,
)
from tocsin.model.experiment import QuietAlarm
from tocsin.model.verdict import Reason

ROWS: list[Row] = [
    (
        "quiet alarm rings",
        lambda: Scene(rings={**SCENE.rings, "label-dlq": (400, 100)}).history(),
        "quiet:label-dlq",
        F,
        Reason.RANG_BUT_QUIET,
    ),
    (
        "quiet alarm rings between two polls",
        lambda: add(passing(), *ringing("label-dlq", SCENE.accepted + 3 * MINUTE)),
        "quiet:label-dlq",
        F,
        Reason.RANG_BUT_QUIET,
    ),
    (
        "quiet alarm rings in recovery only",
        lambda: add(passing(), *ringing("label-dlq", SCENE.verified + 2 * MINUTE)),
        "quiet:label-dlq",
        F,
        Reason.RANG_BUT_QUIET,
    ),
    (
        "quiet alarm rang before the fault",
        lambda: add(passing(), *ringing("label-dlq", SCENE.requested - 2 * MINUTE)),
        "quiet:label-dlq",
        U,
        Reason.RANG_BEFORE_FAULT,
    ),
    (
        "quiet because nobody looked",
        lambda: blind_polls(passing(), SCENE.accepted, SCENE.verified),
        "quiet:label-dlq",
        U,
        Reason.NOT_WATCHED,
    ),
    ("quiet until stopped", interrupted, "quiet:label-dlq", U, Reason.WINDOW_CUT),
    (
        "quiet window longer than the fault",
        lambda: with_expect(quiet=(QuietAlarm(alarm="label-dlq", window=900.0),)).history(),
        "quiet:label-dlq",
        U,
        Reason.WINDOW_CUT,
    ),
    (
        "quiet, and nobody read it before the fault",
        lambda: without(passing(), AlarmSeen),
        "quiet:label-dlq",
        U,
        Reason.NOT_WATCHED,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_a_quiet_alarm_without_data_proves_little() -> None:
    history = tweak(passing(), lambda e: isinstance(e, AlarmSeen) and e.alarm == "label-dlq", has_data=False)
    assert any(
        what.startswith("label-dlq: its metric has never had a datapoint") for what in judge(history).not_observed
    )


def test_a_quiet_alarm_whose_data_nobody_could_ask_for_says_so() -> None:
    unread = tweak(passing(), lambda e: isinstance(e, AlarmSeen), has_data=None)
    told = "label-dlq: whether its metric has ever had a datapoint was not answered"
    assert any(what.startswith(told) for what in judge(unread).not_observed)
    assert not any("was not answered" in what for what in judge(passing()).not_observed)
