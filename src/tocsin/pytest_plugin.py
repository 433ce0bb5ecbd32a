"""The pytest face: `pytest experiments|synthetics|contracts --target sandbox`.

Inert without `--target`, and then nothing else of Tocsin is imported: other test suites in the same environment
neither change nor start later.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--target`."""
    parser.getgroup("tocsin", "Tocsin: drills, canaries and contracts").addoption(
        "--target",
        dest="tocsin_target",
        metavar="NAME",
        help="collect experiments/**/*.yaml, synthetics/*.py and contracts/* and run them against this target: "
        "`sandbox`, or one of tocsin.toml",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Bring in the collectors, if a target is given.

    Raises:
        pytest.UsageError: no such target.
    """
    target = config.getoption("tocsin_target")
    if target is None:
        return
    from tocsin.commands.pytest_items import TocsinSession
    from tocsin.errors import TocsinError

    try:
        config.pluginmanager.register(TocsinSession(config, target), "tocsin-session")
    except TocsinError as error:
        raise pytest.UsageError(str(error)) from None
