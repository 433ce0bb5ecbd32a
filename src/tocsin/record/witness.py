"""Who knows of a row of the ledger when the row itself is gone: other tables of the same file.

SQLite writes them with each row, in one transaction, by triggers: whoever writes to the file, also an older Tocsin or a
person, writes both. Every row that is a duty is witnessed: entries, rollbacks that are owed, and the notes by which an
undo knows how often it may still do something. What is rightly taken out is taken out of its witness first.

The numbers of entries and of debts are a second witness: AUTOINCREMENT leaves no gap and remembers the last one
(https://www.sqlite.org/autoinc.html), so an emptied ledger is told from a new one even where both tables are. A table
that is dropped takes its numbers along: that the witnesses were called stands in the head of the file, too.

It is no seal: who changes the rows to say that all was undone, or puts an older copy of the file back, is believed,
unless the lock in the account says otherwise (`tocsin.guards.lock`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from tocsin.model.spent import LOOKS_INTO, SPENT

_DUTIES = (SPENT, LOOKS_INTO)
"""How notes begin without which an undo would do more than it may, or believe that less is left than there is."""
_IS_DUTY = " OR ".join(f"substr({{0}}, 1, {len(prefix)}) = '{prefix}'" for prefix in _DUTIES)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS written (
    sequence INTEGER PRIMARY KEY,
    drill    TEXT NOT NULL,
    fault    TEXT NOT NULL,
    resource TEXT NOT NULL,
    open     INTEGER NOT NULL
);
CREATE TRIGGER IF NOT EXISTS entry_written AFTER INSERT ON entries BEGIN
    INSERT OR REPLACE INTO written
    VALUES (NEW.sequence, NEW.drill, NEW.fault, NEW.resource, NEW.state <> 'verified');
END;
CREATE TRIGGER IF NOT EXISTS entry_moved AFTER UPDATE OF state ON entries BEGIN
    UPDATE written SET open = NEW.state <> 'verified' WHERE sequence = NEW.sequence;
END;
CREATE TABLE IF NOT EXISTS promised (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    drill      TEXT NOT NULL,
    experiment TEXT NOT NULL,
    debt       TEXT NOT NULL,
    open       INTEGER NOT NULL
);
CREATE TRIGGER IF NOT EXISTS debt_written AFTER INSERT ON owed BEGIN
    INSERT INTO promised (drill, experiment, debt, open) SELECT NEW.drill, '', '', 1
    WHERE NOT EXISTS (SELECT 1 FROM promised WHERE drill = NEW.drill);
    UPDATE promised SET experiment = NEW.experiment, debt = NEW.debt, open = 1 WHERE drill = NEW.drill;
END;
CREATE TABLE IF NOT EXISTS noted (
    name TEXT PRIMARY KEY
);
CREATE TRIGGER IF NOT EXISTS note_written AFTER INSERT ON notes WHEN {_IS_DUTY.format("NEW.name")} BEGIN
    INSERT INTO noted SELECT NEW.name WHERE NOT EXISTS (SELECT 1 FROM noted WHERE name = NEW.name);
END
"""  # noqa: S608 - our own
# No upserts above: in a trigger, the conflict clause of the statement that fires it takes their place
# (https://www.sqlite.org/lang_createtrigger.html).
_FILL = f"""
INSERT OR IGNORE INTO written SELECT sequence, drill, fault, resource, state <> 'verified' FROM entries;
INSERT INTO promised (drill, experiment, debt, open)
SELECT drill, experiment, debt, 1 FROM owed AS o WHERE NOT EXISTS (SELECT 1 FROM promised WHERE drill = o.drill);
INSERT OR IGNORE INTO noted SELECT name FROM notes WHERE {_IS_DUTY.format("name")}
"""  # noqa: S608 - our own
_WITNESSES = {"written": "faults", "promised": "rollbacks that are owed", "noted": "what an undo may still do"}
"""Tables that know what was written, and of what."""
_CALLED = 1
"""`PRAGMA user_version` of a ledger whose witnesses were called; 0 is that of a new one, and of an older Tocsin's.
https://www.sqlite.org/pragma.html#pragma_user_version"""
_LOST = {table: _CALLED << number for number, table in enumerate(_WITNESSES, 1)}
"""Bits beside it: that table was gone when it was called again, and nobody has looked since."""


class Kind(StrEnum):
    """What a row was."""

    ENTRY = "row"
    DEBT = "debt"
    NOTE = "note"
    WITNESS = "witness"


@dataclass(frozen=True)
class Gone:
    """Rows that were written, and that somebody took out of the ledger before they were seen undone, or paid."""

    sequences: tuple[int, ...]
    """Their numbers; none of notes, which have names."""
    what: str
    """What they were about, and whose they were, as far as it is known."""
    kind: Kind = Kind.ENTRY
    drill: str = ""
    """Of a debt: who owed it."""
    rollbacks: tuple[str, ...] = ()
    """Of a debt: what was owed."""

    def __str__(self) -> str:
        return f"{self._rows} ({self.what}): gone from the ledger"

    @property
    def _rows(self) -> str:
        if not self.sequences:
            return f"{self.kind}"
        first, last = self.sequences[0], self.sequences[-1]
        return f"{self.kind} {first}" if first == last else f"{self.kind}s {first} to {last}"


def call_witness(db: sqlite3.Connection) -> None:
    """Let every row be witnessed from now on; those of an older Tocsin from this moment on.

    A file that cannot be changed is read without it: the numbers of the rows are a witness all the same.
    """
    with suppress(sqlite3.DatabaseError):
        marked = _marked(db)
        missing = _WITNESSES.keys() - _tables(db)
        mark = _CALLED | marked | sum(_LOST[table] for table in missing if marked)
        if missing or mark != marked:
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}; {_FILL}; PRAGMA user_version = {mark}; COMMIT")
        db.executescript(_SCHEMA)  # a table that somebody dropped has taken its triggers along
    with suppress(sqlite3.OperationalError):  # there is none to roll back
        db.execute("ROLLBACK")


def _marked(db: sqlite3.Connection) -> int:
    """What the head of the file says of the witnesses. To be asked before them: they are called in one transaction."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _lost(db: sqlite3.Connection) -> list[str]:
    """Witnesses that were called, and that somebody dropped; also where the file cannot be changed."""
    marked = _marked(db)
    tables = _tables(db)
    return [table for table, bit in _LOST.items() if marked & bit or (marked and table not in tables)]


def find_gone(db: sqlite3.Connection) -> tuple[Gone, ...]:
    """Rows that must be there and are not: entries, debts, notes, each in the order in which they were written.

    A witness that is gone is named too: what it alone knew is not known any more.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    tables = _tables(db)
    witnesses = (Gone((), f"{table}, which knew of {_WITNESSES[table]}", Kind.WITNESS) for table in _lost(db))
    return (*_entries_gone(db, tables), *_debts_gone(db, tables), *_notes_gone(db, tables), *witnesses)


def _entries_gone(db: sqlite3.Connection, tables: Set[str]) -> list[Gone]:
    known = {row["sequence"]: row for row in _all(db, "written", tables)}
    numbered = _last_number(db, "entries", tables)
    # After the witnesses: somebody may be writing, and a row that they do not know yet is not missed.
    present = {row["sequence"] for row in db.execute("SELECT sequence FROM entries")}
    last = max([numbered, *known, *present])
    told = [Gone((number,), _what(row)) for number, row in known.items() if row["open"] and number not in present]
    nameless = [number for number in range(1, last + 1) if number not in present and number not in known]
    return sorted([*told, *_runs(nameless, Kind.ENTRY)], key=lambda gone: gone.sequences)


def _debts_gone(db: sqlite3.Connection, tables: Set[str]) -> list[Gone]:
    if not tables >= {"promised", "owed"}:
        return []
    # Before the rows: a number that is given meanwhile is not missed. And in one statement, as one may be paid.
    last = _last_number(db, "promised", tables)
    asked = "SELECT * FROM promised AS p WHERE open AND NOT EXISTS (SELECT 1 FROM owed WHERE drill = p.drill)"
    missing = db.execute(asked).fetchall()
    known = {row["number"] for row in db.execute("SELECT number FROM promised")}
    nameless = [number for number in range(1, last + 1) if number not in known]
    return sorted([*map(_debt, missing), *_runs(nameless, Kind.DEBT)], key=lambda gone: gone.sequences)


def _debt(row: sqlite3.Row) -> Gone:
    rollbacks: tuple[str, ...] = ()
    with suppress(ValueError, TypeError, LookupError):  # damaged: that there was one is known all the same
        rollbacks = tuple(map(str, json.loads(row["debt"])["rollbacks"]))
    owed = ", ".join(rollbacks) or "which ones is not known"
    drill = str(row["drill"])
    what = f"rollbacks of {drill} ({row['experiment']}): {owed}"
    return Gone((row["number"],), what, Kind.DEBT, drill, rollbacks)


def _notes_gone(db: sqlite3.Connection, tables: Set[str]) -> list[Gone]:
    if not tables >= {"noted", "notes"}:
        return []
    asked = "SELECT name FROM noted AS n WHERE NOT EXISTS (SELECT 1 FROM notes WHERE name = n.name) ORDER BY name"
    return [Gone((), str(row["name"]), Kind.NOTE) for row in db.execute(asked)]


def accept_gone(db: sqlite3.Connection, gone: Sequence[Gone]) -> None:
    """Somebody has looked after what these rows were about: they are missed no more.

    Raises:
        sqlite3.Error: the file cannot be written.
    """
    entries, debts = (
        [(number,) for one in gone if one.kind is kind for number in one.sequences] for kind in (Kind.ENTRY, Kind.DEBT)
    )
    db.executemany("INSERT INTO written VALUES (?, '', '', '', 0) ON CONFLICT DO UPDATE SET open = 0", entries)
    db.executemany("INSERT INTO promised VALUES (?, '', '', '', 0) ON CONFLICT DO UPDATE SET open = 0", debts)
    for one in gone:
        if one.kind is Kind.NOTE:
            forget_note(db, one.what)
    if any(one.kind is Kind.WITNESS for one in gone):
        db.execute(f"PRAGMA user_version = {_CALLED}")


def settle_debts(db: sqlite3.Connection, drills: Iterable[str]) -> None:
    """These drills owe nothing any more. The witness is told first: whoever dies in between still owes.

    Raises:
        sqlite3.Error: the file cannot be written.
    """
    settled = [(drill,) for drill in drills]
    db.executemany("UPDATE promised SET open = 0 WHERE drill = ?", settled)
    db.executemany("DELETE FROM owed WHERE drill = ?", settled)


def forget_note(db: sqlite3.Connection, name: str) -> None:
    """A note is needed no more. The witness is told first.

    Raises:
        sqlite3.Error: the file cannot be written.
    """
    if name.startswith(_DUTIES):
        db.execute("DELETE FROM noted WHERE name = ?", (name,))
    db.execute("DELETE FROM notes WHERE name = ?", (name,))


def is_missed(db: sqlite3.Connection, name: str) -> bool:
    """Whether a note that is not there was written, and never rightly forgotten.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    if not name.startswith(_DUTIES):
        return False
    if "noted" in _lost(db):
        return True  # nobody knows
    if "noted" not in _tables(db):
        return False
    # Both at once: it may have been written since somebody looked for it.
    asked = "SELECT 1 FROM noted WHERE name = ?1 AND NOT EXISTS (SELECT 1 FROM notes WHERE name = ?1)"
    return db.execute(asked, (name,)).fetchone() is not None


def _what(row: sqlite3.Row) -> str:
    return f"{row['fault']} on {row['resource']}, of drill {row['drill']}"


def _runs(numbers: Sequence[int], kind: Kind) -> Iterator[Gone]:
    """Numbers that follow each other, in one piece each."""
    there = frozenset(numbers)
    begins = [number for number in numbers if number - 1 not in there]
    ends = [number for number in numbers if number + 1 not in there]
    for first, last in zip(begins, ends, strict=True):
        yield Gone(tuple(range(first, last + 1)), "what they were about is not known", kind)


def _last_number(db: sqlite3.Connection, table: str, tables: Set[str]) -> int:
    """The last one that SQLite gave to a row; 0 where it gave none."""
    return max((row["seq"] for row in _all(db, "sqlite_sequence", tables) if row["name"] == table), default=0)


def _tables(db: sqlite3.Connection) -> Set[str]:
    return {row["name"] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _all(db: sqlite3.Connection, table: str, tables: Set[str]) -> list[sqlite3.Row]:
    return db.execute(f"SELECT * FROM {table}").fetchall() if table in tables else []  # noqa: S608 - ours
