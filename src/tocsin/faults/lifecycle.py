"""Inject, see the effect, undo, verify: the same for every fault, in a drill, under `chaos run` and in `recover`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tocsin.errors import ResidueLeft
from tocsin.faults.base import AnyFault, Aws, State
from tocsin.faults.registry import FAULTS
from tocsin.ledger import Entry, EntryState, Ledger
from tocsin.model.events import Event, FaultChanged, FaultStage
from tocsin.target import Target

_POLL_WALL_S = 0.1
_UNDO_WALL_S = 20.0
"""Longest wall time to wait for an undo to be seen on a fast clock; on a real account `effect_within_s` rules."""


def _no_record(event: Event) -> None:
    """Outside a drill nobody keeps a history."""


@dataclass
class FaultLifecycle:
    """Faults of one drill on one target.

    `record` receives a FaultChanged for every stage; `wait` sleeps in wall seconds and may raise Interrupted.
    """

    target: Target
    ledger: Ledger
    drill: str
    record: Callable[[Event], None] = _no_record
    wait: Callable[[float], None] = time.sleep
    registry: Mapping[str, type[AnyFault]] = field(default_factory=lambda: FAULTS)
    stages: dict[str, FaultStage] = field(default_factory=dict)

    def inject(self, fault: AnyFault) -> FaultStage:
        """Write the ledger, break the resource, and wait for evidence.

        Returns:
            `EFFECTIVE`, or `NO_EFFECT` when the API was satisfied and nothing is different from before.

        Raises:
            LedgerError: nothing was written and nothing was injected.
            TargetError: AWS refused; the entry stays open until the undo is verified.
            Interrupted: the wait for evidence was cut short; the entry stays open.
        """
        prior = fault.observe(Aws(self.target, entry=""), None)
        entry = self.ledger.intend(self.drill, fault.kind, fault.resource, fault, prior)
        aws = Aws(self.target, entry.id)
        self._stage(entry, FaultStage.REQUESTED, f"{fault.resource}: {_describe(prior)}")
        fault.inject(aws, prior)
        self.ledger.advance(entry.id, EntryState.INJECTED)
        self._stage(entry, FaultStage.ACCEPTED)
        return self._await_effect(fault, entry, aws, prior)

    def _await_effect(self, fault: AnyFault, entry: Entry, aws: Aws, prior: State) -> FaultStage:
        broken = fault.broken(prior)
        if broken == prior:
            self._stage(entry, FaultStage.NO_EFFECT, f"{fault.resource} was already so: {_describe(prior)}")
            return FaultStage.NO_EFFECT
        deadline = time.monotonic() + max(fault.effect_within_s / self.target.scale, 2.0)
        while True:
            now = fault.observe(aws, prior)
            if now == broken:
                self._stage(entry, FaultStage.EFFECTIVE, f"{fault.resource}: {'; '.join(now.differing(prior))}")
                return FaultStage.EFFECTIVE
            if time.monotonic() > deadline:
                self._stage(entry, FaultStage.NO_EFFECT, f"{fault.resource}: {'; '.join(now.differing(broken))}")
                return FaultStage.NO_EFFECT
            self.wait(max(_POLL_WALL_S, 1.0 / self.target.scale))

    def undo_all(self, entries: Iterable[Entry] | None = None) -> list[Entry]:
        """Undo what is open, latest first, and verify each. Waits are not cut short by a stop request.

        Returns:
            The entries that are still open: residue.
        """
        todo = self.ledger.entries(only_open=True, drill=self.drill) if entries is None else list(entries)
        return [entry for entry in reversed(todo) if not self._undo(entry)]

    def _undo(self, entry: Entry) -> bool:
        try:
            fault = self.registry[entry.fault].model_validate(entry.arguments)
            return self._undo_and_verify(fault, entry, fault.state.model_validate(entry.prior))
        except Exception as error:
            self.ledger.advance(entry.id, entry.state, f"undo failed: {error}")
            self._stage(entry, FaultStage.UNDO_FAILED, str(error))
            return False

    def _undo_and_verify(self, fault: AnyFault, entry: Entry, prior: State) -> bool:
        aws = Aws(self.target, entry.id)
        self._stage(entry, FaultStage.UNDO_REQUESTED, fault.resource)
        drift = _drift(fault.observe(aws, prior), prior, fault.broken(prior))
        if drift:
            detail = f"{fault.resource} was changed by somebody else: {'; '.join(drift)}. Left as it is."
            self.ledger.advance(entry.id, entry.state, detail)
            self._stage(entry, FaultStage.DRIFTED, detail)
            return False
        # Also when the state looks restored already: an interrupted call may still be on its way.
        fault.undo(aws, prior)
        self.ledger.advance(entry.id, EntryState.UNDONE)
        self._stage(entry, FaultStage.UNDONE)
        return self._verify(fault, entry, aws, prior)

    def _verify(self, fault: AnyFault, entry: Entry, aws: Aws, prior: State) -> bool:
        patience = fault.effect_within_s / self.target.scale
        deadline = time.monotonic() + max(patience, min(_UNDO_WALL_S, fault.effect_within_s))
        while (now := fault.observe(aws, prior)) != prior:
            if time.monotonic() > deadline:
                detail = f"{fault.resource} is not as before: {'; '.join(now.differing(prior))}"
                self.ledger.advance(entry.id, EntryState.UNDONE, detail)
                self._stage(entry, FaultStage.UNDO_FAILED, detail)
                return False
            time.sleep(max(_POLL_WALL_S, 1.0 / self.target.scale))
        self.ledger.advance(entry.id, EntryState.VERIFIED)
        self._stage(entry, FaultStage.VERIFIED, f"{fault.resource}: {_describe(prior)}")
        return True

    def _stage(self, entry: Entry, stage: FaultStage, detail: str = "") -> None:
        self.stages[entry.id] = stage
        self.record(FaultChanged(at=time.time(), entry=entry.id, fault=entry.fault, stage=stage, detail=detail))


def recover(target: Target, ledger: Ledger, *, registry: Mapping[str, type[AnyFault]] = FAULTS) -> list[Entry]:
    """Finish what dead processes left open on this target, as often as it is called.

    Returns:
        The entries that were open and are now verified.

    Raises:
        ResidueLeft: at least one is still open; the message names each.
    """
    found = ledger.entries(only_open=True)
    lifecycle = FaultLifecycle(target=target, ledger=ledger, drill="recover", registry=registry)
    left = lifecycle.undo_all(found)
    if left:
        details = {entry.id: entry.detail for entry in ledger.entries(only_open=True)}
        lines = "\n".join(f"  {e.id}  {e.fault} on {e.resource}: {details.get(e.id, '')}" for e in left)
        raise ResidueLeft(
            f"expected every fault on target '{target.name}' to be undone, found {len(left)} still in place:\n{lines}\n"
            "Mend what each line names, then call `tocsin recover` again."
        )
    return found


def _describe(state: State) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in state.model_dump().items())


def _drift(now: State, prior: State, broken: State) -> list[str]:
    """Fields with a value that neither the fault nor the time before it gave them."""
    current, before, during = now.model_dump(), prior.model_dump(), broken.model_dump()
    return [
        f"{name} is {value!r}, expected {during[name]!r} (broken) or {before[name]!r} (before)"
        for name, value in current.items()
        if value not in (before[name], during[name])
    ]
