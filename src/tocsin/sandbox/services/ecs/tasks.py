"""ECS tasks as local processes: the images they come from, their start and end, their processor time and memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tocsin.errors import SandboxError
from tocsin.sandbox.parts import supervise

CPU_UNITS_PER_VCPU = 1024
_LONGEST_LINE = 256 * 1024
_KILL_S = 5.0
_PORTS = (10_000, 32_000)
_PYTHONS = frozenset({"python", "python3"})

# Keeps to its share of a processor, also when it has to wait for one, by sleeping a moment whenever it has had it; ends
# with the daemon.
_BURNER = """
import os, sys, time
parent, share, started = int(sys.argv[1]), float(sys.argv[2]), time.monotonic()
while os.getppid() == parent:
    if time.process_time() >= share * (time.monotonic() - started):
        time.sleep(0.005)
"""

LineSink = Callable[[str], None]
"""Gets each line that a container writes."""


class CannotStart(Exception):
    """A container cannot be started; the message is what `stoppedReason` says."""


class Images:
    """What stands in for a container registry: the directory with the code of each image."""

    def __init__(self) -> None:
        self._directories: dict[str, Path] = {}

    def register(self, image: str, directory: Path) -> None:
        """Make an image known. Raises SandboxError when there is no such directory."""
        if not directory.is_dir():
            raise SandboxError(f"expected the code of image '{image}' in a directory, found none at {directory}")
        self._directories[image] = directory

    def pull(self, image: str) -> Path:
        """The directory of an image. Raises CannotStart for one that nobody registered."""
        if image not in self._directories:
            raise CannotStart(
                f"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref "
                f"{image}: {image}: not found"
            )
        return self._directories[image]


@dataclass(frozen=True)
class ContainerSpec:
    """One container of a task definition, ready to run."""

    name: str
    command: tuple[str, ...]
    """`entryPoint` and `command`"""
    environment: Mapping[str, str]
    """with the secrets"""
    ports: tuple[int, ...] = ()
    """`containerPort`s of the port mappings"""
    essential: bool = True
    stop_timeout_s: float = 30.0
    """production seconds between SIGTERM and SIGKILL"""


@dataclass(frozen=True)
class Usage:
    """What processes used."""

    cpu_s: float
    """processor seconds since the container was started"""
    memory_bytes: int


@dataclass
class Container:
    """One container of a task, and its process."""

    spec: ContainerSpec
    host_ports: Mapping[int, int] = field(default_factory=dict)
    """`containerPort` -> port of 127.0.0.1"""
    exit_code: int | None = None
    _process: asyncio.subprocess.Process | None = None
    _reader: asyncio.Task[None] | None = None
    _seen: dict[int, float] = field(default_factory=dict)
    _cpu_s: float = 0.0
    _burners: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def pid(self) -> int | None:
        """Process id once it was started."""
        return None if self._process is None else self._process.pid

    async def start(self, directory: Path, environment: Mapping[str, str], write: LineSink) -> None:
        """Start the process in the directory of its image.

        The first mapped port is in `PORT`: a port of 127.0.0.1 cannot be shared by the tasks of a service, as the
        ports of their network interfaces can on AWS.

        Raises:
            CannotStart: there is no such command.
        """
        if not self.spec.command:
            raise CannotStart("CannotStartContainerError: Error response from daemon: No command specified")
        self.host_ports = {port: free_port() for port in self.spec.ports}
        command = [sys.executable if self.spec.command[0] in _PYTHONS else self.spec.command[0], *self.spec.command[1:]]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                cwd=directory,
                env={**environment, **self._port(), **self.spec.environment, **_mark()},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                limit=_LONGEST_LINE,
            )
        except OSError as error:
            raise CannotStart(
                f"CannotStartContainerError: Error response from daemon: exec: {command[0]}: {error.strerror}"
            ) from error
        self._reader = asyncio.create_task(self._read(self._process, write))

    def _port(self) -> dict[str, str]:
        return {"PORT": str(next(iter(self.host_ports.values())))} if self.host_ports else {}

    @staticmethod
    async def _read(process: asyncio.subprocess.Process, write: LineSink) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                # Longer than the limit: that part of the line is lost, what follows is not.
                continue
            if not line:
                return
            write(line.decode("utf-8", "replace").rstrip("\r\n"))

    async def ended(self) -> None:
        """Wait until the process has exited by itself or by a signal."""
        if self._process is not None:
            # As Docker says it: 128 and the number of the signal.
            code = await self._process.wait()
            self.exit_code = code if code >= 0 else 128 - code

    async def burn(self, vcpus: float, workers: int) -> None:
        """Use up so many processors with so many processes, until `relieve` or the end of the container."""
        share = min(1.0, vcpus / workers)
        for _ in range(workers):
            # No process can join the group of another session: they are counted and ended beside it.
            burner = await asyncio.create_subprocess_exec(
                sys.executable, "-ISc", _BURNER, str(os.getpid()), str(share),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, env=_mark(),
                start_new_session=True,
            )  # fmt: skip
            self._burners.append(burner)

    def relieve(self) -> None:
        """End what `burn` began."""
        while self._burners:
            with contextlib.suppress(ProcessLookupError):
                self._burners.pop().kill()

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after `grace_s` wall seconds; what the process started itself goes with it."""
        self.relieve()
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended(), grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await self.ended()
        if self._reader is not None:
            # A process that left the group may hold the pipe open.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reader, _KILL_S)

    def usage(self, groups: Mapping[int, Sequence[int]]) -> Usage:
        """Processor time used so far, as far as it was looked at, and memory now; `groups` from `process_groups`."""
        cpu: dict[int, float] = {}
        memory = 0
        for pid in (*groups.get(self.pid or 0, ()), *(burner.pid for burner in self._burners)):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                times = process.cpu_times()
                cpu[pid] = times.user + times.system
                memory += process.memory_info().rss
        self._cpu_s += sum(max(0.0, seconds - self._seen.get(pid, 0.0)) for pid, seconds in cpu.items())
        self._seen = cpu
        return Usage(self._cpu_s, memory)


def _mark() -> dict[str, str]:
    """`sandbox down` finds a task by this, also when its daemon was killed."""
    return {supervise.MARKER: os.environ.get(supervise.MARKER, "")}


def process_groups() -> Mapping[int, Sequence[int]]:
    """Ids of all living processes by their process group: a container is one."""
    groups: dict[int, list[int]] = {}
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            groups.setdefault(os.getpgid(pid), []).append(pid)
    return groups


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens.

    The task binds it a while later, so it is none of those that the system gives to outgoing connections meanwhile.
    """
    while True:
        port = random.randrange(*_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
