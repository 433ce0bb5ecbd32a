"""The table in docs/PLANTED_BUGS.md is that of this shelf."""

from __future__ import annotations

from tests.planted.setups import SETUPS
from tests.planted.shelves import SHELF
from tests.planted.table import DOCUMENT, Result, rows_of, table


def test_the_document_has_a_row_for_each_bug_and_no_other() -> None:
    assert rows_of(DOCUMENT.read_text(encoding="utf-8")) == [(bug.name, bug.setup) for bug in SHELF]


def test_nothing_in_the_document_was_missed() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document.count("| detected |") == len(SHELF)
    assert document.count("| healthy |") == len(SHELF)


def test_every_bug_has_a_name_and_a_healthy_twin() -> None:
    assert len({bug.name for bug in SHELF}) == len(SHELF) >= 24
    assert {bug.setup for bug in SHELF} == SETUPS.keys()


def test_a_bug_that_was_missed_and_a_false_alarm_would_be_told() -> None:
    bug = SHELF[0]
    missed = Result(passed=False, properties={"bug": bug.name, "outcome": "pass", "reason": "-"})
    alarm = Result(passed=False, properties={"setup": bug.setup, "outcome": "fail"})
    row = table([missed, alarm]).splitlines()[2]
    assert "**missed**" in row
    assert "**false alarm**" in row
