"""A stubbed account on a clock of its own, and the life of a fault on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults.stub.account import StubAws
from tests.faults.stub.bench import FaultBench, QuickLedger
from tests.faults.stub.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def stub(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> StubAws:
    account = StubAws(clock)
    account.install(monkeypatch)
    return account


@pytest.fixture
def life(stub: StubAws, tmp_path: Path) -> FaultBench:
    return FaultBench(stub, QuickLedger(tmp_path))
