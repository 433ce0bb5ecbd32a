"""Forks of a warm parent are as good as processes of their own: ends, descriptors, and nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tocsin.actors.base import Child
from tocsin.actors.forks import Forks
from tocsin.errors import TocsinError

from .conftest import wait_for

PATIENCE_S = 60.0
PARENT = """
import os, socket, sys
from tocsin.actors.forking import serve

def run():
    exec(os.read(0, 1000).decode())  # what it is told first

serve(socket.socket(fileno=int(sys.argv[1])), run)
"""
UNTIL_THE_END = "print(os.getpid(), flush=True)\nwhile os.read(0, 1): pass"
STARTER = f"""
import sys, time
from pathlib import Path
from tests.actors.test_forks import UNTIL_THE_END, child, ready

forks = ready(Path(sys.argv[1]))
one = child(forks, Path(sys.argv[1]), UNTIL_THE_END)
print(forks._parent._process.pid, one._process.pid, flush=True)
time.sleep({PATIENCE_S})
"""


def ready(directory: Path, parent: str = PARENT) -> Forks:
    (directory / "warm_parent.py").write_text(parent, encoding="utf-8")
    forks = Forks("warm_parent", cwd=directory, log=directory / "parent.log", env={})
    assert forks.is_ready(PATIENCE_S)
    return forks


def child(forks: Forks, directory: Path, told: str, pass_fds: tuple[int, ...] = ()) -> Child:
    log = directory / "child.log"
    argv = ["the name", "and more"]
    return Child(argv, cwd=directory, log=log, env={}, first_line=told, pass_fds=pass_fds, forked_by=forks)


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Forks]:
    found = ready(tmp_path)
    yield found
    found.stop()


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        ("print(sys.argv, os.path.realpath('.'))", 0, "['the name', 'and more'] {directory}"),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('it cannot')", 1, "it cannot"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
    ],
)
def test_an_end_is_told_as_that_of_any_process(forks: Forks, tmp_path: Path, told: str, code: int, said: str) -> None:
    one = child(forks, tmp_path, told)
    assert one.wait(PATIENCE_S) == code == one.poll()
    one.stop()
    assert said.format(directory=os.path.realpath(tmp_path)) in one.log_tail()


def test_what_goes_on_is_ended_by_stop(forks: Forks, tmp_path: Path) -> None:
    one = child(forks, tmp_path, UNTIL_THE_END)
    assert one.poll() is None
    assert one.wait(0.01) is None
    one.stop()
    assert one.poll() == -signal.SIGKILL


def test_descriptors_keep_their_numbers_whatever_is_there_in_the_parent(forks: Forks, tmp_path: Path) -> None:
    """Numbers from three on: in the parent its socket has one of them, and what it was sent others."""
    pipes = [os.pipe() for _ in range(5)]
    handed = tuple(writing for _, writing in pipes)
    one = child(forks, tmp_path, f"for number in {handed}: os.write(number, b'%d' % number)", handed)
    assert one.wait(PATIENCE_S) == 0
    one.stop()
    for reading, writing in pipes:
        assert os.read(reading, 10) == b"%d" % writing
        os.close(reading)
        os.close(writing)


def test_siblings_hold_nothing_of_each_other(forks: Forks, tmp_path: Path) -> None:
    """The end of one is noticed, and its standard input ends, while another goes on."""
    first, second, third = (child(forks, tmp_path, UNTIL_THE_END) for _ in range(3))
    second.stop()
    assert second.poll() is not None
    first._stdin.close()
    assert first.wait(PATIENCE_S) == 0
    assert third.poll() is None
    first.stop()
    third.stop()


def test_parent_and_forks_end_with_a_starter_that_is_killed(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    argv = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(
        argv, cwd=root, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)}
    ) as starter:
        assert starter.stdout is not None
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert len(pids) == 2
        assert all(runs(pid) for pid in pids)
        starter.kill()
    wait_for("the end of both", lambda: not any(runs(pid) for pid in pids), PATIENCE_S)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_parent_that_cannot_begin_says_why(tmp_path: Path) -> None:
    with pytest.raises(TocsinError, match="RuntimeError: no such library"):
        ready(tmp_path, "raise RuntimeError('no such library')")


def test_a_parent_that_is_gone_forks_nothing(forks: Forks, tmp_path: Path) -> None:
    os.kill(forks._parent._process.pid, signal.SIGKILL)
    wait_for("its end", lambda: not forks.is_alive(), PATIENCE_S)
    with pytest.raises(TocsinError, match="expected a process that forks"):
        child(forks, tmp_path, "pass")
