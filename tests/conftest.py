"""Every session of tests sees the same machine (`tests/environment.py`), and ends with a scan for the secrets that its
sandboxes planted (`tests/secret_scan.py`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests import environment, secret_scan
from tests.shared import pytest_runtest_teardown as pytest_runtest_teardown  # a hook of pytest's

from tocsin.masking import KNOWN


@pytest.fixture(autouse=True)
def _forgets_secrets() -> Iterator[None]:
    """What one test declared as a secret is none in the next one: the process knows them for good."""
    before = KNOWN.copy()
    yield
    KNOWN.become(before)


def pytest_configure(config: pytest.Config) -> None:
    environment.begin(config)
    secret_scan.begin(config)
