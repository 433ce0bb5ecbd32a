"""Rollbacks that a drill owes: on disk before its first change, for whoever comes after a drill that died.

What a fault broke, `tocsin recover` undoes from the ledger. What else an experiment's rollbacks do, only they can do:
take back an action of another extension, drive messages back. They are owed until they have run.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

from tocsin.actors.context import RunContext
from tocsin.errors import LedgerError, Refused
from tocsin.model.toolkit import Activity, ExperimentFile
from tocsin.record.ledger import Debt, Ledger


class OwedRollbacks:
    """What one drill owes."""

    def __init__(self, ctx: RunContext, toolkit: ExperimentFile, ledger: Ledger) -> None:
        self._ledger = ledger
        self._owes = False
        self._debt = Debt(
            drill=ctx.drill,
            experiment=place_of(ctx.root, Path(ctx.experiment.path)),
            rollbacks=tuple(activity.name for activity in toolkit.activities("rollbacks") if _is_owed(activity)),
            digest=digest_of(toolkit),
            region=ctx.target.region,
            account=ctx.target.account,
            created_at=time.time(),
        )

    def begin(self) -> None:
        """Something is about to be changed.

        Raises:
            Refused: the debt cannot be written; nothing may be changed.
        """
        if self._owes or not self._debt.rollbacks:
            return
        try:
            self._ledger.owe(self._debt)
        except LedgerError as error:
            raise Refused("ledger", f"{error} Nothing was injected.") from error
        self._owes = True

    @property
    def unpaid(self) -> tuple[str, ...]:
        """Names of the rollbacks that are owed now."""
        return self._debt.rollbacks if self._owes else ()

    def paid(self) -> None:
        """They have run, all of them, and did what they should. What cannot be noted stays owed."""
        with suppress(LedgerError):
            if self._owes:
                self._ledger.pay(self._debt)
                self._owes = False


def place_of(root: Path, file: Path) -> str:
    """Where an experiment is, in words that hold in a checkout that was moved."""
    file, root = file.resolve(), root.resolve()
    return str(file.relative_to(root) if file.is_relative_to(root) else file)


def digest_of(toolkit: ExperimentFile) -> str:
    """Of all that says what the rollbacks of an experiment do, with references in place; not of its secrets."""
    rollbacks = [activity.document() for activity in toolkit.activities("rollbacks")]
    parts = json.dumps([rollbacks, toolkit.document().get("configuration")], sort_keys=True, default=str)
    return hashlib.sha256(parts.encode()).hexdigest()


def _is_owed(activity: Activity) -> bool:
    """Whether it is more than the undo of faults, which the ledger knows; a probe only looks."""
    return activity.is_action and activity.calls("tocsin.faults") is None
