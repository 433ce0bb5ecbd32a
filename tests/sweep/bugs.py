"""Bugs that a sweep must find: planted in the drill and in its recovery.

python -m tests.sweep.bugs NAME     `tocsin recover` with that bug
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable

from tocsin.actors.context import StopRequest
from tocsin.aws.target import Aws
from tocsin.commands.parallel import places
from tocsin.errors import Refused
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.rds import ProxyPoolState, RdsProxyThrottle
from tocsin.record.ledger import Entry, EntryState, Ledger


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


def _an_end_that_is_asked_for_undoes_nothing() -> None:
    FaultLifecycle.undo_all = lambda self, entries=None: []  # type: ignore[method-assign]


LATE_S = 2.0


def _the_undo_waits_when_the_end_is_asked_for() -> None:
    ended = FaultLifecycle.end

    def late(self: FaultLifecycle) -> None:
        time.sleep(LATE_S)
        ended(self)

    FaultLifecycle.end = late  # type: ignore[method-assign]


def _the_end_that_is_asked_for_is_seen_late() -> None:
    """As by a main thread that is busy in C: the harness's own moment, of seeing it, hides the delay."""
    asked = StopRequest.ask

    def late(self: StopRequest, reason: Refused, came_at: float | None = None) -> None:
        time.sleep(LATE_S)
        asked(self, reason, came_at)

    StopRequest.ask = late  # type: ignore[method-assign]


def _a_worker_whose_run_is_gone_ends_at_once() -> None:
    """It does not undo first."""
    asked = StopRequest.ask

    def ends(self: StopRequest, reason: Refused, came_at: float | None = None) -> None:
        if "the end of the run that began it" in str(reason):
            os.kill(os.getpid(), signal.SIGKILL)
        asked(self, reason, came_at)

    StopRequest.ask = ends  # type: ignore[method-assign]


def _recover_forgets_a_worker() -> None:
    """The last one."""
    known = places.places_of
    places.places_of = lambda root: known(root)[:-1]  # type: ignore[attr-defined]


BUGS: dict[str, Callable[[], None]] = {
    "ledger written after the injection": _ledger_written_after_the_injection,
    "undo restores half and does not look": _undo_restores_half_and_does_not_look,
    "an end that is asked for undoes nothing": _an_end_that_is_asked_for_undoes_nothing,
    "the undo waits when the end is asked for": _the_undo_waits_when_the_end_is_asked_for,
    "the end that is asked for is seen late": _the_end_that_is_asked_for_is_seen_late,
    "a worker whose run is gone ends at once": _a_worker_whose_run_is_gone_ends_at_once,
    "recover forgets a worker": _recover_forgets_a_worker,
}


def plant(name: str) -> None:
    """Change this process so that it has the bug."""
    BUGS[name]()


if __name__ == "__main__":
    from tocsin.cli import main

    plant(sys.argv[1])
    main(["recover"])
