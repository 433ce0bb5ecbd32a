"""Every session of tests sees the same machine (`tests/environment.py`), and ends with a scan for the secrets that its
sandboxes planted (`tests/secret_scan.py`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from tests import environment, secret_scan
from tests.shared import pytest_collection_modifyitems as pytest_collection_modifyitems  # hooks of pytest's
from tests.shared import pytest_runtest_teardown as pytest_runtest_teardown

from tocsin.masking import KNOWN

# As Hypothesis itself has it for CI: the same examples each time, and no limit on the wall for one of them. Before any
# test is imported. `--hypothesis-profile default` looks for others by chance.
settings.register_profile(
    "suite", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _forgets_secrets() -> Iterator[None]:
    """What one test declared as a secret is none in the next one: the process knows them for good."""
    before = KNOWN.copy()
    yield
    KNOWN.become(before)


def pytest_configure(config: pytest.Config) -> None:
    environment.begin(config)
    secret_scan.begin(config)
