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

import psutil

MARKER = "TOCSIN_SANDBOX"
"""Environment variable of every process of a sandbox: its state directory. It outlives any parent."""

_KEYS = frozenset({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
_PR_SET_PDEATHSIG = 1


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


def open_ports(ports: Iterable[int]) -> list[int]:
    """Those of the loopback ports on which somebody still answers."""
    return [port for port in ports if _answers(port)]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_closed(ports: Iterable[int], timeout_s: float) -> list[int]:
    """Wait until nobody answers on the ports; returns those that still do after `timeout_s` wall seconds."""
    deadline = time.monotonic() + timeout_s
    left = open_ports(ports)
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = open_ports(left)
    return left


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
