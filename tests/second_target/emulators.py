"""Emulators of AWS that are not Tocsin's sandbox, each as its project ships it, on a free port of loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import boto3
import httpx
import psutil
from botocore.config import Config

ACCOUNT, REGION = "123456789012", "eu-west-1"
KEYS = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "emulated"}
"""ministack takes an id of twelve digits for the account; moto has this account whatever the id is."""
_STARTS_WITHIN_S = 60.0
_ENDS_WITHIN_S = 20.0
_TRIES = 3
"""Starts, each on another port."""
_RESET = {"ministack": "/_ministack/reset", "moto": "/moto-api/reset"}
NAMES = tuple(_RESET)


@dataclass(frozen=True)
class Emulator:
    """One that runs."""

    name: str
    url: str
    patience_s: float = 60.0
    """wall seconds for which what it is to do is waited for"""
    _session: boto3.Session = field(init=False, repr=False, compare=False)
    _making: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)
    """A session makes one client at a time."""

    def __post_init__(self) -> None:
        """One session: what is read of a service's model is kept in it."""
        object.__setattr__(self, "_session", boto3.Session(*KEYS.values(), region_name=REGION))

    def client(self, service: str) -> Any:
        """A boto3 client that asks once: what is not answered is told at once."""
        once = Config(connect_timeout=10, read_timeout=60, retries={"total_max_attempts": 1, "mode": "standard"})
        with self._making:
            return self._session.client(service, endpoint_url=self.url, config=once)

    def reset(self) -> None:
        """Forget everything, so that each test has an account of its own."""
        httpx.post(f"{self.url}{_RESET[self.name]}", timeout=30, trust_env=False).raise_for_status()


@contextmanager
def running(name: str, folder: Path) -> Iterator[Emulator]:
    """One of `NAMES`, as long as this lasts; `folder` has its home and its log.

    Raises:
        RuntimeError: it does not answer, with the end of its log.
    """
    for tries_left in reversed(range(_TRIES)):
        port = _free_port()
        process = _start(name, port, folder)
        try:
            emulator = Emulator(name, f"http://127.0.0.1:{port}")
            if _answers(emulator, process):
                yield emulator
                return
            if not tries_left:
                log = (folder / f"{name}.log").read_text()[-2000:]
                raise RuntimeError(f"expected {name} to answer at {emulator.url}, found: {log}")
        finally:
            _end(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _start(name: str, port: int, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("wb") as output:
        return subprocess.Popen(
            _command(name, port),
            cwd=folder,
            env=_environment(folder, port),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # what it starts for functions ends with it: they are one group
        )


def _command(name: str, port: int) -> list[str]:
    if name == "moto":
        return [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", "hypercorn", "ministack.app:app", "--bind", f"127.0.0.1:{port}"]


def _environment(folder: Path, port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "GATEWAY_PORT": str(port), "MINISTACK_HOST": "127.0.0.1", "HOME": str(folder)}


def _answers(emulator: Emulator, process: subprocess.Popen[bytes]) -> bool:
    """Whether it answers, itself: between the look for a free port and its start somebody else may have taken that."""
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            httpx.get(emulator.url, timeout=5, trust_env=False)
            if _listens(process.pid, int(emulator.url.rpartition(":")[2])):
                return True
        time.sleep(0.1)
    return False


def _listens(pid: int, port: int) -> bool:
    """Whether a process, or one that it started, takes connections at a port."""
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(pid)
        for one in (found, *found.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                if any(at.status == psutil.CONN_LISTEN and at.laddr.port == port for at in one.net_connections("tcp")):
                    return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_ENDS_WITHIN_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
