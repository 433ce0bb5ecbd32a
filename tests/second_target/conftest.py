"""Both emulators, started once a session where a test asks for one, and emptied for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.second_target.emulators import NAMES, Emulator, running
from tests.second_target.shop import open_shop


def group(name: str) -> pytest.MarkDecorator:
    """All tests of one emulator are for one worker: each would start it again."""
    return pytest.mark.xdist_group(f"emulator {name}")


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Emulator]]:
    """Gives one by its name, without anything in it."""
    with ExitStack() as opened:
        started: dict[str, Emulator] = {}

        def empty(name: str) -> Emulator:
            if name not in started:
                started[name] = opened.enter_context(running(name, tmp_path_factory.mktemp(name)))
            started[name].reset()
            return started[name]

        yield empty


@pytest.fixture(params=[pytest.param(name, marks=group(name)) for name in NAMES])
def emulator(request: pytest.FixtureRequest, emulators: Callable[[str], Emulator]) -> Emulator:
    """Each of them."""
    return emulators(request.param)


@pytest.fixture
def shop() -> Iterator[str]:
    """The URL of a shop that is always open."""
    with open_shop() as url:
        yield url
