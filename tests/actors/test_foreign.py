"""Other people's actions as faults: the experiment's own probes are the evidence."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.actors.foreign import ForeignFaults
from tocsin.model.events import Act, Event, FaultChanged, FaultStage

OWN = {"type": "action", "provider": {"type": "python", "module": "tocsin.faults", "func": "undo"}}
ACTION = {
    "type": "action",
    "name": "scale in",
    "provider": {"type": "python", "module": "chaosaws.ecs.actions", "func": "update_desired_count"},
}
PROBE = {"type": "probe", "name": "one runs", "tolerance": 1}
LOOK = {"type": "probe", "name": "a look"}


class Seen:
    def __init__(self, *rollbacks: dict[str, Any]) -> None:
        self.events: list[Event] = []
        self.foreign = ForeignFaults(self, rollbacks)

    def record(self, event: Event) -> None:
        self.events.append(event)

    def run(self, act: Act, *activities: dict[str, Any], ok: bool = True) -> None:
        for activity in activities:
            self.foreign.begins(activity, act)
            self.foreign.ended(activity, act, ok=ok, detail="seen")

    def stages(self) -> list[FaultStage]:
        return [event.stage for event in self.events if isinstance(event, FaultChanged)]


@pytest.fixture
def seen() -> Seen:
    return Seen(ACTION, PROBE)


def test_an_action_with_both_proofs_is_a_whole_fault(seen: Seen) -> None:
    seen.run(Act.FAULT, ACTION, PROBE)
    assert seen.foreign.in_force
    seen.run(Act.RECOVERY, ACTION, PROBE)
    seen.foreign.rolled_back()
    assert seen.stages() == [
        FaultStage.REQUESTED,
        FaultStage.ACCEPTED,
        FaultStage.EFFECTIVE,
        FaultStage.UNDO_REQUESTED,
        FaultStage.UNDONE,
        FaultStage.VERIFIED,
    ]
    assert not seen.foreign.in_force
    assert {event.fault for event in seen.events} == {"chaosaws.ecs.actions.update_desired_count"}  # type: ignore[union-attr]


def test_without_a_probe_there_is_no_evidence_of_effect(seen: Seen) -> None:
    seen.run(Act.FAULT, ACTION, LOOK)
    assert seen.stages()[-1] is FaultStage.ACCEPTED


def test_a_probe_before_the_action_proves_nothing(seen: Seen) -> None:
    assert not seen.foreign.is_proof(PROBE)
    seen.run(Act.FAULT, PROBE, ACTION)
    assert seen.foreign.is_proof(PROBE)
    assert not seen.foreign.is_proof(LOOK)
    assert seen.stages()[-1] is FaultStage.ACCEPTED


def test_a_rollback_that_nobody_looked_at_is_no_undo(seen: Seen) -> None:
    seen.run(Act.FAULT, ACTION, PROBE)
    seen.run(Act.RECOVERY, ACTION)
    seen.foreign.rolled_back()
    assert seen.stages()[-1] is FaultStage.UNDO_FAILED


@pytest.mark.parametrize("failing", [ACTION, PROBE])
def test_a_rollback_that_fails_is_no_undo(seen: Seen, failing: dict[str, Any]) -> None:
    seen.run(Act.FAULT, ACTION, PROBE)
    seen.run(Act.RECOVERY, *([ACTION] if failing is PROBE else []))
    seen.run(Act.RECOVERY, failing, ok=False)
    seen.foreign.rolled_back()
    assert seen.stages()[-1] is FaultStage.UNDO_FAILED


def test_an_action_that_failed_may_have_done_something(seen: Seen) -> None:
    seen.run(Act.FAULT, ACTION, ok=False)
    assert seen.stages() == [FaultStage.REQUESTED]
    assert seen.foreign.in_force


def test_our_own_faults_speak_for_themselves(seen: Seen) -> None:
    seen.run(Act.FAULT, OWN, PROBE)
    seen.run(Act.RECOVERY, OWN)
    seen.foreign.rolled_back()
    assert seen.stages() == []


def test_what_ends_by_itself_needs_only_to_be_looked_at() -> None:
    seen = Seen(PROBE)
    seen.run(Act.FAULT, ACTION, PROBE)
    seen.run(Act.RECOVERY, PROBE)
    seen.foreign.rolled_back()
    assert seen.stages()[-3:] == [FaultStage.UNDO_REQUESTED, FaultStage.UNDONE, FaultStage.VERIFIED]


def test_an_undo_of_ours_does_not_undo_what_others_did() -> None:
    seen = Seen(OWN)
    seen.run(Act.FAULT, ACTION, PROBE)
    seen.run(Act.RECOVERY, OWN)
    seen.foreign.rolled_back()
    assert seen.stages()[-1] is FaultStage.UNDO_FAILED
