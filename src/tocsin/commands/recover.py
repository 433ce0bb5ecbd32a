"""`tocsin recover` and `tocsin ledger`: what dead runs left behind, shown and undone."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from tocsin.aws.target import RETRY_AFTER_S, Target
from tocsin.errors import (
    CredentialsExpired,
    InvalidInput,
    LedgerError,
    Refused,
    ResidueLeft,
    TargetError,
    TocsinError,
    Unavailable,
)
from tocsin.faults.lifecycle import check_nothing_left, recover_each
from tocsin.faults.registry import FAULTS
from tocsin.guards.admission import check_identity
from tocsin.guards.lock import PARAMETER, AccountLock, Holder, holder_of, know_lock, regions_left_locked, unaccounted
from tocsin.parity.throwaway.registry import RECOVERABLE
from tocsin.project.documents import load_system, system_names
from tocsin.project.places import ledger_path
from tocsin.project.targets import SANDBOX, check_target_name, load_target, sandbox_state_file
from tocsin.record.ledger import Debt, Entry, EntryState, Ledger, Unreadable
from tocsin.record.witness import Gone

_OWNER = "tocsin recover"
_CHECKED = "tocsin recover --checked-by-hand"
_BY_HAND = (
    "Put the ledger back from a copy, and call `tocsin recover`. Or look by hand: the history.jsonl and the report of "
    "that drill name each resource, and how it was before. Once all is as it was, and only then: "
    f"`{_CHECKED}`"
)
_MOST_NAMES = 3
"""Drills that are named by whoever mends what they left."""
_LONGEST_WALL_S = 1800.0
"""After this time others may take over the lock of a recovery."""


def recover_target(root: Path, name: str, *, rollbacks: bool = False, checked: bool = False) -> Iterator[str]:
    """Undo and verify everything the ledger of a target holds open; one line for each.

    Args:
        root: of the checkout.
        name: of the target.
        rollbacks: run those that dead drills owed, too. Otherwise they are named.
        checked: somebody has looked after what is gone from the ledger, after what was done under a lock that it does
            not account for, and after what owed rollbacks would take back, unless they are run: all is forgotten.
            Otherwise it is named, and the lock is kept.

    Raises:
        InvalidInput: no such target.
        Refused: a run is using the target right now, here or elsewhere, or the credentials are of another account.
        ResidueLeft: something could not be undone, a row of the ledger cannot be read or is gone, a lock in the
            account is not accounted for, or rollbacks are owed; the rest is undone. Also when a signal came before all
            was done.
        TargetError: the ledger is empty, and the account did not say whether somebody holds its lock.
    """
    check_target_name(root, name)
    ledger = Ledger(ledger_path(root, name), name)
    try:
        locked_in = () if _is_gone(root, name) else regions_left_locked(ledger)
        if not locked_in and not ledger.read(only_open=True) and not ledger.owed():
            locked_in = _locks_of_others(root, name, ledger, checked=checked)
            if not locked_in:
                yield f"nothing to recover on target '{name}'"
                return
        with ledger.lock(_OWNER):
            # Nothing is told before all is done: whoever reads may go away.
            try:
                told, left = _recover_all(root, name, ledger, locked_in, rollbacks=rollbacks, checked=checked)
            except KeyboardInterrupt:
                told, left = _cut_short(ledger)
    finally:
        ledger.close()
    yield from told
    check_nothing_left(name, left)


def _is_gone(root: Path, name: str) -> bool:
    """Whether the account is no more: a sandbox that does not run has taken all that was in it along."""
    return name == SANDBOX and not sandbox_state_file(root).exists()


def _locks_of_others(root: Path, name: str, ledger: Ledger, *, checked: bool) -> tuple[str, ...]:
    """An empty ledger beside a lock in the account is one that was emptied, or that of another checkout.

    Returns:
        Regions with such a lock, where somebody has looked after what was done under it.

    Raises:
        Refused: somebody holds the lock, or the credentials are of another account.
        ResidueLeft: somebody held it for longer than any run of theirs can last.
        TargetError: the account did not say.
    """
    if _is_gone(root, name):
        return ()
    target = load_target(root, name)
    check_identity(target)
    found = {region: holder_of(target.in_region(region)) for region in _regions(root, target)}
    there = {region: holder for region, holder in found.items() if holder is not None}
    for region, holder in there.items():
        if not (checked and _is_over(holder, ledger)):
            raise _found_a_lock(holder, region, ledger)
    return tuple(there)


def _is_over(holder: Holder, ledger: Ledger) -> bool:
    """Whether its run is dead for sure: it can last no longer, or it was of this ledger, which nobody else uses now."""
    return holder.expires_at <= datetime.now(UTC) or holder.runner == ledger.runner


def _regions(root: Path, target: Target) -> list[str]:
    """Where a lock of this target may be: a sandbox has systems of several regions."""
    found = [target.region]
    for system in system_names(root) if target.name == SANDBOX else ():
        with suppress(InvalidInput):  # a file that cannot be used has been drilled by nobody
            found.append(load_system(root, system).region)
    return list(dict.fromkeys(found))


def _found_a_lock(holder: Holder, region: str, ledger: Ledger) -> TocsinError:
    ended, over = holder.expires_at <= datetime.now(UTC), _is_over(holder, ledger)
    remove = f"`{_CHECKED}`" if over else f"aws ssm delete-parameter --name {PARAMETER} --region {region}"
    message = (
        f"expected no lock in {region} beside a ledger in which nothing is open, found that of {holder.owner} on "
        f"{holder.host}, {'which ended' if ended else 'until'} {holder.expires_at:%Y-%m-%d %H:%M:%S} UTC. "
        f"{'That run died' if over else 'That run goes on elsewhere, or it died'}, and what it broke stands in another "
        f"ledger, or stood in {ledger.path} before that was emptied: call `tocsin recover` where it ran, or put the "
        f"file back. If nothing of it is left for sure: {remove}"
    )
    return ResidueLeft(message) if over else Refused("lock", message)


def _recover_all(
    root: Path, name: str, ledger: Ledger, locked_in: tuple[str, ...], *, rollbacks: bool, checked: bool
) -> tuple[list[str], list[str]]:
    """Undo what is open, behind the locks. Returns lines of what was done, and of what is left."""
    # Read before anything is written: on a full disk a failed write may make the file unreadable.
    found, owed = ledger.read(only_open=True), ledger.owed()
    target = load_target(root, name)
    _know_the_account(target)
    regions = {*locked_in, *(entry.region or target.region for entry in found.entries)}
    regions |= {debt.region for debt in owed if (rollbacks or checked) and debt.region}
    regions |= set(_regions(root, target)) if found.gone else set()
    kept = {} if checked else _kept(target, ledger, regions)
    forgotten = _forget(target, ledger, regions) if checked else []
    held: dict[str, AccountLock] = {}
    with ExitStack() as locks:
        for region in sorted(regions - kept.keys()):
            after = [*(entry.drill for entry in found.entries), *(debt.drill for debt in owed)]
            held[region] = locks.enter_context(_account_lock(target.in_region(region), ledger, after))
        done = recover_each(target, ledger, found.entries, registry=RECOVERABLE)
        ran, still_owed = _settled(owed, root, target, ledger, rollbacks=rollbacks, checked=checked)
    stay = {region for region, lock in held.items() if lock.stays}
    told = [f"undone and verified: {entry.fault} on {entry.resource}" for entry in done.undone]
    told += ran
    if not found and not locked_in and not owed:
        told.append(f"nothing is left to recover on target '{name}': another process did it meanwhile")
    told += ["the lock that a dead run left in the account is gone"] if {*locked_in} - kept.keys() - stay else []
    told += [f"{PARAMETER} in {region} stays, and keeps others away, until that is settled" for region in sorted(stay)]
    left = [*done.left, *(_what_now(row, ledger) for row in found.unreadable), *kept.values(), *still_owed]
    return [*told, *forgotten], [*left, *([] if checked else _looked_for(found.gone, ledger))]


def _settled(
    owed: list[Debt], root: Path, target: Target, ledger: Ledger, *, rollbacks: bool, checked: bool
) -> tuple[list[str], list[str]]:
    """Run what is owed, or forget it where somebody has looked. Lines of what was done, and of what is still owed."""
    if rollbacks:
        # Here, as it takes longer to import than all else of a command that people wait for in an emergency.
        from tocsin.commands.owed import pay_all

        return pay_all(owed, root, target, ledger)
    if not checked:
        return [], [_not_run(debt) for debt in owed]
    ledger.forgive()
    return [_forgotten(debt) for debt in owed], []


def _forgotten(what: Debt | Gone) -> str:
    return f"forgotten, as somebody has looked after it: {what}"


def _kept(target: Target, ledger: Ledger, regions: set[str]) -> dict[str, str]:
    """Why the lock of a region is neither taken over nor given back, for each where that is so.

    What is open is undone all the same: the lock that stays keeps others away.
    """
    kept: dict[str, str] = {}
    for region in sorted(regions):
        there = target.in_region(region)
        with suppress(TargetError):  # a lock that cannot be asked for keeps nothing from being mended
            holder = holder_of(there)
            # One of somebody who may be alive is refused when it is asked for.
            why = unaccounted(holder, there, ledger) if holder is not None and _is_over(holder, ledger) else None
            if why is not None:
                kept[region] = f"{PARAMETER}, which is kept: {why} {_BY_HAND}"
    return kept


def _forget(target: Target, ledger: Ledger, regions: set[str]) -> list[str]:
    """Somebody has looked: nothing that is gone is missed, and the locks are those of dead runs. Lines of it.

    Raises:
        Refused: somebody who may be alive holds a lock; nothing was forgotten.
    """
    for region in sorted(regions):
        there = target.in_region(region)
        with suppress(TargetError):  # as when it is taken
            holder = holder_of(there)
            if holder is not None and _is_over(holder, ledger):
                know_lock(ledger, region, holder)
    return [_forgotten(gone) for gone in ledger.accept_gone()]


def _looked_for(gone: Sequence[Gone], ledger: Ledger) -> Iterator[str]:
    """What can be done about rows that are gone."""
    for one in gone:
        yield f"{one}. Expected in {ledger.path} what undoes it, found that somebody deleted it. {_BY_HAND}"


def _cut_short(ledger: Ledger) -> tuple[list[str], list[str]]:
    """Lines of what is done, and of what is left, when a signal came before all was done."""
    found, owed = ledger.read(only_open=True), ledger.owed()
    left = [f"{entry.id}  {entry.fault} on {entry.resource}: a signal came before" for entry in found.entries]
    left += [*(_what_now(row, ledger) for row in found.unreadable), *_looked_for(found.gone, ledger)]
    left += [_not_run(debt) for debt in owed]
    return ([] if left else ["a signal came when all was undone and verified"]), left


def _not_run(debt: Debt) -> str:
    return (
        f"{debt}: owed since that drill died, and only they can do it. Run them: `tocsin recover --rollbacks`. Or, "
        f"once somebody has rolled all back by hand, and only then: `{_CHECKED}`, which forgets what is owed"
    )


def _what_now(row: Unreadable, ledger: Ledger) -> str:
    """What can be done about a row that says nothing that could be undone."""
    if row.sequence is None:
        return f"{row}. Restore {ledger.path} from a copy, or look into the account and move the file away"
    # Not deleted: a row that is gone is missed.
    close = f"UPDATE entries SET state = '{EntryState.VERIFIED}' WHERE sequence = {row.sequence}"  # noqa: S608 - ours
    return (
        f"{row}. Recover with the Tocsin that wrote it; or look into the account, and when all is as it should be: "
        f"sqlite3 {shlex.quote(str(ledger.path))} {shlex.quote(close)}"
    )


def _know_the_account(target: Target) -> None:
    """Nothing is undone in another account.

    Raises:
        Refused: the credentials are of another account.
        ResidueLeft: the account could not be asked, also after two minutes of attempts.
    """
    for pause in RETRY_AFTER_S:
        try:
            check_identity(target)
        except Unavailable as error:
            if isinstance(error, CredentialsExpired):
                target.renew()  # those that were renewed outside are read again
            time.sleep(pause / target.scale)
        else:
            return
    try:
        check_identity(target)
    except TargetError as error:
        raise ResidueLeft(f"{error}. Nothing could be undone; call `tocsin recover` again.") from error


@contextmanager
def _account_lock(target: Target, ledger: Ledger, after: Sequence[str]) -> Iterator[AccountLock]:
    """Nobody else breaks what is being mended. A lock that cannot be asked for, or noted on a full disk, keeps nothing
    from being mended.

    Args:
        target: the region in which it is taken.
        ledger: whose runs left something.
        after: names of the drills that did, for whoever is kept away, as it may stay.

    Raises:
        Refused: another runner holds it.
    """
    names = list(dict.fromkeys(after))
    more = ["others"] if len(names) > _MOST_NAMES else []
    owner = " after ".join([_OWNER, *([", ".join([*names[:_MOST_NAMES], *more])] if names else [])])
    lock = AccountLock(target, ledger, owner, _LONGEST_WALL_S)
    with suppress(TargetError, LedgerError):
        lock.take()
    try:
        yield lock
    finally:
        lock.release()


def ledger_lines(root: Path, name: str, *, everything: bool) -> Iterator[str]:
    """The ledger of a target as text, latest entry last.

    Raises:
        InvalidInput: no such target.
    """
    check_target_name(root, name)
    ledger = Ledger(ledger_path(root, name), name)
    found, owed = ledger.read(only_open=not everything), ledger.owed()
    ledger.close()
    if not found and not owed:
        yield f"no {'' if everything else 'open '}entry in the ledger of target '{name}'"
    yield from (_line(entry) for entry in found.entries)
    yield from (f"cannot be read: {row}" for row in found.illegible)
    yield from (f"owed: {debt}" for debt in owed)


def _line(entry: Entry) -> str:
    when = _told(entry.created_at, "%Y-%m-%d %H:%M:%S")
    detail = f"  ({entry.detail})" if entry.detail and entry.open else ""
    where = f" in {entry.region}" if entry.region else ""
    return f"{when}  {entry.id}  {entry.state.value:<8}  {entry.fault} on {entry.resource}{where}{_end(entry)}{detail}"


def _told(at: float, form: str) -> str:
    """A moment in the time of this machine; of a damaged row also one that no calendar has."""
    try:
        return time.strftime(form, time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return f"at {at:g}"


def _end(entry: Entry) -> str:
    """When AWS ends an open fault without us, and what that means for whoever reads it."""
    if entry.expires_at is None or not entry.open:
        return ""
    at = _told(entry.expires_at, "%H:%M")
    if time.time() < entry.expires_at:
        return f"; ends by itself at {at}"
    by_itself = entry.fault in FAULTS and FAULTS[entry.fault].expires
    ended = f"ended by itself at {at}, harmless since" if by_itself else f"a schedule should have ended it at {at}"
    return f"; {ended}: `tocsin recover` verifies that and removes what is left"
