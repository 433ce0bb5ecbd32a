from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tocsin.commands.session import close_entries_of_a_gone_sandbox
from tocsin.errors import LedgerError, Refused
from tocsin.model.base import Model
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Entry, EntryState, Ledger

# Everything is imported before: nobody may not read the checkout.
_BECOME_NOBODY = """
import os
import tests.record.test_ledger, tocsin.record.ledger
if os.getuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
"""


class Arguments(Model):
    proxy: str = "orders"


class Prior(Model):
    percent: int = 100


def test_an_entry_is_there_for_the_next_process_before_anything_is_broken(tmp_path: Path) -> None:
    """Killed right after `intend`: the next process finds the entry open, with all that the undo needs."""
    path = tmp_path / "ledger.sqlite"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.record.test_ledger import Arguments, Prior\n"
        "from tocsin.record.ledger import Ledger\n"
        "Ledger(Path(sys.argv[1]), 't').intend('d', 'rds_proxy_throttle', 'proxy', Arguments(), Prior())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    died = subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False)
    assert died.returncode == -signal.SIGKILL
    (entry,) = Ledger(path, "t").entries(only_open=True)
    assert entry.state is EntryState.INTENDED
    assert entry.arguments == {"proxy": "orders"}
    assert entry.prior == {"percent": 100}


def test_only_a_verified_undo_closes_an_entry(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", "t")
    entry = ledger.intend("d", "f", "r", Arguments(), Prior())
    for state in (EntryState.INJECTED, EntryState.UNDONE):
        ledger.advance(entry.id, state)
        assert [e.id for e in ledger.entries(only_open=True)] == [entry.id]
    ledger.advance(entry.id, EntryState.VERIFIED)
    assert ledger.entries(only_open=True) == []
    assert [e.state for e in ledger.entries()] == [EntryState.VERIFIED]


def test_a_ledger_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    blocker = tmp_path / "not-a-directory"
    blocker.write_text("")
    with pytest.raises(LedgerError, match="Without a ledger nothing is injected"):
        Ledger(blocker / "ledger.sqlite", "t")


def test_a_ledger_that_may_only_be_read_can_be_read_and_not_be_written() -> None:
    """Written by one user, opened by another: root itself would be allowed to write."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.sqlite"
        Ledger(path, "t").intend("d", "f", "r", Arguments(), Prior())
        path.chmod(0o444)
        path.parent.chmod(0o555)
        code = (
            "import sys; from pathlib import Path\n"
            "from tests.record.test_ledger import Arguments, Prior\n"
            "from tocsin.record.ledger import Ledger\n"
            "ledger = Ledger(Path(sys.argv[1]), 't')\n"
            "print(len(ledger.entries(only_open=True)))\n"
            "ledger.intend('d', 'f', 'r', Arguments(), Prior())\n"
        )
        found = subprocess.run(
            [sys.executable, "-c", f"{_BECOME_NOBODY}{code}", str(path)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        path.parent.chmod(0o755)
        assert found.stdout == "1\n"
        assert "found: attempt to write a readonly database. Without a ledger nothing is injected" in found.stderr
        assert len(Ledger(path, "t").entries()) == 1


def test_a_ledger_of_an_older_version_keeps_its_open_entries(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, "t").intend("d", "f", "r", Arguments(), Prior())
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE entries DROP COLUMN expires_at")
        db.execute("DROP TABLE notes")
    (entry,) = Ledger(path, "t").entries(only_open=True)
    assert (entry.prior, entry.expires_at) == ({"percent": 100}, None)
    Ledger(path, "t").advance(entry.id, EntryState.VERIFIED)
    assert Ledger(path, "t").entries(only_open=True) == []


def test_a_damaged_ledger_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(LedgerError, match=r"found: file is not a database\..*is injected; what runs that died"):
        Ledger(path, "t")


class Long(Model):
    text: str = "x" * 900


def zeroed(content: bytearray, draw: random.Random) -> bytes:
    page = draw.randrange(len(content) // PAGE) * PAGE
    return bytes(content[:page] + bytes(PAGE) + content[page + PAGE :])


def overwritten(content: bytearray, draw: random.Random) -> bytes:
    page = draw.randrange(len(content) // PAGE) * PAGE
    return bytes(content[:page] + draw.randbytes(PAGE) + content[page + PAGE :])


def cut(content: bytearray, draw: random.Random) -> bytes:
    return bytes(content[: draw.randrange(1, len(content))])


def one_byte(content: bytearray, draw: random.Random) -> bytes:
    content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def some_bytes(content: bytearray, draw: random.Random) -> bytes:
    for _ in range(12):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)


def lasting(entry: Entry) -> dict[str, object]:
    return entry.model_dump(exclude={"state", "detail", "updated_at"})


PAGE = 4096


@pytest.mark.parametrize("harm", [zeroed, overwritten, cut, one_byte, some_bytes])
def test_whatever_is_damaged_what_is_open_is_read_as_it_was_written_or_said_to_be_lost(
    tmp_path: Path, harm: Callable[[bytearray, random.Random], bytes]
) -> None:
    path, harmed = tmp_path / "ledger.sqlite", tmp_path / "harmed.sqlite"
    with closing(Ledger(path, "t")) as ledger:
        assert ledger._db.execute("PRAGMA page_size").fetchone()[0] == PAGE
        for number in range(12):
            ledger.intend(str(number), "f", "r", Arguments(), Long())
        written = {entry.id: entry for entry in ledger.entries(only_open=True)}
    content, draw = path.read_bytes(), random.Random(harm.__name__)
    told = 0
    for _ in range(40):
        harmed.write_bytes(harm(bytearray(content), draw))
        try:
            with closing(Ledger(harmed, "t")) as ledger:
                found = ledger.read(only_open=True)
        except LedgerError:
            told += 1
            continue
        told += bool(found.illegible)
        assert all(lasting(written[entry.id]) == lasting(entry) for entry in found.entries)
        assert len(found.entries) == len(written) or found.illegible
    assert told > 0


def test_a_second_runner_is_refused_and_told_who_holds_the_target(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    first, second = Ledger(path, "staging"), Ledger(path, "staging")
    refused = pytest.raises(Refused, match=rf"in use by drill-one \(process {os.getpid()}\)")
    with first.lock("drill-one"), refused, second.lock("drill-two"):
        pytest.fail("two runners on one target")
    with second.lock("drill-two"):
        pass


def test_what_was_broken_in_a_sandbox_that_is_gone_is_no_residue(tmp_path: Path) -> None:
    ledger = Ledger(ledger_path(tmp_path, "sandbox"), "sandbox")
    ledger.intend("d", "f", "r", Arguments(), Prior())
    assert close_entries_of_a_gone_sandbox(tmp_path) == 1
    assert ledger.entries(only_open=True) == []
    (entry,) = ledger.entries()
    assert "gone with the sandbox" in entry.detail


def test_a_ledger_of_the_version_before_regions_keeps_its_open_entries(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, "t").intend("d", "f", "r", Arguments(), Prior(), account="123456789012", region="eu-west-1")
    (entry,) = Ledger(path, "t").entries()
    assert (entry.account, entry.region) == ("123456789012", "eu-west-1")
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE entries DROP COLUMN account")
        db.execute("ALTER TABLE entries DROP COLUMN region")
        db.execute("ALTER TABLE entries DROP COLUMN digest")
    (entry,) = Ledger(path, "t").entries(only_open=True)
    assert (entry.account, entry.region, entry.prior) == (None, None, {"percent": 100})


DAMAGES = {
    "an unknown state": ("UPDATE entries SET state = 'mended' WHERE sequence = 2", "state: Input should be"),
    "half a document": ("""UPDATE entries SET prior = '{"per' WHERE sequence = 2""", "Unterminated string"),
    "no text": ("UPDATE entries SET resource = x'ff00ff' WHERE sequence = 2", "resource: Input should be"),
    "another document": ("""UPDATE entries SET prior = '{"percent": 101}' WHERE sequence = 2""", "it is not what was"),
    "another resource": ("UPDATE entries SET resource = 's' WHERE sequence = 2", "it is not what was written"),
    "another region": ("UPDATE entries SET region = 'eu-west-2' WHERE sequence = 2", "it is not what was written"),
    "too deep": (
        "UPDATE entries SET arguments = printf('%.*c', 100000, '[') WHERE sequence = 2",
        "maximum recursion depth",
    ),
    "no time": ("UPDATE entries SET created_at = 'soon' WHERE sequence = 2", "created_at: Input should be"),
    "a newer Tocsin": (
        "ALTER TABLE entries ADD COLUMN cell TEXT; UPDATE entries SET cell = 'blue' WHERE sequence = 2",
        "a newer Tocsin wrote it, with cell",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_row_that_cannot_be_read_is_named_and_hides_no_other(tmp_path: Path, damage: str) -> None:
    path, (statement, why) = tmp_path / "ledger.sqlite", DAMAGES[damage]
    for drill in ("one", "two", "three"):
        Ledger(path, "t").intend(drill, "f", "r", Arguments(), Prior())
    with closing(sqlite3.connect(path)) as db:
        db.executescript(statement)
    ledger = Ledger(path, "t")
    found = ledger.read(only_open=True)
    assert [entry.drill for entry in found.entries] == ["one", "three"]
    (row,) = found.unreadable
    assert (row.sequence, row.open) == (2, True)
    assert why in row.why
    with pytest.raises(LedgerError, match=r"row 2 \(.*Call `tocsin recover`"):
        ledger.entries()
    ledger.close_row(2, "seen to")
    assert not ledger.read(only_open=True).unreadable


def test_a_damaged_page_hides_no_row_of_another(tmp_path: Path) -> None:
    class Long(Model):
        text: str = "x" * 3000

    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path, "t")
    for number in range(12):
        ledger.intend(str(number), "f", "r", Long(), Prior())
    page = ledger._db.execute("PRAGMA page_size").fetchone()[0]
    ledger.close()
    content = bytearray(path.read_bytes())
    rows = [found.start() for found in re.finditer(b'"text"', content)]
    at = rows[len(rows) // 2] // page * page
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)
    found = Ledger(path, "t").read(only_open=True)
    assert {"0", "11"} <= {entry.drill for entry in found.entries}
    assert len(found.entries) < 12
    (rest,) = found.unreadable
    assert (rest.sequence, rest.why) == (None, "database disk image is malformed")
