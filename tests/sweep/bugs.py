"""Bugs that a sweep must find: planted in the drill and in its recovery.

python -m tests.sweep.bugs NAME     `tocsin recover` with that bug
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from tocsin.faults.base import Aws
from tocsin.faults.rds import ProxyPoolState, RdsProxyThrottle
from tocsin.ledger import Entry, EntryState, Ledger


def _ledger_written_after_the_injection() -> None:
    """The entry is only kept in memory until the fault is injected."""
    intend, advance = Ledger.intend, Ledger.advance
    kept: list[Callable[[], object]] = []

    def intend_later(self: Ledger, *args: object, **kwargs: object) -> Entry:
        db, self._db = self._db, _Nowhere()  # type: ignore[assignment]
        entry = intend(self, *args, **kwargs)  # type: ignore[arg-type]
        self._db = db
        row = entry.model_dump(mode="json")
        kept.append(lambda: _insert(self, row))
        return entry

    def advance_then(self: Ledger, entry_id: str, state: EntryState, detail: str = "") -> None:
        while kept:
            kept.pop()()
        advance(self, entry_id, state, detail)

    Ledger.intend, Ledger.advance = intend_later, advance_then  # type: ignore[method-assign, assignment]


class _Nowhere:
    def execute(self, *_: object) -> None:
        """Nothing is written."""


def _insert(ledger: Ledger, row: dict[str, object]) -> None:
    row = {**row, "arguments": json.dumps(row["arguments"]), "prior": json.dumps(row["prior"])}
    marks = ", ".join(f":{name}" for name in row)
    ledger._db.execute(f"INSERT INTO entries ({', '.join(row)}) VALUES ({marks})", row)


def _undo_restores_half_and_does_not_look() -> None:
    """The borrow time-out stays as the fault left it, and the fault does not read it back."""
    observe = RdsProxyThrottle.observe

    def observe_half(self: RdsProxyThrottle, aws: Aws, prior: ProxyPoolState | None) -> ProxyPoolState:
        now = observe(self, aws, prior)
        if prior is None:
            return now
        throttled = now.max_connections_percent == self.max_connections_percent
        expected = self.broken(prior) if throttled else prior
        return now.model_copy(update={"borrow_timeout_s": expected.borrow_timeout_s})

    def undo_half(self: RdsProxyThrottle, aws: Aws, prior: ProxyPoolState) -> None:
        self._set(aws, prior.model_copy(update={"borrow_timeout_s": observe(self, aws, prior).borrow_timeout_s}))

    RdsProxyThrottle.observe, RdsProxyThrottle.undo = observe_half, undo_half  # type: ignore[method-assign]


BUGS: dict[str, Callable[[], None]] = {
    "ledger written after the injection": _ledger_written_after_the_injection,
    "undo restores half and does not look": _undo_restores_half_and_does_not_look,
}


def plant(name: str) -> None:
    """Change this process so that it has the bug."""
    BUGS[name]()


if __name__ == "__main__":
    from tocsin.cli import main

    plant(sys.argv[1])
    main(["recover"])
