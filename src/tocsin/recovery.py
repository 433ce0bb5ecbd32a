"""`tocsin recover` and `tocsin ledger`: what dead runs left behind, shown and undone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.faults.lifecycle import recover
from tocsin.faults.registry import FAULTS
from tocsin.ledger import Entry, EntryState, Ledger
from tocsin.project import ledger_path
from tocsin.targets import SANDBOX, check_target_name, load_target

if TYPE_CHECKING:
    from tocsin.sandbox.control import SandboxState


def recover_target(root: Path, name: str) -> Iterator[str]:
    """Undo and verify everything the ledger of a target holds open; one line for each.

    Raises:
        InvalidInput: no such target.
        Refused: a run is using the target right now.
        ResidueLeft: something could not be undone.
    """
    check_target_name(root, name)
    ledger = Ledger(ledger_path(root, name), name)
    try:
        if not ledger.entries(only_open=True):
            yield f"nothing to recover on target '{name}'"
            return
        with ledger.lock("tocsin recover"):
            for entry in recover(load_target(root, name), ledger):
                yield f"undone and verified: {entry.fault} on {entry.resource}"
    finally:
        ledger.close()


def start_sandbox(
    system: str, root: Path, time_scale: float, progress: Callable[[str], None], policy: str | None = None
) -> SandboxState:
    """Start the sandbox with a system, or add the system to the one that runs; see `control.up`.

    Raises:
        InvalidInput: there is no such replica, or the policy is none.
        SandboxError: it did not come up, or runs with another time scale or without IAM.
    """
    from tocsin.sandbox import control

    if control.status(root) is None:
        close_entries_of_a_gone_sandbox(root)
    return control.up(system, root, time_scale=time_scale, progress=progress, policy=policy)


def close_entries_of_a_gone_sandbox(root: Path) -> int:
    """What was broken in a sandbox that does not run any more is gone with it.

    Returns:
        How many open entries were closed.
    """
    ledger = Ledger(ledger_path(root, SANDBOX), SANDBOX)
    try:
        left = ledger.entries(only_open=True)
        for entry in left:
            ledger.advance(entry.id, EntryState.VERIFIED, "gone with the sandbox that it was in")
    finally:
        ledger.close()
    return len(left)


def ledger_lines(root: Path, name: str, *, everything: bool) -> Iterator[str]:
    """The ledger of a target as text, latest entry last.

    Raises:
        InvalidInput: no such target.
    """
    check_target_name(root, name)
    ledger = Ledger(ledger_path(root, name), name)
    entries = ledger.entries(only_open=not everything)
    ledger.close()
    if not entries:
        yield f"no {'' if everything else 'open '}entry in the ledger of target '{name}'"
    yield from (_line(entry) for entry in entries)


def _line(entry: Entry) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.created_at))
    detail = f"  ({entry.detail})" if entry.detail and entry.open else ""
    return f"{when}  {entry.id}  {entry.state.value:<8}  {entry.fault} on {entry.resource}{_end(entry)}{detail}"


def _end(entry: Entry) -> str:
    """When AWS ends an open fault without us, and what that means for whoever reads it."""
    if entry.expires_at is None or not entry.open:
        return ""
    at = time.strftime("%H:%M", time.localtime(entry.expires_at))
    if time.time() < entry.expires_at:
        return f"; ends by itself at {at}"
    by_itself = entry.fault in FAULTS and FAULTS[entry.fault].expires
    ended = f"ended by itself at {at}, harmless since" if by_itself else f"a schedule should have ended it at {at}"
    return f"; {ended}: `tocsin recover` verifies that and removes what is left"
