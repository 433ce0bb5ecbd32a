"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import click

from tocsin import __version__
from tocsin.errors import TocsinError
from tocsin.masking import mask

if TYPE_CHECKING:
    from tocsin.sandbox.parts import PartsChoice

P = ParamSpec("P")

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_PATHS = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
_TARGET = click.option(
    "--target", "target_name", default="sandbox", show_default=True, help="`sandbox`, or a target of tocsin.toml."
)
_OUT = click.option(
    "--out", type=click.Path(path_type=Path), help="New directory for the reports.  [default: .tocsin/runs/<time>]"
)
_SCALE = click.option(
    "--time-scale",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=1, max=600),
    help="How much faster the sandbox's clock runs. Request latency is never scaled.",
)
_PARTS = click.option(
    "--parts",
    default="embedded",
    show_default=True,
    type=click.Choice(["embedded", "containers"]),
    help="Where the sandbox has PostgreSQL, Valkey and Prometheus from: wheels, or images in Docker.",
)


def _one_message(command: Callable[P, int | None]) -> Callable[P, None]:
    """Show our own errors as one message, and leave with the command's exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = command(*args, **kwargs)
        except TocsinError as error:
            click.echo(f"tocsin: {error}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("tocsin: interrupted", err=True)
            sys.exit(4)
        except BrokenPipeError:
            raise  # whoever read our output has seen enough: click ends quietly
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                click.echo(
                    f"tocsin: expected to write {error.filename or 'a report'}, found: {error.strerror}", err=True
                )
                sys.exit(3)
            # Not 1: a bug of ours says nothing about the system under test.
            click.echo(mask(traceback.format_exc()), err=True, nl=False)
            click.echo(
                "tocsin: this is a bug in Tocsin. If a drill was running, `tocsin ledger` shows its faults.", err=True
            )
            sys.exit(3)
        sys.exit(code or 0)

    return run


def _root() -> Path:
    from tocsin.project import find_root

    return find_root(Path.cwd())


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="tocsin")
def main() -> None:
    """Break a system on purpose; prove that the bell rings and the rollback works.

    \b
    A first drill on the embedded sandbox, with no account:
      tocsin run experiments/MY-SYSTEM/MY-EXPERIMENT.yaml

    \b
    Exit codes of every command:
      0 pass   1 fail   2 invalid input   3 unknown   4 refused or stopped by a guard   5 residue left
    """


@main.command()
@_PATHS
@_TARGET
@_OUT
@_SCALE
@_PARTS
@click.option(
    "--yes-production",
    metavar="ACCOUNT",
    help="Consent to break this account: needed, as exactly its id, for a target with `production = true`.",
)
@click.option("--seed", type=int, help="Repeat a run: arrivals and generated cases come from this number.")
@click.option("--dry-run", is_flag=True, help="Show what would be changed and what IAM would say; change nothing.")
@_one_message
def run(
    paths: tuple[Path, ...],
    target_name: str,
    out: Path | None,
    time_scale: float,
    parts: PartsChoice,
    yes_production: str | None,
    seed: int | None,
    dry_run: bool,
) -> int:
    """Drill experiments: files, or directories of them.

    A drill has four acts: preflight touches nothing; baseline watches the healthy system under load; fault breaks it
    and waits for the bells; recovery undoes it and waits until everything is as before. Ctrl-C at any time undoes,
    verifies and reports. If no sandbox is running, one is started and stopped again.

    \b
    Examples:
      tocsin run experiments/shop
      tocsin run experiments/shop/bad-release.yaml --out game-day
      tocsin run experiments/shop --target staging --dry-run
      tocsin run experiments/shop --target staging
    """
    from tocsin.progress import Progress, plain_console
    from tocsin.run import RunOptions, run_experiments

    console = plain_console()
    progress = Progress(console)
    options = RunOptions(
        root=_root(),
        target=target_name,
        out=out,
        seed=seed,
        time_scale=time_scale,
        parts=parts,
        yes_production=yes_production,
        listener=progress.see,
        note=progress.note,
    )
    if dry_run:
        return _show_plan(paths, options, console)
    with progress.showing():
        result, directory = run_experiments(paths, options)
    _tell(progress, console, result, directory)
    return result.exit_code


def _show_plan(paths: tuple[Path, ...], options: Any, console: Any) -> int:
    from tocsin.dryrun import dry_run

    return dry_run(paths, options, lambda text, ok: console.print(text, style=None if ok else "bold red"))


def _tell(progress: Any, console: Any, result: Any, directory: Path) -> None:
    console.print()
    for verdict in result.drills:
        progress.verdict(verdict)
    console.print()
    console.print(f"  verdict   {result.outcome.value}  (exit code {result.exit_code})", style="bold")
    for verdict in result.drills:
        console.print(f"  report    {directory / verdict.experiment / 'report.html'}")
    if len(result.drills) > 1:
        console.print(f"  overview  {directory / 'index.html'}")
    console.print(f"  summary   {directory / 'summary.md'}")
    if result.exit_code == 5:
        console.print("  A fault is still in place: call `tocsin recover`.", style="bold red")


@main.command()
@click.argument("system")
@_TARGET
@_OUT
@_SCALE
@_PARTS
@_one_message
def smoke(system: str, target_name: str, out: Path | None, time_scale: float, parts: PartsChoice) -> int:
    """Check a system after a deploy, without breaking anything.

    Runs every canary once and the contract strictly, and looks whether an alarm rings. Takes well under two minutes.

    \b
    Example:
      tocsin smoke shop --target staging
    """
    from tocsin.progress import plain_console
    from tocsin.run import RunOptions
    from tocsin.smoke import run_smoke

    console = plain_console()
    options = RunOptions(
        root=_root(),
        target=target_name,
        out=out,
        time_scale=time_scale,
        parts=parts,
        note=lambda text: console.print(f"  {text}", style="dim"),
    )
    return run_smoke(system, options, lambda text, ok: console.print(f"  {text}", style="green" if ok else "bold red"))


@main.command()
@_PATHS
@_one_message
def validate(paths: tuple[Path, ...]) -> int:
    """Check experiments without touching a target.

    Checks YAML, the `tocsin` block, the system and everything it names, faults and their arguments, and that Chaos
    Toolkit accepts the file. Every problem of every file is listed. When there is none, so is every promise and alarm
    of their systems that nothing covers and nobody explains.
    """
    from tocsin.actors.injector import quiet_chaos_toolkit
    from tocsin.coverage.table import complaints
    from tocsin.errors import InvalidInput
    from tocsin.loader import find_experiments
    from tocsin.validation import Planner

    quiet_chaos_toolkit()
    root = _root()
    planner, problems, systems = Planner(root), 0, {}
    files = find_experiments(paths)
    for file in files:
        try:
            system = planner.plan(file).system
            systems[system.system] = system
        except InvalidInput as error:
            problems += 1
            click.echo(f"{error}", err=True)
    unsaid = [] if problems else [complaint for system in systems.values() for complaint in complaints(root, system)]
    for complaint in unsaid:
        click.echo(f"{complaint}", err=True)
    click.echo(f"{len(files) - problems} of {len(files)} experiments are valid")
    return 2 if problems or unsaid else 0


@main.command()
@click.argument("system")
@click.option("--metrics", help="A page of /metrics of the healthy system: a file or a URL.")
@_one_message
def lint(system: str, metrics: str | None) -> int:
    """Read the Prometheus rules of SYSTEM and say what they cannot keep. Exit code 1 when there is something.

    Checks quantiles without `sum by (le)`, rules that nobody who vanishes can trigger, and whether alerts agree with
    the system's objectives; with --metrics also label sets that never match, and counters that are born with the
    first event they should count.

    \b
    Example:
      tocsin lint shop --metrics https://shop.example.com/metrics
    """
    from tocsin.linting import lint_lines

    found = list(lint_lines(_root(), system, metrics))
    for line in found:
        click.echo(line)
    click.echo(f"{len(found)} complaint{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


@main.command()
@click.argument("systems", nargs=-1, metavar="[SYSTEM]...")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="One run, or a directory of runs.  [default: .tocsin/runs]",
)
@click.option("--written", is_flag=True, help="Only what the files say: look at no results.")
@click.option("--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
@_one_message
def coverage(systems: tuple[str, ...], results: Path | None, written: bool, form: str) -> int:
    """Which promise of a runbook is proven by which drill, and which by none. All systems when none is named.

    Alarms come from what experiments expect, everything else from the `promises` of the system and the `covers` of
    experiments. What is proven, failed or not yet drilled comes from the last drill of each experiment.

    \b
    Examples:
      tocsin coverage shop
      tocsin coverage shop --results game-day --format markdown
    """
    from tocsin.coverage.results import read_latest
    from tocsin.coverage.table import coverage_of, experiments_of
    from tocsin.errors import InvalidInput
    from tocsin.loader import load_system, system_names
    from tocsin.project import runs_directory

    root = _root()
    if written and results is not None:
        raise InvalidInput("expected --results or --written, found both")
    kept = results or runs_directory(root)
    latest = {} if written or (results is None and not kept.is_dir()) else read_latest(kept)
    names = systems or tuple(system_names(root))
    tables = [coverage_of(load_system(root, name), experiments_of(root, name), latest) for name in names]
    _show_coverage(tables, form)
    return 0


def _show_coverage(tables: Any, form: str) -> None:
    from rich.console import Console

    from tocsin.coverage.words import WIDTH, as_json, markdown, show

    if form != "text":
        click.echo(markdown(tables) if form == "markdown" else as_json(tables))
        return
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=WIDTH)
    for index, table in enumerate(tables):
        console.print("\n" if index else "", end="")
        show(table, console)


@main.command()
@click.argument("directory", type=click.Path(path_type=Path))
@_one_message
def report(directory: Path) -> int:
    """Judge a run again from its history alone, and write all reports again.

    Needs no target: the history is the only record of what happened.
    """
    from tocsin.progress import Progress, plain_console
    from tocsin.run import report_again

    console = plain_console()
    result = report_again(directory)
    _tell(Progress(console), console, result, directory)
    return result.exit_code


@main.command()
@_TARGET
@_one_message
def recover(target_name: str) -> int:
    """Undo every fault that a dead run left behind, and verify it.

    Reads the ledger, undoes the latest fault first, reads each state back. May be called as often as you like.
    """
    from tocsin.recovery import recover_target

    for line in recover_target(_root(), target_name):
        click.echo(line)
    return 0


@main.command()
@_TARGET
@click.option("--reason", help="Why: shown to whoever is refused.")
@click.option("--clear", is_flag=True, help="Let drills begin again.")
@_one_message
def stop(target_name: str, reason: str | None, clear: bool) -> int:
    """The kill switch: end every drill on a target, and keep others from beginning.

    Running drills undo, verify and report. It is set on this machine and in the account, where any colleague can set
    it by hand too: aws ssm put-parameter --name /tocsin/stop --type String --value "reason"

    \b
    Examples:
      tocsin stop --target staging --reason "the release of today looks bad"
      tocsin stop --target staging --clear
    """
    from tocsin.stopping import clear_target, stop_target

    for line in clear_target(_root(), target_name) if clear else stop_target(_root(), target_name, reason):
        click.echo(line)
    return 0


@main.command()
@_TARGET
@click.option("--all", "everything", is_flag=True, help="Also what is long undone and verified.")
@_one_message
def ledger(target_name: str, everything: bool) -> int:
    """Show what has been broken on a target, and whether it is undone."""
    from tocsin.recovery import ledger_lines

    for line in ledger_lines(_root(), target_name, everything=everything):
        click.echo(line)
    return 0


@main.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--target", "target_name", help="Names its account and region, and asks it for ids.  [default: any]")
@click.option(
    "--observed",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="From the calls that the run in DIR really made; exit code 1 if one of them is not declared.",
)
@click.option("--dead-man", is_flag=True, help="Also for the schedules that end a fault when nobody is left to.")
@_one_message
def permissions(paths: tuple[Path, ...], target_name: str | None, observed: Path | None, dead_man: bool) -> int:
    """Print the least IAM policy for experiments, as JSON.

    It comes from what every part of Tocsin that these experiments use declares. What it says about the policy goes to
    stderr.

    \b
    Examples:
      tocsin permissions experiments/shop --target staging > policy.json
      tocsin permissions experiments/shop --observed .tocsin/runs/20260801-120000
    """
    from tocsin.permissions import permissions as least

    answer = least(_root(), paths, target_name, observed, dead_man=dead_man)
    for remark in answer.remarks:
        click.echo(remark, err=True)
    click.echo(answer.policy.text())
    return answer.exit_code


@main.command()
@click.argument("system", required=False)
@_TARGET
@_one_message
def doctor(system: str | None, target_name: str) -> int:
    """Check this machine, the parts of a drill, and a target: what is missing, and what mends it.

    Breaks nothing and takes a few seconds. Name a SYSTEM to check its alarms and notifications too. Exit code 4 when
    a drill would be refused, or could not pass.

    \b
    Examples:
      tocsin doctor
      tocsin doctor shop --target staging
    """
    from tocsin.doctor import Level, examine

    colours = {Level.OK: "green", Level.WARN: "yellow", Level.GAP: "red"}
    levels = []
    for name, result in examine(_root(), target_name, system):
        level = click.style(f"{result.level.value:<4}", fg=colours[result.level])
        click.echo(f"  {level}  {name:<13}  {' '.join(f'{result.found}. {result.mend}'.split()).rstrip('. ')}")
        levels.append(result.level)
    click.echo(f"{levels.count(Level.GAP)} gaps, {levels.count(Level.WARN)} warnings in {len(levels)} checks")
    return 4 if Level.GAP in levels else 0


@main.command()
@click.argument("name", required=False)
@_one_message
def faults(name: str | None) -> int:
    """List the faults, or explain one: its arguments, permissions and undo."""
    from tocsin.faults.catalogue import fault_lines

    for line in fault_lines(name):
        click.echo(line)
    return 0


@main.command()
@click.option("--system", "for_system", is_flag=True, help="The schema of systems/*.yaml instead.")
@_one_message
def schema(for_system: bool) -> int:
    """Print the JSON Schema of the `tocsin` block of an experiment, for editors."""
    import json

    from tocsin.model.experiment import Extension
    from tocsin.model.system import System

    model = System if for_system else Extension
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(by_alias=True)}
    click.echo(json.dumps(document, indent=2))
    return 0


@main.group()
def sandbox() -> None:
    """The embedded stand-in for an AWS account: no account, no Docker, only loopback."""


@sandbox.command()
@click.argument("system")
@_SCALE
@_PARTS
@click.option(
    "--policy",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Enforce IAM, and drill as a user with exactly this policy. Given again, it replaces the one before.",
)
@_one_message
def up(system: str, time_scale: float, parts: PartsChoice, policy: Path | None) -> int:
    """Start the sandbox and deploy the replica of SYSTEM into it.

    \b
    To drill with no more than the least permissions:
      tocsin permissions experiments/shop > policy.json
      tocsin sandbox up shop --policy policy.json
      tocsin run experiments/shop
    """
    from tocsin.loader import load_system, read_text
    from tocsin.recovery import start_sandbox

    root = _root()
    load_system(root, system)
    document = None if policy is None else read_text(policy)
    state = start_sandbox(system, root, time_scale, lambda text: click.echo(f"  {text}"), document, parts)
    click.echo(f"sandbox is up with {', '.join(state.systems)}, clock {state.time_scale:g}x")
    click.echo(f"  export AWS_ENDPOINT_URL={state.endpoint_url} AWS_REGION={state.region}")
    if state.drill_user is not None:
        click.echo("  IAM is enforced: drills run as a user with the policy given")
    return 0


@sandbox.command()
@_one_message
def down() -> int:
    """Stop the sandbox: no process, port or file of it is left. Also mends what a crash left."""
    from tocsin.sandbox import control

    report = control.down(_root())
    ended = report.processes_ended + report.processes_killed
    click.echo(f"sandbox is down: {ended} processes ended" if ended else "no sandbox was running")
    return 0


@sandbox.command()
@_one_message
def status() -> int:
    """Say whether the sandbox runs, where, with which systems and how much memory. Exit code 3 when it does not."""
    from tocsin.sandbox import control

    state = control.status(_root())
    if state is None:
        click.echo("no sandbox is running")
        return 3
    click.echo(f"sandbox is up with {', '.join(state.systems)}, clock {state.time_scale:g}x")
    click.echo(f"  AWS API  {state.endpoint_url}{', IAM is enforced' if state.drill_user else ''}")
    click.echo(f"  parts    {state.parts_from}")
    click.echo(f"  memory   {state.pss_bytes / 2**20:.0f} MiB ({state.rss_bytes / 2**20:.0f} MiB with shared pages)")
    for part in state.parts:
        place = f"process {part.pid}" if part.pid else f"port {part.port}"
        click.echo(f"  {part.name:<20} {place:<16} {part.state}")
    return 0


if __name__ == "__main__":
    main()
