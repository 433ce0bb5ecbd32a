"""The command line's `sandbox`: the stand-in for an AWS account."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tocsin.cli_options import PARTS, POLICY_FILE, SCALE, root_here
from tocsin.commands.endings import one_message
from tocsin.commands.terminal import say

if TYPE_CHECKING:
    from tocsin.model.parts import PartsChoice
    from tocsin.sandbox.control import SandboxState


@click.group()
def sandbox() -> None:
    """The embedded stand-in for an AWS account: no account, no Docker, only loopback."""


@sandbox.command()
@click.argument("system")
@SCALE
@PARTS
@click.option(
    "--policy",
    type=POLICY_FILE,
    metavar="FILE",
    help="Drill as a user with exactly this policy. Given again, it replaces the one before.",
)
@one_message
def up(system: str, time_scale: float | None, parts: PartsChoice | None, policy: Path | None) -> int:
    """Start the sandbox and deploy the replica of SYSTEM into it.

    \b
    To drill with no more than the least permissions:
      tocsin permissions experiments/shop > policy.json
      tocsin sandbox up shop --policy policy.json
      tocsin run experiments/shop
    """
    from tocsin.commands.session import start_sandbox
    from tocsin.project.documents import load_system
    from tocsin.project.policies import read_policy
    from tocsin.sandbox.control import credentials_file

    root = root_here()
    load_system(root, system)
    document = None if policy is None else read_policy(policy)
    state = start_sandbox(system, root, time_scale, lambda text: say(f"  {text}"), document, parts)
    say(f"sandbox is up with {', '.join(state.systems)}, clock {state.time_scale:g}x")
    keys = shlex.quote(str(credentials_file(root.resolve())))
    say(f"  export AWS_ENDPOINT_URL={state.endpoint_url} AWS_REGION={state.region}")
    say(f"  export AWS_SHARED_CREDENTIALS_FILE={keys} AWS_PROFILE=default")
    if "AWS_ACCESS_KEY_ID" in os.environ:
        say("  unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN")
    if state.drill_user is not None:
        say("  drills run as a user with the policy given")
    return 0


@sandbox.command()
@one_message
def down() -> int:
    """Stop the sandbox, and those of workers: no process, port or file is left. Also mends what a crash left."""
    from tocsin.project.places import as_worker, places_of
    from tocsin.sandbox import control

    root = root_here()
    for name in places_of(root):
        with as_worker(name):
            report = control.down(root)
        ended = report.processes_ended + report.processes_killed
        if name is None:
            say(f"sandbox is down: {ended} processes ended" if ended else "no sandbox was running")
        elif ended:
            say(f"sandbox of worker {name} is down: {ended} processes ended")
    return 0


@sandbox.command()
@one_message
def status() -> int:
    """Say whether the sandbox runs, where, with which systems and how much memory. Exit code 3 when none does.

    Those of workers of `tocsin run --parallel` are told, too.
    """
    from tocsin.project.places import as_worker, places_of
    from tocsin.sandbox import control

    root, found = root_here(), 0
    for name in places_of(root):
        with as_worker(name):
            state = control.status(root)
        if state is not None:
            found += 1
            _show(state, "sandbox" if name is None else f"sandbox of worker {name}")
    if not found:
        say("no sandbox is running")
    return 0 if found else 3


def _show(state: SandboxState, called: str) -> None:
    say(f"{called} is up with {', '.join(state.systems)}, clock {state.time_scale:g}x")
    say(f"  AWS API  {state.endpoint_url}{', IAM is enforced' if state.drill_user else ''}")
    say(f"  parts    {state.parts_from}")
    say(f"  memory   {state.pss_bytes / 2**20:.0f} MiB ({state.rss_bytes / 2**20:.0f} MiB with shared pages)")
    for part in state.parts:
        place = f"process {part.pid}" if part.pid else f"port {part.port}"
        say(f"  {part.name:<20} {place:<16} {part.state}")
