"""One drill: four acts, in order, and an end that undoes everything however it comes.

    preflight   touches nothing; every guard must be answered, and answered well
    baseline    load, canaries and contract run on the healthy system
    fault       ledger, injection, evidence; then hold until every bell had its chance
    recovery    rollbacks, verification; then hold until everything is as before

Nothing here judges. Whether it went well is read from the history afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tocsin.actors.alarms import AlarmWatcher
from tocsin.actors.base import Actor
from tocsin.actors.canary import CanaryActor
from tocsin.actors.contract import ContractActor
from tocsin.actors.guards import GuardWatcher
from tocsin.actors.injector import Injector, pauses
from tocsin.actors.load import LoadActor
from tocsin.actors.prometheus import PrometheusWatcher
from tocsin.actors.work import count_work
from tocsin.context import RunContext
from tocsin.errors import LedgerError, Refused, TargetError, TocsinError
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.guards.changes import ChangeGuards
from tocsin.guards.kill_switch import KillSwitch
from tocsin.ledger import Ledger
from tocsin.live import LiveView
from tocsin.model.events import (
    Act,
    ActEnded,
    ActorDied,
    ActStarted,
    ApiCalls,
    DrillEnded,
    FaultStage,
    ResidueChecked,
    Stopped,
)
from tocsin.preflight import run_preflight

_TICK_WALL_S = 0.1
_CONTRACT_WALL_S = 25.0
"""A contract run is real requests: it takes the same time on every clock."""
_INJECTION_S = 900.0
"""Production seconds that one activity of the method may take: the longest wait for the effect of any fault."""
_WORK_PATIENCE_S = 600.0
"""Production seconds for accepted work to be finished after recovery."""


def run_drill(ctx: RunContext, raw: Mapping[str, Any], ledger: Ledger) -> None:
    """Run one drill and write its history; `DrillStarted` is already there.

    `raw` is the experiment as Chaos Toolkit reads it. Refusals, interruptions and a target that stops answering end
    the drill early and are written down; whatever was injected is undone in every case.
    """
    drill = _Drill(ctx, raw, ledger)
    try:
        drill.preflight()
        drill.baseline()
        drill.fault()
        drill.recovery()
    except Refused as refusal:
        ctx.history.record(Stopped(at=ctx.now(), guard=refusal.guard, detail=str(refusal)))
    except TocsinError as error:
        ctx.history.record(Stopped(at=ctx.now(), guard="target", detail=str(error)))
    finally:
        drill.settle()


def longest_fault(ctx: RunContext, raw: Mapping[str, Any]) -> float:
    """Wall seconds after which a fault of this drill cannot still be wanted: its own deadlines, with a margin.

    Never longer than the target allows a fault to be. Faults that AWS can end by itself end then, counted from the
    beginning of the fault act.
    """
    injections = ctx.wall(_INJECTION_S * (1 + len(ctx.experiment.method)))
    longest = injections + LiveView(ctx).longest_fault() + pauses(raw) + 2 * _CONTRACT_WALL_S
    allowed = ctx.target.rules.max_duration
    return longest if allowed is None else min(longest, ctx.wall(allowed))


class _Drill:
    def __init__(self, ctx: RunContext, raw: Mapping[str, Any], ledger: Ledger) -> None:
        self._ctx = ctx
        self._raw = raw
        self._ledger = ledger
        changes = ChangeGuards(ctx.target, KillSwitch(ctx.root, ctx.target), ctx.history.record)
        self._faults = FaultLifecycle(
            target=ctx.target,
            ledger=ledger,
            drill=ctx.drill,
            record=ctx.history.record,
            wait=ctx.stop.wait,
            permit=lambda fault, aws: changes.permit(fault.resource, lambda: fault.arns(aws)),
        )
        self._injector = Injector(ctx, raw, self._faults, changes.permit_foreign)
        self._view = LiveView(ctx)
        ctx.history.listen(self._view.see)
        self._watcher: AlarmWatcher | None = None
        self._prometheus = PrometheusWatcher(ctx) if ctx.system.prometheus else None
        self._guards: GuardWatcher | None = None
        self._canaries = CanaryActor(ctx) if ctx.system.canaries else None
        self._contract = ContractActor(ctx) if ctx.system.contract else None
        self._load = LoadActor(ctx) if ctx.system.load and ctx.experiment.extension.load else None
        self._started: list[Actor] = []

    # --- the acts -------------------------------------------------------------------------------------------

    def preflight(self) -> None:
        with self._act(Act.PREFLIGHT):
            run_preflight(self._ctx, self._ledger, self._injector, self._canaries)
            self._watcher = AlarmWatcher(self._ctx)
            self._watcher.look()
            if self._prometheus is not None:
                self._prometheus.look()
            self._guards = GuardWatcher(self._ctx)

    def baseline(self) -> None:
        with self._act(Act.BASELINE):
            for actor in (self._guards, self._watcher, self._prometheus, self._load, self._canaries):
                if actor is not None:
                    self._started.append(actor)
                    actor.start()
            self._run_contract(Act.BASELINE)
            self._hold(self._view.baseline_seen)
            self._await_contract(Act.BASELINE)

    def fault(self) -> None:
        with self._act(Act.FAULT):
            self._faults.expires_at = self._ctx.now() + longest_fault(self._ctx, self._raw)
            if not self._injector.run_method():
                self._ctx.stop.wait(0)
                if self._faults.refusal is not None:
                    raise self._faults.refusal
                return
            if FaultStage.NO_EFFECT in self._faults.stages.values():
                return
            self._run_contract(Act.FAULT)
            self._hold(self._view.fault_seen)
            self._await_contract(Act.FAULT)
            assert self._watcher is not None
            self._watcher.record_paths()

    def recovery(self) -> None:
        with self._act(Act.RECOVERY):
            self._injector.run_rollbacks()
            self._undo_rest()
            self._hold(self._view.service_back)
            self._await_hypothesis()
            self._run_contract(Act.RECOVERY)
            self._hold(self._view.all_clear)
            self._hold(self._view.stayed_clear)
            self._await_contract(Act.RECOVERY)
            self._injector.check_hypothesis(Act.RECOVERY)
            self._stop(self._load, self._canaries)
            self._count_work()
            assert self._watcher is not None
            self._watcher.record_data(self._view.accepted_at, self._view.undo_requested_at)

    def settle(self) -> None:
        """The end of every drill, also of one that was refused or interrupted: undone, stopped, written down."""
        # A stop request is answered; from here on nothing may be cut short.
        self._injector.run_owed_rollbacks()
        self._undo_rest()
        self._stop(*self._started, self._contract)
        self._ctx.history.record(ResidueChecked(at=self._ctx.now(), open_entries=self._residue()))
        self._injector.write_journal(self._ctx.directory / "journal.json")
        self._ctx.history.record(DrillEnded(at=self._ctx.now()))

    # --- pieces ---------------------------------------------------------------------------------------------

    @contextmanager
    def _act(self, act: Act) -> Iterator[None]:
        self._ctx.history.record(ActStarted(at=self._ctx.now(), act=act))
        note = None
        try:
            yield
        except Refused as refusal:
            note = str(refusal)
            raise
        finally:
            # In each act, so that a drill that is killed has told of the acts before.
            self._ctx.history.record(ApiCalls(at=self._ctx.now(), calls=self._ctx.target.calls.take()))
            self._ctx.history.record(ActEnded(at=self._ctx.now(), act=act, note=note))

    def _hold(self, enough: Callable[[], bool]) -> None:
        """Wait until `enough`, which knows its own deadlines."""
        while not enough():
            self._ctx.stop.wait(_TICK_WALL_S)

    def _undo_rest(self) -> None:
        """What the experiment's rollbacks did not undo; nothing when they undid everything."""
        self._faults.undo_all()

    def _residue(self) -> tuple[str, ...]:
        try:
            left = self._ledger.entries(only_open=True, drill=self._ctx.drill)
        except LedgerError as error:
            return (str(error),)
        return tuple(f"{e.id} {e.fault} on {e.resource} ({e.state.value})" for e in left)

    def _run_contract(self, act: Act) -> None:
        if self._contract is not None:
            self._contract.start_act(act)

    def _await_contract(self, act: Act) -> None:
        if self._contract is not None:
            self._contract.wait(act, _CONTRACT_WALL_S)

    def _await_hypothesis(self) -> None:
        deadline = self._view.recovery_deadline()
        while not self._injector.check_hypothesis(Act.RECOVERY) and self._ctx.now() < deadline:
            self._ctx.stop.wait(max(_TICK_WALL_S, self._ctx.wall(30)))

    def _count_work(self) -> None:
        for rule in self._ctx.experiment.extension.expect.conserved:
            try:
                counted = count_work(self._ctx, rule, self._view.started_at, _WORK_PATIENCE_S)
            except TargetError as error:
                self._ctx.history.record(ActorDied(at=self._ctx.now(), actor=f"work {rule}", detail=str(error)))
            else:
                self._ctx.history.record(counted)

    def _stop(self, *actors: Actor | ContractActor | None) -> None:
        """Stop actors side by side: each may need up to two seconds."""
        waiting = [actor for actor in actors if actor is not None]
        with ThreadPoolExecutor(max_workers=max(1, len(waiting))) as pool:
            list(pool.map(self._stop_one, waiting))

    def _stop_one(self, actor: Actor | ContractActor) -> None:
        try:
            actor.stop()
        except Exception as error:  # what it would have told last is missing; the others are stopped all the same
            detail = f"{type(error).__name__}: {error}"
            self._ctx.history.record(ActorDied(at=self._ctx.now(), actor=actor.name, detail=detail))
