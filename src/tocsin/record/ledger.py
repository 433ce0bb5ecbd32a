"""The write-ahead record of every fault: written and synced before harm, closed only after a verified undo.

One SQLite file a target, `synchronous=FULL` (https://www.sqlite.org/pragma.html#pragma_synchronous), so that an
entry survives the death of the process and of the machine. It holds what the undo needs, never a secret value.

Rows are read one by one: one that is damaged, or that a newer Tocsin wrote, is named and keeps no other from being
undone.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from tocsin.errors import LedgerError, Refused
from tocsin.masking import mask
from tocsin.model.base import Model
from tocsin.model.spent import SPENT, Spent
from tocsin.record.witness import Gone, accept_gone, call_witness, find_gone, forget_note, is_missed, settle_debts

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    drill      TEXT NOT NULL,
    target     TEXT NOT NULL,
    fault      TEXT NOT NULL,
    resource   TEXT NOT NULL,
    arguments  TEXT NOT NULL,
    prior      TEXT NOT NULL,
    state      TEXT NOT NULL,
    detail     TEXT NOT NULL DEFAULT '',
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    expires_at REAL,
    account    TEXT,
    region     TEXT,
    digest     TEXT
);
CREATE TABLE IF NOT EXISTS notes (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS owed (
    drill      TEXT PRIMARY KEY,
    experiment TEXT NOT NULL,
    debt       TEXT NOT NULL
)
"""
_ADDED = {"expires_at": "REAL", "account": "TEXT", "region": "TEXT", "digest": "TEXT"}
"""Columns that ledgers of older versions lack."""
_LASTING = (
    *("id", "drill", "target", "fault", "resource", "arguments", "prior"),
    *("created_at", "expires_at", "account", "region"),
)
"""What of a row never changes: its digest is of that. SQLite has none of its own, and reads a changed byte as a value.
https://www.sqlite.org/cksumvfs.html"""
_RUNNER = "runner"
_NO_ACCESS = "check the disk and the permissions of its directory."
_DAMAGED = (
    "what runs that died broke stands in it. Put it back from a copy, and call `tocsin recover`; or look at what their "
    "histories name, and move the file away."
)


def _spent(entry_id: str, what: Spent) -> str:
    """Name of the note that holds how often an entry did what may be done only so often."""
    return f"{SPENT}{what.value} {entry_id}"


class EntryState(StrEnum):
    """The life of an entry. Everything before `verified` is residue."""

    INTENDED = "intended"
    INJECTED = "injected"
    UNDONE = "undone"
    VERIFIED = "verified"


class Entry(Model):
    """One fault: enough to undo it in another process, on another day."""

    id: str
    drill: str
    target: str
    fault: str
    resource: str
    arguments: dict[str, Any]
    prior: dict[str, Any]
    state: EntryState
    detail: str = ""
    created_at: float
    updated_at: float
    expires_at: float | None = None
    """Epoch seconds at which AWS itself ends the fault; None when only an undo does."""
    account: str | None = None
    region: str | None = None
    """Where the resource is; None in entries of older versions: where the target is."""

    @property
    def open(self) -> bool:
        """Whether something may still be broken because of this entry."""
        return self.state is not EntryState.VERIFIED


class Debt(Model):
    """The rollbacks that a drill owes from its first change on, until they have run. Never a value of a secret."""

    drill: str
    experiment: str
    """Its file, relative to the checkout where it is below it."""
    rollbacks: tuple[str, ...]
    """Names of those that no undo of a fault makes needless."""
    digest: str
    """Of what they and their variables were: others may stand in the file by now."""
    region: str
    account: str | None = None
    created_at: float

    def paid_by(self, other: Debt) -> bool:
        """Whether the rollbacks of another one, once they have run, did all that is owed here: the same, there."""
        same_place = self.region == other.region and (None in (both := {self.account, other.account}) or len(both) == 1)
        return same_place and self.experiment == other.experiment and self.digest == other.digest != ""

    def __str__(self) -> str:
        return f"rollbacks of {self.drill} ({self.experiment}): {', '.join(self.rollbacks)}"


@dataclass(frozen=True)
class Unreadable:
    """A row that is there and says nothing that could be undone."""

    sequence: int | None
    """Its number in the table; None for rows that SQLite itself cannot give."""
    name: str
    """What can be told of it: its id, fault and resource, as far as they are legible."""
    why: str
    open: bool
    """False only where it plainly says that it was undone and verified."""

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


@dataclass(frozen=True)
class Reading:
    """What a ledger says, row by row, in the order in which it was written."""

    entries: tuple[Entry, ...]
    unreadable: tuple[Unreadable, ...]
    gone: tuple[Gone, ...] = ()
    """What was written and is not there any more; nothing of it may be undone."""

    def __bool__(self) -> bool:
        return bool(self.entries or self.unreadable or self.gone)

    @property
    def illegible(self) -> tuple[Unreadable | Gone, ...]:
        """What stands, or stood, in it and cannot be undone by it."""
        return (*self.unreadable, *self.gone)

    @property
    def names(self) -> str:
        """All of it in one line."""
        return ", ".join([*(f"{e.fault} on {e.resource}" for e in self.entries), *map(str, self.illegible)])


class Ledger:
    """The ledger of one target.

    Raises:
        LedgerError: the file cannot be created, read or written; nothing may then be injected.
    """

    def __init__(self, path: Path, target: str) -> None:
        self.path = path
        self.target = target
        with self._errors("open"):
            path.parent.mkdir(parents=True, exist_ok=True)
            _keep_to_owner(path)
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.text_factory = _text
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self._add_missing_columns()
            call_witness(self._db)

    def _add_missing_columns(self) -> None:
        """A ledger of an older Tocsin may hold open entries: it is brought up to date, never replaced."""
        if not self._missing():
            return
        self._db.execute("BEGIN IMMEDIATE")
        # Asked again: another process may have been first.
        for name in self._missing():
            self._db.execute(f"ALTER TABLE entries ADD COLUMN {name} {_ADDED[name]}")
        self._db.execute("COMMIT")

    def _missing(self) -> list[str]:
        there = {row["name"] for row in self._db.execute("PRAGMA table_info(entries)")}
        return [name for name in _ADDED if name not in there]

    def intend(
        self,
        drill: str,
        fault: str,
        resource: str,
        arguments: Model,
        prior: Model,
        expires_at: float | None = None,
        *,
        account: str | None = None,
        region: str | None = None,
    ) -> Entry:
        """Write down what is about to happen, where, and what was there before. Synced to disk when it returns."""
        now = time.time()
        entry = Entry(
            id=uuid.uuid4().hex[:12],
            drill=drill,
            target=self.target,
            fault=fault,
            resource=resource,
            arguments=arguments.model_dump(mode="json"),
            prior=prior.model_dump(mode="json"),
            state=EntryState.INTENDED,
            created_at=now,
            updated_at=now,
            expires_at=expires_at,
            account=account,
            region=region,
        )
        row = entry.model_dump(mode="json")
        row["arguments"], row["prior"] = json.dumps(row["arguments"]), json.dumps(row["prior"])
        row["digest"] = _digest(row)
        names = ", ".join(row)
        with self._errors("write"):
            marks = ", ".join(f":{name}" for name in row)
            self._db.execute(f"INSERT INTO entries ({names}) VALUES ({marks})", row)  # noqa: S608 - our own names
        return entry

    def advance(self, entry_id: str, state: EntryState, detail: str = "") -> None:
        """Move an entry on; synced to disk when it returns."""
        with self._errors("write"):
            self._db.execute(
                "UPDATE entries SET state = ?, detail = ?, updated_at = ? WHERE id = ?",
                (state, mask(detail), time.time(), entry_id),
            )
            if state is EntryState.VERIFIED:
                for what in Spent:
                    forget_note(self._db, _spent(entry_id, what))

    def spend(self, entry_id: str, limit: int, what: Spent) -> bool:
        """Take one of the `limit` that an entry has in all, in whichever process; False when none is left."""
        spent = self.spent(entry_id, what)
        if spent >= limit:
            return False
        self.set_note(_spent(entry_id, what), str(spent + 1))
        return True

    def spent(self, entry_id: str, what: Spent) -> int:
        """How many an entry has taken so far, in whichever process."""
        return int(self.note(_spent(entry_id, what)) or 0)

    def entries(self, *, only_open: bool = False, drill: str | None = None) -> list[Entry]:
        """Entries in the order they were written.

        Raises:
            LedgerError: also where one row cannot be read or is gone, which may be one of those that are asked for.
        """
        found = self.read(only_open=only_open)
        if found.illegible:
            raise LedgerError(
                f"expected to read the ledger {self.path}, found rows that cannot be read: "
                f"{'; '.join(map(str, found.illegible))}. Call `tocsin recover`: it undoes the others, and says what "
                "can be done."
            )
        return [entry for entry in found.entries if drill is None or entry.drill == drill]

    def read(self, *, only_open: bool = False) -> Reading:
        """Every row, in the order they were written: entries, those that cannot be read, and those that are gone."""
        rows, damage = self._rows()
        gone: tuple[Gone, ...] = ()
        try:
            gone = () if damage is not None else find_gone(self._db)
        except _DAMAGES as error:
            damage = str(error)
        entries: list[Entry] = []
        unreadable: list[Unreadable] = []
        for row in rows:
            try:
                entries.append(_entry(row))
            except _NO_ENTRY as error:
                unreadable.append(_unreadable(row, error))
        if damage is None and not unreadable:
            damage = self._hidden_damage()
        if damage is not None:
            unreadable.append(Unreadable(None, "rows that SQLite cannot give", damage, open=True))
        return Reading(
            tuple(entry for entry in entries if entry.open or not only_open),
            tuple(row for row in unreadable if row.open or not only_open),
            gone,
        )

    def _rows(self) -> tuple[list[sqlite3.Row], str | None]:
        """The rows that SQLite gives; with what it says of the rest where a page of the file is damaged."""
        found: dict[int, sqlite3.Row] = {}
        damage: Exception | None = None
        # From both ends: what is damaged in the middle hides neither.
        for order in ("ASC", "DESC"):
            try:
                for row in self._db.execute(f"SELECT * FROM entries ORDER BY sequence {order}"):  # noqa: S608 - our own
                    found[row["sequence"]] = row
            except _DAMAGES as error:
                damage = error
            else:
                damage = None
                break
        with self._errors("read"):
            if damage is not None and not found:
                raise damage
        return [found[sequence] for sequence in sorted(found)], None if damage is None else str(damage)

    def _hidden_damage(self) -> str | None:
        """What SQLite finds wrong with a file of which it gives every row that it finds; there may have been more.

        https://www.sqlite.org/pragma.html#pragma_quick_check
        """
        try:
            said = str(self._db.execute("PRAGMA quick_check(1)").fetchone()[0])
        except _DAMAGES as error:
            return str(error)
        return None if said == "ok" else said

    def close_row(self, sequence: int, detail: str) -> None:
        """Call a row that cannot be read undone: nothing of what it was about is there any more."""
        with self._errors("write"):
            self._db.execute(
                "UPDATE entries SET state = ?, detail = ?, updated_at = ? WHERE sequence = ?",
                (EntryState.VERIFIED, detail, time.time(), sequence),
            )

    def accept_gone(self) -> tuple[Gone, ...]:
        """Somebody has looked after what is gone from here: it is missed no more. Returns what it was."""
        gone = self.read(only_open=True).gone
        with self._errors("write"):
            accept_gone(self._db, gone)
        return gone

    def owe(self, debt: Debt) -> None:
        """Note rollbacks that are owed from now on; synced to disk when it returns."""
        with self._errors("write"):
            self._db.execute(
                "INSERT OR REPLACE INTO owed VALUES (?, ?, ?)",
                (debt.drill, debt.experiment, debt.model_dump_json()),
            )

    def owed(self) -> list[Debt]:
        """Every debt that nobody has paid, in the order of the drills."""
        with self._errors("read"):
            rows = self._db.execute("SELECT * FROM owed").fetchall()
        return sorted((_debt(row) for row in rows), key=lambda debt: debt.created_at)

    def pay(self, ran: Debt) -> None:
        """These rollbacks have run: this drill owes them no more, nor does another one that owed the very same.

        A drill of the same file that owed others, from before somebody edited it, owes them still.
        """
        paid = [debt.drill for debt in self.owed() if debt.drill == ran.drill or debt.paid_by(ran)]
        with self._errors("write"):
            settle_debts(self._db, paid)

    def forgive(self) -> None:
        """All that could be rolled back is gone, or was by hand: nobody owes anything any more."""
        with self._errors("write"):
            settle_debts(self._db, [str(row["drill"]) for row in self._db.execute("SELECT drill FROM owed")])

    @property
    def runner(self) -> str:
        """Who runs drills from this ledger: the same in every process, another one where the file was copied to."""
        place = f"{socket.gethostname()}:{self.path.resolve()}"
        found, _, made_at = (self.note(_RUNNER) or "").partition(" ")
        if made_at != place:
            found = uuid.uuid4().hex
            self.set_note(_RUNNER, f"{found} {place}")
        return found

    def note(self, name: str) -> str | None:
        """What was noted under a name; None when nothing is.

        Raises:
            LedgerError: also where it is one that is witnessed, and somebody deleted it: what it said is not known.
        """
        with self._errors("read"):
            row = self._db.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
            missed = row is None and is_missed(self._db, name)
        if missed:
            raise LedgerError(
                f"expected the note '{name}' in the ledger {self.path}, found that somebody deleted it. Call `tocsin "
                "recover`: it says what can be done."
            )
        return None if row is None else str(row["value"])

    def set_note(self, name: str, value: str | None) -> None:
        """Note something for the next process, or forget it; synced to disk when it returns."""
        with self._errors("write"):
            if value is None:
                forget_note(self._db, name)
            else:
                self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    @contextmanager
    def lock(self, owner: str) -> Iterator[None]:
        """Keep a second runner away from this target; freed by the system when the owner dies.

        Raises:
            Refused: another process holds it.
        """
        with self._locked(".lock", owner):
            yield

    @contextmanager
    def run_lock(self, owner: str) -> Iterator[None]:
        """Keep a second run away from this target, with all that it would start; drills lock one by one inside.

        Raises:
            Refused: another process holds it.
        """
        with self._locked(".run.lock", owner):
            yield

    @contextmanager
    def _locked(self, suffix: str, owner: str) -> Iterator[None]:
        with self._errors("lock"):
            file = self.path.with_suffix(suffix).open("a+", encoding="utf-8")
        with file:
            self._flock(file, fcntl.LOCK_EX)
            _tell_who(file, f"{owner} (process {os.getpid()})\n")
            yield

    def check_unlocked(self) -> None:
        """Look whether a second runner would be kept away, and write nothing.

        Raises:
            Refused: another process holds the lock.
        """
        path = self.path.with_suffix(".lock")
        if not path.exists():
            return
        with self._errors("lock"), path.open(encoding="utf-8") as file:
            self._flock(file, fcntl.LOCK_SH)

    def _flock(self, file: IO[str], kind: int) -> None:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise Refused(
                "lock",
                f"expected target '{self.target}' to be free, found it in use by {holder}. "
                "Wait for that run to end, or stop it.",
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            # The class itself, as for a file that is no database: what it held is lost, and no disk is to blame.
            mend = _DAMAGED if type(error) in (sqlite3.DatabaseError, UnicodeDecodeError) else _NO_ACCESS
            raise LedgerError(
                f"expected to {doing} the ledger {self.path}, found: {error}. Without a ledger nothing is injected; "
                f"{mend}"
            ) from error


def _keep_to_owner(path: Path) -> None:
    """Make the file with a mode of 0600; one that an older Tocsin left open to others is closed to them."""
    with suppress(OSError):  # whether it can be opened is told by SQLite; of another user's file the mode is theirs
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with suppress(OSError):
        path.chmod(path.stat().st_mode & 0o700)


def _tell_who(file: IO[str], owner: str) -> None:
    """For whoever is refused. On a full disk nobody is told, and the lock holds all the same."""
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), owner.encode())


def _text(raw: bytes) -> str | bytes:
    """A text of the file; where it is damaged, as it is, so that only its row cannot be read."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _debt(row: sqlite3.Row) -> Debt:
    """The debt of a row; of one that cannot be read that there is one, which nobody can pay by a command."""
    try:
        return Debt.model_validate_json(row["debt"])
    except ValueError:
        unknown = ("which ones cannot be read",)
        return Debt(
            drill=str(row["drill"]), experiment=str(row["experiment"]), rollbacks=unknown, digest="", region="",
            created_at=0.0,
        )  # fmt: skip


_DAMAGES = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What SQLite raises of a file that is damaged; the second where Python cannot read a name or a message of it."""
_NO_ENTRY = (ValueError, TypeError, LookupError, RecursionError)
"""What a row raises that is damaged: there is no end to what may stand in it, or not."""


def _entry(row: sqlite3.Row) -> Entry:
    """The entry of a row.

    Raises:
        ValueError, TypeError, LookupError, RecursionError: it is damaged, or holds something that only a newer Tocsin
            knows.
    """
    values = {name: row[name] for name in row.keys() if name not in ("sequence", "digest")}  # noqa: SIM118 - values
    unknown = [name for name, value in values.items() if name not in Entry.model_fields and value is not None]
    if unknown:
        raise ValueError(f"a newer Tocsin wrote it, with {', '.join(unknown)}")
    known = {name: value for name, value in values.items() if name in Entry.model_fields}
    entry = Entry.model_validate(
        {**known, "arguments": json.loads(known["arguments"]), "prior": json.loads(known["prior"])}
    )
    if row["digest"] not in (None, _digest(known)):  # None: an older Tocsin wrote it
        raise ValueError("it is not what was written: its digest is that of something else")
    return entry


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([values.get(name) for name in _LASTING]).encode()).hexdigest()


def _unreadable(row: sqlite3.Row, error: Exception) -> Unreadable:
    told = [row[name] for name in ("id", "fault", "resource") if isinstance(row[name], str)]
    return Unreadable(
        sequence=row["sequence"],
        name=f"row {row['sequence']} ({' '.join(told) or 'nothing of it is legible'})",
        why=_first(error) if isinstance(error, ValidationError) else str(error) or type(error).__name__,
        open=row["state"] != EntryState.VERIFIED,
    )


def _first(error: ValidationError) -> str:
    """One mistake is enough, without the value: it may be long, and anything."""
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
