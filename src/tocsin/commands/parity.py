"""`tocsin parity`: whether what drills take to be so, as in the sandbox, is so on a target."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tocsin import __version__
from tocsin.aws.target import Target
from tocsin.commands.session import new_directory, running_target
from tocsin.commands.signals import signals_to
from tocsin.coverage.table import experiments_of
from tocsin.drill.options import RunOptions
from tocsin.drill.plan import Plan, Planner
from tocsin.guards.admission import check_identity
from tocsin.guards.kill_switch import KillSwitch
from tocsin.model.duration import format_duration
from tocsin.model.system import System
from tocsin.parity.assumptions import ASSUMPTIONS
from tocsin.parity.context import Clock, ParityContext
from tocsin.parity.kept import as_json, keep, write_whole
from tocsin.parity.model import Assumption, Measured, ParityReport, Value
from tocsin.parity.reads import Surroundings, look
from tocsin.parity.throwaway.running import Thrown, guarded, measure
from tocsin.project.documents import load_system
from tocsin.project.places import ledger_path
from tocsin.project.targets import check_target_name, in_region
from tocsin.record.history import History
from tocsin.record.ledger import Ledger

REPORT = "parity.json"
_HOLDS = {True: "yes", False: "NO", None: "not seen"}
_STYLE = {True: "green", False: "bold red", None: "yellow"}


@dataclass(frozen=True)
class Looked:
    """What became of a look."""

    report: ParityReport
    file: Path
    """where it is"""
    troubles: tuple[str, ...]
    """what went wrong with the files, in words; what was found is no less true"""


def run_parity(name: str | None, options: RunOptions, *, throwaway: bool = False) -> Looked:
    """Look at a target, and keep the report: in a directory of its own, and beside the ledger of the target.

    Args:
        name: a system whose drills' reads and faults are tried; None for the target alone.
        options: `note` is told what is being asked.
        throwaway: measure on resources of its own, too, which are made, deleted and seen to be gone.

    Raises:
        InvalidInput: no such target or system, or something is wrong with its experiments; nothing was asked.
        Refused: the credentials are of another account, or the end was asked for; with `throwaway`, a guard said no, or
            another process uses the target. What was made is deleted.
        LedgerError: the ledger of the target cannot be written; nothing is made without it.
        ResidueLeft: after one of these, something could not be deleted. Otherwise that stands in the report.
        TargetError: the target does not answer at all, or there are no credentials.
    """
    check_target_name(options.root, options.target)
    system = None if name is None else load_system(options.root, name)
    plans = [] if name is None else _plans(options.root, name)
    with signals_to(options.stop), running_target(set() if name is None else {name}, options) as found:
        target = found if system is None else in_region(found, system)
        out = new_directory(options) / REPORT
        report = _report(target, system, plans, options, throwaway=throwaway)
    return Looked(report, out, (*write_whole(out, as_json(report)), *keep(options.root, report)))


def _plans(root: Path, name: str) -> list[Plan]:
    return Planner(root).plan_all(Path(one.path) for one in experiments_of(root, name))


def _report(
    target: Target, system: System | None, plans: Sequence[Plan], options: RunOptions, *, throwaway: bool
) -> ParityReport:
    at = time.time()
    with _surroundings(target, options) as around:
        rows = tuple(look(around, system, plans))
        thrown = _thrown(around.context, options) if throwaway else Thrown((), ())
    return ParityReport(
        target=target.name,
        account=target.account or "",
        region=target.region,
        at=at,
        version=__version__,
        systems=() if system is None else (system.system,),
        throwaway_at=at if throwaway else None,
        rows=(*rows, *thrown.rows),
        left=thrown.left,
    )


def _thrown(context: ParityContext, options: RunOptions) -> Thrown:
    """What is measured on resources of its own, behind the guards of a drill that are not about what is there."""
    target = context.target
    check_identity(target)
    return measure(context, guarded(target, KillSwitch(options.root, target), options.yes_production))


@contextmanager
def _surroundings(target: Target, options: RunOptions) -> Iterator[Surroundings]:
    with tempfile.TemporaryDirectory() as directory, ExitStack() as opened:
        history = History(Path(directory) / "history.jsonl")
        opened.callback(history.close)
        ledger = Ledger(ledger_path(options.root, target.name), target.name)
        opened.callback(ledger.close)
        context = ParityContext(target, ledger, Clock(wait=options.stop.wait), options.note)
        yield Surroundings(context, options.root, history, options.stop)


# --- on the terminal ----------------------------------------------------------------------------------------


def show(looked: Looked, console: Console) -> None:
    """The table, then what does not hold or was not seen, in words with the page of AWS, then the sum."""
    report = looked.report
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", expand=True)
    table.add_column("assumption", ratio=4, overflow="fold")
    table.add_column("sandbox", ratio=2, overflow="fold")
    table.add_column("here", ratio=3, overflow="fold")
    table.add_column("holds", width=len(_HOLDS[None]))
    for row in report.rows:
        assumption = ASSUMPTIONS[row.key]
        cells = (f"{row.key}: {row.about}", _shown(assumption, assumption.sandbox), _here(assumption, row))
        table.add_row(*map(Text, cells), Text(_HOLDS[row.holds], style=_STYLE[row.holds]))
    console.print(table)
    for row in report.rows:
        if not row.holds:
            source = ASSUMPTIONS[row.key].source if row.source is None else row.source
            told = f"{row.key}: {row.about}: {row.detail.rstrip('.')}. {source}".rstrip()
            console.print(Text(told, style=_STYLE[row.holds]))
    for line in report.left:
        console.print(Text(f"NOT deleted: {line}. Mend that, then call `tocsin recover`", style=_STYLE[False]))
    for trouble in looked.troubles:
        console.print(Text(trouble, style=_STYLE[None]))
    console.print(Text(summary(report), style="bold"))


def summary(report: ParityReport) -> str:
    """How many hold, do not, and were not seen."""
    held = [row.holds for row in report.rows]
    return f"{held.count(True)} hold, {held.count(False)} do not, {held.count(None)} could not be seen"


def _here(assumption: Assumption, row: Measured) -> str:
    if row.here is None:
        return ""
    looks = f" ({row.looks} looks)" if row.looks > 1 else ""
    return f"{_shown(assumption, row.here)}{looks}"


def _shown(assumption: Assumption, value: Value) -> str:
    if isinstance(value, str):
        return value
    if assumption.unit == "share":
        return f"{value:.0%}"
    if value == 0:
        return "at once"
    return format_duration(round(value)) if value >= 1 else f"{value:.3g} s"
