"""The child process of a contract test: Schemathesis' own command line, with what a drill needs to know told live.

It is a fork of `contract_forks`, with the arguments of `st`. The first line of its standard input is an `Order`;
the end of its standard input ends it. One JSON line for every answer and every failure goes to the order's file
descriptor, so that a run that is cut short has still told what it saw.
"""

from __future__ import annotations

import builtins
import json
import os
import threading
from typing import IO, Any

import schemathesis
from hypothesis.strategies import characters
from schemathesis.cli import schemathesis as command_line

from tocsin.actors.contract_order import Order

_SERVER_ERRORS = "not_a_server_error"
_MESSAGE_LENGTH = 300


class _Out:
    """Whole lines from several threads."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()

    def tell(self, line: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(line) + "\n")


def main() -> None:
    """Register the hooks and hand over to Schemathesis."""
    # Generating data takes a whole core for seconds: what measures, and what is measured, goes first.
    os.nice(10)
    # Unbuffered: a thread that waits in a buffered file holds its lock when the interpreter wants to leave.
    with open(0, "rb", buffering=0, closefd=False) as orders:
        order = Order.from_line(orders.readline().decode())
        threading.Thread(target=_end_with_parent, daemon=True).start()
        out = _Out(os.fdopen(order.descriptor, "w", buffering=1))
        _tell_answers(out)
        _tell_failures(out, order.accepted)
        if order.token is not None:
            _send_token(order.token)
        _parse_one_at_a_time()
        make_tables()
        command_line(prog_name="st")


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _parse_one_at_a_time() -> None:
    """Keep Schemathesis' workers from parsing Python at the same time.

    CPython 3.11 counts the depth of a syntax tree in one place for all threads and raises SystemError when two of them
    disagree (https://github.com/python/cpython/issues/106905). Hypothesis parses the sources of its strategies, and
    AnyIO its own source when it is first imported, so a run in dozens would fail for a reason that is not the API's.
    Whoever parses calls `compile`, `ast.parse` too.
    """
    lock = threading.RLock()
    parse = builtins.compile

    def locked(*arguments: Any, **options: Any) -> Any:
        with lock:
            return parse(*arguments, **options)

    builtins.compile = locked


def make_tables() -> None:
    """Read Hypothesis' tables of Unicode, or make them: each of Schemathesis' workers would make all by itself."""
    characters(codec="utf-8").validate()


def _tell_answers(out: _Out) -> None:
    def after_call(context: Any, case: Any, response: Any) -> None:
        out.tell({"answer": str(response.status_code), "operation": case.operation.label})

    def after_network_error(context: Any, case: Any, request: Any) -> None:
        out.tell({"answer": "error", "operation": case.operation.label})
        failure = {"operation": case.operation.label, "check": "no_answer", "message": "no answer to the request"}
        out.tell({"failure": failure, "case": case.id})

    schemathesis.hook(after_call)
    schemathesis.hook(after_network_error)


def _tell_failures(out: _Out, accepted: tuple[int, ...]) -> None:
    def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
        """A server error does not count when it is one that this act allows.

        Everything else stays strict: an undocumented status, a media type or a body that breaks its schema.
        """
        check = failure.checks[0] if failure.checks else type(failure).__name__
        status = response.status_code if response is not None else None
        if check == _SERVER_ERRORS and status in accepted:
            out.tell({"degraded": case.id})
            return False
        message = " ".join(f"{failure.title}: {failure.message}".split())[:_MESSAGE_LENGTH]
        told = {"operation": case.operation.label, "check": check, "message": message, "status": status}
        out.tell({"failure": told, "case": case.id})
        return True

    schemathesis.hook(filter_failure)


def _send_token(token: str) -> None:
    class BearerToken:
        """One identity for all operations: what it may not do is refused, and the refusal is documented."""

        def get(self, case: Any, context: Any) -> str:
            return token

        def set(self, case: Any, data: str, context: Any) -> None:
            case.headers["Authorization"] = f"Bearer {data}"

    schemathesis.auth(refresh_interval=None)(BearerToken)
