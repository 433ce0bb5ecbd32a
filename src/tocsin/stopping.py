"""`tocsin stop`: the kill switch, set and cleared."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tocsin.errors import TargetError
from tocsin.guards.admission import check_identity
from tocsin.guards.kill_switch import PARAMETER, KillSwitch, set_file, stop_file
from tocsin.targets import SANDBOX, check_target_name, load_target, sandbox_state_file


def stop_target(root: Path, name: str, reason: str | None) -> Iterator[str]:
    """End running drills on a target and keep others from beginning; one line for each place where it was set.

    Raises:
        InvalidInput: no such target.
        TargetError: the account was not told; what runs on this machine ends all the same.
    """
    check_target_name(root, name)
    text = f"{reason or 'no reason given'} ({getpass.getuser()} on {socket.gethostname()}, {time.strftime('%F %T %Z')})"
    yield f"set on this machine: {set_file(root, name, text)}"
    if _no_account(root, name):
        yield "not in an account: no sandbox is running"
        return
    with _saying("drills of this machine end; those of others do not"):
        _switch(root, name).tell_account(text)
    yield f"set in the account: {PARAMETER}"
    yield f"running drills end, undo and report; further ones are refused until `tocsin stop --clear --target {name}`"


def clear_target(root: Path, name: str) -> Iterator[str]:
    """Let drills begin again.

    Raises:
        InvalidInput: no such target.
        TargetError: the account did not do it; on this machine it is cleared.
    """
    check_target_name(root, name)
    here = stop_file(root, name)
    was_here = here.exists()
    here.unlink(missing_ok=True)
    yield f"{'cleared' if was_here else 'was not set'} on this machine"
    if _no_account(root, name):
        yield "not in an account: no sandbox is running"
        return
    with _saying("it is cleared on this machine only"):
        was_there = _switch(root, name).clear_account()
    yield f"{'cleared' if was_there else 'was not set'} in the account"


def _no_account(root: Path, name: str) -> bool:
    return name == SANDBOX and not sandbox_state_file(root).exists()


def _switch(root: Path, name: str) -> KillSwitch:
    target = load_target(root, name)
    check_identity(target)
    return KillSwitch(root, target)


@contextmanager
def _saying(what_holds: str) -> Iterator[None]:
    try:
        yield
    except TargetError as error:
        raise TargetError(f"{error}. So far {what_holds}.") from error
