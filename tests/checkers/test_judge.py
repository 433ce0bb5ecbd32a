"""The verdict as a whole: what merges, what stops, what crashes."""

from __future__ import annotations

import pytest
from tests.checkers.histories import (
    START,
    Scene,
    drop,
    failing,
    gap,
    passing,
    tweak,
)
from tests.checkers.spoiled import (
    SCENE,
    found,
    interrupted,
    stage,
    staged,
)

from tocsin.checkers import judge
from tocsin.checkers.answers import Answer
from tocsin.checkers.timeline import Timeline
from tocsin.errors import InvalidInput
from tocsin.model.events import (
    FaultStage,
    ResidueChecked,
    Stopped,
)
from tocsin.model.verdict import Outcome, Reason


@pytest.mark.parametrize("scale", [1.0, 10.0, 60.0])
def test_healthy_twin_passes(scale: float) -> None:
    verdict = judge(Scene(scale=scale).history())
    assert [j for j in verdict.judgements if j.outcome != Outcome.PASS] == []
    assert (verdict.outcome, verdict.exit_code) == (Outcome.PASS, 0)


def test_judgement_ids_are_unique() -> None:
    for history in (passing(), failing(), gap(), SCENE.refused(), interrupted()):
        ids = [judgement.id for judgement in judge(history).judgements]
        assert len(ids) == len(set(ids))


def test_order_of_the_lines_does_not_matter() -> None:
    assert judge(reversed(passing())) == judge(passing())


def test_no_effect_is_the_first_thing_said() -> None:
    history = staged(passing(), FaultStage.EFFECTIVE, FaultStage.NO_EFFECT)
    verdict = judge(history)
    unknown = [judgement for judgement in verdict.judgements if judgement.outcome == Outcome.UNKNOWN]
    assert unknown[0].reason == Reason.NO_EFFECT
    assert verdict.exit_code == 3


def test_a_guard_stops_the_drill_before_anything_is_judged() -> None:
    verdict = judge(SCENE.refused())
    assert (verdict.outcome, verdict.stopped, verdict.exit_code) == (Outcome.UNKNOWN, "alarms_quiet", 4)
    assert [judgement.id for judgement in verdict.judgements] == ["guard:alarms_quiet"]


def test_a_stopped_drill_fails_nothing_it_could_not_finish() -> None:
    rung = Scene(rings={**SCENE.rings, "label-dlq": (60, 10)})
    verdict = judge(rung.interrupted(after_s=300))
    assert (verdict.outcome, verdict.stopped, verdict.exit_code) == (Outcome.UNKNOWN, "interrupted", 4)
    quiet = found(verdict, "quiet:label-dlq")
    assert (quiet.outcome, quiet.reason) == (Outcome.UNKNOWN, Reason.WINDOW_CUT)
    assert "rang 1m" in quiet.message


def test_a_stopped_drill_still_fails_for_a_fault_left_behind() -> None:
    left = drop(interrupted(), lambda e: stage(e, FaultStage.VERIFIED))
    open_ledger = tweak(left, lambda e: isinstance(e, ResidueChecked), open_entries=("entry-1",))
    verdict = judge(open_ledger)
    assert (verdict.outcome, verdict.residue, verdict.exit_code) == (Outcome.FAIL, ("entry-1",), 5)


def test_a_history_that_breaks_off_in_the_fault_leaves_residue() -> None:
    killed = [event for event in passing() if event.at < SCENE.accepted + 2]
    verdict = judge(killed)
    assert (verdict.outcome, verdict.exit_code) == (Outcome.FAIL, 5)
    assert verdict.residue == (f"{SCENE.slug}-1",)


def test_a_checker_that_raises_is_unknown_and_the_others_are_asked() -> None:
    def check_nothing(timeline: Timeline) -> list[Answer]:
        raise ZeroDivisionError("planted")

    verdict = judge(passing(), checkers=[check_nothing])  # type: ignore[list-item]
    crashed = found(verdict, "checker:nothing")
    assert (crashed.outcome, crashed.reason) == (Outcome.UNKNOWN, Reason.CHECKER_CRASHED)
    assert "planted" in crashed.message
    assert found(verdict, "undo").outcome == Outcome.PASS
    assert verdict.outcome == Outcome.UNKNOWN


def test_a_history_without_its_first_line_cannot_be_judged() -> None:
    with pytest.raises(InvalidInput, match="drill_started"):
        judge([Stopped(at=START, guard="lock", detail="held")])
