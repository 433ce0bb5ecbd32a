"""What every process of a sandbox is started with, and what is left of it when it has ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tocsin.sandbox.parts.supervise import MARKER, HeldPort, Listener, listeners, marked, wait_until_closed


def test_no_process_is_started_with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "of-somebody")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "kept")
    found = marked(Path("/where"))
    assert "of-somebody" not in found.values()
    assert found["AWS_DEFAULT_REGION"] == "kept"
    assert found[MARKER] == "/where"


@pytest.fixture
def port() -> Iterator[int]:
    """One that nobody else can take meanwhile."""
    held = HeldPort()
    yield held.port
    held.release()


@contextmanager
def server(port: int) -> Iterator[psutil.Process]:
    """A process that listens on a port of loopback."""
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield psutil.Process(process.pid)
        process.kill()


def test_a_port_on_which_ours_still_listens_is_not_closed(port: int) -> None:
    with server(port) as process:
        sockets = listeners([process])
        assert wait_until_closed(sockets, 0) == [port]
    assert wait_until_closed(sockets, 60) == []


def test_a_port_that_somebody_else_has_taken_meanwhile_is_closed(port: int) -> None:
    with server(port) as process:
        sockets = listeners([process])
    with server(port):
        assert wait_until_closed(sockets, 0) == []


def test_where_sockets_are_not_told_apart_a_port_is_open_while_somebody_answers(port: int) -> None:
    with server(port):
        assert wait_until_closed([Listener(port, inode=0)], 0) == [port]
    assert wait_until_closed([Listener(port, inode=0)], 60) == []
