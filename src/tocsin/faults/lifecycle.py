"""Inject, see the effect, undo, verify: the same for every fault, in a drill, under `chaos run` and in `recover`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tocsin.errors import HistoryError, LedgerError, Refused, ResidueLeft, TargetError, Unavailable
from tocsin.faults import deadman
from tocsin.faults.base import AnyFault, Aws, Change, ScheduledCall, State
from tocsin.faults.registry import FAULTS
from tocsin.ledger import Entry, EntryState, Ledger
from tocsin.model.events import Event, FaultChanged, FaultStage
from tocsin.target import Target

_POLL_WALL_S = 0.1
_UNDO_WALL_S = 20.0
"""Longest wall time to wait for an undo to be seen on a fast clock; on a real account `effect_within_s` rules."""
RETRY_AFTER_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Production seconds between the attempts of an undo, two minutes in all; botocore's own retries come on top.
https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
"""
_ENDS_AFTER_S = 3600.0
"""Production seconds after the injection at which a fault ends by itself when nobody said when."""
_RETRY_WALL_S = 0.05
"""No sooner than this on a fast clock."""


def _no_record(event: Event) -> None:
    """Outside a drill nobody keeps a history."""


def _permit_all(change: Change, aws: Aws) -> None:
    """Without guards nothing is refused."""


@dataclass
class FaultLifecycle:
    """Faults of one drill on one target.

    `record` receives a FaultChanged for every stage; `wait` sleeps in wall seconds and may raise Refused. `permit` is
    asked right before a resource is changed, and raises Refused to forbid it; the refusal is kept in `refusal`, because
    Chaos Toolkit turns every exception of an action into a failed activity. `expires_at` is when faults that AWS can
    end, by itself or by a dead man's schedule, shall end: epoch seconds; None for an hour after the injection,
    or less where the target allows no more.
    """

    target: Target
    ledger: Ledger
    drill: str
    record: Callable[[Event], None] = _no_record
    wait: Callable[[float], None] = time.sleep
    permit: Callable[[Change, Aws], None] = _permit_all
    expires_at: float | None = None
    registry: Mapping[str, type[AnyFault]] = field(default_factory=lambda: FAULTS)
    stages: dict[str, FaultStage] = field(default_factory=dict)
    refusal: Refused | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    """By entry: why it could not be undone, or not be closed."""
    _written: list[Entry] = field(default_factory=list)

    def inject(self, fault: AnyFault) -> FaultStage:
        """Write the ledger, break the resource, and wait for evidence.

        Returns:
            `EFFECTIVE`, or `NO_EFFECT` when the API was satisfied and nothing is different from before.

        Raises:
            Refused: a guard forbids it, or the schedule that would end it cannot be made, and nothing was injected;
                or the wait for evidence was cut short, and the entry stays open.
            LedgerError: nothing was written and nothing was injected.
            TargetError: AWS refused; the entry stays open until the undo is verified.
        """
        ends_at = self.expires_at or time.time() + self._longest() / self.target.scale
        looking = Aws(self.target, entry="", expires_at=ends_at)
        prior = fault.observe(looking, None)
        self._ask(fault, looking)
        call = fault.dead_man(looking, prior) if self.target.dead_man_role and not fault.expires else None
        expires_at = ends_at if fault.expires or call else None
        entry = self._write_down(fault, prior, expires_at)
        aws = Aws(self.target, entry.id, expires_at, self.wait)
        if call is not None:
            self._arm(entry, aws, call)
        self._stage(entry, FaultStage.REQUESTED, f"{fault.resource}: {_describe(prior)}")
        fault.inject(aws, prior)
        self.ledger.advance(entry.id, EntryState.INJECTED)
        self._stage(entry, FaultStage.ACCEPTED)
        return self._await_effect(fault, entry, aws, prior)

    def _write_down(self, fault: AnyFault, prior: State, expires_at: float | None) -> Entry:
        try:
            entry = self.ledger.intend(self.drill, fault.kind, fault.resource, fault, prior, expires_at)
        except LedgerError as error:
            self.refusal = Refused("ledger", f"{error} Nothing was injected.")
            raise
        self._written.append(entry)
        return entry

    def _longest(self) -> float:
        return min(_ENDS_AFTER_S, self.target.rules.max_duration or _ENDS_AFTER_S)

    def _ask(self, fault: AnyFault, aws: Aws) -> None:
        try:
            self.permit(fault, aws)
        except Refused as refusal:
            self.refusal = refusal
            raise

    def _arm(self, entry: Entry, aws: Aws, call: ScheduledCall) -> None:
        assert self.target.dead_man_role is not None
        try:
            deadman.arm(aws, call, self.target.dead_man_role)
        except TargetError as error:
            if not isinstance(error, Unavailable):
                # AWS said no: no schedule is there, and nothing will be injected.
                self.ledger.advance(entry.id, EntryState.VERIFIED, "nothing was injected")
            self.refusal = Refused(
                "dead_man",
                f"expected a schedule that ends the fault if this run dies, found: {error}. Nothing was injected. Mend "
                f"the permissions ({', '.join(deadman.PERMISSIONS)}) or the `dead_man_role` of target "
                f"'{self.target.name}', or leave that out.",
            )
            raise self.refusal from error

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

        An undo that AWS throttles, times out or fails is tried again with growing pauses; one that fails for good
        does not keep the others from being undone.

        Returns:
            The entries that are still open: residue.
        """
        todo = self._open() if entries is None else list(entries)
        return [entry for entry in reversed(todo) if not self._undo(entry)]

    def _open(self) -> list[Entry]:
        try:
            return self.ledger.entries(only_open=True, drill=self.drill)
        except LedgerError:
            # The file is gone or damaged since the injection: what this process wrote, it still knows.
            return [entry for entry in self._written if self.stages.get(entry.id) is not FaultStage.VERIFIED]

    def _undo(self, entry: Entry) -> bool:
        pauses = self._pauses()
        while True:
            try:
                fault = self.registry[entry.fault].model_validate(entry.arguments)
                return self._undo_and_verify(fault, entry, fault.state.model_validate(entry.prior))
            except Unavailable as error:
                pause = next(pauses, None)
                if pause is None:
                    return self._undo_failed(entry, str(error))
                self._tell(entry, FaultStage.UNDO_RETRIED, f"{error}; again in {pause:.2g} s")
                # Credentials that were renewed outside are read again.
                self.target.renew()
                # Slept, not waited for the end of the drill: an undo is not cut short.
                time.sleep(pause)
            except Exception as error:  # whatever a fault or its record is wrong about: the others are still undone
                return self._undo_failed(entry, str(error) or repr(error))

    def _pauses(self) -> Iterator[float]:
        """Wall seconds before each further attempt."""
        return iter(max(_RETRY_WALL_S, seconds / self.target.scale) for seconds in RETRY_AFTER_S)

    def _undo_failed(self, entry: Entry, why: str) -> bool:
        self._advance(entry, entry.state, f"undo failed: {why}")
        self._tell(entry, FaultStage.UNDO_FAILED, why)
        return False

    def _undo_and_verify(self, fault: AnyFault, entry: Entry, prior: State) -> bool:
        aws = Aws(self.target, entry.id, entry.expires_at)
        self._tell(entry, FaultStage.UNDO_REQUESTED, fault.resource)
        found = None if fault.heals else fault.observe(aws, prior)
        drift = [] if found is None else _drift(found, prior, fault.broken(prior))
        if drift:
            _disarm(fault, entry, aws)
            detail = f"{fault.resource} was changed by somebody else: {'; '.join(drift)}. Left as it is."
            self._advance(entry, entry.state, detail)
            self._tell(entry, FaultStage.DRIFTED, detail)
            return False
        # Also when the state looks restored already: an interrupted call may still be on its way.
        fault.undo(aws, prior)
        self._advance(entry, EntryState.UNDONE)
        self._tell(entry, FaultStage.UNDONE, was_broken=None if found is None else found != prior)
        return self._verify(fault, entry, aws, prior)

    def _verify(self, fault: AnyFault, entry: Entry, aws: Aws, prior: State) -> bool:
        patience = fault.effect_within_s / self.target.scale
        deadline = time.monotonic() + max(patience, min(_UNDO_WALL_S, fault.effect_within_s))
        while (now := fault.observe(aws, prior)) != prior:
            if time.monotonic() > deadline:
                detail = f"{fault.resource} is not as before: {'; '.join(now.differing(prior))}"
                self._advance(entry, EntryState.UNDONE, detail)
                self._tell(entry, FaultStage.UNDO_FAILED, detail)
                return False
            time.sleep(max(_POLL_WALL_S, 1.0 / self.target.scale))
        _disarm(fault, entry, aws)
        fault.forget(aws, prior)
        if not self._advance(entry, EntryState.VERIFIED):
            detail = f"{fault.resource} is as before, but the ledger cannot be written: the entry stays open"
            self._tell(entry, FaultStage.UNDO_FAILED, detail)
            return False
        self._tell(entry, FaultStage.VERIFIED, f"{fault.resource}: {_describe(prior)}")
        return True

    def _advance(self, entry: Entry, state: EntryState, detail: str = "") -> bool:
        """Move the entry on. A ledger that cannot be written keeps no undo from being made: the entry stays open."""
        try:
            self.ledger.advance(entry.id, state, detail)
        except LedgerError:
            return False
        return True

    def _tell(self, entry: Entry, stage: FaultStage, detail: str = "", *, was_broken: bool | None = None) -> None:
        """A stage of the undo: a history that cannot be written keeps no undo from being made."""
        if stage in (FaultStage.UNDO_FAILED, FaultStage.DRIFTED):
            self.reasons[entry.id] = detail
        with contextlib.suppress(HistoryError):
            self._stage(entry, stage, detail, was_broken=was_broken)

    def _stage(self, entry: Entry, stage: FaultStage, detail: str = "", *, was_broken: bool | None = None) -> None:
        self.stages[entry.id] = stage
        changed = FaultChanged(
            at=time.time(), entry=entry.id, fault=entry.fault, stage=stage, detail=detail, was_broken=was_broken
        )
        self.record(changed)


def recover(
    target: Target,
    ledger: Ledger,
    found: Sequence[Entry] | None = None,
    *,
    registry: Mapping[str, type[AnyFault]] = FAULTS,
) -> list[Entry]:
    """Finish what dead processes left open on this target, as often as it is called.

    `found` are the open entries when they have been read already.

    Returns:
        The entries that were open and are now verified.

    Raises:
        ResidueLeft: at least one is still open; the message names each.
    """
    found = ledger.entries(only_open=True) if found is None else found
    lifecycle = FaultLifecycle(target=target, ledger=ledger, drill="recover", registry=registry)
    left = lifecycle.undo_all(found)
    if left:
        lines = "\n".join(f"  {e.id}  {e.fault} on {e.resource}: {lifecycle.reasons[e.id]}" for e in left)
        raise ResidueLeft(
            f"expected every fault on target '{target.name}' to be undone, found {len(left)} still in place:\n{lines}\n"
            "Mend what each line names, then call `tocsin recover` again."
        )
    return list(found)


def _disarm(fault: AnyFault, entry: Entry, aws: Aws) -> None:
    """No schedule may fire on a resource that is mended, or that somebody else has taken in hand."""
    if entry.expires_at is not None and not fault.expires:
        deadman.disarm(aws)


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
