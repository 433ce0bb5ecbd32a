"""One sandbox for all tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from tests.sandbox.aws.fleet import CLUSTER, IMAGE, LOG_GROUP, Fleet, write_image
from tests.sandbox.aws.shop import Shop, write_replica
from tests.secret_scan import watched

from tocsin.sandbox import control

_numbers = count()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("shop")
    write_replica(root)
    state = control.up("shop", root)
    try:
        with watched(root):
            yield Shop(state.account, root)
    finally:
        control.down(root)


@pytest.fixture(scope="session")
def cluster(shop: Shop) -> Shop:
    shop.account.register_image(IMAGE, write_image(shop.root / "images" / "web"))
    shop.client("ecs").create_cluster(clusterName=CLUSTER)
    shop.client("logs").create_log_group(logGroupName=LOG_GROUP)
    return shop


@pytest.fixture
def fleet(cluster: Shop) -> Iterator[Fleet]:
    """A service of its own for one test: not made yet."""
    fleet = Fleet(cluster, f"web-{next(_numbers)}")
    yield fleet
    fleet.remove()
