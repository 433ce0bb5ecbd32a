"""What a comparison of a restored database says of rows that are written down. Databases are in tests/sandbox/aws."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tocsin.probes.rows import TableCompared, compare_table, in_words

WRITTEN_BEFORE = 2**32 + 7
"""A transaction after the 32 bits of xmin have wrapped around once."""


def answering(*rows: str, asked: list[str] | None = None) -> Callable[[str], list[list[str]]]:
    """A session: every query for rows is answered with these."""

    def run(statement: str) -> list[list[str]]:
        if asked is not None:
            asked.append(statement)
        return [[row] for row in rows] if statement.startswith("SELECT") else []

    return run


def compared(source: tuple[str, ...], restored: tuple[str, ...]) -> TableCompared:
    return compare_table(answering(*source), answering(*restored), "orders", WRITTEN_BEFORE)


@pytest.mark.parametrize(
    ("source", "restored", "missing"),
    [
        (("a", "b"), ("b", "a"), 0),
        (("a", "b"), ("a", "b", "c"), 0),
        (("a", "b"), ("a",), 1),
        (("a", "b"), ("a", "x"), 1),
        (("a", "a"), ("a",), 1),
    ],
    ids=["in any order", "written later", "lost", "changed", "one of two equal rows"],
)
def test_every_row_that_was_there_before_must_be_there(
    source: tuple[str, ...], restored: tuple[str, ...], missing: int
) -> None:
    table = compared(source, restored)
    assert (table.compared, table.restored, table.missing) == (len(source), len(restored), missing)
    assert in_words([table]).startswith("complete: " if missing == 0 else "incomplete: orders lacks 1 of the 2 rows")


def test_the_order_of_rows_is_no_part_of_the_checksum() -> None:
    assert compared(("a", "b"), ()).checksum == compared(("b", "a"), ()).checksum
    assert compared(("a", "b"), ()).checksum != compared(("a", "c"), ()).checksum


def test_a_table_without_a_row_older_than_the_snapshot_proves_nothing() -> None:
    assert in_words([compared((), ("a",))]) == "incomplete: no row of orders is older than the snapshot"


def test_transactions_are_compared_in_32_bits() -> None:
    asked: list[str] = []
    compare_table(answering(asked=asked), answering(), "orders", WRITTEN_BEFORE)
    assert any("age('7'::xid)" in statement for statement in asked)
