"""What a ledger knows of rows that are not there any more."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tocsin.errors import LedgerError
from tocsin.model.base import Model
from tocsin.model.spent import LOOKS_INTO, SPENT, Spent
from tocsin.record.ledger import Debt, EntryState, Ledger
from tocsin.record.witness import call_witness, find_gone


class Nothing(Model):
    """Of no interest here."""


def written(path: Path, *resources: str) -> list[str]:
    with closing(Ledger(path, "t")) as ledger:
        return [ledger.intend("d", "f", resource, Nothing(), Nothing()).id for resource in resources]


def gone(path: Path) -> list[str]:
    with closing(Ledger(path, "t")) as ledger:
        return [str(one) for one in ledger.read(only_open=True).gone]


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(statement)


UNWITNESSED = "DROP TRIGGER entry_written; DROP TRIGGER entry_moved; DROP TABLE written; PRAGMA user_version = 0;"
"""As an older Tocsin left it."""


@pytest.mark.parametrize(
    ("statement", "missed"),
    [
        ("DELETE FROM entries WHERE 0", []),
        ("DELETE FROM entries WHERE sequence = 2", ["row 2 (f on b, of drill d): gone from the ledger"]),
        ("DELETE FROM entries WHERE sequence = 3", ["row 3 (f on c, of drill d): gone from the ledger"]),
        (
            f"{UNWITNESSED} DELETE FROM entries WHERE sequence IN (1, 3)",
            [f"row {n} (what they were about is not known): gone from the ledger" for n in (1, 3)],
        ),
        (
            f"{UNWITNESSED} DELETE FROM entries",
            ["rows 1 to 3 (what they were about is not known): gone from the ledger"],
        ),
    ],
)
def test_a_row_that_was_deleted_is_missed(tmp_path: Path, statement: str, missed: list[str]) -> None:
    path = tmp_path / "ledger.sqlite"
    written(path, "a", "b", "c")
    change(path, statement)
    assert gone(path) == missed
    with closing(Ledger(path, "t")) as ledger:
        if missed:
            with pytest.raises(LedgerError, match="gone from the ledger"):
                ledger.entries()
        assert len(ledger.accept_gone()) == len(missed)
        assert ledger.read().gone == ()
        ledger.entries()


def test_what_was_seen_undone_is_not_missed_and_what_is_open_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    first, _ = written(path, "a", "b")
    with closing(Ledger(path, "t")) as ledger:
        ledger.advance(first, EntryState.VERIFIED)
    change(path, "DELETE FROM entries")
    assert gone(path) == ["row 2 (f on b, of drill d): gone from the ledger"]


def test_rows_of_an_older_tocsin_are_known_from_the_first_look_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    written(path, "a", "b")
    change(path, UNWITNESSED)
    assert gone(path) == []
    change(path, "DELETE FROM entries WHERE resource = 'a'")
    assert gone(path) == ["row 1 (f on a, of drill d): gone from the ledger"]


def test_a_row_that_was_put_back_is_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    written(path, "a")
    change(path, "CREATE TABLE kept AS SELECT * FROM entries; DELETE FROM entries")
    assert len(gone(path)) == 1
    change(path, "INSERT INTO entries SELECT * FROM kept; DROP TABLE kept")
    assert gone(path) == []


def test_a_table_that_was_dropped_is_witnessed_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    written(path, "a")
    change(path, "DROP TABLE entries")
    with closing(Ledger(path, "t")) as ledger:
        ledger.accept_gone()
    written(path, "b", "c")
    change(path, "DELETE FROM entries WHERE resource = 'c'")
    assert gone(path) == ["row 2 (f on c, of drill d): gone from the ledger"]


def lost(table: str, of: str) -> str:
    return f"witness ({table}, which knew of {of}): gone from the ledger"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DROP TABLE written; DROP TABLE entries", [lost("written", "faults")]),
        ("DROP TABLE promised; DELETE FROM owed", [lost("promised", "rollbacks that are owed")]),
        ("DROP TABLE promised; DROP TABLE owed", [lost("promised", "rollbacks that are owed")]),
        ("DROP TABLE noted; DELETE FROM notes", [lost("noted", "what an undo may still do")]),
        ("DROP TABLE promised", [lost("promised", "rollbacks that are owed")]),
    ],
)
def test_a_witness_that_was_dropped_is_missed_itself(tmp_path: Path, statement: str, named: list[str]) -> None:
    path = tmp_path / "ledger.sqlite"
    (entry,) = written(path, "a")
    owed(path, "a")
    with closing(Ledger(path, "t")) as ledger:
        assert ledger.spend(entry, 2, Spent.REPEATS)
    change(path, statement)
    for _ in range(2):  # also when it was called again
        assert gone(path) == named
    with closing(Ledger(path, "t")) as ledger:
        if "noted" in statement:
            with pytest.raises(LedgerError, match="found that somebody deleted it"):
                ledger.spend(entry, 2, Spent.REPEATS)
        assert [str(one) for one in ledger.accept_gone()] == named
        assert ledger.read().gone == ()
    assert gone(path) == []
    owed(path, "b")
    change(path, "DELETE FROM owed")
    assert any("rollbacks of b" in one for one in gone(path)), "it is not witnessed again"


def test_a_witness_that_was_dropped_from_a_file_that_cannot_be_changed_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    owed(path, "a")
    change(path, "DROP TABLE promised; DELETE FROM owed")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        call_witness(db)
        assert [str(one) for one in find_gone(db)] == [lost("promised", "rollbacks that are owed")]


# --- rollbacks that are owed --------------------------------------------------------------------------------


def owed(path: Path, *drills: str) -> None:
    with closing(Ledger(path, "t")) as ledger:
        for number, drill in enumerate(drills):
            ledger.owe(debt(drill, float(number)))


def debt(drill: str, at: float = 0.0) -> Debt:
    rollbacks = (f"mend {drill}", "sweep")
    return Debt(drill=drill, experiment=f"{drill}.yaml", rollbacks=rollbacks, digest=drill, region="r", created_at=at)


def missed(number: int, drill: str) -> str:
    return f"debt {number} (rollbacks of {drill} ({drill}.yaml): mend {drill}, sweep): gone from the ledger"


NO_DEBT_WITNESSED = "DROP TRIGGER debt_written; DROP TABLE promised; PRAGMA user_version = 0;"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DELETE FROM owed WHERE 0", []),
        ("DELETE FROM owed", [missed(1, "a"), missed(2, "b")]),
        ("DELETE FROM owed WHERE drill = 'b'", [missed(2, "b")]),
        ("UPDATE owed SET drill = 'x' WHERE drill = 'b'", [missed(2, "b")]),
        ("DROP TABLE owed", [missed(1, "a"), missed(2, "b")]),
        ("DELETE FROM owed; DELETE FROM sqlite_sequence", [missed(1, "a"), missed(2, "b")]),
        ("UPDATE owed SET drill = NULL WHERE drill = 'a'", [missed(1, "a")]),
        (
            "DELETE FROM owed; DELETE FROM promised",
            ["debts 1 to 2 (what they were about is not known): gone from the ledger"],
        ),
    ],
)
def test_a_debt_that_was_deleted_is_missed(tmp_path: Path, statement: str, named: list[str]) -> None:
    path = tmp_path / "ledger.sqlite"
    owed(path, "a", "b")
    change(path, statement)
    assert gone(path) == named
    with closing(Ledger(path, "t")) as ledger:
        assert bool(ledger.read(only_open=True)) == bool(named)
        assert len(ledger.accept_gone()) == len(named)
        assert ledger.read().gone == ()
    assert gone(path) == []


def test_a_debt_that_was_paid_or_forgiven_is_not_missed_and_one_that_is_owed_again_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    owed(path, "a", "b", "c")
    with closing(Ledger(path, "t")) as ledger:
        ledger.pay(debt("a"))
        assert gone(path) == []
        ledger.forgive()
        assert (gone(path), ledger.owed()) == ([], [])
        ledger.owe(debt("b"))
        ledger.owe(debt("b"))
    change(path, "DELETE FROM owed")
    assert gone(path) == [missed(2, "b")]


def test_debts_of_an_older_tocsin_are_known_from_the_first_look_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    owed(path, "a")
    change(path, NO_DEBT_WITNESSED)
    assert gone(path) == []
    change(path, "INSERT OR REPLACE INTO owed SELECT drill, experiment, debt FROM owed")
    assert gone(path) == []
    change(path, "DELETE FROM owed")
    assert gone(path) == [missed(1, "a")]


def test_a_debt_that_cannot_be_read_is_missed_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(Ledger(path, "t")):
        pass
    change(path, "INSERT INTO owed VALUES ('a', 'a.yaml', '{'); DELETE FROM owed")
    assert gone(path) == ["debt 1 (rollbacks of a (a.yaml): which ones is not known): gone from the ledger"]


def test_a_debt_that_was_put_back_is_owed_and_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    owed(path, "a")
    change(path, "CREATE TABLE kept AS SELECT * FROM owed; DELETE FROM owed; INSERT INTO owed SELECT * FROM kept")
    assert gone(path) == []


def test_who_dies_while_a_debt_is_paid_still_owes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    owed(path, "a")
    with closing(sqlite3.connect(path)) as db, closing(Ledger(path, "t")) as ledger:
        ledger._db.execute("CREATE TRIGGER dies BEFORE DELETE ON owed BEGIN SELECT RAISE(ABORT, 'killed'); END")
        with pytest.raises(LedgerError, match="killed"):
            ledger.pay(debt("a"))
        assert [one.drill for one in ledger.owed()] == ["a"]
        assert db.execute("SELECT open FROM promised").fetchall() == [(0,)]


def test_nobody_misses_a_debt_that_is_being_owed_and_paid(tmp_path: Path) -> None:
    path, done = tmp_path / "ledger.sqlite", threading.Event()

    def work() -> None:
        with closing(Ledger(path, "t")) as ledger:
            for number in range(20):
                ledger.owe(debt(str(number)))
                ledger.pay(debt(str(number)))
        done.set()

    owed(path, "first")
    working = threading.Thread(target=work)
    working.start()
    seen, looks = [], 0
    with closing(Ledger(path, "t")) as ledger:
        while not done.is_set() or not looks:
            seen += ledger.read(only_open=True).gone
            looks += 1
    working.join()
    assert seen == []


# --- notes --------------------------------------------------------------------------------------------------

LOOKS = f"{LOOKS_INTO}arn:aws:sqs:eu-west-1:123456789012:orders"


def test_what_was_spent_and_looked_is_missed_where_somebody_deleted_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    (entry,) = written(path, "a")
    with closing(Ledger(path, "t")) as ledger:
        assert ledger.spend(entry, 2, Spent.REPEATS)
        assert ledger.spend(entry, 2, Spent.REPEATS)
        ledger.set_note(LOOKS, "[1.0]")
        ledger.set_note("runner", "x")
    change(path, "DELETE FROM notes")
    spent = f"{SPENT}repeats {entry}"
    assert gone(path) == [f"note ({name}): gone from the ledger" for name in (LOOKS, spent)]
    with closing(Ledger(path, "t")) as ledger:
        assert ledger.note("runner") is None
        for ask in (lambda: ledger.note(LOOKS), lambda: ledger.spend(entry, 2, Spent.REPEATS)):
            with pytest.raises(LedgerError, match="found that somebody deleted it"):
                ask()
        assert len(ledger.accept_gone()) == 2
        assert ledger.note(LOOKS) is None
    assert gone(path) == []


def test_notes_that_are_needed_no_more_are_not_missed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    (entry,) = written(path, "a")
    with closing(Ledger(path, "t")) as ledger:
        ledger.spend(entry, 2, Spent.REPEATS)
        ledger.set_note(LOOKS, "[1.0]")
        ledger.set_note(LOOKS, "[1.0, 2.0]")
        ledger.set_note(LOOKS, None)
        assert ledger.note(LOOKS) is None
        ledger.advance(entry, EntryState.VERIFIED)
        assert ledger.spent(entry, Spent.REPEATS) == 0
    assert gone(path) == []


def test_nobody_misses_what_is_being_written(tmp_path: Path) -> None:
    path, done = tmp_path / "ledger.sqlite", threading.Event()

    def write() -> None:
        written(path, *map(str, range(60)))
        done.set()

    written(path, "first")
    writing = threading.Thread(target=write)
    writing.start()
    missed, looks = [], 0
    with closing(Ledger(path, "t")) as ledger:
        while not done.is_set() or not looks:
            missed += ledger.read(only_open=True).gone
            looks += 1
    writing.join()
    assert missed == []
