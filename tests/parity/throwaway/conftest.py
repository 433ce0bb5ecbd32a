"""One sandbox for all tests of this directory, and a ledger of its own for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.sandbox.aws.shop import Shop, write_replica
from tests.secret_scan import watched

from tocsin.aws.target import Aws, Target
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.parity.context import ParityContext
from tocsin.parity.throwaway.registry import RECOVERABLE
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Ledger
from tocsin.sandbox import control


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("parity")
    write_replica(root)
    try:
        state = control.up("shop", root)
        with watched(root):
            yield Shop(state.account, root)
    finally:
        control.down(root)


@dataclass
class Place:
    """A ledger, and a target of one's own to spoil."""

    shop: Shop
    target: Target
    ledger: Ledger
    said: list[str] = field(default_factory=list)

    @property
    def context(self) -> ParityContext:
        return ParityContext(self.target, self.ledger, progress=self.said.append)

    @property
    def aws(self) -> Aws:
        return Aws(self.target, entry="")

    def lifecycle(self) -> FaultLifecycle:
        """As another process would have it."""
        return FaultLifecycle(self.shop.account.target, self.ledger, "recover", registry=RECOVERABLE)


@pytest.fixture
def place(shop: Shop, tmp_path: Path) -> Iterator[Place]:
    # A target of its own has a session of its own: what is spoiled there is so nowhere else.
    target = replace(shop.account.target)
    ledger = Ledger(ledger_path(tmp_path, target.name), target.name)
    yield Place(shop, target, ledger)
    ledger.close()
