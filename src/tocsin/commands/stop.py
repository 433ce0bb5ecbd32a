"""`tocsin stop`: the kill switch, set and cleared."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tocsin.aws.login import caller_name
from tocsin.errors import InvalidInput, Refused, TargetError, TocsinError
from tocsin.guards.admission import check_identity
from tocsin.guards.kill_switch import PARAMETER, KillSwitch, set_file, stop_file
from tocsin.project.targets import (
    SANDBOX,
    check_target_name,
    is_possible_name,
    load_target,
    read_project,
    sandbox_state_file,
)


def stop_target(root: Path, name: str, reason: str | None) -> Iterator[str]:
    """End running drills on a target and keep others from beginning; one line for each place where it was set.

    The account is told first, and nothing waits for its answer: both places are tried whatever becomes of the other,
    and before the first line is told. Where `tocsin.toml` cannot be used, which somebody may just be editing, drills
    that run here are ended all the same.

    Raises:
        InvalidInput: no such target.
        Refused: the credentials are of another account, which was not told.
        TargetError: one place could not be reached; the message says which, and what holds all the same.
    """
    unusable = _unusable(root) if is_possible_name(name) else None
    if unusable is None:
        check_target_name(root, name)
    text = f"{reason or 'no reason given'} ({caller_name()} on {_host()}, {time.strftime('%F %T %Z')})"
    absent = _no_account(root, name)
    there, here = _in_both(
        lambda: None if absent else _account_of(root, name, unusable).tell_account(text),
        lambda: set_file(root, name, text),
    )
    if there is None:
        yield "not in an account: no sandbox is running" if absent else f"set in the account: {PARAMETER}"
    if here is None:
        yield f"set on this machine: {stop_file(root, name)}"
    _tell_failure(
        there,
        here,
        there_only="no drill was told to end" if absent else "drills end when they next ask the account",
        here_only="drills of this machine end; those of others do not",
        neither="no drill was told to end",
    )
    yield f"running drills end, undo and report; further ones are refused until `tocsin stop --clear --target {name}`"


def clear_target(root: Path, name: str) -> Iterator[str]:
    """Let drills begin again. Both places are tried, whatever becomes of the other.

    Raises:
        InvalidInput: no such target.
        Refused: the credentials are of another account, which was not asked.
        TargetError: one place could not be reached; the message says which, and what holds all the same.
    """
    check_target_name(root, name)
    was: dict[str, bool] = {}

    def clear_there() -> None:
        was["in the account"] = _switch(root, name).clear_account()

    def clear_here() -> None:
        file = stop_file(root, name)
        was["on this machine"] = file.exists()
        file.unlink(missing_ok=True)

    absent = _no_account(root, name)
    there, here = _in_both((lambda: None) if absent else clear_there, clear_here)
    for place in ("on this machine", "in the account"):
        if place in was and (here if place == "on this machine" else there) is None:
            yield f"{'cleared' if was[place] else 'was not set'} {place}"
    if absent:
        yield "not in an account: no sandbox is running"
    _tell_failure(
        there,
        here,
        there_only="it is cleared in the account only",
        here_only="it is cleared on this machine only",
        neither="it is cleared nowhere",
    )


_Failure = TocsinError | OSError | None
"""Why a place could not be reached; None when it was."""


def _in_both(in_account: Callable[[], object], on_machine: Callable[[], object]) -> tuple[_Failure, _Failure]:
    """Do it in both places: an account that does not answer keeps nobody here from being told."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        asked: Future[_Failure] = pool.submit(_tried, in_account)
        here = _tried(on_machine)
        return asked.result(), here


def _tried(work: Callable[[], object]) -> _Failure:
    try:
        work()
    except InvalidInput:
        raise  # what the user wrote is wrong: there is no such place
    except (TocsinError, OSError) as error:
        return error
    return None


def _tell_failure(there: _Failure, here: _Failure, *, there_only: str, here_only: str, neither: str) -> None:
    if there is None and here is None:
        return
    holds = neither if there is not None and here is not None else here_only if there is not None else there_only
    failed = [f"{there}" if there is not None else "", f"on this machine: {here}" if here is not None else ""]
    message = f"{'; '.join(one.rstrip('.') for one in failed if one)}. So far {holds}."
    raise Refused(there.guard, message) if isinstance(there, Refused) else TargetError(message)


def _no_account(root: Path, name: str) -> bool:
    try:
        return name == SANDBOX and not sandbox_state_file(root).exists()
    except OSError:  # who may not look does not know, and tries
        return False


def _unusable(root: Path) -> InvalidInput | None:
    try:
        read_project(root)
    except InvalidInput as error:
        return error
    return None


def _account_of(root: Path, name: str, unusable: InvalidInput | None) -> KillSwitch:
    """Raises: TargetError: `tocsin.toml` does not say which account it is."""
    if unusable is not None:
        raise TargetError(
            f"{unusable.problems[0]}. So it is not known which account to tell; there, by hand: "
            f"aws ssm put-parameter --name {PARAMETER} --type String --value stop"
        )
    return _switch(root, name)


def _switch(root: Path, name: str) -> KillSwitch:
    target = load_target(root, name)
    check_identity(target)
    return KillSwitch(root, target)


def _host() -> str:
    try:
        return socket.gethostname()
    except OSError:
        return "a machine without a name"
