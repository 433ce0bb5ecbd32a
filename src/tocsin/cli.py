"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tocsin import __version__
from tocsin.cli_options import OUT, PARTS, PATHS, SCALE, TARGET, root_here
from tocsin.cli_run import run, tell_run
from tocsin.cli_sandbox import sandbox
from tocsin.commands.endings import WholeProcess, one_message
from tocsin.commands.signals import no_hangup
from tocsin.commands.streams import undisturbed
from tocsin.commands.terminal import say
from tocsin.errors import Complaints, InvalidInput

if TYPE_CHECKING:
    from tocsin.commands.smoke import Tell
    from tocsin.drill.options import RunOptions
    from tocsin.model.parts import PartsChoice

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=WholeProcess, context_settings=_CONTEXT)
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
    from tocsin.project.proxies import spare_loopback

    spare_loopback()


@main.command()
@click.argument("system")
@TARGET
@OUT
@SCALE
@PARTS
@undisturbed
@one_message
def smoke(system: str, target_name: str, out: Path | None, time_scale: float | None, parts: PartsChoice | None) -> int:
    """Check a system after a deploy, without breaking anything.

    Runs every canary once and the contract strictly, and looks whether an alarm rings. Takes well under two minutes.

    \b
    Example:
      tocsin smoke shop --target staging
    """
    from tocsin.commands.smoke import run_smoke

    return _beside_drills(run_smoke, system, target_name, out, time_scale, parts)


@main.command()
@click.argument("system")
@TARGET
@OUT
@SCALE
@PARTS
@undisturbed
@one_message
def cleanup(
    system: str, target_name: str, out: Path | None, time_scale: float | None, parts: PartsChoice | None
) -> int:
    """Remove what drills wrote into a system.

    Calls each clean-up that the `test_data` of the system file names, and says what goes by itself.

    \b
    Example:
      tocsin cleanup shop --target staging
    """
    from tocsin.commands.cleanup import run_cleanup

    return _beside_drills(run_cleanup, system, target_name, out, time_scale, parts)


def _beside_drills(
    run: Callable[[str, RunOptions, Tell], int],
    system: str,
    target_name: str,
    out: Path | None,
    time_scale: float | None,
    parts: PartsChoice | None,
) -> int:
    """Run what works on a system that nobody is breaking meanwhile, and show line by line what it tells."""
    from tocsin.commands.console import plain_console
    from tocsin.drill.options import RunOptions

    console = plain_console()

    def note(text: str) -> None:
        console.print(f"  {text}", style="dim")

    options = RunOptions(root=root_here(), target=target_name, out=out, time_scale=time_scale, parts=parts, note=note)
    return run(system, options, lambda text, ok: console.print(f"  {text}", style="green" if ok else "bold red"))


@main.command()
@PATHS
@one_message
def validate(paths: tuple[Path, ...]) -> int:
    """Check experiments without touching a target.

    Checks YAML, the `tocsin` block, the system and everything it names, faults and their arguments, and that Chaos
    Toolkit accepts the file. Every problem of every file is listed. When there is none, so is every promise and alarm
    of their systems that nothing covers and nobody explains.
    """
    from tocsin.commands.validate import validate as looked_at

    answer = looked_at(root_here(), paths)
    for problem in answer.problems:
        say(f"{problem}", err=True)
    for note in answer.notes:
        say(f"note: {note}")
    if answer.tags:
        say(f"tags: {', '.join(f'{tag} ({count})' for tag, count in answer.tags)}")
    say(f"{answer.valid} of {answer.looked_at} experiments are valid")
    return 2 if answer.problems else 0


@main.command()
@click.argument("system")
@click.option("--metrics", help="A page of /metrics of the healthy system: a file or a URL.")
@one_message
def lint(system: str, metrics: str | None) -> int:
    """Read the Prometheus rules of SYSTEM and say what they cannot keep. Exit code 1 when there is something.

    Checks quantiles without `sum by (le)`, rules that nobody who vanishes can trigger, and whether alerts agree with
    the system's objectives; with --metrics also label sets that never match, and counters that are born with the
    first event they should count.

    \b
    Example:
      tocsin lint shop --metrics https://shop.example.com/metrics
    """
    from tocsin.commands.lint import lint_lines

    found = list(lint_lines(root_here(), system, metrics))
    for line in found:
        say(line)
    say(f"{len(found)} complaint{'' if len(found) == 1 else 's'}")
    return 1 if found else 0


@main.command()
@click.argument("systems", nargs=-1, metavar="[SYSTEM]...")
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    metavar="DIR",
    multiple=True,
    help="One run, or a directory of runs; may be given again.  [default: .tocsin/runs, and every run with --out]",
)
@click.option("--written", is_flag=True, help="Only what the files say: look at no results.")
@click.option("--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
@one_message
def coverage(systems: tuple[str, ...], results: tuple[Path, ...], written: bool, form: str) -> int:
    """Which promise of a runbook is proven by which drill, and which by none. All systems when none is named.

    Alarms come from what experiments expect, everything else from the `promises` of the system and the `covers` of
    experiments. What is proven, failed or not yet drilled comes from the last drill of each experiment; where alarm,
    experiment or system are written otherwise since then, it is `changed since`.

    \b
    Examples:
      tocsin coverage shop
      tocsin coverage shop --results game-day --format markdown
    """
    from tocsin.coverage.results import read_latest
    from tocsin.coverage.table import read_coverage
    from tocsin.project.documents import system_names
    from tocsin.project.places import kept_runs

    root = root_here()
    if written and results:
        raise InvalidInput("expected --results or --written, found both")
    latest = {} if written else read_latest(*(results or kept_runs(root)))
    names = systems or tuple(system_names(root))
    complaints = Complaints()
    tables = complaints.each(lambda name: read_coverage(root, name, latest), names)
    complaints.tell()
    _show_coverage(tables, form)
    return 0


def _show_coverage(tables: Any, form: str) -> None:
    from tocsin.commands.console import plain_console
    from tocsin.coverage.words import WIDTH, as_json, markdown, show

    if form != "text":
        say(markdown(tables) if form == "markdown" else as_json(tables))
        return
    console = plain_console(soft_wrap=False)
    console = console if console.is_terminal else plain_console(WIDTH, soft_wrap=False)
    for index, table in enumerate(tables):
        console.print("\n" if index else "", end="")
        show(table, console)


@main.command()
@click.argument("directory", type=click.Path(path_type=Path))
@one_message
def report(directory: Path) -> int:
    """Judge a run again from its history alone, and write all reports again.

    Needs no target: the history says what happened, and the ledger, if at hand, what became of a fault that was left.
    """
    from tocsin.commands.console import plain_console
    from tocsin.commands.left import told_by_ledger
    from tocsin.commands.progress import Progress
    from tocsin.commands.run import report_again

    console = plain_console()
    told = report_again(directory)
    since = told_by_ledger(told.run, directory, root_here())
    tell_run(Progress(console), console, since, told.pages, told.overview)
    return since.run.exit_code


@main.command()
@TARGET
@click.option("--rollbacks", is_flag=True, help="Also run the rollbacks that dead drills owed.")
@click.option(
    "--checked-by-hand",
    "checked",
    is_flag=True,
    help="Forget what is gone from the ledger, its lock, and what is owed: you have looked that all is as it was.",
)
@undisturbed
@one_message
def recover(target_name: str, rollbacks: bool, checked: bool) -> int:
    """Undo every fault that a dead run left behind, and verify it.

    Reads the ledger, undoes the latest fault first, reads each state back. May be called as often as you like.
    Rollbacks that do more than undo faults are named, and run with --rollbacks. A ledger that was emptied, and a lock
    in the account that it does not account for, are told and kept, until you say --checked-by-hand. The lock of a dead
    run stays until all that it left is undone, and all that it owed has run.
    """
    with no_hangup():
        from tocsin.commands.parallel.places import recover_everywhere

        for line in recover_everywhere(root_here(), target_name, rollbacks=rollbacks, checked=checked):
            say(line)
    return 0


@main.command()
@TARGET
@click.option("--reason", help="Why: shown to whoever is refused.")
@click.option("--clear", is_flag=True, help="Let drills begin again.")
@undisturbed
@one_message
def stop(target_name: str, reason: str | None, clear: bool) -> int:
    """The kill switch: end every drill on a target, and keep others from beginning.

    Running drills undo, verify and report. It is set on this machine and in the account, where any colleague can set
    it by hand too: aws ssm put-parameter --name /tocsin/stop --type String --value "reason"

    \b
    Examples:
      tocsin stop --target staging --reason "the release of today looks bad"
      tocsin stop --target staging --clear
    """
    with no_hangup():
        from tocsin.commands.parallel.places import clear_everywhere, stop_everywhere

        root = root_here()
        for line in clear_everywhere(root, target_name) if clear else stop_everywhere(root, target_name, reason):
            say(line)
    return 0


@main.command()
@TARGET
@click.option("--all", "everything", is_flag=True, help="Also what is long undone and verified.")
@one_message
def ledger(target_name: str, everything: bool) -> int:
    """Show what has been broken on a target, and whether it is undone."""
    from tocsin.commands.parallel.places import ledgers_everywhere

    for line in ledgers_everywhere(root_here(), target_name, everything=everything):
        say(line)
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
@click.option("--parity-throwaway", is_flag=True, help="Also for `tocsin parity --throwaway`; needs no PATH.")
@one_message
def permissions(
    paths: tuple[Path, ...], target_name: str | None, observed: Path | None, dead_man: bool, parity_throwaway: bool
) -> int:
    """Print the least IAM policy for experiments, as JSON.

    It comes from what every part of Tocsin that these experiments use declares. What it says about the policy goes to
    stderr.

    \b
    Examples:
      tocsin permissions experiments/shop --target staging > policy.json
      tocsin permissions experiments/shop --observed .tocsin/runs/20260801-120000
      tocsin permissions --parity-throwaway --target staging
    """
    from tocsin.commands.permissions import permissions as least

    answer = least(root_here(), paths, target_name, observed, dead_man=dead_man, throwaway=parity_throwaway)
    for remark in answer.remarks:
        say(remark, err=True)
    say(answer.policy.text())
    return answer.exit_code


@main.command()
@click.argument("system", required=False)
@TARGET
@one_message
def doctor(system: str | None, target_name: str) -> int:
    """Check this machine, the parts of a drill, and a target: what is missing, and what mends it.

    Breaks nothing and takes a few seconds. Name a SYSTEM to check its alarms and notifications too. Exit code 4 when
    a drill would be refused, or could not pass.

    \b
    Examples:
      tocsin doctor
      tocsin doctor shop --target staging
    """
    from tocsin.commands.doctor import Level, examine

    colours = {Level.OK: "green", Level.WARN: "yellow", Level.GAP: "red"}
    levels = []
    for name, result in examine(root_here(), target_name, system):
        say(f"  {result.level.value:<4}", colour=colours[result.level], nl=False)
        say(f"  {name:<13}  {' '.join(f'{result.found}. {result.mend}'.split()).rstrip('. ')}")
        levels.append(result.level)
    say(f"{levels.count(Level.GAP)} gaps, {levels.count(Level.WARN)} warnings in {len(levels)} checks")
    return 4 if Level.GAP in levels else 0


@main.command()
@click.argument("system", required=False)
@TARGET
@OUT
@SCALE
@PARTS
@click.option("--throwaway", is_flag=True, help="Also measure, on resources of its own that it deletes.")
@click.option("--yes-production", metavar="ACCOUNT", help="Consent to make them there, as `tocsin run` wants it.")
@undisturbed
@one_message
def parity(
    system: str | None,
    target_name: str,
    out: Path | None,
    time_scale: float | None,
    parts: PartsChoice | None,
    throwaway: bool,
    yes_production: str | None,
) -> int:
    """Compare a target with the sandbox: is what drills take to be so, so there as well? Only reads, unasked.

    Makes every read of the guards, watchers and faults of SYSTEM's drills once, by their own code, and asks of each
    fault whether its undo could work from the state that its resource is in. Without SYSTEM: account, role, clock and
    credentials only. The table is *assumption, sandbox, here, holds*; what does not hold is told with AWS's page.
    parity.json is written to --out, and kept beside the ledger of the target.

    With --throwaway it also measures, on resources named tocsin-parity-* that it makes and deletes: how late alarms,
    histories and notifications are, how soon IAM is obeyed, whether a schedule fires. `tocsin recover` deletes what a
    killed one left. `tocsin permissions --parity-throwaway` prints what it needs.

    \b
    Exit codes:
      0 all hold   1 one does not hold   3 one could not be seen   5 something was not deleted
      2, 4 as of every command

    \b
    Examples:
      tocsin parity shop --target staging
      tocsin parity --target staging --out parity-of-today
      tocsin parity --target staging --throwaway
    """
    from tocsin.commands.console import plain_console
    from tocsin.commands.parity import run_parity, show
    from tocsin.coverage.words import WIDTH
    from tocsin.drill.options import RunOptions

    def note(text: str) -> None:
        say(f"  {text}", err=True)

    options = RunOptions(
        root=root_here(),
        target=target_name,
        out=out,
        time_scale=time_scale,
        parts=parts,
        yes_production=yes_production,
        note=note,
    )
    looked = run_parity(system, options, throwaway=throwaway)
    console = plain_console(soft_wrap=False)
    show(looked, console if console.is_terminal else plain_console(WIDTH, soft_wrap=False))
    say(f"  report    {looked.file}")
    return looked.report.exit_code


@main.command()
@click.argument("name", required=False)
@one_message
def faults(name: str | None) -> int:
    """List the faults, or explain one: its arguments, permissions and undo."""
    from tocsin.commands.faults import fault_lines

    for line in fault_lines(name):
        say(line)
    return 0


@main.command()
@click.argument("what", type=click.Choice(["experiment", "system", "target", "block"]), default="experiment")
@one_message
def schema(what: str) -> int:
    """Print the JSON Schema of a file, for editors: of experiments, unless another kind is named.

    `system` is that of systems/*.yaml, `target` that of tocsin.toml, `block` that of the `tocsin` block alone.

    \b
    Example:
      tocsin schema system > .tocsin/system.schema.json
    """
    import json

    from tocsin.commands.schema import schema as schema_of

    say(json.dumps(schema_of(what), indent=2))
    return 0


main.add_command(run)
main.add_command(sandbox)


if __name__ == "__main__":
    main()
