"""One project with one sandbox for each worker; nothing here touches the developer's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.planted.bench import Bench, running_bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with running_bench(tmp_path_factory.mktemp("planted")) as ready:
        yield ready
