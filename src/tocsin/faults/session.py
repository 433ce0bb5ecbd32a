"""Which target and which ledger a Chaos Toolkit activity works on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tocsin.aws.target import Aws, Target
from tocsin.faults.base import Change
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.guards.admission import check_identity, check_production
from tocsin.guards.changes import ChangeGuards
from tocsin.guards.kill_switch import KillSwitch
from tocsin.project.places import find_root, here, ledger_path
from tocsin.project.proxies import spare_loopback
from tocsin.project.targets import load_target
from tocsin.record.ledger import Ledger

Configuration = Mapping[str, Any]
"""What Chaos Toolkit passes to an activity that asks for it."""
CONFIGURATION_KEY = "tocsin_faults"
"""Inside a drill, Chaos Toolkit's configuration carries the drill's own lifecycle under this key."""


def faults_of(configuration: Mapping[str, Any] | None) -> FaultLifecycle:
    """The lifecycle of the running drill; outside a drill one for the target named by TOCSIN_TARGET.

    Raises:
        InvalidInput: no such target.
        SandboxError: the target is the sandbox, and it is not running.
        Refused: the credentials are of another account.
        LedgerError: the ledger cannot be opened.
    """
    inside = (configuration or {}).get(CONFIGURATION_KEY)
    if isinstance(inside, FaultLifecycle):
        return inside
    root = find_root(here())
    target = target_of(configuration)
    check_identity(target)
    ledger = Ledger(ledger_path(root, target.name), target.name)
    # What can end by itself does so an hour after its injection: no drill says when.
    # One `chaos run` is one process: its rollbacks undo what its method injected, and nothing else.
    return FaultLifecycle(target=target, ledger=ledger, drill=f"chaos-run-{os.getpid()}", permit=_guarded(root, target))


def _guarded(root: Path, target: Target) -> Callable[[Change, Aws], None]:
    """The guards that can be asked where no drill keeps them: consent, and those of each change."""
    changes = ChangeGuards(target, KillSwitch(root, target), lambda event: None)

    def permit(change: Change, aws: Aws) -> None:
        check_production(target, os.environ.get("TOCSIN_YES_PRODUCTION"))
        changes.permit(change.resource, lambda: change.arns(aws))

    return permit


def target_of(configuration: Mapping[str, Any] | None) -> Target:
    """The target an activity works on, found as in `faults_of`."""
    inside = (configuration or {}).get(CONFIGURATION_KEY)
    if isinstance(inside, FaultLifecycle):
        return inside.target
    spare_loopback()
    return load_target(find_root(here()), os.environ.get("TOCSIN_TARGET", "sandbox"))


def waiter_of(configuration: Mapping[str, Any] | None) -> Callable[[float], None]:
    """Sleeps in wall seconds; inside a drill it raises Refused when the end is asked for."""
    inside = (configuration or {}).get(CONFIGURATION_KEY)
    return inside.wait if isinstance(inside, FaultLifecycle) else time.sleep
