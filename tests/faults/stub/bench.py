"""The life of one fault on the stubbed account: what a drill does with it, without the drill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults.stub.account import TARGET, StubAws, StubTarget

from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.registry import fault_class
from tocsin.model.events import Event, FaultChanged, FaultStage
from tocsin.record.ledger import Entry, Ledger


class QuickLedger(Ledger):
    """A ledger that does not wait for the disk: no machine dies here."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "ledger.sqlite", TARGET.name)
        self._db.execute("PRAGMA synchronous=OFF")

    def empty(self) -> None:
        """Forget everything: for the next account."""
        self._db.execute("DELETE FROM entries")
        self._db.execute("DELETE FROM notes")


class FaultBench:
    """A lifecycle, and what it recorded; its ledger may be that of others, too."""

    def __init__(self, stub: StubAws, ledger: Ledger, target: StubTarget = TARGET) -> None:
        self.stub, self.ledger, self.target = stub, ledger, target
        self.events: list[Event] = []
        self.lifecycle = self.process()

    def process(self) -> FaultLifecycle:
        """The faults of another process on the same ledger."""
        wait = self.stub.clock.sleep
        return FaultLifecycle(target=self.target, ledger=self.ledger, drill="d", record=self.events.append, wait=wait)

    def inject(self, kind: str, **arguments: Any) -> FaultStage:
        """Inject a fault, as an experiment names it."""
        return self.lifecycle.inject(fault_class(kind).model_validate(arguments))

    @property
    def open(self) -> list[Entry]:
        """Entries that are not closed."""
        return self.ledger.entries(only_open=True)

    @property
    def stages(self) -> list[FaultStage]:
        """What became of it, in order."""
        return [event.stage for event in self.events if isinstance(event, FaultChanged)]

    def why(self, entry: Entry) -> str:
        """Why an entry is still open, as this process has told it."""
        return self.lifecycle.reasons[entry.id]

    def reasons(self, entry: Entry) -> str:
        """Why an entry is still open, as the ledger has it."""
        return next(one.detail for one in self.ledger.entries() if one.id == entry.id)
