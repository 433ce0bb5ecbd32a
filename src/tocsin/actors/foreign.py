"""Actions of other Chaos Toolkit extensions as faults of a drill.

They have no ledger entry, no remembered state and no evidence of their own. So the experiment must show both: a probe
with a tolerance after the action in the method shows that something is different, and one after the rollbacks that
everything is as before. Without them the drill has no evidence, and cannot pass.

A probe that holds before the action too shows nothing: it would hold if the action did nothing. So it is asked before
as well.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

from tocsin.model.events import NO_ENTRY, Act, Event, FaultChanged, FaultStage
from tocsin.model.toolkit import Activity
from tocsin.record.history import Recorder

_OWN = "tocsin."
_IN_FORCE = (FaultStage.REQUESTED, FaultStage.ACCEPTED, FaultStage.EFFECTIVE, FaultStage.NO_EFFECT)


class ForeignFaults:
    """Follows the activities of one experiment, and records the stages that they prove.

    `method` and `rollbacks` are those of the experiment. Each foreign action of the method is shown by the probes with
    a tolerance that follow it, up to the next action after them. Where there is no action among the rollbacks, what
    was done ends by itself (a reboot), and looking is all that is left to do.
    """

    def __init__(self, history: Recorder, method: Sequence[Activity], rollbacks: Sequence[Activity]) -> None:
        self._history = history
        self._evidence = tuple(tuple(shown_after(method, at)) for at, one in enumerate(method) if is_foreign(one))
        """the probes of each foreign action of the method"""
        self._shown: dict[str, dict[str, bool]] = {}
        """entry -> its probes, by name, and whether each held before the action too"""
        self._heals = all(activity.is_proof or not is_foreign(activity) for activity in rollbacks)
        self._stages: dict[str, FaultStage] = {}
        self._faults: dict[str, str] = {}
        self._rollback_failed = ""

    @property
    def in_force(self) -> bool:
        """Whether something was done that no rollback was tried for."""
        return any(stage in _IN_FORCE for stage in self._stages.values())

    @property
    def undone(self) -> bool:
        """Whether all that was done was seen to be as before."""
        return all(stage is FaultStage.VERIFIED for stage in self._stages.values())

    @property
    def no_effect(self) -> bool:
        """Whether an action was done that nothing shows to have done anything."""
        return FaultStage.NO_EFFECT in self._stages.values()

    def evidence_of(self, activity: Activity, act: Act) -> tuple[Activity, ...]:
        """The probes that are to show what an activity will have done: those to be asked before it begins."""
        number = len(self._stages)
        begins = act is Act.FAULT and is_foreign(activity) and number < len(self._evidence)
        return self._evidence[number] if begins else ()

    def is_proof(self, activity: Activity) -> bool:
        """Whether this is a probe with a tolerance, and a foreign action came before it."""
        return bool(self._stages) and activity.is_proof

    def begins(self, activity: Activity, act: Act, held: Collection[str] = ()) -> None:
        """An activity is about to run; one in the background is in force from then on.

        `held` are the names of its evidence that held before it too.
        """
        if activity.is_proof:
            if act is Act.RECOVERY and self._heals:
                self._move_in_force(FaultStage.UNDO_REQUESTED)
                self._move_all(FaultStage.UNDO_REQUESTED, FaultStage.UNDONE)
            return
        if act is Act.FAULT and is_foreign(activity):
            entry = f"{NO_ENTRY}{len(self._stages) + 1}"
            self._shown[entry] = {probe.name: probe.name in held for probe in self.evidence_of(activity, act)}
            self._faults[entry] = name_of(activity)
            self._move(entry, FaultStage.REQUESTED)
            if activity.background:
                self._move(entry, FaultStage.ACCEPTED, "it runs in the background")
        elif act is Act.RECOVERY and not self._heals:
            self._move_in_force(FaultStage.UNDO_REQUESTED)

    def ended(self, activity: Activity, act: Act, *, ok: bool, detail: str) -> None:
        """An activity has run; `detail` says why when it did not succeed."""
        if not ok:
            self._rollback_failed = detail if act is Act.RECOVERY else ""
        elif act is Act.FAULT:
            if activity.is_proof:
                self._take_effect(activity)
            else:
                self._move_all(FaultStage.REQUESTED, FaultStage.ACCEPTED)
        elif activity.is_proof:
            self._move_all(FaultStage.UNDONE, FaultStage.VERIFIED, _shown_by(activity))
        else:
            self._move_all(FaultStage.UNDO_REQUESTED, FaultStage.UNDONE)

    def method_ended(self) -> None:
        """The method has run: what only such probes show as held before the action too has done nothing."""
        for entry, stage in self._stages.items():
            shown = self._shown[entry]
            if stage is FaultStage.ACCEPTED and shown and all(shown.values()):
                probes = ", ".join(f"'{name}'" for name in shown)
                why = f"what should show it held before the action as well: {probes}"
                self._move(entry, FaultStage.NO_EFFECT, why)

    def rolled_back(self) -> None:
        """Every rollback has run: what was not seen to be as before was not undone."""
        why = self._rollback_failed or "no probe with a tolerance among the rollbacks shows that all is as before"
        for entry, stage in self._stages.items():
            if stage is not FaultStage.VERIFIED:
                self._move(entry, FaultStage.UNDO_FAILED, why)

    def _take_effect(self, probe: Activity) -> None:
        """A probe holds after the actions that it did not hold before."""
        for entry, stage in self._stages.items():
            if stage is FaultStage.ACCEPTED and self._shown[entry].get(probe.name) is False:
                self._move(entry, FaultStage.EFFECTIVE, _shown_by(probe))

    def acted_after(self) -> None:
        """An action ended only after the rollbacks had begun: whether they undid it is not known, they run again."""
        for stage in (FaultStage.VERIFIED, FaultStage.UNDO_FAILED):
            self._move_all(stage, FaultStage.UNDO_REQUESTED, "an action was not over when the rollbacks began: again")

    def still_acts(self, names: str) -> None:
        """What nobody could end may break something at any time."""
        for entry in self._stages:
            self._move(entry, FaultStage.UNDO_FAILED, f"{names} still runs, and cannot be ended: look what it does")

    def _move_in_force(self, after: FaultStage) -> None:
        for stage in _IN_FORCE:
            self._move_all(stage, after)

    def _move_all(self, before: FaultStage, after: FaultStage, detail: str = "") -> None:
        for entry, stage in self._stages.items():
            if stage is before:
                self._move(entry, after, detail)

    def _move(self, entry: str, stage: FaultStage, detail: str = "") -> None:
        self._stages[entry] = stage
        fault = self._faults[entry]
        self._history.record(FaultChanged(at=time.time(), entry=entry, fault=fault, stage=stage, detail=detail))


def shown_after(part: Sequence[Activity], at: int) -> Iterator[Activity]:
    """The probes that show what the action at a place of the method, or of the rollbacks, did."""
    some = False
    for activity in part[at + 1 :]:
        if activity.is_proof:
            some = True
            yield activity
        elif activity.is_action and some:
            return


class _Nobody:
    """Keeps no record."""

    def record(self, event: Event) -> None:
        """Forget it."""


def unproven(method: Sequence[Activity], rollbacks: Sequence[Activity]) -> Iterator[str]:
    """What an experiment does not show of its foreign actions even where each activity does what it shall, in words."""
    followed = ForeignFaults(_Nobody(), method, rollbacks)
    for act, part in ((Act.FAULT, method), (Act.RECOVERY, rollbacks)):
        for activity in part:
            followed.begins(activity, act)
            followed.ended(activity, act, ok=True, detail="")
    unseen = [name_of(one) for at, one in enumerate(method) if is_foreign(one) and not any(shown_after(method, at))]
    if unseen:
        yield (
            f"no probe with a tolerance after {', '.join(dict.fromkeys(unseen))} in the method shows that something is "
            "different, so a drill says unknown of `effect`"
        )
    if not followed.undone:
        done = ", ".join(dict.fromkeys(name_of(one) for one in method if is_foreign(one)))
        yield (
            "no probe with a tolerance among the rollbacks, after their actions, shows that all is as before what "
            f"{done} did, so a drill fails `undo`"
        )


def _shown_by(probe: Activity) -> str:
    return f"shown by the probe '{probe.name}'"


def is_foreign(activity: Activity) -> bool:
    """An action that is neither a fault nor a procedure of ours."""
    return activity.is_action and is_of_another_extension(activity)


def is_of_another_extension(activity: Activity) -> bool:
    """An action or a probe that is not ours."""
    return activity.python is None or not activity.python.module.startswith(_OWN)


def name_of(activity: Activity) -> str:
    """What an activity is called in the history: module and function, where it is one."""
    called = activity.python
    return activity.name if called is None else f"{called.module}.{called.func}"
