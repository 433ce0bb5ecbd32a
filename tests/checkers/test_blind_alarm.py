"""Alarms that are documented to see a failure and cannot."""

from __future__ import annotations

from dataclasses import replace

from tests.checkers.histories import (
    EXPECT,
    Scene,
    add,
    passing,
)
from tests.checkers.spoiled import (
    SCENE,
    F,
    Row,
    U,
    blind_polls,
    check_planted,
    found,
    planted,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    AlarmSeen,
)
from tocsin.model.experiment import BlindAlarm
from tocsin.model.verdict import Reason

ROWS: list[Row] = [
    (
        "blind alarm sees after all",
        lambda: Scene(rings={**SCENE.rings, "api-5xx-legacy": (400, 100)}).history(),
        "blind:api-5xx-legacy",
        F,
        Reason.NOT_BLIND,
    ),
    (
        "blind alarm not watched",
        lambda: blind_polls(passing(), SCENE.accepted, SCENE.verified),
        "blind:api-5xx-legacy",
        U,
        Reason.NOT_WATCHED,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_whether_a_metric_has_data_may_be_asked_at_the_end() -> None:
    later = AlarmSeen(at=SCENE.end - 0.01, alarm="api-5xx-legacy", state="OK", has_data=True)
    assert "Its metric has data" in judge(add(passing(), later)).findings[0].message


def test_blind_alarm_is_a_finding_with_the_state_of_its_metric() -> None:
    finding = judge(passing()).findings[0]
    assert (finding.kind, finding.subject) == ("blind_alarm", "api-5xx-legacy")
    assert "never had a datapoint" in finding.message


def test_blind_and_quiet_use_the_longest_deadline() -> None:
    expect = EXPECT.model_copy(update={"blind": (BlindAlarm(alarm="label-dlq", because="x"),), "quiet": ()})
    cut = replace(SCENE, expect=expect, hold_s=400).history()
    assert found(judge(cut), "blind:label-dlq").reason == Reason.WINDOW_CUT
