"""What runs the programs of PostgreSQL, Valkey and Prometheus, and all that embedded parts and containers differ in.

Whoever uses the programs sees processes of this machine, files at their own paths and ports of 127.0.0.1 either way.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from tocsin.errors import SandboxError


@dataclass(frozen=True)
class RunsAs:
    """The account that a program runs under: `uid` is -1 where it is simply our own."""

    uid: int
    gid: int

    @classmethod
    def for_server(cls) -> RunsAs:
        """Our own account, or `nobody` where we are root.

        Raises SandboxError when we are root and there is no `nobody`.
        """
        if os.geteuid() != 0:
            return OWN
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise SandboxError(
                "PostgreSQL refuses to run as root, and there is no account 'nobody' to run it under. "
                "Start the sandbox as an ordinary user."
            ) from None
        return cls(nobody.pw_uid, nobody.pw_gid)

    def can_enter(self, directory: Path) -> bool:
        """Whether the account may pass through `directory` and all its parents."""
        if self.uid < 0:
            return True
        path = directory.resolve()
        return all(stat.S_IMODE(parent.stat().st_mode) & stat.S_IXOTH for parent in (path, *path.parents))


OWN = RunsAs(-1, -1)
NO_SECRETS: Mapping[str, str] = MappingProxyType({})


class Process(Protocol):
    """A program that runs, as `asyncio.subprocess.Process` shows it."""

    @property
    def pid(self) -> int:
        """Its process id on this machine."""

    @property
    def returncode(self) -> int | None:
        """None while it runs."""

    async def wait(self) -> int:
        """Wait until it has ended."""

    def send_signal(self, signal: int, /) -> None:
        """Raises ProcessLookupError when it has ended."""


class Programs(Protocol):
    """Runs the programs of one part. `places` are the directories that a program reads and writes, besides its own."""

    async def start(self, program: str, *arguments: str, log: Path, places: Sequence[Path]) -> Process:
        """Start a server that writes its output into `log`, which is emptied first.

        Raises:
            SandboxError: it cannot even be tried.
        """

    async def run(
        self, program: str, *arguments: str, places: Sequence[Path], secrets: Mapping[str, str] = NO_SECRETS
    ) -> None:
        """Run a tool to its end. `secrets` are in its environment, which others cannot read: arguments they can.

        Raises:
            SandboxError: with its last words, when it fails.
        """


class Promtool(Protocol):
    """Runs `promtool` on files."""

    @property
    def scratch(self) -> Path | None:
        """Where files for it must be made, besides those of the rules; None when that may be anywhere."""

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Raises SandboxError when it does not answer at all."""


class Parts(Protocol):
    """Where the sandbox has its programs from."""

    def postgres(self, account: RunsAs, scratch: Path) -> Programs:
        """PostgreSQL's, run under `account`; what has to be unpacked for it is put into `scratch`."""

    def valkey(self, home: Path) -> Programs:
        """Valkey's, marked as belonging to the sandbox in `home`."""

    def promtool(self, rules: Path) -> Promtool:
        """Prometheus' rule tester, for this file of rules.

        Raises:
            SandboxError: there is none, and none can be had.
        """

    def close(self) -> None:
        """End what is left of them."""


def failure(program: str, output: bytes) -> SandboxError:
    """What to raise when a tool failed."""
    return SandboxError(f"{program} failed: {output.decode(errors='replace')[-800:].strip()}")
