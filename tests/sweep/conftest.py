"""One sandbox for everything that kills, starves or interrupts a bare drill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.sweep.account import Snapshot
from tests.sweep.harness import Range, shooting_range


@pytest.fixture(scope="session")
def shooting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Range]:
    with shooting_range(tmp_path_factory.mktemp("range")) as found:
        yield found


@pytest.fixture
def before(shooting: Range) -> Snapshot:
    return shooting.account()
