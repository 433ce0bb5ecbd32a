"""The tests see the same machine everywhere: an environment that is written down here, and nothing of who runs them.

What a developer has exported, keeps at home or set in a shell changes what programs under test do: a profile of AWS, a
proxy, a locale, a time zone, a umask, a width of the terminal, `PYTHON*`, signals that are ignored. Before the first
test is collected all of it is put away, so that a test that is green here is green elsewhere. A test about one of these
sets it for its own child.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

KEPT = re.compile(
    r"PATH|(LD|DYLD)_\w+|SYSTEMROOT"  # how programs are found and loaded
    r"|TMPDIR"  # where there is room
    r"|DOCKER_\w+|TESTCONTAINERS_\w+"  # which Docker answers, if any
    r"|PYTEST_\w+|TOCSIN_TESTS_\w+"  # what pytest and the tests themselves tell their children
)
"""The variables of the machine that tests may see. None of them changes what is tested."""

SET = {
    "LANG": "C.UTF-8",
    # Not that of any machine and no whole hour: who mixes up local time and UTC is found out. Needs no tz database.
    "TZ": "<+0545>-5:45",
    "TERM": "dumb",
    "COLUMNS": "80",  # xdist sets it in its workers
}
"""What everybody has."""

UMASK = 0o022
HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGQUIT: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
"""What a program at a terminal begins with. One that a script started in the background, or `nohup`, is deaf."""


@dataclass(frozen=True)
class Machine:
    """What was there before, to be put back."""

    environment: Mapping[str, str]
    umask: int
    dont_write_bytecode: bool
    handlers: Mapping[signal.Signals, Any]
    home: Path
    """the fresh one"""

    def restore(self) -> None:
        """As it was."""
        os.environ.clear()
        os.environ.update(self.environment)
        os.umask(self.umask)
        sys.dont_write_bytecode = self.dont_write_bytecode
        _handle(self.handlers)
        time.tzset()
        shutil.rmtree(self.home, ignore_errors=True)


def normalise() -> Machine:
    """Put the machine's environment away; children of this process do not see it either."""
    fresh = Path(tempfile.mkdtemp(prefix="tocsin-tests-home-"))
    handlers = {number: signal.getsignal(number) for number in HANDLERS}
    before = Machine(dict(os.environ), os.umask(UMASK), sys.dont_write_bytecode, handlers, fresh)
    os.environ.clear()
    os.environ.update({name: value for name, value in before.environment.items() if KEPT.fullmatch(name)})
    os.environ.update(SET)
    os.environ.update(_home(before.environment, fresh))
    sys.dont_write_bytecode = False  # what PYTHONDONTWRITEBYTECODE has already done to this process
    _handle(HANDLERS)
    time.tzset()
    return before


def _handle(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _home(environment: Mapping[str, str], fresh: Path) -> dict[str, str]:
    """An empty home, but for two things that would be dear to have again and that tell the tests nothing."""
    old = Path(environment["HOME"]) if environment.get("HOME") else None
    found = {"HOME": str(fresh)}
    if cache := environment.get("XDG_CACHE_HOME") or (old and str(old / ".cache")):
        found["XDG_CACHE_HOME"] = cache  # `promtool`, unpacked from Debian's package
    if old and (old / ".docker").is_dir():
        found["DOCKER_CONFIG"] = environment.get("DOCKER_CONFIG") or str(old / ".docker")
    return found


class Normalised:
    """The part of pytest: puts back what was there, for a pytest that runs inside of another program."""

    def __init__(self, before: Machine) -> None:
        self._before = before

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """The session is over."""
        self._before.restore()


def begin(config: pytest.Config) -> None:
    """Normalise this process; a worker of xdist is a child of one that is normalised, apart from its own umask."""
    config.pluginmanager.register(Normalised(normalise()), "environment")
