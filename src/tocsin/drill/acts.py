"""One drill: four acts, in order, and an end that undoes everything however it comes.

    preflight   touches nothing; every guard must be answered, and answered well
    baseline    load, canaries and contract run on the healthy system
    fault       ledger, injection, evidence; then hold until every bell had its chance
    recovery    rollbacks, verification; then hold until everything is as before

Nothing here judges. Whether it went well is read from the history afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from tocsin.actors.alarm_watcher import AlarmWatcher
from tocsin.actors.attended import attended
from tocsin.actors.base import Actor
from tocsin.actors.canaries import CanaryActor
from tocsin.actors.context import RunContext
from tocsin.actors.contract import ContractActor
from tocsin.actors.guard_watcher import GuardWatcher, LocalWatcher
from tocsin.actors.injector import Injector
from tocsin.actors.locust import LoadActor
from tocsin.actors.machine import MachineActor
from tocsin.actors.message_taps import MessageTap, open_taps
from tocsin.actors.prometheus_watcher import PrometheusWatcher
from tocsin.actors.settings import SettingsComparison
from tocsin.actors.work import count_work
from tocsin.aws.target import Aws
from tocsin.drill.owed import OwedRollbacks
from tocsin.drill.preflight import run_preflight
from tocsin.drill.recovery import Recovery
from tocsin.drill.spare import SpareDescriptors
from tocsin.drill.view import LiveView
from tocsin.errors import LedgerError, Refused, TargetError, TocsinError
from tocsin.faults.base import Change
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.guards.base import ask, ask_all
from tocsin.guards.changes import ChangeGuards
from tocsin.guards.kill_switch import KillSwitch
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
from tocsin.model.toolkit import ExperimentFile
from tocsin.record.ledger import Ledger

_TICK_WALL_S = 0.1
_CONTRACT_WALL_S = 25.0
"""A contract run is real requests: it takes the same time on every clock."""
_INJECTION_S = 900.0
"""Production seconds that one activity of the method may take: the longest wait for the effect of any fault."""
_WORK_PATIENCE_S = 600.0
"""Production seconds for accepted work to be finished after recovery."""


def run_drill(ctx: RunContext, toolkit: ExperimentFile, ledger: Ledger) -> None:
    """Run one drill and write its history; `DrillStarted` is already there.

    `toolkit` is the experiment as Chaos Toolkit reads it. Refusals, interruptions and a target that stops answering end
    the drill early and are written down; whatever was injected is undone in every case.
    """
    drill = _Drill(ctx, toolkit, ledger)
    try:
        drill.preflight()
        drill.baseline()
        drill.fault()
        drill.recovery()
        drill.check_watched()
    except Refused as refusal:
        came_at, seen_at = (ctx.stop.came_at, ctx.stop.asked_at) if refusal is ctx.stop.reason else (None, None)
        ctx.history.record(
            Stopped(at=ctx.now(), guard=refusal.guard, detail=str(refusal), came_at=came_at, seen_at=seen_at)
        )
    except TocsinError as error:
        ctx.history.record(Stopped(at=ctx.now(), guard="target", detail=str(error)))
    finally:
        drill.settle()


def longest_fault(ctx: RunContext, pauses_wall_s: float) -> float:
    """Wall seconds after which a fault of this drill cannot still be wanted: its own deadlines, with a margin.

    Never longer than the target allows a fault to be. Faults that AWS can end by itself end then, counted from the
    beginning of the fault act.
    """
    injections = ctx.wall(_INJECTION_S * (1 + len(ctx.experiment.method)))
    longest = injections + LiveView(ctx).longest_fault() + pauses_wall_s + 2 * _CONTRACT_WALL_S
    allowed = ctx.target.rules.max_duration
    return longest if allowed is None else min(longest, ctx.wall(allowed))


class _Drill:
    def __init__(self, ctx: RunContext, toolkit: ExperimentFile, ledger: Ledger) -> None:
        self._ctx = ctx
        self._ledger = ledger
        self._changes = ChangeGuards(ctx.target, KillSwitch(ctx.root, ctx.target), ctx.history.record)
        self._owed = OwedRollbacks(ctx, toolkit, ledger)
        self._faults = FaultLifecycle(
            target=ctx.target,
            ledger=ledger,
            drill=ctx.drill,
            record=ctx.history.record,
            wait=ctx.stop.wait,
            permit=self._permit,
        )
        self._injector = Injector(ctx, toolkit, self._faults, self._permit_foreign)
        self._canaries = CanaryActor(ctx) if ctx.system.canaries else None
        self._view = LiveView(ctx, self._canaries.names if self._canaries else ())
        ctx.history.listen(self._view.see, "view")
        self._watcher: AlarmWatcher | None = None
        self._prometheus = PrometheusWatcher(ctx) if ctx.system.prometheus else None
        self._guards: GuardWatcher | None = None
        self._contract = ContractActor(ctx) if ctx.system.contract else None
        self._load = LoadActor(ctx) if ctx.system.load and ctx.experiment.extension.load else None
        self._taps: list[MessageTap] = []
        self._machine = MachineActor(ctx)
        self._settings = SettingsComparison(ctx)
        self._local = LocalWatcher(ctx)
        self._started: list[Actor] = [self._machine, self._local]
        self._spare = SpareDescriptors()

    # --- the acts -------------------------------------------------------------------------------------------

    def preflight(self) -> None:
        self._machine.start()
        self._local.start()
        with self._act(Act.PREFLIGHT):
            run_preflight(self._ctx, self._ledger, self._injector, self._canaries)
            self._watcher = AlarmWatcher(self._ctx)
            self._watcher.look()
            if self._prometheus is not None:
                self._prometheus.look()
            self._guards = GuardWatcher(self._ctx)
            self._taps = open_taps(self._ctx)

    def baseline(self) -> None:
        with self._act(Act.BASELINE):
            self._settings.look()
            for actor in (self._guards, self._watcher, self._prometheus, *self._taps, self._load, self._canaries):
                if actor is not None:
                    self._started.append(actor)
                    actor.start()
            self._run_contract(Act.BASELINE)
            self._hold(self._view.baseline_seen)
            self._await_contract(Act.BASELINE)
            guards = (
                ("machine", self._machine.check),
                ("actors", self._view.check_actors),
                ("traffic", self._view.check_traffic),
            )
            ask_all(guards, self._ctx.history.record)

    def fault(self) -> None:
        with self._act(Act.FAULT):
            longest_s = longest_fault(self._ctx, self._injector.pauses_wall_s)
            self._faults.expires_at = ends_at = self._ctx.now() + longest_s
            if not self._injector.run_method():
                self._ctx.stop.wait(0)
                if self._faults.refusal is not None:
                    raise self._faults.refusal
                return
            without = {FaultStage.NO_EFFECT, FaultStage.NOT_SEEN}.intersection(self._faults.stages.values())
            if without or self._injector.no_effect:
                return
            self._run_contract(Act.FAULT)
            self._hold(self._view.fault_seen)
            self._await_contract(Act.FAULT)
            self._injector.finish_background(ends_at - self._ctx.now())
            assert self._watcher is not None
            self._ctx.stop.wait(0)
            attended(self._watcher.record_paths, self._ctx.stop, "ways of the alarms")

    def recovery(self) -> None:
        with self._act(Act.RECOVERY):
            self._spare.let_go()
            # What a failed method began is not waited for: the way back comes first.
            self._injector.let_go()
            self._injector.finish_background(0)
            self._pay(ran=self._injector.run_rollbacks())
            self._undo_rest()
            self._hold(self._recovery().is_seen)
            self._await_contract(Act.RECOVERY)
            self._injector.check_hypothesis(Act.RECOVERY)
            self._stop(self._load, self._canaries)
            self._count_work()
            self._settings.compare()
            assert self._watcher is not None
            self._watcher.record_data(self._view.accepted_at, self._view.undo_requested_at)

    def check_watched(self) -> None:
        """Whether it was watched to its end, and nobody asked for another.

        Raises:
            Refused: it was not; or somebody did.
        """
        self._ctx.stop.wait(0)
        self._local.check_clocks()

    def settle(self) -> None:
        """The end of every drill, also of one that was refused or interrupted: undone, stopped, written down.

        Each step is taken, whatever one before it raised; the first failure is raised when all are done. What is ours
        is undone first: it waits for nobody else's code, neither for what still runs nor for rollbacks.
        """
        # A stop request is answered; from here on nothing may be cut short, nor end for want of a history.
        self._ctx.history.do_without()
        self._spare.let_go()
        self._faults.end()
        with ExitStack() as last_first:
            last_first.callback(self._ctx.history.check)
            last_first.callback(self._write_end)
            last_first.callback(self._stop, *self._started, self._contract)
            last_first.callback(self._injector.close)
            last_first.callback(self._injector.finish_late)
            last_first.callback(self._run_owed_rollbacks)
            last_first.callback(self._undo_rest)
            last_first.callback(self._injector.let_go)

    def _write_end(self) -> None:
        found = ResidueChecked(at=self._ctx.now(), open_entries=self._residue(), owed=self._owed.unpaid)
        self._ctx.history.record(found)
        self._injector.write_journal(self._ctx.directory / "journal.json")
        self._ctx.history.record(DrillEnded(at=self._ctx.now()))

    # --- before each change ---------------------------------------------------------------------------------

    def _permit(self, change: Change, aws: Aws) -> None:
        self._watched_until_now()
        self._changes.permit(change.resource, lambda: change.arns(aws))
        self._owed.begin()

    def _permit_foreign(self, action: str) -> None:
        self._watched_until_now()
        self._changes.permit_foreign(action)
        self._owed.begin()

    def _watched_until_now(self) -> None:
        """A method may look and wait for long before it breaks something: whoever died meanwhile will not see it.

        Once something is broken, the drill goes on: what was seen until then is worth its verdict.
        """
        if self._view.requested_at is None:
            ask(("actors", self._view.check_actors), self._ctx.history.record)

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

    def _run_owed_rollbacks(self) -> None:
        self._pay(ran=self._injector.run_owed_rollbacks(owed=bool(self._owed.unpaid)))

    def _pay(self, *, ran: bool) -> None:
        if ran:
            self._owed.paid()

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
        contract = self._contract
        if contract is not None:
            attended(lambda: contract.start_act(act), self._ctx.stop, "contract")

    def _await_contract(self, act: Act) -> None:
        if self._contract is not None:
            self._contract.wait(act, _CONTRACT_WALL_S)

    def _recovery(self) -> Recovery:
        return Recovery(
            self._ctx,
            self._view,
            check_hypothesis=lambda: self._injector.check_hypothesis(Act.RECOVERY),
            run_contract=lambda: self._run_contract(Act.RECOVERY),
            contract_runs=lambda: self._contract is not None and self._contract.is_running(Act.RECOVERY),
        )

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
