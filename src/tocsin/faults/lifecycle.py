"""Inject, see the effect, undo, verify: the same for every fault, in a drill, under `chaos run` and in `recover`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from tocsin.aws.target import RETRY_AFTER_S, Aws, Target, pause_wall_s
from tocsin.errors import (
    Busy,
    CredentialsExpired,
    HistoryError,
    LedgerError,
    Refused,
    ResidueLeft,
    TargetError,
    Unavailable,
)
from tocsin.faults import deadman
from tocsin.faults.base import AnyFault, Change, ScheduledCall, State
from tocsin.faults.registry import FAULTS
from tocsin.model.events import Event, FaultChanged, FaultFelt, FaultStage
from tocsin.model.spent import Spent
from tocsin.record.ledger import Entry, EntryState, Ledger

_POLL_WALL_S = 0.1
_UNDO_WALL_S = 20.0
"""Longest wall time to wait for an undo to be seen on a fast clock; on a real account `effect_within_s` rules."""
_ENDS_AFTER_S = 3600.0
"""Production seconds after the injection at which a fault ends by itself when nobody said when."""
_ANSWERED_WITHIN = 4.0
"""Time-outs of a call: botocore tries three times, with pauses."""


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
    _elsewhere: dict[str, Target] = field(default_factory=dict)
    _ending: threading.Lock = field(default_factory=threading.Lock)
    _undoing: threading.RLock = field(default_factory=threading.RLock)
    _ended: bool = False
    _injecting: dict[str, threading.Event] = field(default_factory=dict)
    """By entry: set when whoever injects it is done with it."""

    def inject(self, fault: AnyFault) -> FaultStage:
        """Write the ledger, break the resource, and wait for evidence.

        Returns:
            `EFFECTIVE`; `NO_EFFECT` when the API was satisfied and nothing is different from before; `NOT_SEEN` when
            no read was answered by the end of the time for it.

        Raises:
            Refused: a guard forbids it, the target has no such fault, the schedule that would end it cannot be
                made, or the drill has ended, and nothing was injected; or the wait for evidence was cut short, and the
                entry stays open.
            LedgerError: nothing was written and nothing was injected.
            TargetError: AWS refused; the entry stays open until the undo is verified.
        """
        ends_at = self.expires_at or time.time() + self._longest() / self.target.scale
        looking = self._noting(Aws(self.target, entry="", expires_at=ends_at))
        with self._keeping_a_refusal():
            fault.check_bites(looking)
            prior: State = fault.observe(looking, None)
            self.permit(fault, looking)
        call = fault.dead_man(looking, prior) if self.target.dead_man_role and not fault.expires else None
        expires_at = ends_at if fault.expires or call else None
        with self._ending:
            self._check_goes_on()
            entry = self._write_down(fault, prior, expires_at)
            done = self._injecting[entry.id] = threading.Event()
        aws = Aws(self.target, entry.id, expires_at, self.wait, patience_s=fault.effect_within(prior))
        aws = self._counting(aws, entry)
        try:
            if call is not None:
                self._arm(entry, aws, call)
            self._check_goes_on()
            self._stage(entry, FaultStage.REQUESTED, f"{fault.resource}: {_describe(prior)}")
            fault.inject(aws, prior)
            with self._ending:
                self._check_goes_on()  # else the undo is on its way, and says what becomes of the entry
                self.ledger.advance(entry.id, EntryState.INJECTED)
            self._stage(entry, FaultStage.ACCEPTED)
        finally:
            done.set()
        return self._await_effect(fault, entry, aws, prior)

    def end(self) -> None:
        """From now on nothing is injected any more; what is being injected in another thread is undone all the same."""
        with self._ending:
            self._ended = True

    def _check_goes_on(self) -> None:
        if self._ended:
            raise Refused("interrupted", "the drill has ended")

    def _write_down(self, fault: AnyFault, prior: State, expires_at: float | None) -> Entry:
        try:
            entry = self.ledger.intend(
                self.drill,
                fault.kind,
                fault.resource,
                fault,
                prior,
                expires_at,
                account=self.target.account,
                region=self.target.region,
            )
        except LedgerError as error:
            self.refusal = Refused("ledger", f"{error} Nothing was injected.")
            raise
        self._written.append(entry)
        return entry

    def _longest(self) -> float:
        return min(_ENDS_AFTER_S, self.target.rules.max_duration or _ENDS_AFTER_S)

    @contextlib.contextmanager
    def _keeping_a_refusal(self) -> Iterator[None]:
        try:
            yield
        except Refused as refusal:
            self.refusal = refusal
            raise

    def _arm(self, entry: Entry, aws: Aws, call: ScheduledCall) -> None:
        assert self.target.dead_man_role is not None
        try:
            deadman.arm(aws, call, self.target.dead_man_role)
        except TargetError as error:
            if isinstance(error, Busy) or not isinstance(error, Unavailable):
                # AWS said no, or not now: no schedule is there, and nothing will be injected.
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
        deadline = time.monotonic() + max(fault.effect_within(prior) / self.target.scale, 2.0)
        while True:
            try:
                now = fault.observe(aws, prior)
                seen = "; ".join(now.differing(prior)) if now == broken else fault.vouched(aws, prior, entry.created_at)
            except TargetError as error:  # no answer tells nothing of the effect: it is asked for again
                stage, detail = FaultStage.NOT_SEEN, f"it could not be read: {error}"
            else:
                if seen is not None:
                    self._stage(entry, FaultStage.EFFECTIVE, f"{fault.resource}: {seen}")
                    return FaultStage.EFFECTIVE
                stage, detail = FaultStage.NO_EFFECT, "; ".join(now.differing(broken))
            if time.monotonic() > deadline:
                self._stage(entry, stage, f"{fault.resource}: {detail}")
                return stage
            self.wait(max(_POLL_WALL_S, 1.0 / self.target.scale))

    def undo_all(self, entries: Iterable[Entry] | None = None) -> list[Entry]:
        """Undo what is open, latest first, and verify each. Waits are not cut short by a stop request.

        An undo that AWS throttles, times out or fails is tried again with growing pauses; one that fails for good
        does not keep the others from being undone.

        Returns:
            The entries that are still open: residue.
        """
        with self._undoing:  # whoever comes second finds it done
            todo = self._open() if entries is None else list(entries)
            return [entry for entry in reversed(todo) if not self._undo(entry)]

    def _open(self) -> list[Entry]:
        try:
            return self.ledger.entries(only_open=True, drill=self.drill)
        except LedgerError:
            # The file is gone or damaged since the injection: what this process wrote, it still knows.
            return [entry for entry in self._written if self.stages.get(entry.id) is not FaultStage.VERIFIED]

    def _undo(self, entry: Entry) -> bool:
        started, attempt = time.monotonic(), 0
        while True:
            try:
                fault = self._fault_of(entry)
                return self._undo_and_verify(fault, entry, fault.state.model_validate(entry.prior))
            except Unavailable as error:
                pause = pause_wall_s(self.target, attempt)
                if not self._goes_on(entry, error, attempt, time.monotonic() + pause - started):
                    return self._undo_failed(entry, str(error))
                attempt += 1
                self._tell(entry, FaultStage.UNDO_RETRIED, f"{error}; again in {pause:.2g} s")
                if isinstance(error, CredentialsExpired):
                    self.target.renew()  # those that were renewed outside are read again
                # Slept, not waited for the end of the drill: an undo is not cut short.
                time.sleep(pause)
            except Exception as error:  # whatever a fault or its record is wrong about: the others are still undone
                return self._undo_failed(entry, str(error) or repr(error))

    def _goes_on(self, entry: Entry, error: Unavailable, attempt: int, wall_s: float) -> bool:
        """Whether an undo is tried again: what is busy is waited for as long as its fault may take."""
        if attempt < len(RETRY_AFTER_S):
            return True
        fault = self._fault_of(entry)
        patience_s = fault.effect_within(fault.state.model_validate(entry.prior))
        return isinstance(error, Busy) and wall_s <= patience_s / self.target.scale

    def _fault_of(self, entry: Entry) -> AnyFault:
        if entry.fault not in self.registry:
            raise TargetError(f"expected a fault that this Tocsin has, found '{entry.fault}'. Recover with a newer one")
        return self.registry[entry.fault].model_validate(entry.arguments)

    def _target_of(self, entry: Entry) -> Target:
        """Where an entry was made: one ledger serves systems of several regions.

        Raises:
            TargetError: in another account than that of the target.
        """
        ours = self.target.account
        if None not in (entry.account, ours) and entry.account != ours:
            raise TargetError(
                f"it is in account {entry.account}, and target '{self.target.name}' is account {ours} now. Call "
                "`tocsin recover` with a target of that account and this ledger"
            )
        if entry.region in (None, self.target.region):
            return self.target
        return self._elsewhere.setdefault(entry.region, self.target.in_region(entry.region))

    def _undo_failed(self, entry: Entry, why: str) -> bool:
        self._advance(entry, entry.state, f"undo failed: {why}")
        self._tell(entry, FaultStage.UNDO_FAILED, why)
        return False

    def _undo_and_verify(self, fault: AnyFault, entry: Entry, prior: State) -> bool:
        aws = self._counting(Aws(self._target_of(entry), entry.id, entry.expires_at), entry)
        self._tell(entry, FaultStage.UNDO_REQUESTED, fault.resource)
        _await_begin(fault, entry, aws, prior)
        found = None if fault.heals else fault.observe(aws, prior)
        between = found is None or fault.on_its_way(found, prior)
        drift = [] if found is None or between else _drift(found, prior, fault.broken(prior))
        if drift:
            _disarm(fault, entry, aws)
            detail = f"{fault.resource} was changed by somebody else: {'; '.join(drift)}. Left as it is."
            self._advance(entry, entry.state, detail)
            self._tell(entry, FaultStage.DRIFTED, detail)
            return False
        # Also when the state looks restored already: an interrupted call may still be on its way.
        injecting = self._injecting.get(entry.id)
        in_flight = injecting is not None and not injecting.is_set()
        fault.undo(aws, prior)
        if injecting is not None and in_flight:
            if not injecting.wait(self.target.timeout_s * _ANSWERED_WITHIN):
                raise TargetError(f"{fault.resource}: the call that breaks it is not answered yet, and may still do so")
            fault.undo(aws, prior)  # what was on its way may have come after the undo
        self._advance(entry, EntryState.UNDONE)
        self._tell(entry, FaultStage.UNDONE, was_broken=None if found is None else found != prior)
        return self._verify(fault, entry, aws, prior)

    def _verify(self, fault: AnyFault, entry: Entry, aws: Aws, prior: State) -> bool:
        effect_within_s = fault.effect_within(prior)
        deadline = time.monotonic() + max(effect_within_s / self.target.scale, min(_UNDO_WALL_S, effect_within_s))
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
        self._tell_felt(fault, entry, aws)
        return True

    def _tell_felt(self, fault: AnyFault, entry: Entry, aws: Aws) -> None:
        """What callers felt of it, where that can be had: what can not is no reason to call an undo incomplete."""
        with contextlib.suppress(TargetError, HistoryError):
            calls = fault.felt(aws, entry.created_at)
            if calls is not None:
                self.record(FaultFelt(at=time.time(), entry=entry.id, calls=calls))

    def _counting(self, aws: Aws, entry: Entry) -> Aws:
        """What is counted for the entry stands in the ledger."""
        return replace(self._noting(aws), spend=partial(self._spend, entry), spent=partial(self._spent, entry))

    def _noting(self, aws: Aws) -> Aws:
        """What is noted for the entries to come stands there, too."""
        return replace(aws, noted=self.ledger.note, note=self._note)

    def _note(self, name: str, value: str | None) -> bool:
        try:
            self.ledger.set_note(name, value)
        except LedgerError:
            return False
        return True

    def _spend(self, entry: Entry, limit: int, what: Spent) -> bool:
        """What cannot be written down is not spent: the next process would not know of it."""
        try:
            return self.ledger.spend(entry.id, limit, what)
        except LedgerError:
            return False

    def _spent(self, entry: Entry, what: Spent) -> int:
        """Where the ledger does not say, it may be one: whoever asks must not be certain that there was none."""
        try:
            return self.ledger.spent(entry.id, what)
        except LedgerError:
            return 1

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


@dataclass(frozen=True)
class Recovered:
    """What became of entries that dead processes left open."""

    undone: tuple[Entry, ...]
    """Now undone and verified, the latest last."""
    left: tuple[str, ...]
    """A line for each that is still in place, with the reason."""


def recover_each(
    target: Target, ledger: Ledger, found: Sequence[Entry], *, registry: Mapping[str, type[AnyFault]] = FAULTS
) -> Recovered:
    """Finish what dead processes left open on this target, each in the region where it was broken."""
    lifecycle = FaultLifecycle(target=target, ledger=ledger, drill="recover", registry=registry)
    left = lifecycle.undo_all(found)
    return Recovered(
        undone=tuple(entry for entry in found if entry not in left),
        left=tuple(f"{e.id}  {e.fault} on {e.resource}: {lifecycle.reasons[e.id]}" for e in left),
    )


def recover(target: Target, ledger: Ledger, *, registry: Mapping[str, type[AnyFault]] = FAULTS) -> list[Entry]:
    """All that is open in the ledger of a target, undone; as often as it is called.

    Returns:
        The entries that were open and are now verified.

    Raises:
        ResidueLeft: at least one is still open, or cannot be read; the message names each.
    """
    found = ledger.read(only_open=True)
    done = recover_each(target, ledger, found.entries, registry=registry)
    check_nothing_left(target.name, [*done.left, *map(str, found.illegible)])
    return list(done.undone)


def check_nothing_left(target: str, left: Sequence[str]) -> None:
    """Whether all that was open is undone; `left` has a line for each that is not.

    Raises:
        ResidueLeft: it is not.
    """
    if left:
        lines = "\n".join(f"  {line}" for line in left)
        raise ResidueLeft(
            f"expected every fault on target '{target}' to be undone, found {len(left)} still in place:\n{lines}\n"
            "Mend what each line names, then call `tocsin recover` again."
        )


def _await_begin(fault: AnyFault, entry: Entry, aws: Aws, prior: State) -> None:
    """Until what was asked for a moment ago can be seen: an undo that only looks would find nothing to do."""
    passed_s = max(0.0, time.time() - entry.updated_at)
    deadline = time.monotonic() + fault.begins_within_s / aws.target.scale - passed_s
    while time.monotonic() < deadline and fault.observe(aws, prior) == prior:
        time.sleep(max(_POLL_WALL_S, 1.0 / aws.target.scale))


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
