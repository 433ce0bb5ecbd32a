"""Files of canaries: which functions are canaries, and what shows before a drill that one of them cannot be run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tocsin.errors import Complaints, InvalidInput
from tocsin.project.python_files import IMPORT_WITHIN_S, import_python, parse_python, try_import
from tocsin.project.unseen_clients import unseen_clients

CANARY_PREFIX = "canary_"
"""How the names of canaries begin."""
_HERE = f"{__name__}:try_here"


def try_canaries(path: Path) -> None:
    """Import a file of canaries in a process of its own, and look at its functions.

    Raises:
        InvalidInput: everything that is wrong: its import fails, hangs or ends the process, it holds no canary, or one
            that cannot be called with a journey alone, or that would not have run when the call ends, or it sends with
            another client than the journey.
    """
    try_import(path, IMPORT_WITHIN_S, how=_HERE)


def canaries_in(module: ModuleType, path: Path) -> dict[str, Callable[..., Any]]:
    """The canaries of a module, by name without the prefix, in the order of the file.

    Raises:
        InvalidInput: there is none.
    """
    found = {
        name.removeprefix(CANARY_PREFIX): function
        for name, function in vars(module).items()
        if name.startswith(CANARY_PREFIX) and callable(function)
    }
    if not found:
        raise InvalidInput(f"expected functions named {CANARY_PREFIX}*, found none", file=path)
    return found


def try_here(path: str, within_s: float) -> None:
    """In the process of `try_canaries`.

    Raises:
        InvalidInput: as `try_canaries`.
    """
    problems = Complaints()
    module = import_python(Path(path), "tocsin_tried", 2 * within_s)  # the process ends before that
    for name, function in canaries_in(module, Path(path)).items():
        for wrong in never_run(function, "its journey"):
            message = f"expected of {CANARY_PREFIX}{name} {wrong}"
            problems.add(InvalidInput(message, file=Path(path), line=line_of(function, path)))
    for message, line in unseen_clients(parse_python(Path(path)), "the `api` of a canary"):
        problems.add(InvalidInput(message, file=Path(path), line=line))
    problems.tell()


def never_run(function: Callable[..., Any], *arguments: str) -> Iterator[str]:
    """Why calling a function with that many arguments would run nothing of it, after `expected of canary_orders`.

    Its own signature counts, not that of what a decorator wraps.
    """
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        yield "a plain function, found an `async def`: nothing awaits it, so nothing of it would run. Write `def`"
    elif inspect.isgeneratorfunction(function):
        yield "a plain function, found one with `yield`: nothing of it would run. Take the `yield` out"
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # of what is not written in Python nobody knows
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        yield f"that it takes {' and '.join(arguments)}, found {signature}: {error}"


def line_of(function: Callable[..., Any], path: str) -> int | None:
    """The line at which a function of the file itself begins; None of one that it imports."""
    code = getattr(function, "__code__", None)
    return code.co_firstlineno if code is not None and code.co_filename == path else None
