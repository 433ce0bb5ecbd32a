"""Actions of other Chaos Toolkit extensions as faults of a drill.

They have no ledger entry, no remembered state and no evidence of their own. So the experiment must show both: a probe
with a tolerance after the action in the method shows that something is different, and one after the rollbacks that
everything is as before. Without them the drill has no evidence, and cannot pass.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tocsin.history import Recorder
from tocsin.model.events import Act, FaultChanged, FaultStage

_OWN = "tocsin."
_IN_FORCE = (FaultStage.REQUESTED, FaultStage.ACCEPTED, FaultStage.EFFECTIVE)


class ForeignFaults:
    """Follows the activities of one experiment, and records the stages that they prove.

    `rollbacks` are those of the experiment: where there is no action among them, what was done ends by itself (a
    reboot), and looking is all that is left to do.
    """

    def __init__(self, history: Recorder, rollbacks: Sequence[Mapping[str, Any]]) -> None:
        self._history = history
        self._heals = all(_is_probe(activity) or not is_foreign(activity) for activity in rollbacks)
        self._stages: dict[str, FaultStage] = {}
        self._faults: dict[str, str] = {}
        self._rollback_failed = ""

    @property
    def in_force(self) -> bool:
        """Whether something was done that no rollback was tried for."""
        return any(stage in _IN_FORCE for stage in self._stages.values())

    def is_proof(self, activity: Mapping[str, Any]) -> bool:
        """Whether this is a probe with a tolerance, and a foreign action came before it."""
        return bool(self._stages) and _is_probe(activity)

    def begins(self, activity: Mapping[str, Any], act: Act) -> None:
        """An activity is about to run."""
        if _is_probe(activity):
            if act is Act.RECOVERY and self._heals:
                self._move_in_force(FaultStage.UNDO_REQUESTED)
                self._move_all(FaultStage.UNDO_REQUESTED, FaultStage.UNDONE)
            return
        if act is Act.FAULT and is_foreign(activity):
            entry = f"action {len(self._stages) + 1}"
            self._faults[entry] = name_of(activity)
            self._move(entry, FaultStage.REQUESTED)
        elif act is Act.RECOVERY and not self._heals:
            self._move_in_force(FaultStage.UNDO_REQUESTED)

    def ended(self, activity: Mapping[str, Any], act: Act, *, ok: bool, detail: str) -> None:
        """An activity has run; `detail` says why when it did not succeed."""
        if not ok:
            self._rollback_failed = detail if act is Act.RECOVERY else ""
        elif act is Act.FAULT:
            if _is_probe(activity):
                self._move_all(FaultStage.ACCEPTED, FaultStage.EFFECTIVE, _shown_by(activity))
            else:
                self._move_all(FaultStage.REQUESTED, FaultStage.ACCEPTED)
        elif _is_probe(activity):
            self._move_all(FaultStage.UNDONE, FaultStage.VERIFIED, _shown_by(activity))
        else:
            self._move_all(FaultStage.UNDO_REQUESTED, FaultStage.UNDONE)

    def rolled_back(self) -> None:
        """Every rollback has run: what was not seen to be as before was not undone."""
        why = self._rollback_failed or "no probe with a tolerance among the rollbacks shows that all is as before"
        for entry, stage in self._stages.items():
            if stage is not FaultStage.VERIFIED:
                self._move(entry, FaultStage.UNDO_FAILED, why)

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


def _shown_by(probe: Mapping[str, Any]) -> str:
    return f"shown by the probe '{probe.get('name')}'"


def _is_probe(activity: Mapping[str, Any]) -> bool:
    return activity.get("type") == "probe" and "tolerance" in activity


def is_foreign(activity: Mapping[str, Any]) -> bool:
    """An action that is neither a fault nor a procedure of ours."""
    return activity.get("type") == "action" and is_of_another_extension(activity)


def is_of_another_extension(activity: Mapping[str, Any]) -> bool:
    """An action or a probe that is not ours."""
    provider = activity.get("provider") or {}
    return bool(provider) and not str(provider.get("module", "")).startswith(_OWN)


def name_of(activity: Mapping[str, Any]) -> str:
    """What an activity is called in the history: module and function, where it is one."""
    provider = activity.get("provider") or {}
    if provider.get("type") == "python":
        return f"{provider['module']}.{provider['func']}"
    return str(activity.get("name") or "unnamed action")
