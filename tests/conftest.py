"""Every session of tests ends with a scan for the secrets that its sandboxes planted: see `tests/secret_scan.py`."""

from __future__ import annotations

import pytest
from tests.secret_scan import begin


def pytest_configure(config: pytest.Config) -> None:
    begin(config)
