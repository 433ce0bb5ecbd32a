"""The pytest face: experiments, canaries and contracts as test items.

Inert unless ``--target`` is given. Nothing of Tocsin is imported before a session asks for it.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tocsin", "drills of AWS serverless systems")
    group.addoption(
        "--target",
        default=None,
        metavar="NAME",
        help="run experiments/*.yaml, synthetics/*.py and contracts/*.yaml against this target (sandbox)",
    )
