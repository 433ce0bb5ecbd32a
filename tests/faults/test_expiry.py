"""What the ledger says of a fault that ends by itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tocsin.ledger import EntryState, Ledger
from tocsin.model.base import Model
from tocsin.project import ledger_path
from tocsin.recovery import ledger_lines


def line(root: Path, fault: str, ends_in_s: float | None, state: EntryState = EntryState.INJECTED) -> str:
    ledger = Ledger(ledger_path(root, "sandbox"), "sandbox")
    ends_at = None if ends_in_s is None else time.time() + ends_in_s
    entry = ledger.intend("d", fault, "bucket orders", Model(), Model(), ends_at)
    ledger.advance(entry.id, state)
    ledger.close()
    (found,) = ledger_lines(root, "sandbox", everything=True)
    return found


def at(ends_in_s: float) -> str:
    return time.strftime("%H:%M", time.localtime(time.time() + ends_in_s))


def test_an_open_entry_says_when_it_ends_by_itself(tmp_path: Path) -> None:
    assert line(tmp_path, "s3_bucket_deny", 7200).endswith(f"bucket orders; ends by itself at {at(7200)}")


@pytest.mark.parametrize(
    ("fault", "ended"),
    [("s3_bucket_deny", "ended by itself at {}, harmless since"), ("rds_proxy_throttle", "a schedule should have")],
)
def test_an_expired_entry_is_open_until_recover_has_looked(tmp_path: Path, fault: str, ended: str) -> None:
    found = line(tmp_path, fault, -7200)
    assert ended.format(at(-7200)) in found
    assert found.endswith("`tocsin recover` verifies that and removes what is left")


def test_an_entry_that_only_an_undo_ends_and_one_that_is_undone_say_nothing(tmp_path: Path) -> None:
    assert line(tmp_path / "a", "rds_proxy_throttle", None).endswith("bucket orders")
    assert line(tmp_path / "b", "s3_bucket_deny", 7200, EntryState.VERIFIED).endswith("bucket orders")
