"""What statements and procedures of a method change is undone, and seen undone; or said to be left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tests.checkers.histories import add, passing, tweak
from tests.checkers.spoiled import SCENE, F, P, Row, U, check_planted, planted

from tocsin.checkers import judge
from tocsin.model.events import Act, ActivityRan, ChangeLooked, DrillStarted, Event
from tocsin.model.experiment import MethodChange
from tocsin.model.verdict import Outcome, Reason

ROUND = MethodChange(activity="round-prices", undone_by="restore-prices")
BEFORE, AFTER = SCENE.accepted + 0.1, SCENE.accepted + 0.2
UNDONE = SCENE.verified + 0.01


def look(when: Literal["before", "after"], held: bool, probe: str = "prices-are-exact") -> ChangeLooked:
    at = BEFORE if when == "before" else AFTER
    return ChangeLooked(at=at, activity="round-prices", probe=probe, when=when, held=held, detail="answered 3")


def ran(name: str, at: float, *, ok: bool = True, act: Act = Act.RECOVERY) -> ActivityRan:
    return ActivityRan(at=at, act=act, name=name, ok=ok, duration_s=0.1, detail="" if ok else "answered 7")


STEP = ran("round-prices", AFTER, act=Act.FAULT)
BACK = ran("restore-prices", UNDONE)
SEEN = ran("prices-are-exact", UNDONE + 0.01)
WHOLE = (look("before", True), STEP, look("after", False), BACK, SEEN)


def changing(*events: Event, change: MethodChange = ROUND) -> list[Event]:
    """A drill whose method rounds prices too, as these events tell it."""
    extension = SCENE.experiment().extension.model_copy(update={"changes": (change,)})
    experiment = SCENE.experiment().model_copy(update={"extension": extension})
    return add(tweak(passing(), lambda event: isinstance(event, DrillStarted), experiment=experiment), *events)


def but(wrong: Event, instead: Sequence[Event] = ()) -> list[Event]:
    """The whole story, but for one event of it."""
    return changing(*(event for event in WHOLE if event is not wrong), *instead)


UNDONE_ID = "undone:round-prices"
ROWS: list[Row] = [
    ("undone and seen", lambda: changing(*WHOLE), UNDONE_ID, P, Reason.AS_EXPECTED),
    ("nobody looked around it", lambda: changing(STEP, BACK, SEEN), UNDONE_ID, U, Reason.NO_EVIDENCE),
    (
        "a look that did not hold before",
        lambda: but(WHOLE[0], [look("before", False)]),
        UNDONE_ID,
        U,
        Reason.NO_EVIDENCE,
    ),
    ("a look that never sees it", lambda: but(WHOLE[2], [look("after", True)]), UNDONE_ID, U, Reason.NO_EFFECT),
    ("no look after it", lambda: but(WHOLE[2]), UNDONE_ID, U, Reason.NO_EVIDENCE),
    ("the rollback did not run", lambda: but(BACK), UNDONE_ID, U, Reason.NO_EVIDENCE),
    (
        "the rollback failed",
        lambda: but(BACK, [ran("restore-prices", UNDONE, ok=False)]),
        UNDONE_ID,
        F,
        Reason.UNDO_FAILED,
    ),
    ("nobody looked after the rollback", lambda: but(SEEN), UNDONE_ID, U, Reason.NO_EVIDENCE),
    (
        "the rollback restored nothing",
        lambda: but(SEEN, [ran("prices-are-exact", UNDONE + 0.01, ok=False)]),
        UNDONE_ID,
        F,
        Reason.UNDO_FAILED,
    ),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_one_look_that_sees_the_change_is_enough() -> None:
    other = (look("before", True, "some-are-sold"), look("after", True, "some-are-sold"))
    (judged,) = (one for one in judge(changing(*WHOLE, *other)).judgements if one.id == UNDONE_ID)
    assert judged.message == "prices-are-exact holds again after restore-prices"


def test_what_is_said_to_be_left_is_a_finding() -> None:
    left = MethodChange(activity="round-prices", leaves="the prices of today are thrown away at night")
    verdict = judge(changing(STEP, change=left))
    (finding,) = (one for one in verdict.findings if one.kind == "left")
    assert "thrown away at night" in finding.message
    assert verdict.outcome is Outcome.PASS


def test_of_what_was_not_begun_nothing_is_asked() -> None:
    assert not [one for one in judge(changing()).judgements if one.id == UNDONE_ID]


def test_a_stop_is_no_excuse() -> None:
    stopped = add(changing(*WHOLE[:3], ran("restore-prices", SCENE.end, ok=False)), *SCENE.interrupted()[-8:])
    told = {one.id: one.outcome for one in judge(stopped).judgements}
    assert told[UNDONE_ID] is F
