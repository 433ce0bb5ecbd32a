"""One `tocsin run`: check everything, then drill by drill, then the verdict on all of them."""

from __future__ import annotations

import random
import shlex
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from tocsin import __version__
from tocsin.actors.injector import quiet_chaos_toolkit
from tocsin.checkers import judge
from tocsin.context import RunContext, StopRequest
from tocsin.drill import run_drill
from tocsin.errors import (
    HistoryError,
    Interrupted,
    InvalidInput,
    LedgerError,
    Refused,
    ResidueLeft,
    SandboxError,
    TocsinError,
    worst_exit,
)
from tocsin.guards.admission import Admission
from tocsin.guards.base import ask, ask_all
from tocsin.guards.kill_switch import KillSwitch
from tocsin.guards.lock import AccountLock
from tocsin.history import History, read_history
from tocsin.iam import CallLog
from tocsin.ledger import Ledger
from tocsin.loader import find_experiments
from tocsin.model.events import ApiCalls, DrillEnded, DrillStarted, Event, GuardChecked, Stopped
from tocsin.model.system import System
from tocsin.model.verdict import RunVerdict, Verdict, merge
from tocsin.project import commit_of, ledger_path, runs_directory
from tocsin.recovery import start_sandbox
from tocsin.report import write_drill, write_run
from tocsin.resolve import resolve_base_url, resolve_system
from tocsin.target import Target
from tocsin.targets import SANDBOX, check_target_name, in_region, load_target
from tocsin.validation import Plan, Planner

if TYPE_CHECKING:
    from tocsin.sandbox.parts import PartsChoice

HISTORY = "history.jsonl"
_SPARE_PRODUCTION_S = 3600.0
_SPARE_WALL_S = 600.0
"""Beside its deadlines a drill injects, undoes, counts work and runs the contract."""
Listener = Callable[[Event], None]


def _silent(event: Event) -> None:
    """Nobody watches."""


def _no_note(text: str) -> None:
    """Nobody reads."""


@dataclass(frozen=True)
class RunOptions:
    """How to run: all the user's choices, once."""

    root: Path
    target: str = SANDBOX
    out: Path | None = None
    seed: int | None = None
    time_scale: float = 60.0
    parts: PartsChoice = "embedded"
    yes_production: str | None = None
    listener: Listener = _silent
    note: Callable[[str], None] = _no_note
    stop: StopRequest = field(default_factory=StopRequest)


def run_experiments(paths: Sequence[Path], options: RunOptions) -> tuple[RunVerdict, Path]:
    """Run every experiment of `paths`, in order, and write all reports.

    Returns:
        The verdict and the directory of the reports.

    Raises:
        InvalidInput: something is wrong with the input; nothing was started.
        TocsinError: the target cannot be reached at all.
    """
    quiet_chaos_toolkit()
    plans = plan_all(paths, options)
    out = new_directory(options)
    started = time.time()
    verdicts: list[Verdict] = []
    histories: dict[str, list[Event]] = {}
    systems = {plan.system.system for plan in plans}
    with signals_to(options.stop), running_target(systems, options) as target:
        for plan in plans:
            if options.stop.is_set():
                options.note(f"not run: {plan.loaded.experiment.title}")
                continue
            events, directory = _run_one(plan, target, options, out)
            verdicts.append(_judge_and_write(events, directory))
            histories[plan.loaded.experiment.slug] = events
    run = summarise(verdicts, started, time.time())
    write_run(out, run, histories)
    return run, out


def plan_all(paths: Sequence[Path], options: RunOptions) -> list[Plan]:
    """Check every file before anything is started.

    Raises:
        InvalidInput: the first thing that is wrong.
    """
    check_target_name(options.root, options.target)
    planner = Planner(options.root)
    plans = [planner.plan(path) for path in find_experiments(paths)]
    seen: dict[str, str] = {}
    for plan in plans:
        experiment = plan.loaded.experiment
        if experiment.slug in seen:
            raise InvalidInput(
                f"expected file names to differ, found '{experiment.slug}' also as {seen[experiment.slug]}: "
                "each drill has a directory of that name",
                file=experiment.path,
            )
        seen[experiment.slug] = experiment.path
    return plans


def summarise(verdicts: Sequence[Verdict], started_at: float, ended_at: float) -> RunVerdict:
    """One verdict on several drills; of their exit codes the loudest."""
    return RunVerdict(
        version=__version__,
        started_at=started_at,
        ended_at=ended_at,
        outcome=merge(verdict.outcome for verdict in verdicts),
        exit_code=worst_exit(verdict.exit_code for verdict in verdicts),
        drills=tuple(verdicts),
    )


def report_again(directory: Path) -> RunVerdict:
    """Judge the histories below `directory` again and write all reports, without a target.

    Raises:
        InvalidInput: there is no history, or one cannot be read.
    """
    if not directory.is_dir():
        raise InvalidInput("expected the directory of a run, found none", file=directory)
    files = sorted(directory.glob(f"*/{HISTORY}")) or sorted(directory.glob(HISTORY))
    if not files:
        raise InvalidInput(f"expected {HISTORY} in it or one level below, found none", file=directory)
    histories = sorted(((read_history(file), file.parent) for file in files), key=lambda pair: pair[0][0].at)
    verdicts = [_judge_and_write(events, place) for events, place in histories]
    run = summarise(verdicts, verdicts[0].started_at, max(verdict.ended_at for verdict in verdicts))
    write_run(directory, run, {place.name: events for events, place in histories})
    return run


def _judge_and_write(events: list[Event], directory: Path) -> Verdict:
    verdict = judge(events)
    write_drill(directory, events, verdict)
    return verdict


def _run_one(plan: Plan, target: Target, options: RunOptions, out: Path) -> tuple[list[Event], Path]:
    experiment = plan.loaded.experiment
    directory = out / experiment.slug
    target = replace(in_region(target, plan.system), calls=CallLog())
    history = History(directory / HISTORY)
    history.listen(options.listener)
    seed = options.seed if options.seed is not None else random.randrange(2**31)
    drill = f"{experiment.slug}-{uuid.uuid4().hex[:8]}"
    try:
        _drill(plan, target, options, directory, history, drill, seed)
    finally:
        with suppress(HistoryError):
            history.record(ApiCalls(at=time.time(), calls=target.calls.take()))
        history.close()
    return read_history(history.path), directory


def _drill(
    plan: Plan, target: Target, options: RunOptions, directory: Path, history: History, drill: str, seed: int
) -> None:
    experiment, began = plan.loaded.experiment, time.time()
    asked: list[GuardChecked] = []

    def started(system: System) -> None:
        history.record(
            DrillStarted(
                at=began,
                drill=drill,
                experiment=experiment,
                system=system,
                target=target.name,
                account=target.account,
                region=target.region,
                scale=target.scale,
                seed=seed,
                version=__version__,
                commit=commit_of(options.root),
                command=_command(experiment.path, options, seed),
            )
        )
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
        try:
            run_drill(ctx, plan.loaded.raw, ledger)
        except HistoryError as error:
            raise _louder(error, ledger, drill) from error
        except TocsinError as error:
            _stopped(history, error)


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
    recovery = max([extension.expect.recovery.within, *(must.clears_within for must in extension.expect.must_alarms)])
    return (extension.baseline + fault + 2 * recovery + _SPARE_PRODUCTION_S) / target.scale + _SPARE_WALL_S


def _louder(error: HistoryError, ledger: Ledger, drill: str) -> TocsinError:
    """Without a history there is no verdict: what is left broken must be said here."""
    try:
        left = ledger.entries(only_open=True, drill=drill)
    except LedgerError as unreadable:
        return ResidueLeft(f"{error} {unreadable} Whether a fault is left is not known: call `tocsin recover`.")
    names = ", ".join(f"{entry.fault} on {entry.resource}" for entry in left)
    return ResidueLeft(f"{error} Still in place: {names}. Call `tocsin recover`.") if left else error


def _stopped(history: History, error: TocsinError) -> None:
    guard = error.guard if isinstance(error, Refused) else "target"
    history.record(Stopped(at=time.time(), guard=guard, detail=str(error)))
    history.record(DrillEnded(at=time.time()))


def _command(path: str, options: RunOptions, seed: int) -> str:
    scale = [] if options.time_scale == RunOptions.time_scale else ["--time-scale", f"{options.time_scale:g}"]
    parts = [] if options.parts == RunOptions.parts else ["--parts", options.parts]
    return shlex.join(["tocsin", "run", path, "--target", options.target, "--seed", str(seed), *scale, *parts])


def new_directory(options: RunOptions) -> Path:
    """Where the reports go: new, or empty.

    Raises:
        InvalidInput: it holds files already, or cannot be made.
    """
    out = (options.out or runs_directory(options.root) / time.strftime("%Y%m%d-%H%M%S")).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InvalidInput(
            "expected a new or empty directory for --out, found one with files: choose another", file=out
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"expected to create this directory: {error.strerror}", file=out) from None
    return out


@contextmanager
def running_target(systems: set[str], options: RunOptions) -> Iterator[Target]:
    """The target; a sandbox that is not running is started for these systems, and stopped at the end.

    Raises:
        SandboxError: it could not be started.
        InvalidInput: no such target.
    """
    with ExitStack() as stack:
        if options.target == SANDBOX:
            _ensure_sandbox(systems, options, stack)
        yield load_target(options.root, options.target)


def _ensure_sandbox(systems: set[str], options: RunOptions, stack: ExitStack) -> None:
    from tocsin.sandbox import control

    state = control.status(options.root)
    if state is None:
        stack.callback(control.down, options.root)
    for system in sorted(systems - set(state.systems if state else ())):
        if options.stop.is_set():
            raise SandboxError("stopped before the sandbox was up")
        start_sandbox(system, options.root, options.time_scale, options.note, parts=options.parts)


@contextmanager
def signals_to(stop: StopRequest) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP ask for the end; the drill undoes what it did and reports.

    A second signal changes nothing: the undo is already on its way and must not be cut short.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        stop.ask(Interrupted(signal.Signals(number).name))

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
