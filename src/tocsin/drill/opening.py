"""From an experiment to a running drill: its plan, its guards, its end."""

from __future__ import annotations

import shlex
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tocsin import __version__
from tocsin.actors.context import RunContext, StopRequest
from tocsin.aws.lookups import resolve_base_url, resolve_system
from tocsin.aws.target import Target
from tocsin.drill.acts import run_drill
from tocsin.drill.options import DEFAULT_PARTS, RunOptions
from tocsin.drill.plan import Plan
from tocsin.errors import HistoryError, LedgerError, Refused, ResidueLeft, TocsinError
from tocsin.guards.admission import Admission
from tocsin.guards.base import ask, ask_all
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.lock import AccountLock
from tocsin.model.events import DrillEnded, DrillStarted, FirstTry, GuardChecked, Stopped
from tocsin.model.looks import LOOKS
from tocsin.model.system import System
from tocsin.project.places import commit_of, ledger_path
from tocsin.project.targets import SANDBOX
from tocsin.record.history import History
from tocsin.record.ledger import Ledger

_SPARE_PRODUCTION_S = 3600.0
_SPARE_WALL_S = 600.0
"""Beside its deadlines a drill injects, undoes, counts work and runs the contract."""


def open_drill(
    plan: Plan,
    target: Target,
    options: RunOptions,
    directory: Path,
    history: History,
    drill: str,
    seed: int,
    first_try: FirstTry | None = None,
) -> None:
    experiment = plan.loaded.experiment
    tries = {"first_try": first_try, "tries_again": options.try_again and first_try is None}
    begun = _begun(plan, target, options, drill, seed).model_copy(update=tries)
    asked: list[GuardChecked] = []

    def started(system: System) -> None:
        history.record(begun.model_copy(update={"system": system}))
        for guard in asked:
            history.record(guard)

    with ExitStack() as held:
        try:
            ledger = Ledger(ledger_path(options.root, target.name), target.name)
            held.callback(ledger.close)
            held.enter_context(ledger.lock(drill))
            ask_all(admission(plan, target, options).guards(), asked.append)
            held.enter_context(_account_lock(plan, target, options, ledger, drill, asked, history))
            system = resolve_system(plan.system, target)
            base_url = resolve_base_url(system.endpoint, target)
        except TocsinError as error:
            started(plan.system)
            _stopped(history, error)
            return
        started(system)
        ctx = RunContext(
            drill=drill,
            root=options.root,
            directory=directory,
            experiment=experiment,
            system=system,
            target=target,
            history=history,
            base_url=base_url,
            seed=seed,
            stop=options.stop,
        )
        with residue_is_louder(ledger, drill):
            try:
                run_drill(ctx, plan.loaded.toolkit, ledger)
            except HistoryError:
                raise
            except TocsinError as error:
                _stopped(history, error)


def _begun(plan: Plan, target: Target, options: RunOptions, drill: str, seed: int) -> DrillStarted:
    """The first line of a drill that begins now, with the system as its file says."""
    experiment = plan.loaded.experiment
    return DrillStarted(
        at=time.time(),
        drill=drill,
        experiment=experiment,
        system=plan.system,
        target=target.name,
        account=target.account,
        region=target.region,
        scale=target.scale,
        scale_because=options.scale_because or None,
        seed=seed,
        version=__version__,
        commit=commit_of(options.root),
        command=command_again(experiment.path, target, options, seed),
        measures_machine=True,
        linked=True,
        looks=LOOKS,
        definitions=plan.definitions,
    )


def context_beside(
    plan: Plan, root: Path, target: Target, history: History, name: str, stop: StopRequest
) -> RunContext:
    """The context of a plan that is not drilled, for its guards or its rollbacks; `name` begins its identity.

    Raises:
        TargetError: what the system file names cannot be looked up.
    """
    system = resolve_system(plan.system, target)
    return RunContext(
        drill=f"{name}-{uuid.uuid4().hex[:8]}",
        root=root,
        directory=history.path.parent,
        experiment=plan.loaded.experiment,
        system=system,
        target=target,
        history=history,
        base_url=resolve_base_url(system.endpoint, target),
        seed=0,
        stop=stop,
    )


def admission(plan: Plan, target: Target, options: RunOptions) -> Admission:
    """The guards before anything else is asked of the target."""
    return Admission(
        target=target,
        system=plan.system.system,
        longest_s=plan.loaded.experiment.extension.longest_hold_s,
        consent=options.yes_production,
        kill_switch=KillSwitch(options.root, target),
    )


@contextmanager
def _account_lock(
    plan: Plan,
    target: Target,
    options: RunOptions,
    ledger: Ledger,
    drill: str,
    asked: list[GuardChecked],
    history: History,
) -> Iterator[None]:
    """Hold the lock in the account; how it was given back is told, and changes no verdict.

    Raises:
        Refused: somebody else holds it, or the account did not say.
    """
    lock = AccountLock(target, ledger, drill, _drill_wall_s(plan, target), options.stop.wait)
    ask(("lock", lock.take), asked.append)
    try:
        yield
    finally:
        told = lock.release()
        with suppress(HistoryError):
            history.record(GuardChecked(at=time.time(), guard="lock", ok=True, detail=told))


def _drill_wall_s(plan: Plan, target: Target) -> float:
    """Wall seconds after which a drill is certainly over: all its deadlines, and more than enough beside."""
    extension = plan.loaded.experiment.extension
    fault = max(extension.longest_hold_s, target.rules.max_duration or 0.0)
    before, after = extension.longest_baseline_s(target.scale), extension.longest_recovery_s(target.scale)
    production_s = before + fault + 2 * after + _SPARE_PRODUCTION_S
    return production_s / target.scale + plan.variables.paused_wall_s(plan.activities()) + _SPARE_WALL_S


@contextmanager
def residue_is_louder(ledger: Ledger, drill: str) -> Iterator[None]:
    """Whatever ends a drill without a verdict, a bug of ours too: what it left must be said here.

    Raises:
        ResidueLeft: something is left, or nobody knows; whatever else was raised is its cause.
    """
    try:
        yield
    except BaseException as error:
        left = _left(ledger, drill)
        if left is None:
            raise
        raise ResidueLeft(f"{str(error) or type(error).__name__} {left}") from error


def _left(ledger: Ledger, drill: str) -> str | None:
    """What a drill left, and what to do about it; None where it left nothing."""
    try:
        entries = ledger.entries(only_open=True, drill=drill)
        owed = [debt for debt in ledger.owed() if debt.drill == drill]
    except LedgerError as unreadable:
        return f"{unreadable} Whether a fault is left is not known: call `tocsin recover`."
    there = [*(f"{entry.fault} on {entry.resource}" for entry in entries), *map(str, owed)]
    return f"Still in place: {', '.join(there)}. Call `tocsin recover`." if there else None


def _stopped(history: History, error: TocsinError) -> None:
    guard = error.guard if isinstance(error, Refused) else "target"
    history.record(Stopped(at=time.time(), guard=guard, detail=str(error)))
    history.record(DrillEnded(at=time.time()))


def command_again(path: str, target: Target, options: RunOptions, seed: int) -> str:
    """What runs this drill again: with the scale that it really had, whatever was asked for."""
    scale = ["--time-scale", f"{target.scale:g}"] if target.name == SANDBOX else []
    parts = ["--parts", options.parts] if options.parts not in (None, DEFAULT_PARTS) else []
    return shlex.join(["tocsin", "run", path, "--target", options.target, "--seed", str(seed), *scale, *parts])
