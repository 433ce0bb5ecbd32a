"""Compares the rows of a database with those of a copy that was restored from a snapshot of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tocsin.model.base import Model

_SAME_TEXT = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'"
"""On both sides a value has one text."""
_ALL = "SELECT md5((of_table.*)::text) FROM {table} AS of_table"
# Both numbers count transactions back from now, so that 32 bits are enough however often xmin has wrapped around.
_WRITTEN_BEFORE = _ALL + " WHERE age(of_table.xmin) > age('{transaction}'::xid)"


class TableCompared(Model):
    """One table: what must be in the copy, and what is."""

    table: str
    compared: int
    """rows of the source that were written before the snapshot was asked for, and not touched since"""
    restored: int
    """rows of the copy"""
    missing: int
    """of those compared, how many are not in the copy, or not equal"""
    checksum: str
    """of the rows compared, as they are in the source"""

    @property
    def text(self) -> str:
        """The comparison in a few words."""
        return f"{self.table} {self.compared} of {self.restored} rows, checksum {self.checksum}"


def compare_table(source: Any, restored: Any, table: str, written_before: int) -> TableCompared:
    """Compare one table; `source` and `restored` run statements.

    A row version that was written by a transaction before `written_before`, and still is the row, must be in the copy
    exactly as it is: whatever happened to others since the snapshot is no difference. Rows are compared by a hash of
    all their values, so that no key is needed; the hashes of both sides are held in memory.
    """
    source(_SAME_TEXT)
    restored(_SAME_TEXT)
    transaction = written_before % 2**32  # xmin has 32 bits
    expected = [row[0] for row in source(_WRITTEN_BEFORE.format(table=table, transaction=transaction))]
    found = [row[0] for row in restored(_ALL.format(table=table))]
    return TableCompared(
        table=table,
        compared=len(expected),
        restored=len(found),
        missing=(Counter(expected) - Counter(found)).total(),
        checksum=hashlib.sha256("".join(sorted(expected)).encode()).hexdigest()[:8],
    )


def in_words(tables: Sequence[TableCompared]) -> str:
    """`complete: ...` when every row that must be there is; else `incomplete: ...` and why."""
    lacking = [
        f"{one.table} lacks {one.missing} of the {one.compared} rows that were there before the snapshot, or has them "
        "with other values"
        for one in tables
        if one.missing
    ]
    if lacking:
        return f"incomplete: {'; '.join(lacking)}"
    if not any(one.compared for one in tables):
        return f"incomplete: no row of {', '.join(one.table for one in tables)} is older than the snapshot"
    return f"complete: {'; '.join(one.text for one in tables)}"
