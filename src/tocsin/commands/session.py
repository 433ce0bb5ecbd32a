"""What commands share: a directory for a run, and a sandbox to run on."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from tocsin.aws.target import Target
from tocsin.drill.options import DEFAULT_PARTS, DEFAULT_SCALE, RunOptions
from tocsin.errors import InvalidInput, SandboxError
from tocsin.guards.lock import forget_lock
from tocsin.model.parts import PartsChoice
from tocsin.project.places import ledger_path, runs_directory
from tocsin.project.targets import SANDBOX, load_target
from tocsin.record.ledger import EntryState, Ledger

if TYPE_CHECKING:
    from tocsin.sandbox.control import SandboxState

_GONE = "gone with the sandbox that it was in"


def new_directory(options: RunOptions) -> Path:
    """Where the reports go: new, or empty where `--out` names it.

    Raises:
        InvalidInput: it holds files already, or cannot be made.
    """
    if options.out is None:
        return _of_this_second(runs_directory(options.root).resolve())
    out = options.out.resolve()
    with _making(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InvalidInput(
                "expected a new or empty directory for --out, found one with files: choose another", file=out
            )
        out.mkdir(parents=True, exist_ok=True)
    return out


def _of_this_second(runs: Path) -> Path:
    """A directory that is named by the time, and that no other run of the same second has."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in count(1):
        out = runs / (stamp if number == 1 else f"{stamp}-{number}")
        with _making(out), suppress(FileExistsError):
            runs.mkdir(parents=True, exist_ok=True)
            out.mkdir()
            return out
    raise AssertionError


@contextmanager
def _making(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"expected to create this directory: {error.strerror}", file=out) from None


@contextmanager
def the_only_run(options: RunOptions, owner: str) -> Iterator[None]:
    """Keep other runs of this checkout from the target; taken before anything is started or deployed.

    Raises:
        Refused: another run has it.
        LedgerError: the lock cannot be written.
    """
    ledger = Ledger(ledger_path(options.root, options.target), options.target)
    try:
        with ledger.run_lock(owner):
            yield
    finally:
        ledger.close()


@contextmanager
def running_target(systems: set[str], options: RunOptions, *, alone: bool = False) -> Iterator[Target]:
    """The target; a sandbox that is not running is started for these systems, and stopped at the end.

    `alone`: whoever asks is the only run. Others must not start or change a sandbox beside one, and are refused.

    Raises:
        SandboxError: it could not be started.
        Refused: another run is using the sandbox, and it would have to be started or changed.
        InvalidInput: no such target, or a time scale or parts that it does not have, or a policy for a target that is
            not the sandbox.
    """
    settled_scale(options)
    if options.policy is not None and options.target != SANDBOX:
        raise InvalidInput(
            f"expected --policy with the sandbox only, found it with the target '{options.target}'. There, the "
            "credentials decide: attach the policy to them."
        )
    with ExitStack() as stack:
        if options.target == SANDBOX:
            _ensure_sandbox(systems, options, stack, alone=alone)
            _learn_its_secrets(options)
        target = load_target(options.root, options.target)
        yield target if options.policy is None else stack.enter_context(_restricted(target, options.policy, options))


def _learn_its_secrets(options: RunOptions) -> None:
    from tocsin.sandbox import control
    from tocsin.sandbox.planted import learn_secrets

    state = control.status(options.root)
    if state is not None:
        learn_secrets(state.account)


@contextmanager
def _restricted(target: Target, policy: str, options: RunOptions) -> Iterator[Target]:
    """The sandbox as a user sees it who may do exactly this, as long as the run lasts."""
    from tocsin.sandbox import control
    from tocsin.sandbox.drill_user import user_of_a_run

    state = control.status(options.root)
    if state is None:
        raise SandboxError("expected a running sandbox, found that it has ended")
    with user_of_a_run(state.account, policy) as key:
        yield replace(target, access_key_id=key.access_key_id, secret_access_key=key.secret_access_key)


def settled(options: RunOptions) -> RunOptions:
    """What is meant where nothing is said of the time scale: on the sandbox that runs its own, else that of each drill.

    Where each is to have its own though a sandbox runs, a worker starts others beside it.
    """
    if options.target != SANDBOX or options.time_scale is not None:
        return options
    from tocsin.sandbox import control

    if options.parallel is not None or control.status(options.root) is None:
        return replace(options, auto_scale=True)
    return replace(options, parallel=1) if options.auto_scale else options


def settled_scale(options: RunOptions) -> float:
    """The time scale that the run will have.

    Raises:
        InvalidInput: no such target; or another time scale, or other parts, were asked for than it has. Nobody would
            notice that they were ignored.
    """
    asked = {"--time-scale": options.time_scale, "--parts": options.parts}
    if options.target != SANDBOX:
        _not_the_sandbox({**asked, **({"--time-scale": "auto"} if options.auto_scale else {})}, options.target)
        _one_at_a_time(options)
        return load_target(options.root, options.target).scale
    from tocsin.sandbox import control

    state = None if options.parallel is not None else control.status(options.root)  # workers start their own
    if state is None:
        return DEFAULT_SCALE if options.time_scale is None else options.time_scale
    for (option, value), found in zip(asked.items(), (state.time_scale, state.parts_from), strict=True):
        if value is not None and value != found:
            raise InvalidInput(
                f"expected {option} {_plain(found)}, that of the sandbox that runs, found {_plain(value)}. Leave it "
                "out, or stop that sandbox first: `tocsin sandbox down`."
            )
    return state.time_scale


def _one_at_a_time(options: RunOptions) -> None:
    if options.parallel is not None:
        raise InvalidInput(
            f"expected no --parallel for target '{options.target}', found it: of an account and region, drills run one "
            "at a time. Leave it out."
        )


def _not_the_sandbox(asked: Mapping[str, float | str | None], target: str) -> None:
    for option, value in asked.items():
        if value is not None:
            raise InvalidInput(
                f"expected no {option} for target '{target}', found {_plain(value)}: it is the sandbox's. Leave it out."
            )


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _ensure_sandbox(systems: set[str], options: RunOptions, stack: ExitStack, *, alone: bool) -> None:
    from tocsin.sandbox import control

    if not _missing_systems(systems, options.root):
        return
    if not alone:
        stack.enter_context(the_only_run(options, "a look at the system"))
    starter = uuid.uuid4().hex
    # Before it is started, so that whatever ends us stops it; one that somebody else started stays.
    stack.callback(control.down, options.root, starter)
    for system in _missing_systems(systems, options.root):
        if options.stop.is_set():
            raise SandboxError("stopped before the sandbox was up")
        start_sandbox(system, options.root, options.time_scale, options.note, parts=options.parts, starter=starter)


def _missing_systems(systems: set[str], root: Path) -> list[str]:
    from tocsin.sandbox import control

    state = control.status(root)
    return sorted(systems - set(state.systems if state else ()))


def start_sandbox(
    system: str,
    root: Path,
    time_scale: float | None,
    progress: Callable[[str], None],
    policy: str | None = None,
    parts: PartsChoice | None = None,
    starter: str = "",
) -> SandboxState:
    """Start the sandbox with a system, or add the system to the one that runs; see `control.up`.

    Without a time scale, or without parts, they are those of the one that runs.

    Raises:
        InvalidInput: there is no such replica, or the policy is none.
        SandboxError: it did not come up, or runs with another time scale.
    """
    from tocsin.sandbox import control

    running = control.status(root)
    if running is None:
        close_entries_of_a_gone_sandbox(root)
    scale_there, parts_there = (running.time_scale, running.parts_from) if running else (DEFAULT_SCALE, DEFAULT_PARTS)
    return control.up(
        system,
        root,
        time_scale=scale_there if time_scale is None else time_scale,
        progress=progress,
        policy=policy,
        parts=parts or parts_there,
        starter=starter,
    )


def close_entries_of_a_gone_sandbox(root: Path) -> int:
    """What was broken, or locked, in a sandbox that does not run any more is gone with it.

    Returns:
        How many open entries were closed.
    """
    ledger = Ledger(ledger_path(root, SANDBOX), SANDBOX)
    try:
        left = ledger.read(only_open=True)
        for entry in left.entries:
            ledger.advance(entry.id, EntryState.VERIFIED, _GONE)
        for row in left.unreadable:
            if row.sequence is not None:
                ledger.close_row(row.sequence, _GONE)
        gone = ledger.accept_gone()
        forget_lock(ledger)
        ledger.forgive()
    finally:
        ledger.close()
    return len(left.entries) + len(left.unreadable) + len(gone)
