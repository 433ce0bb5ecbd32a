"""The places of all workers: what is done to the sandbox of a checkout is done to theirs as well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tocsin.commands.recover import ledger_lines, recover_target
from tocsin.commands.session import close_entries_of_a_gone_sandbox, the_only_run
from tocsin.commands.stop import clear_target, stop_target
from tocsin.drill.options import RunOptions
from tocsin.errors import InvalidInput, LedgerError, Refused, TargetError, TocsinError, worst_exit
from tocsin.project.places import as_worker, ledger_path, places_of, worker_here
from tocsin.project.targets import SANDBOX
from tocsin.record.ledger import Ledger
from tocsin.sandbox import control

_OWNER = "tocsin run --parallel"
_GOING_WALL_S = 10.0
"""A sandbox that does not answer may be on its way down, with processes that take some seconds to end."""


def make_room_for(names: Iterable[str], options: RunOptions) -> None:
    """See to it that each worker can have its place: a sandbox that a dead run left there, in order, is taken down.

    Raises:
        InvalidInput: this process is a worker itself.
        Refused: a worker of another run is there, or what one broke is still broken.
        SandboxError: what was left could not be taken down.
    """
    if worker_here() is not None:
        raise InvalidInput("expected no --parallel within a worker of another run, found it. Leave it out.")
    for name in names:
        with as_worker(name), the_only_run(options, _OWNER):
            if control.status(options.root) is None:
                continue
            if is_owing(options.root):
                raise Refused(
                    "ledger",
                    f"expected nothing broken in the sandbox of worker {name}, found what a dead run left. "
                    "Undo it first: `tocsin recover`.",
                )
            options.note(f"taking down the sandbox that worker {name} of a dead run left")
            control.down(options.root)


def is_owing(root: Path) -> bool:
    """Whether something is open in the ledger of the sandbox that belongs to this place."""
    path = ledger_path(root, SANDBOX)
    if not path.exists():
        return False
    ledger = Ledger(path, SANDBOX)
    try:
        return bool(ledger.read(only_open=True)) or bool(ledger.owed())
    finally:
        ledger.close()


def everywhere(
    root: Path, target: str, work: Callable[[], Iterable[str]], concerned: Callable[[Path], bool]
) -> Iterator[str]:
    """Do `work` for a target; for the sandbox also in the place of each worker that is concerned. Lines of all.

    Raises:
        TocsinError: of what was raised anywhere the loudest, when all was tried; the others are told.
    """
    here = worker_here()
    failures: list[TocsinError] = []
    for name in places_of(root) if target == SANDBOX else (here,):
        told: list[str] = []
        with as_worker(name):
            try:
                if name == here or _is_concerned(root, concerned):
                    told.extend(work())
            except TocsinError as error:
                failures.append(error)
        yield from (line if name == here else f"worker {name}: {line}" for line in told)
    if failures:
        loudest = worst_exit(error.exit_code for error in failures)
        last = next(error for error in failures if error.exit_code == loudest)
        yield from (str(error) for error in failures if error is not last)
        raise last


def _is_concerned(root: Path, concerned: Callable[[Path], bool]) -> bool:
    try:
        return concerned(root)
    except LedgerError:
        return True  # a ledger that cannot be read is looked at by whoever can say so


def recover_everywhere(root: Path, target: str, *, rollbacks: bool, checked: bool = False) -> Iterator[str]:
    """`recover_target`, of the sandbox in the place of each worker that is owing, too.

    Raises:
        TocsinError: as `recover_target`.
    """

    def recover() -> Iterator[str]:
        if worker_here() is None or is_running(root):
            yield from recover_target(root, target, rollbacks=rollbacks, checked=checked)
            return
        closed = close_entries_of_a_gone_sandbox(root)
        yield f"closed in its ledger: {closed} open, gone with the sandbox that it was in"

    return everywhere(root, target, recover, lambda root: is_running(root) or is_owing(root))


def stop_everywhere(root: Path, target: str, reason: str | None) -> Iterator[str]:
    """`stop_target`, in the sandbox of each worker, too.

    A worker that was told ends, and the run with it takes down the sandboxes of the others: one that is gone by the
    time it is asked has no drill that could be told.

    Raises:
        TocsinError: as `stop_target`.
    """

    def stop() -> Iterator[str]:
        try:
            yield from stop_target(root, target, reason)
        except TargetError:
            if worker_here() is None or not _is_gone_soon(root):
                raise
            yield "not in an account: its sandbox went while it was told"

    return everywhere(root, target, stop, is_running)


def _is_gone_soon(root: Path) -> bool:
    """Whether no sandbox runs here any more, or none does as soon as what ends it now is done."""
    deadline = time.monotonic() + _GOING_WALL_S
    while is_running(root):
        if time.monotonic() > deadline:
            return False
        time.sleep(_GOING_WALL_S / 100)
    return True


def clear_everywhere(root: Path, target: str) -> Iterator[str]:
    """`clear_target`, in the sandbox of each worker, too.

    Raises:
        TocsinError: as `clear_target`.
    """
    return everywhere(root, target, lambda: clear_target(root, target), is_running)


def ledgers_everywhere(root: Path, target: str, *, everything: bool) -> Iterator[str]:
    """`ledger_lines`, of the ledger of each worker, too.

    Raises:
        TocsinError: as `ledger_lines`.
    """

    def has_one(root: Path) -> bool:
        return is_owing(root) or (everything and ledger_path(root, target).exists())

    return everywhere(root, target, lambda: ledger_lines(root, target, everything=everything), has_one)


def is_running(root: Path) -> bool:
    """Whether a sandbox runs in this place."""
    return control.status(root) is not None
