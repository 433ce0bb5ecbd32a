from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tocsin.errors import LedgerError, Refused
from tocsin.ledger import EntryState, Ledger
from tocsin.model.base import Model
from tocsin.project import ledger_path
from tocsin.recovery import close_entries_of_a_gone_sandbox


class Arguments(Model):
    proxy: str = "orders"


class Prior(Model):
    percent: int = 100


def test_an_entry_is_there_for_the_next_process_before_anything_is_broken(tmp_path: Path) -> None:
    """Killed right after `intend`: the next process finds the entry open, with all that the undo needs."""
    path = tmp_path / "ledger.sqlite"
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.test_ledger import Arguments, Prior\n"
        "from tocsin.ledger import Ledger\n"
        "Ledger(Path(sys.argv[1]), 't').intend('d', 'rds_proxy_throttle', 'proxy', Arguments(), Prior())\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[1]
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


def test_a_damaged_ledger_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(LedgerError, match="found: file is not a database"):
        Ledger(path, "t")


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
