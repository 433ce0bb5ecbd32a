"""Python on something, as a process of its own, without the second that it takes to import everything first.

`python` is what `subprocess.run([sys.executable, ...], capture_output=True, text=True)` is: a process with its own
environment, directory, streams and exit code, which is waited for. But it is forked from one that has imported all
commands, and has begun none of them (the server of forks of `multiprocessing`). What is about how a process begins is
shown by a fresh one: what it imports, its encoding, its command line, a signal while it begins.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any, NoReturn

import tocsin.commands

PATIENCE_S = 240
_BUFFERED = {"stdout": -1, "stderr": 1}
"""As `open` says it: in blocks, and in lines."""
CLOSED = None
"""In the place of a stream: there is none, as after `>&-`."""


def python(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m MODULE ...` or `python -c CODE ...`, to its end.

    Raises:
        TimeoutExpired: it took too long, and was killed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = into(out, err, *arguments, cwd=cwd, env=env)
        said = [_all_of(stream) for stream in (out, err)]
    return subprocess.CompletedProcess(list(arguments), code, *said)


def into(
    out: IO[bytes] | None, err: IO[bytes] | None, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> int:
    """The same with streams of somebody's own: its exit code, or the negative number of the signal that ended it."""
    environment = dict(os.environ if env is None else env)
    process = _server().Process(target=_become, args=(arguments, str(cwd), environment, _Streams([out, err])))
    process.start()
    process.join(PATIENCE_S)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(list(arguments), PATIENCE_S)
    return process.exitcode


def _all_of(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()


class _Streams:
    """Handed to another process, where they are numbers of open files."""

    def __init__(self, files: Sequence[IO[bytes] | None]) -> None:
        self._files = files

    def __reduce__(self) -> tuple[Any, ...]:
        return _taken, tuple(file and DupFd(file.fileno()) for file in self._files)


def _taken(*handed: Any) -> list[int | None]:
    return [one and one.detach() for one in handed]


@cache
def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    found = pkgutil.walk_packages(tocsin.commands.__path__, "tocsin.commands.")
    context.set_forkserver_preload(["tocsin.cli", *(module.name for module in found)])
    return context


def _become(arguments: tuple[str, ...], cwd: str, env: dict[str, str], streams: list[int | None]) -> NoReturn:
    """In the new process: be what was asked for, and end as Python does."""
    for number, name in enumerate(("stdout", "stderr"), start=1):
        _redirect(number, name, streams[number - 1])
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    code = _code_of(arguments)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    os._exit(code if _flushed() else 120)


def _redirect(number: int, name: str, stream: int | None) -> None:
    """Made anew, too: an object of Python knows of its file whether it is one that can be wound back."""
    begun = None
    if stream is None:
        os.close(number)
    else:
        os.dup2(stream, number)
        os.close(stream)
        before = getattr(sys, f"__{name}__")
        begun = os.fdopen(number, "w", _BUFFERED[name], before.encoding, before.errors, closefd=False)
    setattr(sys, name, begun)
    setattr(sys, f"__{name}__", begun)


def _code_of(arguments: tuple[str, ...]) -> int:
    try:
        _run(*arguments)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException as error:
        ours = error.__traceback__
        error.__traceback__ = ours and ours.tb_next and ours.tb_next.tb_next
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        return 1
    return 0


def _run(kind: str, what: str, *arguments: str) -> None:
    sys.argv = [kind, *arguments]
    if kind == "-m":
        sys.path[0] = str(Path.cwd())
        sys.modules.pop(what, None)
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    assert kind == "-c", kind
    sys.path[0] = ""
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    exec(compile(what, "<string>", "exec"), main.__dict__)


def _flushed() -> bool:
    """As at the end of Python: what cannot be written any more is told, and makes an exit code of its own."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
    except OSError as error:
        os.write(2, f"Exception ignored in: {stream}\n{error}\n".encode())
        return False
    return True
