"""One `tocsin run`: check everything, then drill by drill, then the verdict on all of them."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from tocsin import __version__
from tocsin.actors.injector import quiet_chaos_toolkit
from tocsin.alarms.states import read_states
from tocsin.aws.iam import CallLog
from tocsin.aws.lookups import resolve_system
from tocsin.aws.target import Target
from tocsin.checkers import judge
from tocsin.checkers.timeline import Timeline
from tocsin.commands.planned import PLAN, history_gone, not_run, plan_of, read_plan
from tocsin.commands.selection import in_order, selected
from tocsin.commands.session import (
    new_directory,
    running_target,
    settled,
    settled_scale,
    the_only_run,
)
from tocsin.commands.signals import signals_that_end, signals_to
from tocsin.drill.opening import open_drill
from tocsin.drill.options import DEFAULT_SCALE, RunOptions
from tocsin.drill.plan import Plan, Planner, check_deadlines
from tocsin.drill.scales import choice_of, choose
from tocsin.errors import (
    Complaints,
    HistoryError,
    InvalidInput,
    Refused,
    SandboxError,
    TargetError,
    worst_exit,
)
from tocsin.model.events import ApiCalls, FirstTry
from tocsin.model.run_plan import PlannedDrill, RunPlan
from tocsin.model.verdict import Outcome, Reason, RunVerdict, Verdict, merge
from tocsin.project.documents import find_experiments
from tocsin.project.histories import stream_history
from tocsin.project.places import note_run
from tocsin.project.targets import check_target_name, in_region
from tocsin.project.text import is_directory, is_file
from tocsin.record.history import History
from tocsin.report import write_drill, write_gone, write_plan, write_run

HISTORY = "history.jsonl"
PAGE = "report.html"
FIRST_TRY = "first-try"
"""Directory, below that of a drill, of the same drill before, with which the machine did not keep up."""

_LOOK_WALL_S = 0.5
Drilled = tuple[Timeline, Verdict]
"""The history of a drill, and what it says."""


def run_experiments(paths: Sequence[Path], options: RunOptions) -> tuple[RunVerdict, Path]:
    """Run every experiment of `paths`, in order, and write all reports.

    Returns:
        The verdict and the directory of the reports.

    Raises:
        InvalidInput: something is wrong with the input; nothing was started.
        Refused: another run is using the target.
        TocsinError: the target cannot be reached at all.
    """
    quiet_chaos_toolkit()
    options = settled(options)
    with signals_that_end():
        plans = in_order(plan_all(paths, options), options)
    with signals_to(options.stop), the_only_run(options, "tocsin run"):
        out = new_directory(options)
        planned = plan_of(plans, options, settled_scale(options))
        write_plan(out / PLAN, planned)
        note_run(options.root, out)
        done: dict[str, Drilled] = {}
        try:
            _drill_all(plans, options, out, done)
        except InvalidInput:
            if not done:  # nothing was started: the directory is as it was, for another try
                (out / PLAN).unlink()
            raise
        except BaseException as error:
            if not (isinstance(error, SandboxError | Refused) and options.stop.is_set() and not done):
                with suppress(OSError):  # the disk may be what ended it; the error itself says more
                    _write_run(out, planned, done, f"the run ended before: {type(error).__name__}: {error}")
                raise
            options.note(str(error))
        return _write_run(out, planned, done, _why_not(options, done)), out


def _drill_all(plans: Sequence[Plan], options: RunOptions, out: Path, done: dict[str, Drilled]) -> None:
    """Drill until all is done, or the end is asked for; `done` has those that came to a verdict, by their slug."""
    if options.parallel is not None:
        from tocsin.commands.parallel.running import side_by_side

        side_by_side(plans, options, out, done)
        return
    for asked, some in _sandboxes(plans, options):
        with running_target({plan.system.system for plan in some}, asked, alone=True) as target:
            if not all(_drill_next(plan, target, asked, out, done) for plan in some):
                return


def _sandboxes(plans: Sequence[Plan], options: RunOptions) -> Iterator[tuple[RunOptions, list[Plan]]]:
    """Which drills run one after the other on one sandbox: each time scale is a sandbox of its own."""
    if not options.auto_scale:
        yield options, list(plans)
        return
    for scale, some in groupby(plans, key=lambda plan: choose(plan).scale):
        yield replace(options, time_scale=scale), list(some)


def _drill_next(plan: Plan, target: Target, options: RunOptions, out: Path, done: dict[str, Drilled]) -> bool:
    """Drill one; whether the next may begin."""
    if done and not all_passed(done.values()) and not options.stop.is_set():
        wait_until_quiet(plan, in_region(target, plan.system), options)
    if options.stop.is_set():
        return False
    chosen = choice_of(plan, options, target.scale)
    if options.auto_scale and chosen.scale < DEFAULT_SCALE:
        options.note(f"a clock only {chosen.scale:g} times AWS's: {chosen.because}")
    drilled = _drill(plan, target, replace(options, scale_because=chosen.because), out)
    done[plan.loaded.experiment.slug] = drilled
    return not (options.stop.is_set() or (options.exit_first and failed(drilled[1])))


def all_passed(done: Iterable[Drilled]) -> bool:
    """Whether every drill so far ended as it should. One that did not may have left alarms ringing, which would refuse
    the next."""
    return all(verdict.outcome is Outcome.PASS for _, verdict in done)


def failed(verdict: Verdict) -> bool:
    """Whether a drill is a reason to begin no other, where that is asked for."""
    return verdict.outcome is Outcome.FAIL or bool(verdict.residue)


def _why_not(options: RunOptions, done: Mapping[str, Drilled]) -> str:
    """Why drills of the plan were not begun."""
    if options.stop.reason is not None:
        return str(options.stop.reason)
    first = next((slug for slug, (_, verdict) in done.items() if failed(verdict)), "another")
    return f"{first} failed, and with -x no other begins after that"


def _write_run(out: Path, planned: RunPlan, done: Mapping[str, Drilled], why: str) -> RunVerdict:
    """Write the reports of a run: every drill of its plan has a verdict, also those that were not begun."""
    verdicts = [
        done[drill.experiment][1] if drill.experiment in done else not_run(planned, drill, why)
        for drill in planned.drills
    ]
    run = summarise(verdicts, planned.at, time.time())
    write_run(out, run, {slug: events for slug, (events, _) in done.items()})
    return run


def plan_all(paths: Sequence[Path], options: RunOptions) -> list[Plan]:
    """Check every file before anything is started; the plans of those that are selected by their tags.

    Raises:
        InvalidInput: everything that is wrong.
        NothingAsked: the tags select none.
    """
    check_target_name(options.root, options.target)
    scale = settled_scale(options)
    planner = Planner(options.root)
    plans = selected(planner.plan_all(find_experiments(paths)), options, scale)
    check_deadlines((plan, choice_of(plan, options, scale).scale) for plan in plans)
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


@dataclass(frozen=True)
class ToldAgain:
    """What was judged again, and where it is told."""

    run: RunVerdict
    pages: tuple[Path, ...]
    """the page of each drill that has one"""
    overview: Path | None
    """the directory with the reports of the run; None where only one drill was asked for"""


def report_again(directory: Path) -> ToldAgain:
    """Judge the histories of a run, or that of one drill, again and write all reports, without a target.

    Where a history cannot be judged, the other drills' reports are written, and the overview of the run is left as it
    was: without one of its drills it would say too much. A drill that the run had planned and that has no history is
    in it, too. For the directory of one drill only that drill's own reports are written.

    Raises:
        InvalidInput: there is no history, or some cannot be read or judged: each is told.
    """
    if not is_directory(directory):
        raise InvalidInput("expected the directory of a run, found none", file=directory)
    directory = directory.resolve()
    planned = read_plan(directory)
    if planned is None and is_file(directory / HISTORY):
        return _one_again(directory)
    files = [file for file in sorted(directory.glob(f"*/{HISTORY}")) if not _is_bare(file, planned)]
    if not files and planned is None:
        raise InvalidInput(f"expected {HISTORY} in it or one level below, found none", file=directory)
    complaints = Complaints()
    drills = complaints.each(drill_again, files)
    complaints.each(drill_again, (first for file in files for first in file.parent.glob(f"{FIRST_TRY}/{HISTORY}")))
    complaints.tell()
    drills.sort(key=lambda drill: drill[0].first)
    run = _with_what_is_missing(directory, planned, {place.name: verdict for _, verdict, place in drills})
    write_run(directory, run, {place.name: events for events, _, place in drills})
    return ToldAgain(run, tuple(place / PAGE for _, _, place in drills), directory)


def _one_again(directory: Path) -> ToldAgain:
    complaints = Complaints()
    found = complaints.attempt(drill_again, directory / HISTORY)
    complaints.each(drill_again, directory.glob(f"{FIRST_TRY}/{HISTORY}"))
    complaints.tell()
    assert found is not None
    verdict = found[1]
    return ToldAgain(summarise([verdict], verdict.started_at, verdict.ended_at), (directory / PAGE,), None)


def _is_bare(file: Path, planned: RunPlan | None) -> bool:
    """Whether the drill was planned and killed before it wrote a whole line: it did not begin."""
    named = planned is not None and file.parent.name in {drill.experiment for drill in planned.drills}
    return named and next(stream_history(file), None) is None


def _with_what_is_missing(directory: Path, planned: RunPlan | None, found: Mapping[str, Verdict]) -> RunVerdict:
    """The run with all drills of its plan, in its order; what was not in it comes after them.

    Args:
        directory: of the run.
        planned: its plan; None where it has none.
        found: name of the directory of a drill -> its verdict, in the order in which they began.
    """
    verdicts = list(found.values())
    began = verdicts[0].started_at if planned is None else planned.at
    if planned is not None:
        named = [drill.experiment for drill in planned.drills]
        verdicts = [found.get(drill.experiment) or _missing(directory, planned, drill) for drill in planned.drills]
        verdicts += [verdict for name, verdict in found.items() if name not in named]
    return summarise(verdicts, began, max(verdict.ended_at for verdict in verdicts))


def _missing(directory: Path, planned: RunPlan, drill: PlannedDrill) -> Verdict:
    place = directory / drill.experiment
    left = next((name for name in (PAGE, "verdict.json", "journal.json") if is_file(place / name)), None)
    if left is None:
        return not_run(planned, drill, "the plan of the run names it, and there is no history of it")
    verdict = history_gone(planned, drill, left)
    write_gone(place, verdict)
    return verdict


def drill_again(file: Path) -> tuple[Timeline, Verdict, Path]:
    """Judge a history, and write the reports of its drill.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        timeline = Timeline.of(stream_history(file))
    except InvalidInput as error:  # a history does not know its file
        raise InvalidInput(error.message, file=file, line=error.line) from None
    return timeline, _judge_and_write(timeline, file.parent), file.parent


def _judge_and_write(events: Timeline, directory: Path) -> Verdict:
    verdict = judge(events)
    write_drill(directory, events, verdict)
    return verdict


def _drill(plan: Plan, target: Target, options: RunOptions, out: Path) -> tuple[Timeline, Verdict]:
    """One experiment; where the machine did not keep up and it was asked for, once more."""
    drilled = drill_once(plan, target, options, out)
    first = first_try(drilled[1]) if options.try_again else None
    if first is None:
        return drilled
    options.note(f"this machine did not keep up: once more, {plan.loaded.experiment.title}")
    if not wait_until_quiet(plan, in_region(target, plan.system), options):
        options.note("its alarms still ring, and would refuse it: the first try stands")
        return drilled
    return drilled if options.stop.is_set() else drill_once(plan, target, options, out, first)


def first_try(verdict: Verdict) -> FirstTry | None:
    """What a second drill says of this one; None where it says all that it could: the machine kept up, or no other
    verdict could come of it."""
    busy = [judgement for judgement in verdict.judgements if judgement.reason is Reason.MACHINE_BUSY]
    if not busy or verdict.outcome is not Outcome.UNKNOWN or verdict.residue:
        return None
    return FirstTry(drill=verdict.drill, because=f"{busy[0].question}: {busy[0].message}", directory=FIRST_TRY)


def drill_once(plan: Plan, target: Target, options: RunOptions, out: Path, first: FirstTry | None = None) -> Drilled:
    """One drill, judged and reported; where there was a `first` try of it, that is kept below it."""
    if first is not None:
        _set_aside(out / plan.loaded.experiment.slug)
    events, directory = _run_one(plan, target, options, out, first)
    return events, _judge_and_write(events, directory)


def wait_until_quiet(plan: Plan, target: Target, options: RunOptions) -> bool:
    """What a drill before it left ringing would refuse this one; it has the time that it has to clear after a drill.

    Returns:
        False where it still rings: as that of a dead-letter queue whose messages nobody takes out does for ever.
    """
    extension = plan.loaded.experiment.extension
    until = time.monotonic() + extension.recovers_within_s / target.scale
    with suppress(TargetError, Refused):  # whoever does not answer, or asks for the end, is heard by what comes next
        system = resolve_system(plan.system, target)
        while "ALARM" in read_states(system, extension.expect.alarms, target).values():
            if time.monotonic() >= until:
                return False
            options.stop.wait(_LOOK_WALL_S)
    return True


def _set_aside(directory: Path) -> None:
    """The drill that was, below the directory of the one that comes."""
    aside = directory.with_name(f".{directory.name}")
    directory.rename(aside)
    directory.mkdir()
    aside.rename(directory / FIRST_TRY)


def _run_one(
    plan: Plan, target: Target, options: RunOptions, out: Path, first_try: FirstTry | None = None
) -> tuple[Timeline, Path]:
    experiment = plan.loaded.experiment
    directory = out / experiment.slug
    target = replace(in_region(target, plan.system), calls=CallLog())
    history = History(directory / HISTORY)
    history.show(options.listener)
    seed = options.seed if options.seed is not None else random.randrange(2**31)
    drill = f"{experiment.slug}-{uuid.uuid4().hex[:8]}"
    try:
        open_drill(plan, target, options, directory, history, drill, seed, first_try)
    finally:
        with suppress(HistoryError):
            history.record(ApiCalls(at=time.time(), calls=target.calls.take()))
        history.close()
    return Timeline.of(stream_history(history.path)), directory
