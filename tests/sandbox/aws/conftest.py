"""One sandbox for all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.sandbox.aws.shop import Shop, write_replica

from tocsin.sandbox import control


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("shop")
    write_replica(root)
    state = control.up("shop", root)
    yield Shop(state.account, root)
    control.down(root)
