"""Which target and which ledger a Chaos Toolkit activity works on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.ledger import Ledger
from tocsin.project import find_root, ledger_path
from tocsin.target import Target
from tocsin.targets import load_target

CONFIGURATION_KEY = "tocsin_faults"
"""Inside a drill, Chaos Toolkit's configuration carries the drill's own lifecycle under this key."""


def faults_of(configuration: Mapping[str, Any] | None) -> FaultLifecycle:
    """The lifecycle of the running drill; outside a drill one for the target named by TOCSIN_TARGET.

    Raises:
        InvalidInput: no such target.
        SandboxError: the target is the sandbox, and it is not running.
        LedgerError: the ledger cannot be opened.
    """
    inside = (configuration or {}).get(CONFIGURATION_KEY)
    if isinstance(inside, FaultLifecycle):
        return inside
    root = find_root(Path.cwd())
    target = target_of(configuration)
    ledger = Ledger(ledger_path(root, target.name), target.name)
    # What can end by itself does so an hour after its injection: no drill says when.
    # One `chaos run` is one process: its rollbacks undo what its method injected, and nothing else.
    return FaultLifecycle(target=target, ledger=ledger, drill=f"chaos-run-{os.getpid()}")


def target_of(configuration: Mapping[str, Any] | None) -> Target:
    """The target an activity works on, found as in `faults_of`."""
    inside = (configuration or {}).get(CONFIGURATION_KEY)
    if isinstance(inside, FaultLifecycle):
        return inside.target
    return load_target(find_root(Path.cwd()), os.environ.get("TOCSIN_TARGET", "sandbox"))
