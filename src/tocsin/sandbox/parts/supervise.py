"""Keeps every process of a sandbox findable, and stops them all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

MARKER = "TOCSIN_SANDBOX"
"""Environment variable of every process of a sandbox: its state directory. It outlives any parent."""

_KEYS = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
_PR_SET_PDEATHSIG = 1
_LISTENS = "0A"
"""The state of such a socket in the tables of Linux (`proc(5)`, and `TCP_LISTEN` of `include/net/tcp_states.h`)."""


def die_with_parent() -> None:
    """Ask the kernel (Linux) to kill this process when the thread that started it ends; elsewhere does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def marked(directory: Path) -> dict[str, str]:
    """The environment for a child process of the sandbox in `directory`.

    Without keys of AWS: those of the root are the daemon's own, and a function could read what it was started with.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _KEYS}
    return {**inherited, MARKER: str(directory)}


def processes(directory: Path) -> list[psutil.Process]:
    """All living processes of the sandbox in `directory`, whoever their parent is now.

    Their descendants are among them: PostgreSQL writes the titles of its processes over their environment.
    """
    found = {process.pid: process for process in psutil.process_iter() if _belongs(process, str(directory))}
    for process in list(found.values()):
        with contextlib.suppress(psutil.Error):
            found |= {child.pid: child for child in process.children(recursive=True) if _runs(child)}
    return list(found.values())


def _belongs(process: psutil.Process, directory: str) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.pid != os.getpid() and process.environ().get(MARKER) == directory
    except (psutil.Error, OSError):
        return False


def stop(found: Sequence[psutil.Process], grace_s: float) -> tuple[int, int]:
    """Stop processes: SIGTERM, then SIGKILL after `grace_s` wall seconds. Returns (ended, killed)."""
    for process in found:
        _signal(process, signal.SIGTERM)
    alive = _wait_for_end(found, grace_s)
    for process in alive:
        _signal(process, signal.SIGKILL)
    _wait_for_end(alive, grace_s)
    return len(found) - len(alive), len(alive)


def _wait_for_end(found: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait; returns those that still run. One that ended is over, even if nobody has collected its exit status."""
    deadline = time.monotonic() + timeout_s
    alive = [process for process in found if _runs(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(0.02)
        alive = [process for process in alive if _runs(process)]
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return


class Listener(NamedTuple):
    """A socket that listens: its port, and its number in the system, 0 where that is not told."""

    port: int
    inode: int


class HeldPort:
    """A free port of loopback that stays ours while no server of ours listens on it: connections are refused.

    Two sockets may be bound to one port as long as only one of them listens, and both say so (SO_REUSEADDR).
    Without it, a port between two servers may become the local end of anybody's connection.
    """

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port: int = self._holder.getsockname()[1]

    def release(self) -> None:
        """Give it back; safe to call twice."""
        self._holder.close()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def listeners(found: Iterable[psutil.Process]) -> list[Listener]:
    """The sockets on which processes listen, by port."""
    sockets = set()
    for process in found:
        with contextlib.suppress(psutil.Error):  # it ended while we looked
            connections = process.net_connections(kind="tcp")
            listening = [one for one in connections if one.status == psutil.CONN_LISTEN]
            sockets |= {Listener(one.laddr.port, _inode(process.pid, one.fd)) for one in listening}
    return sorted(sockets)


def _inode(pid: int, descriptor: int) -> int:
    try:
        return Path(f"/proc/{pid}/fd/{descriptor}").stat().st_ino
    except OSError:
        return 0


def wait_until_closed(sockets: Iterable[Listener], timeout_s: float) -> list[int]:
    """Wait until nobody listens on these sockets; returns the ports of those that are left after `timeout_s` wall
    seconds.

    A port that is free again may at once be somebody else's: where the system tells sockets apart, theirs is not ours.
    """
    deadline = time.monotonic() + timeout_s
    left = _still_open(sockets)
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = _still_open(left)
    return sorted({one.port for one in left})


def _still_open(sockets: Iterable[Listener]) -> list[Listener]:
    known = _inodes_of_the_system()
    return [one for one in sockets if (one.inode in known if known and one.inode else _answers(one.port))]


def _inodes_of_the_system() -> frozenset[int]:
    """The sockets that listen, of whatever process; none where there is no such list (it is Linux's)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), Path(table).open(encoding="ascii") as rows:
            next(rows, None)  # the names of the columns
            found |= {int(columns[9]) for columns in map(str.split, rows) if columns[3] == _LISTENS}
    return frozenset(found)


def memory(found: Iterable[psutil.Process]) -> tuple[int, int]:
    """(sum of RSS, sum of PSS) in bytes. PSS counts a page that several processes share once; 0 where unknown."""
    rss = pss = 0
    for process in found:
        try:
            info = process.memory_full_info()
        except (psutil.Error, OSError):
            continue  # it ended while we looked, or is not ours
        rss += info.rss
        pss += getattr(info, "pss", 0)
    return rss, pss
