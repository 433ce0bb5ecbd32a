"""The process in which a load file is tried out: Locust's own, which Locust has patched before anything else.

What Locust does with a file before its first request is done here too, and what a drill could not record is refused: a
request that is none of an arrival has no time at which it was due, and nobody would count it.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import gevent
from locust import LoadTestShape, User
from locust.util.load_locustfile import load_locustfile

from tocsin.errors import Complaints, InvalidInput, near_match
from tocsin.load import ArrivalUser, Call, Operation, operations
from tocsin.project.canary_files import line_of, never_run
from tocsin.project.python_files import line_in, parse_python, said, still_going_on
from tocsin.project.unseen_clients import unseen_clients

_HURRY = 0.9
"""Share of the time for an import after which it is looked at where it waits: later, the process is ended."""
_WRITE = (
    "Write `from tocsin.load import ArrivalUser, Call, arrival` and `class {name}(ArrivalUser):`, mark what it does "
    'with `@arrival(weight=1, name="GET /")`, and send with its `call`'
)
_OPTIONS = tuple(name for name in inspect.signature(Call.request).parameters if name not in ("self", "method", "path"))
_SENDING = tuple(name for name, member in vars(Call).items() if inspect.isfunction(member) and name[0] != "_")
_UNRECORDED = ("client", "rest", "rest_")
"""What a user of Locust sends with."""
_Users = Mapping[str, type[User]]
_Problem = tuple[str, int | None]
"""What is wrong, and the line."""


def try_load(path: str, within_s: float) -> None:
    """Import a load file as Locust does, and look at its users.

    Raises:
        InvalidInput: everything that is wrong: its import fails, hangs or ends the process, or requests of its users
            would not be in the record of a drill.
    """
    users, shapes = _imported(Path(path), within_s)
    problems = Complaints()
    tree = parse_python(Path(path))
    others = unseen_clients(tree, "the `call` of an arrival")
    for message, line in (*_kinds(path, users, shapes), *_sendings(tree, users), *others):
        problems.add(InvalidInput(message, file=path, line=line))
    problems.tell()


def _imported(path: Path, within_s: float) -> tuple[_Users, list[LoadTestShape]]:
    """In a greenlet, so that one that waits in a call that Locust has patched can be found where it waits."""
    importing = gevent.spawn(_import, path)
    importing.join(within_s * _HURRY)
    if not importing.ready():
        stack = traceback.extract_stack(importing.gr_frame)
        lines = [frame.lineno for frame in stack if frame.filename == str(path)]
        raise InvalidInput(still_going_on(within_s), file=path, line=lines[-1] if lines else None)
    found = importing.get()
    if isinstance(found, InvalidInput):
        raise found
    users, shapes = found
    return users, shapes


def _import(path: Path) -> tuple[_Users, list[LoadTestShape]] | InvalidInput:
    try:
        return load_locustfile(str(path))
    except BaseException as error:  # importing runs somebody else's code, which may even call sys.exit
        return InvalidInput(f"expected to import it, found {said(error)}", file=path, line=line_in(path, error))


def _kinds(path: str, users: _Users, shapes: list[LoadTestShape]) -> Iterator[_Problem]:
    """Users and shapes that a drill cannot have."""
    if not users:
        yield f"expected a user of tocsin.load, found no user. {_WRITE.format(name='Customer')}", 1
    for name, user in users.items():
        for message in _complaints(name, user):
            yield message, _line_of(user, path)
    for function, wrong in _never_run(users):
        yield f"expected of {function.__qualname__} {wrong}", line_of(function, path)
    for shape in shapes:
        name = type(shape).__name__
        yield (
            f"expected users and arrivals as the experiment's `load` plans them, found the shape {name}, which plans "
            "others. Take it out",
            _line_of(type(shape), path),
        )


def _complaints(name: str, user: type[User]) -> Iterator[str]:
    if not issubclass(user, ArrivalUser):
        kind = next(base.__name__ for base in user.__mro__ if base.__module__.startswith("locust."))
        yield (
            f"expected users of tocsin.load, found {name}, a {kind} of Locust: its requests would be in no record. "
            f"{_WRITE.format(name=name)}"
        )
        return
    try:
        operations(user)
    except RuntimeError as error:
        yield f"expected what arrivals of {name} do, found nothing: {error}"
    others = {getattr(task, "__name__", str(task)): None for task in user.tasks if task is not ArrivalUser.arrivals}
    if others:
        yield (
            f"expected that {name} does what is marked with @arrival, found tasks of Locust: {', '.join(others)}. What "
            "they send would not be in the record. Mark them with @arrival, and send with its `call`"
        )


def _never_run(users: _Users) -> Iterator[tuple[Operation, str]]:
    """Arrivals of which nothing would run though they are offered, and why; of those that users share, once."""
    arrivals: dict[Operation, None] = {}
    for user in users.values():
        if issubclass(user, ArrivalUser):
            with contextlib.suppress(RuntimeError):  # of a user without any, `_complaints` tells
                arrivals |= dict.fromkeys(function for _, function in operations(user)[0])
    for function in arrivals:
        for wrong in never_run(function, "its user", "its call"):
            yield function, wrong


def _sendings(tree: ast.Module, users: _Users) -> Iterator[_Problem]:
    """What is written of requests in the users of the file itself, and cannot be sent or would not be recorded."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and issubclass(users.get(node.name, User), ArrivalUser):
            yield from _unrecorded(node)
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and _is_arrival(method) and len(method.args.args) > 1:
                    call = method.args.args[1].arg
                    yield from _unknown_options(method, call)
                    yield from _unsent(method, call)


def _unrecorded(user: ast.ClassDef) -> Iterator[_Problem]:
    for node in ast.walk(user):
        if isinstance(node, ast.Attribute) and node.attr in _UNRECORDED and _is_name(node.value, "self"):
            yield (
                f"expected requests that are sent with the `call` of an arrival, found `self.{node.attr}`: what it "
                "sends would not be in the record",
                node.lineno,
            )


def _unknown_options(method: ast.FunctionDef, call: str) -> Iterator[_Problem]:
    for node in ast.walk(method):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_name(node.func.value, call)
        ):
            continue
        verb = node.func.attr
        if verb not in _SENDING:
            yield f"expected a method of Call, found `{call}.{verb}`. {near_match(verb, _SENDING)}", node.lineno
            continue
        for option in (one.arg for one in node.keywords if one.arg is not None):
            if option not in (*_OPTIONS, "path", "method"):
                found = f"`{call}.{verb}(..., {option}=...)`"
                yield f"expected an option of a request, found {found}. {near_match(option, _OPTIONS)}", node.lineno


def _unsent(method: ast.FunctionDef, call: str) -> Iterator[_Problem]:
    """An arrival that has nothing to do with its `call`: its first one would end the load."""
    if not any(isinstance(node, ast.Name) and node.id == call for node in ast.walk(method)):
        found = "found one that does not use it"
        yield f"expected of {method.name} that it sends one request with `{call}`, {found}", method.lineno


def _is_arrival(method: ast.FunctionDef) -> bool:
    marks = (mark.func for mark in method.decorator_list if isinstance(mark, ast.Call))
    return any(_is_name(mark, "arrival") or getattr(mark, "attr", None) == "arrival" for mark in marks)


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _line_of(kind: type, path: str) -> int | None:
    """Where a class of the file itself begins; None of one that it imports."""
    try:
        return inspect.getsourcelines(kind)[1] if inspect.getsourcefile(kind) == path else None
    except (OSError, TypeError):
        return None
