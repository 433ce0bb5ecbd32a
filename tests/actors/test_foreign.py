"""Other people's actions as faults: the experiment's own probes are the evidence."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tocsin.actors.foreign import ForeignFaults, unproven
from tocsin.model.events import Act, Event, FaultChanged, FaultStage
from tocsin.model.toolkit import Activity, PythonProvider


def python(module: str, func: str) -> PythonProvider:
    return PythonProvider(type="python", module=module, func=func)


OWN = Activity(type="action", name="undo", provider=python("tocsin.faults", "undo"))
ACTION = Activity(type="action", name="scale in", provider=python("chaosaws.ecs.actions", "update_desired_count"))
PROBE = Activity(type="probe", name="one runs", tolerance=1, provider=python("chaosaws.ecs.probes", "count"))
LOOK = Activity(type="probe", name="a look", provider=python("chaosaws.ecs.probes", "count"))


class Seen:
    def __init__(self, *rollbacks: Activity, method: Sequence[Activity] = (ACTION, PROBE)) -> None:
        self.events: list[Event] = []
        self.foreign = ForeignFaults(self, method, rollbacks)

    def record(self, event: Event) -> None:
        self.events.append(event)

    def run(self, act: Act, *activities: Activity, ok: bool = True, held: Sequence[Activity] = ()) -> None:
        for activity in activities:
            self.foreign.begins(activity, act, [probe.name for probe in held])
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
def test_a_rollback_that_fails_is_no_undo(seen: Seen, failing: Activity) -> None:
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


# --- what held before as well -------------------------------------------------------------------------------

OTHER = Activity(type="probe", name="two run", tolerance=2, provider=python("chaosaws.ecs.probes", "count"))
AGAIN = Activity(type="action", name="scale out", provider=python("chaosaws.ecs.actions", "update_desired_count"))


def test_a_probe_that_held_before_the_action_shows_nothing() -> None:
    seen = Seen(ACTION, PROBE)
    seen.run(Act.FAULT, ACTION, PROBE, held=[PROBE])
    seen.foreign.method_ended()
    assert seen.stages() == [FaultStage.REQUESTED, FaultStage.ACCEPTED, FaultStage.NO_EFFECT]
    (told,) = [event.detail for event in seen.events if getattr(event, "stage", None) is FaultStage.NO_EFFECT]  # type: ignore[union-attr]
    assert told == "what should show it held before the action as well: 'one runs'"
    assert seen.foreign.no_effect


def test_what_seems_to_have_done_nothing_is_undone_all_the_same() -> None:
    seen = Seen(ACTION, PROBE)
    seen.run(Act.FAULT, ACTION, PROBE, held=[PROBE])
    seen.foreign.method_ended()
    assert seen.foreign.in_force
    seen.run(Act.RECOVERY, ACTION, PROBE)
    seen.foreign.rolled_back()
    assert seen.stages()[-3:] == [FaultStage.UNDO_REQUESTED, FaultStage.UNDONE, FaultStage.VERIFIED]


def test_one_probe_that_did_not_hold_before_is_enough() -> None:
    seen = Seen(ACTION, PROBE, method=(ACTION, PROBE, OTHER))
    seen.run(Act.FAULT, ACTION, PROBE, OTHER, held=[PROBE])
    seen.foreign.method_ended()
    assert seen.stages()[-1] is FaultStage.EFFECTIVE
    assert not seen.foreign.no_effect


def test_each_action_is_shown_by_the_probes_that_follow_it() -> None:
    seen = Seen(method=(LOOK, ACTION, PROBE, AGAIN, OWN, OTHER))
    assert seen.foreign.evidence_of(ACTION, Act.FAULT) == (PROBE,)
    assert seen.foreign.evidence_of(ACTION, Act.RECOVERY) == ()
    assert seen.foreign.evidence_of(OWN, Act.FAULT) == ()
    seen.run(Act.FAULT, ACTION, PROBE, held=[PROBE])
    assert seen.foreign.evidence_of(AGAIN, Act.FAULT) == (OTHER,)
    seen.run(Act.FAULT, AGAIN, OWN, OTHER)
    seen.foreign.method_ended()
    last = {event.entry: event.stage for event in seen.events if isinstance(event, FaultChanged)}
    assert last == {"action 1": FaultStage.NO_EFFECT, "action 2": FaultStage.EFFECTIVE}


def test_one_probe_may_show_two_actions_that_come_before_it() -> None:
    seen = Seen(method=(ACTION, AGAIN, OTHER))
    seen.run(Act.FAULT, ACTION, AGAIN, OTHER)
    last = {event.entry: event.stage for event in seen.events if isinstance(event, FaultChanged)}
    assert last == {"action 1": FaultStage.EFFECTIVE, "action 2": FaultStage.EFFECTIVE}


@pytest.mark.parametrize(
    ("method", "rollbacks", "missing"),
    [
        ([ACTION, PROBE], [ACTION, PROBE], []),
        ([ACTION, PROBE], [PROBE], []),
        ([OWN], [], []),
        ([OWN], [ACTION], []),
        ([ACTION, PROBE], [ACTION], ["undo"]),
        ([ACTION, PROBE], [PROBE, ACTION], ["undo"]),
        ([ACTION, PROBE], [OWN, LOOK], ["undo"]),
        ([ACTION, PROBE], [], ["undo"]),
        ([ACTION, LOOK], [ACTION, PROBE], ["effect"]),
        ([PROBE, ACTION], [ACTION, LOOK], ["effect", "undo"]),
    ],
)
def test_what_no_drill_could_show_is_known_before_it(
    method: list[Activity], rollbacks: list[Activity], missing: list[str]
) -> None:
    """Even where each activity does what it shall; and a drill of the same says the same of it."""
    assert [told.rpartition("`")[0].rpartition("`")[2] for told in unproven(method, rollbacks)] == missing
    drilled = Seen(*rollbacks, method=method)
    drilled.run(Act.FAULT, *method)
    drilled.run(Act.RECOVERY, *rollbacks)
    drilled.foreign.rolled_back()
    stages = drilled.stages()
    assert (FaultStage.UNDO_FAILED in stages) is ("undo" in missing)
    assert (ACTION in method and FaultStage.EFFECTIVE not in stages) is ("effect" in missing)
