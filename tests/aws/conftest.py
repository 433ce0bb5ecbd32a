"""A target whose answers are written down: for what no emulator answers."""

from __future__ import annotations

import pytest

from tocsin.aws.target import Target


@pytest.fixture
def target() -> Target:
    """Stub its clients: nothing listens there."""
    return Target("none", "eu-west-1", account="123456789012", access_key_id="x", secret_access_key="x")
