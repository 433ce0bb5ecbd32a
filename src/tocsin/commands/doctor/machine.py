"""This machine: read once as facts, judged by one small function a fact."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tocsin.commands.doctor.result import Result, gap, warn, well
from tocsin.model.base import Model
from tocsin.project.places import work_directory

MIB = 2**20
PYTHON = (3, 11)

# A sandbox with a drill takes about 400 MiB of memory (docs/BENCHMARKS.md) and its load and contract tests as much
# again; on disk a database cluster and a report.
_MEMORY_MIB = 512
_MEMORY_ROOMY_MIB = 1024
_DISK_MIB = 200
_DISK_ROOMY_MIB = 1024
# Every open request of the load holds a socket at either end.
_FILES = 256
_FILES_ROOMY = 1024
_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Machine(Model):
    """What matters of a machine. Sizes in bytes, time in epoch seconds; a problem is empty when there is none."""

    python: tuple[int, int, int]
    git: str | None
    work: Path
    writing_problem: str
    free_disk: int
    free_memory: int
    cores: int
    open_files: int
    loopback_problem: str
    now: float
    browser: str | None

    @classmethod
    def read(cls, root: Path) -> Machine:
        """Look at the machine that this is, for drills of the checkout `root`."""
        work = work_directory(root)
        place = work if os.path.lexists(work) else root  # whatever is there: a file or a dangling link is in the way
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(
            python=sys.version_info[:3],
            git=_git_version(),
            work=work,
            writing_problem=_problem(lambda: _write(place)),
            free_disk=shutil.disk_usage(place if place.is_dir() else root).free,
            free_memory=psutil.virtual_memory().available,
            cores=_cores(),
            open_files=sys.maxsize if soft == resource.RLIM_INFINITY else soft,
            loopback_problem=_problem(_talk_over_loopback),
            now=time.time(),
            browser=next(filter(None, map(shutil.which, _BROWSERS)), None),
        )


def _git_version() -> str | None:
    try:
        done = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().removeprefix("git version ")


def _problem(act: Callable[[], None]) -> str:
    try:
        act()
    except OSError as error:
        return str(error)
    return ""


def _write(place: Path) -> None:
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(b"tocsin")
        file.flush()
        os.fsync(file.fileno())


def _talk_over_loopback() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        client.sendall(b"?")


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


# ------------------------------------------------------------------------------------------------ checks


def _python(machine: Machine) -> Result:
    found = ".".join(map(str, machine.python))
    if machine.python[:2] < PYTHON:
        return gap(f"{found}, expected {PYTHON[0]}.{PYTHON[1]} or later", "Make the environment with a newer Python.")
    return well(found)


def _git(machine: Machine) -> Result:
    if machine.git is None:
        return warn("not found: reports will not name the commit they were made at", "Install git.")
    return well(machine.git)


def _writable(machine: Machine) -> Result:
    if machine.writing_problem:
        return gap(
            f"cannot write below {machine.work}: {machine.writing_problem}",
            "Without a ledger nothing is injected: mend the permissions or the mount, or what is in the way.",
        )
    return well(str(machine.work))


def _disk(machine: Machine) -> Result:
    return _room("on the disk", machine.free_disk, _DISK_MIB, _DISK_ROOMY_MIB, f"Make room where {machine.work} lives.")


def _memory(machine: Machine) -> Result:
    return _room("of memory", machine.free_memory, _MEMORY_MIB, _MEMORY_ROOMY_MIB, "End other programs.")


def _room(what: str, free: int, least_mib: int, roomy_mib: int, mend: str) -> Result:
    found = f"{free / MIB:,.0f} MiB {what} are free"
    if free < least_mib * MIB:
        return gap(f"{found}, expected {least_mib} or more", mend)
    if free < roomy_mib * MIB:
        return warn(f"{found}, better {roomy_mib} or more", mend)
    return well(found)


def _enough_cores(machine: Machine) -> Result:
    if machine.cores < 2:
        return warn("1: load and system will measure each other", "Give it two; or lower arrivals and time scale.")
    return well(str(machine.cores))


def _open_files(machine: Machine) -> Result:
    found = "no limit" if machine.open_files == sys.maxsize else f"{machine.open_files} a process"
    mend = f"Raise it in this shell: ulimit -n {_FILES_ROOMY}."
    if machine.open_files < _FILES:
        return gap(f"{found}, expected {_FILES} or more", mend)
    if machine.open_files < _FILES_ROOMY:
        return warn(f"{found}, better {_FILES_ROOMY} or more", mend)
    return well(found)


def _loopback(machine: Machine) -> Result:
    if machine.loopback_problem:
        return gap(
            f"no port of 127.0.0.1 can be used: {machine.loopback_problem}",
            "The sandbox and the load need it: mend the loopback interface or the local firewall.",
        )
    return well("ports of 127.0.0.1 can be bound and reached")


def _clock(machine: Machine) -> Result:
    found = datetime.fromtimestamp(machine.now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if machine.now < _EARLIEST:
        return gap(f"{found} is long ago", "Set the clock: AWS refuses requests that are signed at another time.")
    return well(found)


def _browser(machine: Machine) -> Result:
    return well(machine.browser or "none, and none is needed: only tests look at the report through one")


MACHINE: Mapping[str, Callable[[Machine], Result]] = {
    "python": _python,
    "git": _git,
    "writing": _writable,
    "disk": _disk,
    "memory": _memory,
    "cores": _enough_cores,
    "open files": _open_files,
    "loopback": _loopback,
    "clock": _clock,
    "browser": _browser,
}
