"""The real engine."""

from __future__ import annotations

import pytest

from tocsin.errors import SandboxError
from tocsin.sandbox.parts.programs import Promtool
from tocsin.sandbox.parts.promtool import InstalledPromtool, find_promtool


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    try:
        return InstalledPromtool(find_promtool())
    except SandboxError as error:
        pytest.skip(str(error))
