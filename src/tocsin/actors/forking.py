"""The other side of `Forks`: a process that has imported what takes long, and forks for each run of it.

Protocol. The starter sends one byte with descriptors: standard input, standard output, one end of a socket pair, and
whatever the run is handed besides. The fork reads its first line there (what to run), answers with its process id,
and at its end with its exit code. Whatever else it is told comes by its own standard input: the parent of all never
sees it. The parent has one thread, as forking demands, and ends when its starter does.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

_MOST_DESCRIPTORS = 8


def serve(control: socket.socket, run: Callable[[], object]) -> None:
    """Fork, and call `run` there, as often as the starter asks for it; returns when the starter is gone."""
    # Nobody waits for the forks: the kernel reaps them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    # Objects that no collection touches again stay shared between the forks.
    gc.freeze()
    try:
        control.sendall(b"r")
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, 1, _MOST_DESCRIPTORS)
            if not message:
                return
            if os.fork() == 0:
                control.close()
                _live(descriptors, run)
            for descriptor in descriptors:
                os.close(descriptor)
    except (BrokenPipeError, ConnectionResetError):
        return


def _live(descriptors: Sequence[int], run: Callable[[], object]) -> NoReturn:
    """The whole life of one fork."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        life = _arrive(descriptors)
        code = _code_of(run)
        life.sendall(b"%d\n" % code)
    except OSError:
        pass  # whoever asked for it is gone
    finally:
        # Not sys.exit: what modules of the parent registered for its end would run at the end of every fork.
        os._exit(code)


def _arrive(descriptors: Sequence[int]) -> socket.socket:
    """Become the process that is wanted; returns the socket by which its end is told."""
    standard_input, standard_output, told, *handed = descriptors
    with socket.socket(fileno=os.dup(told)) as asking, asking.makefile("r", encoding="utf-8") as lines:
        wanted = json.loads(lines.readline())
    for source, number in ((standard_input, 0), (standard_output, 1), (standard_output, 2)):
        os.dup2(source, number)
    # Out of the way first: what is handed over keeps the number that it has there, which may be in use here.
    above = max((2, *wanted["descriptors"])) + 1
    life = socket.socket(fileno=fcntl.fcntl(told, fcntl.F_DUPFD_CLOEXEC, above))
    moved = [fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, above) for source in handed]
    for descriptor in descriptors:
        os.close(descriptor)
    for source, number in zip(moved, wanted["descriptors"], strict=True):
        os.dup2(source, number)
        os.close(source)
    os.chdir(wanted["directory"])
    sys.argv = wanted["arguments"]
    life.sendall(b"%d\n" % os.getpid())
    return life


def _code_of(run: Callable[[], object]) -> int:
    """Run it to its end; its exit code, as the interpreter would have it."""
    code = 1
    try:
        run()
        code = 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            code = end.code or 0
        else:
            traceback.print_exc()  # a text, which the interpreter would have printed
    except BaseException:  # whatever it is ends the fork, and is told in its log
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code
