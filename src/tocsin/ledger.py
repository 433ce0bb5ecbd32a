"""The write-ahead record of every fault: written and synced before harm, closed only after a verified undo.

One SQLite file a target, `synchronous=FULL` (https://www.sqlite.org/pragma.html#pragma_synchronous), so that an
entry survives the death of the process and of the machine. It holds what the undo needs, never a secret value.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from tocsin.errors import LedgerError, Refused
from tocsin.model.base import Model

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
    expires_at REAL
);
CREATE TABLE IF NOT EXISTS notes (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
)
"""
_RUNNER = "runner"


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

    @property
    def open(self) -> bool:
        """Whether something may still be broken because of this entry."""
        return self.state is not EntryState.VERIFIED


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
            self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self._add_missing_columns()

    def _add_missing_columns(self) -> None:
        """A ledger of an older Tocsin may hold open entries: it is brought up to date, never replaced."""
        if self._has_column("expires_at"):
            return
        self._db.execute("BEGIN IMMEDIATE")
        # Asked again: another process may have been first.
        if not self._has_column("expires_at"):
            self._db.execute("ALTER TABLE entries ADD COLUMN expires_at REAL")
        self._db.execute("COMMIT")

    def _has_column(self, name: str) -> bool:
        return name in {row["name"] for row in self._db.execute("PRAGMA table_info(entries)")}

    def intend(
        self,
        drill: str,
        fault: str,
        resource: str,
        arguments: Model,
        prior: Model,
        expires_at: float | None = None,
    ) -> Entry:
        """Write down what is about to happen and what was there before. Synced to disk when it returns."""
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
        )
        row = entry.model_dump(mode="json")
        row["arguments"], row["prior"] = json.dumps(row["arguments"]), json.dumps(row["prior"])
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
                (state, detail, time.time(), entry_id),
            )

    def entries(self, *, only_open: bool = False, drill: str | None = None) -> list[Entry]:
        """Entries in the order they were written."""
        with self._errors("read"):
            rows = self._db.execute("SELECT * FROM entries ORDER BY sequence").fetchall()
        found = [_entry(row) for row in rows]
        return [e for e in found if (e.open or not only_open) and (drill is None or e.drill == drill)]

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
        """What was noted under a name; None when nothing is."""
        with self._errors("read"):
            row = self._db.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row["value"])

    def set_note(self, name: str, value: str | None) -> None:
        """Note something for the next process, or forget it; synced to disk when it returns."""
        with self._errors("write"):
            if value is None:
                self._db.execute("DELETE FROM notes WHERE name = ?", (name,))
            else:
                self._db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, value))

    @contextmanager
    def lock(self, owner: str) -> Iterator[None]:
        """Keep a second runner away from this target; freed by the system when the owner dies.

        Raises:
            Refused: another process holds it.
        """
        path = self.path.with_suffix(".lock")
        with self._errors("lock"):
            file = path.open("a+", encoding="utf-8")
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
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"expected to {doing} the ledger {self.path}, found: {error}. Without a ledger nothing is injected; "
                "check the disk and the permissions of its directory."
            ) from error


def _tell_who(file: IO[str], owner: str) -> None:
    """For whoever is refused. On a full disk nobody is told, and the lock holds all the same."""
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), owner.encode())


def _entry(row: sqlite3.Row) -> Entry:
    values = {name: row[name] for name in row.keys() if name != "sequence"}  # noqa: SIM118 - a Row iterates over values
    return Entry.model_validate(
        {**values, "arguments": json.loads(values["arguments"]), "prior": json.loads(values["prior"])}
    )
