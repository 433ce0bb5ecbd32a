"""The command line's `run`: drills."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from tocsin.cli_options import OUT, PARTS, PATHS, POLICY_FILE, TARGET, root_here
from tocsin.commands.endings import leave, one_message
from tocsin.commands.signals import signals_to
from tocsin.commands.streams import Aside, undisturbed

MOST_WORKERS = 64


class WorkersType(click.ParamType):  # type: ignore[type-arg]
    """A number of workers, or `auto`."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As `click.ParamType.convert`."""
        if value == "auto":
            return value
        return click.IntRange(1, MOST_WORKERS).convert(value, param, ctx)


class ScaleType(click.ParamType):  # type: ignore[type-arg]
    """A time scale, or `auto`."""

    name = "auto|1..600"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As `click.ParamType.convert`."""
        if value == "auto":
            return value
        return click.FloatRange(1, 600).convert(value, param, ctx)


@click.command()
@PATHS
@TARGET
@OUT
@click.option(
    "--time-scale",
    type=ScaleType(),
    help="How much faster the sandbox's clock runs; `auto`: as fast as each drill bears, on sandboxes of its own. "
    "Request latency is never scaled.  [default: auto, or that of the sandbox that runs]",
)
@PARTS
@click.option(
    "--yes-production",
    metavar="ACCOUNT",
    help="Consent to break this account: needed, as exactly its id, for a target with `production = true`.",
)
@click.option("--seed", type=int, help="Repeat a run: arrivals and generated cases come from this number.")
@click.option(
    "--try-again",
    is_flag=True,
    help="Drill once more where this machine did not keep up (`machine_busy`); the second verdict stands.",
)
@click.option(
    "--parallel",
    type=WorkersType(),
    help="Sandbox: drill side by side, each worker on a sandbox of its own; `auto`: one for each processor. A drill "
    "begins only while the machine has room; one with which it did not keep up is run once more, alone.",
)
@click.option("-x", "--exit-first", is_flag=True, help="Begin no other drill after one that failed.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Only experiments with this tag; may be given again.")
@click.option("--not-tag", "not_tags", metavar="TAG", multiple=True, help="None with this tag; may be given again.")
@click.option("--dry-run", is_flag=True, help="Show what would be changed and what IAM would say; change nothing.")
@click.option(
    "--policy",
    type=POLICY_FILE,
    metavar="FILE",
    help="Sandbox: drill as a user with exactly this policy, in this run.",
)
@undisturbed
@one_message
def run(paths: tuple[Path, ...], target_name: str, policy: Path | None, dry_run: bool, **choices: Any) -> int:
    """Drill experiments: files, or directories of them.

    A drill has four acts: preflight touches nothing; baseline watches the healthy system under load; fault breaks it
    and waits for the bells; recovery undoes it and waits until everything is as before. Ctrl-C at any time undoes,
    verifies and reports. If no sandbox is running, one is started and stopped again.

    Tags are those of the files (`tags: [gate, database]`); --dry-run and `tocsin validate` show them. One more, `long`,
    is had by each drill with a deadline above 30 minutes, and on a clock slower than 60 times AWS's by every one.
    Where nothing is selected nothing is known: exit code 3.

    \b
    Examples:
      tocsin run experiments/shop
      tocsin run experiments/shop/bad-release.yaml --out game-day
      tocsin run experiments --parallel auto
      tocsin run experiments --tag gate --not-tag long
      tocsin run experiments/shop --policy policy.json
      tocsin run experiments/shop --target staging --dry-run
      tocsin run experiments/shop --target staging
    """
    from tocsin.actors.attended import anything_left
    from tocsin.commands.console import plain_console
    from tocsin.commands.left import as_it_ended
    from tocsin.commands.parallel.board import Board
    from tocsin.commands.progress import Progress
    from tocsin.commands.run import run_experiments
    from tocsin.commands.session import settled
    from tocsin.drill.options import RunOptions
    from tocsin.project.policies import read_policy

    console = plain_console()
    progress = Progress(console)
    display, board = Aside(progress.see), Board(console)
    options = RunOptions(
        root=root_here(),
        target=target_name,
        policy=None if policy is None else read_policy(policy),
        listener=display.see,
        watch=board.watch,
        note=progress.note,
        **_with_scale(choices),
    )
    options = settled(options)
    if dry_run:
        return _show_plan(paths, options, console)
    with signals_to(options.stop):  # a signal changes nothing any more when the verdict is there, nor does a third
        with progress.showing() if options.parallel is None else board.showing():
            result, directory = run_experiments(paths, options)
            display.close()
            board.close()
        tell_run(progress, console, as_it_ended(result), _pages(result, directory), directory)
        if anything_left():
            leave(result.exit_code)
    return result.exit_code


def _with_scale(choices: dict[str, Any]) -> dict[str, Any]:
    """What was chosen; with `auto` each time scale is a sandbox of its own."""
    return {**choices, "time_scale": None, "auto_scale": True} if choices["time_scale"] == "auto" else choices


def _show_plan(paths: tuple[Path, ...], options: Any, console: Any) -> int:
    from tocsin.commands.dryrun import dry_run

    return dry_run(paths, options, lambda text, ok: console.print(text, style=None if ok else "bold red"))


def _pages(result: Any, directory: Path) -> list[Path]:
    return [directory / verdict.experiment / "report.html" for verdict in result.drills if verdict.has_report]


def tell_run(progress: Any, console: Any, since: Any, pages: Iterable[Path], directory: Path | None) -> None:
    """Show the verdict on a run, and where its reports are."""
    result = since.run
    console.print()
    for verdict in result.drills:
        progress.verdict(verdict)
    console.print()
    console.print(f"  verdict   {result.outcome.value}  (exit code {result.exit_code})", style="bold")
    for page in pages:
        console.print(f"  report    {page}")
    if directory is not None and len(result.drills) > 1:
        console.print(f"  overview  {directory / 'index.html'}")
    if directory is not None:
        console.print(f"  summary   {directory / 'summary.md'}")
    for line in since.lines:
        console.print(f"  {line}", style="bold red")
