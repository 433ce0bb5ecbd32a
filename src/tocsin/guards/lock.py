"""One runner a target, also when the runners do not know of each other: a lock in the account.

An SSM parameter, put without overwriting, so that of two runners one is told that it exists already. Its value says
whose it is and until when. It ends when its drill does; what a dead runner left is taken over, by the same ledger at
once (the lock beside the ledger proves that the process is gone), by others after it has expired. Who took it over
gives it back only when the ledger has nothing open there and owes no rollbacks: until then it keeps others away.

Taking over is a compare-and-swap. PutParameter numbers the versions of a parameter: whoever wrote the one right after
the expired was first. Everybody else puts that one back.
https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError
from pydantic import ValidationError

from tocsin.aws.target import Target, aws_errors
from tocsin.errors import NotFound, Refused, TargetError, TocsinError
from tocsin.guards.base import PARAMETERS
from tocsin.model.base import Model
from tocsin.record.ledger import Ledger

PARAMETER = f"{PARAMETERS}lock"
_GUARD = "lock"
_HELD, _RELEASED = "account_lock", "account_lock_released"
"""Notes in the ledger: the regions in which a lock is (about to be) held, and when the last one was deleted."""
_OWNERS = "account_lock_owners"
"""Who has these locks, had them, or was about to, each in a line."""
_ATTEMPTS = 5
_NEW_NAME_AFTER_S = 30.0
"""https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameter.html
"After deleting a parameter, wait for at least 30 seconds to create a parameter with the same name."
"""


class Holder(Model):
    """Who holds the lock: the value of the parameter."""

    owner: str
    runner: str
    host: str
    expires_at: datetime


@dataclass(frozen=True)
class _Seen:
    text: str
    version: int

    @cached_property
    def holder(self) -> Holder | None:
        try:
            return Holder.model_validate_json(self.text)
        except ValidationError:
            return None


class _Unaccounted(Refused):
    """The lock is one that this ledger left, and this ledger does not account for what was done under it."""


@dataclass(frozen=True)
class _Noted:
    """What the ledger says of the locks that its runs hold, or left."""

    regions: tuple[str, ...]
    owners: tuple[str, ...] | None
    """None: a ledger of an older version, which does not say who had them."""

    @classmethod
    def of(cls, ledger: Ledger) -> _Noted:
        regions, owners = regions_left_locked(ledger), ledger.note(_OWNERS)
        return cls(regions, None if regions and owners is None else tuple((owners or "").splitlines()))

    def with_one(self, region: str, owner: str) -> _Noted:
        """With a lock of one more owner, which he is about to have there."""
        owners = None if self.owners is None else (*self.owners, owner)
        return _Noted((*self.regions, region), owners)

    def without(self, region: str) -> _Noted:
        """With none in a region. Who had it is remembered as long as one is left anywhere."""
        regions = tuple({*self.regions} - {region})
        return _Noted(regions, self.owners if regions else ())

    def knows(self, owner: str) -> bool:
        """Whether a run of this ledger may have left a lock of that owner."""
        return self.owners is None or owner in self.owners

    def write(self, ledger: Ledger) -> None:
        """Synced to disk when it returns; the owners first, so that no region is noted without."""
        ledger.set_note(_OWNERS, "\n".join(dict.fromkeys(self.owners or ())) or None)
        ledger.set_note(_HELD, " ".join(sorted({*self.regions})) or None)


class AccountLock:
    """The lock of one target's account and region, for one owner. Needs the lock beside the ledger to be held."""

    def __init__(
        self, target: Target, ledger: Ledger, owner: str, for_s: float, wait: Callable[[float], None] = time.sleep
    ) -> None:
        """Nothing is asked yet.

        Args:
            target: its account and region are locked.
            ledger: what tells this runner from others.
            owner: the drill, or the command.
            for_s: wall seconds after which others may take it over.
            wait: sleeps wall seconds; may raise Refused.
        """
        self._target = target
        self._ledger = ledger
        self._wait = wait
        ends = datetime.fromtimestamp(round(time.time() + for_s), UTC)
        holder = Holder(owner=owner, runner=ledger.runner, host=socket.gethostname(), expires_at=ends)
        self._owner = owner
        self._value = holder.model_dump_json()
        self._until = f"{ends:%Y-%m-%d %H:%M:%S} UTC"
        self._taken_over = False
        self.stays = False
        """Whether it was not given back, because what was done under it by others is not settled."""

    def take(self) -> str:
        """Take the lock, or take it over.

        Raises:
            Refused: somebody else holds it.
            TargetError: the account did not say.
            LedgerError: it cannot be noted that it is about to be held; nothing was asked.
        """
        self._wait_for_the_name()
        noted = _Noted.of(self._ledger)
        # Noted before it is held: `tocsin recover` then knows that a dead run may have left it.
        noted.with_one(self._target.region, self._owner).write(self._ledger)
        try:
            return self._take(noted)
        except _Unaccounted:
            noted.write(self._ledger)
            raise
        except Refused:
            self._not_held()
            raise

    def release(self) -> str:
        """Give it back, if it is still ours, and nothing is left of the dead run that it was taken over from. Raises
        nothing: what is left ends by itself.

        Returns:
            What became of it.
        """
        try:
            seen = self._read()
            ours = seen is not None and seen.text == self._value
            self.stays = ours and self._taken_over and is_unsettled(self._ledger, self._target.region)
            if self.stays:
                return f"{PARAMETER} stays until {self._until}, as what a dead run left there is not settled"
            if ours:
                self._delete()
                self._ledger.set_note(_RELEASED, f"{time.time():.3f}")
            self._not_held()
        except TocsinError as error:
            return f"{PARAMETER} could not be released ({error}); it ends at {self._until} by itself"
        return f"{PARAMETER} released" if ours else f"{PARAMETER} was not ours any more, and was left alone"

    def _not_held(self) -> None:
        _Noted.of(self._ledger).without(self._target.region).write(self._ledger)

    def _wait_for_the_name(self) -> None:
        released = self._ledger.note(_RELEASED)
        if released is not None and self._target.endpoint_url is None:
            self._wait(max(0.0, float(released) + _NEW_NAME_AFTER_S - time.time()))

    def _take(self, noted: _Noted) -> str:
        for _ in range(_ATTEMPTS):
            if self._put_new():
                return f"{PARAMETER} is ours until {self._until}"
            seen = self._read()
            if seen is not None:
                _check_takeover(seen, self._target, self._ledger, noted)
                self._take_over(seen)
                self._taken_over = True
                return f"{PARAMETER} taken over from a runner that is gone, ours until {self._until}"
            # Released between the two calls: once more.
        raise TargetError(f"expected to put or to read {PARAMETER}, found neither in {_ATTEMPTS} attempts")

    def _take_over(self, seen: _Seen) -> None:
        version = self._overwrite(self._value)
        if version == 1:
            return  # it was deleted meanwhile: ours is a new one
        found_expired = self._at_version(seen.version)
        same = found_expired is not None and found_expired.text == seen.text
        if same and version == seen.version + 1:
            return
        # All who were late put back the same one: the first after the expired, or the first of a new parameter.
        winner = self._at_version(seen.version + 1 if same else 1)
        if winner is None:
            raise TargetError(f"expected to find who took {PARAMETER} first, found no such version")
        self._overwrite(winner.text)
        raise _taken(winner.holder, self._target)

    # --- what is asked of the account -----------------------------------------------------------------------

    def _put_new(self) -> bool:
        with aws_errors(f"putting {PARAMETER}"):
            try:
                self._ssm.put_parameter(Name=PARAMETER, Type="String", Value=self._value, Overwrite=False)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == "ParameterAlreadyExists":
                    return False
                raise
        return True

    def _overwrite(self, value: str) -> int:
        with aws_errors(f"overwriting {PARAMETER}"):
            return int(self._ssm.put_parameter(Name=PARAMETER, Type="String", Value=value, Overwrite=True)["Version"])

    def _read(self) -> _Seen | None:
        return _get(self._target, PARAMETER)

    def _at_version(self, version: int) -> _Seen | None:
        return _get(self._target, f"{PARAMETER}:{version}")

    def _delete(self) -> None:
        with aws_errors(f"deleting {PARAMETER}"):
            self._ssm.delete_parameter(Name=PARAMETER)

    @property
    def _ssm(self) -> Any:
        return self._target.client("ssm")


def _check_takeover(seen: _Seen, target: Target, ledger: Ledger, noted: _Noted) -> None:
    holder = _holder(seen)
    if holder.runner != ledger.runner:
        if holder.expires_at > datetime.now(UTC):
            raise _taken(holder, target)
        return
    missing = _unaccounted(holder, target, ledger, noted)
    if missing is not None:
        raise _Unaccounted(_GUARD, f"{missing} Call `tocsin recover`: it says what to look at.")


def unaccounted(holder: Holder, target: Target, ledger: Ledger) -> str | None:
    """Why a lock in the account of a target must stay until somebody has looked; None where it may go.

    What was broken under it stands in the ledger of whoever held it. Where that is another one, or was emptied, or is
    an older copy, nobody here knows that all is undone.
    """
    return _unaccounted(holder, target, ledger, _Noted.of(ledger))


def _unaccounted(holder: Holder, target: Target, ledger: Ledger, noted: _Noted) -> str | None:
    whose = f"that of {holder.owner} on {holder.host}, until {holder.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    expected = f"expected in {target.region} no lock but one of runs that the ledger {ledger.path} accounts for, found"
    if holder.runner != ledger.runner:
        return f"{expected} {whose}, taken by another ledger: what that run broke stands there."
    if not noted.knows(holder.owner):
        return f"{expected} {whose}, of which it does not know: it may be an older copy of the one that run wrote."
    gone = ledger.read(only_open=True).gone
    if gone:
        return f"{expected} {whose}, and these missing: {'; '.join(map(str, gone))}."
    return None


def _holder(seen: _Seen) -> Holder:
    if seen.holder is None:
        raise Refused(
            _GUARD,
            f"expected {PARAMETER} to be a lock of Tocsin, found {seen.text[:200]!r}. Whoever put it there keeps "
            f"drills away; when they agree: aws ssm delete-parameter --name {PARAMETER}",
        )
    return seen.holder


def _taken(holder: Holder | None, target: Target) -> Refused:
    found = "another runner, which was first" if holder is None else f"{holder.owner} on {holder.host}"
    until = "" if holder is None else f" It holds it until {holder.expires_at:%Y-%m-%d %H:%M:%S} UTC at most."
    return Refused(
        _GUARD,
        f"expected target '{target.name}' to be free, found it in use by {found}.{until} Wait for that run "
        f"to end. If it is dead for sure: aws ssm delete-parameter --name {PARAMETER}",
    )


def check_free(target: Target, ledger: Ledger) -> str:
    """Whether a drill could take the lock beside the ledger and the one in the account now; takes neither.

    Raises:
        Refused: somebody else holds one of them.
        TargetError: the account did not say.
    """
    ledger.check_unlocked()
    seen = _get(target, PARAMETER)
    if seen is None:
        return f"{PARAMETER} is free"
    _check_takeover(seen, target, ledger, _Noted.of(ledger))
    return f"{PARAMETER} is a dead runner's, and would be taken over"


def holder_of(target: Target) -> Holder | None:
    """Who holds the lock of a target's account and region now, or left it there; None when it is free.

    Raises:
        Refused: what is there is no lock of Tocsin.
        TargetError: the account did not say.
    """
    seen = _get(target, PARAMETER)
    return None if seen is None else _holder(seen)


def _get(target: Target, name: str) -> _Seen | None:
    try:
        with aws_errors(f"reading {name}"):
            found = target.client("ssm").get_parameter(Name=name)["Parameter"]
            return _Seen(str(found["Value"]), int(found["Version"]))
    except NotFound:
        return None


def regions_left_locked(ledger: Ledger) -> tuple[str, ...]:
    """The regions in which runs that died may have left the lock: of one ledger in as many as it has systems."""
    return tuple((ledger.note(_HELD) or "").split())


def is_unsettled(ledger: Ledger, region: str) -> bool:
    """Whether something may be left in a region by runs of this ledger: a fault, or what owed rollbacks take back.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    left = ledger.read(only_open=True)
    there = {entry.region for entry in left.entries} | {debt.region for debt in ledger.owed()}
    # Of what does not say where it is, it may be here.
    return bool(left.illegible) or not there.isdisjoint({region, "", None})


def know_lock(ledger: Ledger, region: str, holder: Holder) -> None:
    """Somebody has looked after what was done under a lock: from now on it is one that a dead run of ours left."""
    _Noted.of(ledger).with_one(region, holder.owner).write(ledger)


def forget_lock(ledger: Ledger) -> None:
    """The account that was locked is gone: a sandbox that was stopped."""
    _Noted((), ()).write(ledger)
    ledger.set_note(_RELEASED, None)
