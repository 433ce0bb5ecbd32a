"""How a command ends: with one message for whatever went wrong, and with an exit code of the README."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn, ParamSpec

import click

from tocsin.commands.foreign import finish_lines
from tocsin.commands.modes import private_files
from tocsin.commands.signals import process_of_a_command, settle
from tocsin.commands.streams import open_closed_streams, shown_to_the_end
from tocsin.commands.terminal import say
from tocsin.errors import InvalidInput, TocsinError
from tocsin.masking import mask

P = ParamSpec("P")

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_NOT_OURS = (errno.EACCES, errno.EPERM)
_IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG)


class WholeProcess(click.Group):
    """The command line; without arguments of a caller it is the whole process, and its own are read."""

    def main(self, args: Sequence[str] | None = None, *names: Any, **options: Any) -> Any:
        """As `click.Group.main`."""
        if args is not None:
            return super().main(args, *names, **options)
        open_closed_streams()
        with process_of_a_command(), nobody_leaves(), shown_to_the_end():
            return super().main(None, *names, **options)

    def make_context(self, *names: Any, **options: Any) -> click.Context:
        """As `click.Group.make_context`."""
        with _interrupted():
            return super().make_context(*names, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """As `click.Group.invoke`."""
        with _interrupted():
            return super().invoke(ctx)


_LEAVE = os._exit


@contextmanager
def nobody_leaves() -> Iterator[None]:
    """As long as this lasts, `os._exit` in this process is `sys.exit`.

    Code of others runs here. `os._exit` would end a drill on the spot, its fault in place, and with an exit code of
    its own choice, such as 0. A child that was forked leaves as ever.
    """
    ours = os.getpid()

    def instead(status: int) -> NoReturn:
        if os.getpid() != ours:
            _LEAVE(status)
        sys.exit(status)

    os._exit = instead
    try:
        yield
    finally:
        os._exit = _LEAVE


def leave(code: int) -> NoReturn:
    """End here and now: what a drill left alone may have begun threads that the interpreter would wait for."""
    finish_lines()
    sys.stdout.flush()
    sys.stderr.flush()
    _LEAVE(code)


@contextmanager
def _interrupted() -> Iterator[None]:
    """A signal before a command begins, or after its end: click would leave with 1, as if a drill had failed."""
    try:
        yield
    except KeyboardInterrupt:
        say("tocsin: interrupted", err=True)
        raise click.exceptions.Exit(4) from None


def one_message(command: Callable[P, int | None]) -> Callable[P, None]:
    """Show our own errors as one message, and leave with the command's exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            try:
                with private_files():
                    code = command(*args, **kwargs)
            finally:
                settle()
        except TocsinError as error:
            for problem in error.problems if isinstance(error, InvalidInput) else (error,):
                say(f"tocsin: {problem}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            say("tocsin: interrupted", err=True)
            sys.exit(4)
        except SystemExit as error:
            # No command ends itself so: somebody's code that was called did. Its exit code is not ours, never a pass.
            say(
                f"tocsin: expected an answer, found that code which was called ended with sys.exit({error.code!r}). "
                "Nothing is known. If a drill was running, `tocsin ledger` shows its faults.",
                err=True,
            )
            sys.exit(3)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (*_NO_ROOM, *_NOT_OURS, *_IN_THE_WAY):
                say(f"tocsin: {_refused(error)}", err=True)
                sys.exit(3)
            # Not 1: a bug of ours says nothing about the system under test.
            say(mask(traceback.format_exc()), err=True, nl=False)
            say("tocsin: this is a bug in Tocsin. If a drill was running, `tocsin ledger` shows its faults.", err=True)
            sys.exit(3)
        sys.exit(code or 0)

    return run


def _refused(error: OSError) -> str:
    """What the machine does not let us do, and what would help."""
    found = f"expected to open or write {error.filename or 'a file'}, found: {error.strerror}"
    if error.errno in _NO_ROOM:
        return f"{found}. Make room there, or write elsewhere."
    if error.errno in _IN_THE_WAY:
        return f"{found}. Move away what is in the way there, or work in another directory."
    return f"{found}. Work as the user that it belongs to, or in a checkout of your own."
