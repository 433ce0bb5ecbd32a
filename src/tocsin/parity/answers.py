"""What became of each call that the drill's own code makes, also where that code goes on without the answer."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from tocsin.aws.target import Target, aws_errors
from tocsin.errors import NotFound, TargetError, Unavailable
from tocsin.parity.model import Key, Measured

ANSWERED = "answered"


@dataclass
class _Operation:
    calls: int = 0
    failed: list[TargetError] = field(default_factory=list)


class Answers:
    """Listens to the clients of a target. Safe to use from several threads.

    That something is not there is an answer, too: what follows from it is said by whoever asked.
    """

    def __init__(self, target: Target) -> None:
        self._lock = threading.Lock()
        self._operations: defaultdict[str, _Operation] = defaultdict(_Operation)
        self._services: dict[str, str] = {}
        """A service as events of botocore name it -> as boto3 does."""
        self._doing = "asking"
        target.session.events.register("before-call", self._see_call)
        target.session.events.register("after-call", self._see_answer)
        target.session.events.register("after-call-error", self._see_failure)

    @contextmanager
    def during(self, doing: str) -> Iterator[None]:
        """What is asked meanwhile is asked for this."""
        self._doing = doing
        yield

    @property
    def failures(self) -> int:
        """How many calls were refused, or not answered, so far."""
        with self._lock:
            return sum(len(one.failed) for one in self._operations.values())

    def rows(self) -> Iterator[Measured]:
        """A row for each operation that was called."""
        with self._lock:
            operations = sorted(self._operations.items())
        for name, one in operations:
            yield _row(name, one)

    def _see_call(self, model: Any, event_name: str, **_: Any) -> None:
        self._services[event_name.split(".")[1]] = model.service_model.service_name

    def _see_answer(self, model: Any, parsed: Mapping[str, Any], **_: Any) -> None:
        """A handler of botocore's `after-call`: once a call, after its retries."""
        error = ClientError({**parsed}, model.name) if parsed.get("Error") else None
        self._note(f"{model.service_model.service_name}:{model.name}", error)

    def _see_failure(self, exception: Exception, event_name: str, **_: Any) -> None:
        """A handler of `after-call-error.SERVICE.OPERATION`: there was no answer."""
        service, operation = event_name.split(".")[1:]
        self._note(f"{self._services[service]}:{operation}", exception)

    def _note(self, operation: str, error: Exception | None) -> None:
        told = None if error is None else self._told(error)
        with self._lock:
            one = self._operations[operation]
            one.calls += 1
            if told is not None and not isinstance(told, NotFound):
                one.failed.append(told)

    def _told(self, error: Exception) -> TargetError:
        """The error as a drill would see it."""
        try:
            with aws_errors(self._doing):
                raise error
        except TargetError as told:
            return told


def _row(name: str, one: _Operation) -> Measured:
    if not one.failed:
        return Measured(key=Key.ANSWERED, about=name, here=ANSWERED, holds=True, looks=one.calls)
    refused = [error for error in one.failed if not isinstance(error, Unavailable)]
    loudest = (refused or one.failed)[0]
    return Measured(
        key=Key.ANSWERED,
        about=name,
        here="refused" if refused else None,
        holds=False if refused else None,
        detail=str(loudest),
        looks=one.calls,
    )
