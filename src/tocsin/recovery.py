"""`tocsin recover` and `tocsin ledger`: what dead runs left behind, shown and undone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.errors import LedgerError, ResidueLeft, TargetError, Unavailable
from tocsin.faults.lifecycle import RETRY_AFTER_S, recover
from tocsin.faults.registry import FAULTS
from tocsin.guards.admission import check_identity
from tocsin.guards.lock import AccountLock, forget_lock, region_left_locked
from tocsin.ledger import Entry, EntryState, Ledger
from tocsin.project import ledger_path
from tocsin.target import Target
from tocsin.targets import SANDBOX, check_target_name, load_target, sandbox_state_file

if TYPE_CHECKING:
    from tocsin.sandbox.control import SandboxState
    from tocsin.sandbox.parts import PartsChoice

_OWNER = "tocsin recover"
_LONGEST_WALL_S = 1800.0
"""After this time others may take over the lock of a recovery."""


def recover_target(root: Path, name: str) -> Iterator[str]:
    """Undo and verify everything the ledger of a target holds open; one line for each.

    Raises:
        InvalidInput: no such target.
        Refused: a run is using the target right now, here or elsewhere, or the credentials are of another account.
        ResidueLeft: something could not be undone.
    """
    check_target_name(root, name)
    ledger = Ledger(ledger_path(root, name), name)
    try:
        locked_in = _region_left_locked(root, name, ledger)
        if locked_in is None and not ledger.entries(only_open=True):
            yield f"nothing to recover on target '{name}'"
            return
        with ledger.lock(_OWNER):
            # Read before anything is written: on a full disk a failed write may make the file unreadable.
            found = ledger.entries(only_open=True)
            target = load_target(root, name)
            _know_the_account(target)
            with _account_lock(replace(target, region=locked_in or target.region), ledger):
                mended = recover(target, ledger, found)
                for entry in mended:
                    yield f"undone and verified: {entry.fault} on {entry.resource}"
                if not mended and locked_in is None:
                    yield f"nothing is left to recover on target '{name}': another process did it meanwhile"
            if locked_in is not None:
                yield "the lock that a dead run left in the account is gone"
    finally:
        ledger.close()


def _region_left_locked(root: Path, name: str, ledger: Ledger) -> str | None:
    """Where a dead run may have left its lock; a sandbox that does not run has taken it along."""
    gone = name == SANDBOX and not sandbox_state_file(root).exists()
    return None if gone else region_left_locked(ledger)


def _know_the_account(target: Target) -> None:
    """Nothing is undone in another account.

    Raises:
        Refused: the credentials are of another account.
        ResidueLeft: the account could not be asked, also after two minutes of attempts.
    """
    for pause in RETRY_AFTER_S:
        try:
            check_identity(target)
        except Unavailable:
            # AWS throttles, or credentials that were renewed outside are not read yet.
            target.renew()
            time.sleep(pause / target.scale)
        else:
            return
    try:
        check_identity(target)
    except TargetError as error:
        raise ResidueLeft(f"{error}. Nothing could be undone; call `tocsin recover` again.") from error


@contextmanager
def _account_lock(target: Target, ledger: Ledger) -> Iterator[None]:
    """Nobody else breaks what is being mended. A lock that cannot be asked for, or noted on a full disk, keeps nothing
    from being mended.

    Raises:
        Refused: another runner holds it.
    """
    lock = AccountLock(target, ledger, _OWNER, _LONGEST_WALL_S)
    with suppress(TargetError, LedgerError):
        lock.take()
    try:
        yield
    finally:
        lock.release()


def start_sandbox(
    system: str,
    root: Path,
    time_scale: float,
    progress: Callable[[str], None],
    policy: str | None = None,
    parts: PartsChoice = "embedded",
) -> SandboxState:
    """Start the sandbox with a system, or add the system to the one that runs; see `control.up`.

    Raises:
        InvalidInput: there is no such replica, or the policy is none.
        SandboxError: it did not come up, or runs with another time scale or without IAM.
    """
    from tocsin.sandbox import control

    if control.status(root) is None:
        close_entries_of_a_gone_sandbox(root)
    return control.up(system, root, time_scale=time_scale, progress=progress, policy=policy, parts=parts)


def close_entries_of_a_gone_sandbox(root: Path) -> int:
    """What was broken, or locked, in a sandbox that does not run any more is gone with it.

    Returns:
        How many open entries were closed.
    """
    ledger = Ledger(ledger_path(root, SANDBOX), SANDBOX)
    try:
        left = ledger.entries(only_open=True)
        for entry in left:
            ledger.advance(entry.id, EntryState.VERIFIED, "gone with the sandbox that it was in")
        forget_lock(ledger)
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
