"""The fault door in front of every stub: whatever it is told, it does to the requests that pass.

| request | answer |
|---|---|
| `GET /_tocsin/fault` | `{"stub": kind, "fault": {...} or null}` |
| `PUT /_tocsin/fault` | 204; the body is a `WrongAnswer`, with `count` for so many requests; 400 where it is none |
| `DELETE /_tocsin/fault` | 204; the door is closed, and whoever is kept waiting loses the connection |
| `GET /_tocsin/calls` | `{"value": [{"method", "path", "status", "at"}]}`: calls so far, the oldest dropped first |
| `GET /_tocsin/received` | `{"value": [...]}`: what it was told, of those who are told of alarms |

Each needs the token of the sandbox in `x-tocsin-token`, and comes from no page of a browser: else the answer is 403.
`POST /_fault`, `DELETE /_fault` and `GET /_calls` are short for these. Of a call nothing is kept that may be secret:
neither query, headers nor body. `status` is null where there was no answer, `at` is epoch seconds. Calls of a fault's
own, which looks for the effect of the door, are not the system's and not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field, ValidationError

from tocsin.errors import near_match
from tocsin.model.doors import TOKEN_HEADER
from tocsin.model.third_party import CALLS, DOOR, LOOKING, MARK, RECEIVED, WrongAnswer
from tocsin.model.third_party_cases import CASES, spelled_out
from tocsin.sandbox.doors import comes_from_a_page, has_token
from tocsin.sandbox.http import (
    DOOR_BODY,
    App,
    BodyTooLargeError,
    Message,
    Receive,
    Send,
    content_length,
    header,
    read_again,
    read_body,
    send_too_large,
)
from tocsin.sandbox.stubs import ThirdParty

KEPT_CALLS = 1000
_PIECES = 8
"""In how many pieces a streamed answer comes."""

_FAULT_PATHS = (DOOR, "/_fault")
_CALLS_PATHS = (CALLS, "/_calls")
_PATHS = (*_FAULT_PATHS, *_CALLS_PATHS, RECEIVED)
_WITHOUT_BODY = (204, 304)
_OF_THE_BODY = frozenset({b"content-length", b"content-type", b"content-encoding"})


class DoorFault(WrongAnswer):
    """What the door is told."""

    count: int | None = Field(default=None, ge=1, description="how many requests; without it, all")


@dataclass(frozen=True)
class _Answer:
    """A complete answer."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def with_body(self, body: bytes) -> _Answer:
        """The same with another JSON body."""
        kept = tuple((name, value) for name, value in self.headers if name.lower() not in _OF_THE_BODY)
        return _Answer(self.status, (*kept, (b"content-type", b"application/json; charset=utf-8")), body)

    def with_headers(self, headers: Mapping[str, str]) -> _Answer:
        """The same with these headers in the place of those of the same name."""
        own = {name.lower().encode(): value.encode() for name, value in headers.items()}
        kept = tuple((name, value) for name, value in self.headers if name.lower() not in own)
        return _Answer(self.status, (*kept, *own.items()), self.body)


class Door:
    """An ASGI application in front of that of a third party."""

    def __init__(self, third_party: ThirdParty, kind: str, hang_up: Callable[[Message], None], token: str) -> None:
        self._app: App = third_party.app
        self._kind = kind
        self._error = third_party.error
        self._received = third_party.received
        self._hang_up = hang_up
        self._token = token
        self._fault: DoorFault | None = None
        self._changed = asyncio.Event()
        self._calls: deque[dict[str, object]] = deque(maxlen=KEPT_CALLS)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] in _PATHS and (why := self._closed_to(scope)) is not None:
            await _reply(send, 403, {"error": why})
            return
        try:
            body = await read_body(receive, DOOR_BODY, content_length(scope))
        except BodyTooLargeError as error:
            await send_too_large(send, error)
            return
        receive = read_again(body, receive)
        if scope["path"] in _FAULT_PATHS:
            await _reply(send, *self._told(scope["method"], body))
        elif scope["path"] in _CALLS_PATHS:
            await _reply(send, 200, {"value": list(self._calls)})
        elif scope["path"] == RECEIVED:
            await _reply(send, 200, {"value": list(self._received())})
        else:
            with self._noted(scope, send) as noting:
                await self._pass(scope, receive, noting)

    def close(self) -> None:
        """Nobody is kept waiting any longer."""
        self._set(None)

    def _closed_to(self, scope: Message) -> str | None:
        if comes_from_a_page(scope["headers"]):
            return "expected no page of a browser, found Origin or Sec-Fetch-Site"
        if not has_token(scope["headers"], self._token):
            return f"expected the token of this sandbox in {TOKEN_HEADER}, found none or another"
        return None

    # --- what it is told ------------------------------------------------------------------------------------

    def _told(self, method: str, body: bytes) -> tuple[int, object]:
        if method == "GET":
            fault = None if self._fault is None else self._fault.model_dump(exclude_defaults=True)
            return 200, {"stub": self._kind, "fault": fault}
        if method == "DELETE":
            self._set(None)
            return 204, None
        try:
            told = DoorFault.model_validate_json(body)
        except ValidationError as cause:
            return 400, {"error": str(cause)}
        known = CASES.get(self._kind, {})
        if told.case is not None and told.case not in known:
            near = near_match(told.case, known)
            return 400, {"error": f"expected a case of {self._kind}, found '{told.case}'. {near}"}
        self._set(spelled_out(self._kind, told))
        return 204, None

    def _set(self, fault: DoorFault | None) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    def _take(self, method: str, path: str) -> DoorFault | None:
        """The fault that a request meets."""
        fault = self._fault
        if fault is None or not fault.concerns(method, path) or random.random() * 100 >= fault.percent:
            return None
        if fault.count is not None:
            left = fault.count - 1
            self._fault = fault.model_copy(update={"count": left}) if left else None
        return fault

    # --- what it does ---------------------------------------------------------------------------------------

    async def _pass(self, scope: Message, receive: Receive, send: Send) -> None:
        fault = self._take(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
            return
        until = self._changed
        if fault.mode != "stream" and fault.delay_s:
            await _pause(fault.delay_s, until)
        if fault.mode == "hang":
            await _given_up(receive, until)
        if fault.mode in ("hang", "drop"):
            await self._end(scope, receive)
            return
        answer = await self._wrong(fault, scope, receive)
        if fault.mode == "stream":
            await _stream(send, answer, fault.delay_s, until)
        elif fault.mode == "cut":
            await _send(send, answer, answer.body[: len(answer.body) // 2], more=True)
            await self._end(scope, receive)
        else:
            await _send(send, answer, answer.body)

    async def _end(self, scope: Message, receive: Receive) -> None:
        """End the connection, and return when it has ended: before that, the server would answer 500."""
        self._hang_up(scope)
        await _gone(receive)

    async def _wrong(self, fault: DoorFault, scope: Message, receive: Receive) -> _Answer:
        """The answer that takes the place of the stub's."""
        if fault.status is None and fault.body is None:
            answer = await _collect(self._app, scope, receive)
        else:
            status = fault.status or 200
            body = json.dumps(self._error(status)).encode() if fault.body is None else fault.body.encode()
            answer = _Answer(status, (), b"").with_body(body)
        if fault.mode == "malformed":
            answer = answer.with_body(_unparsable(answer.body))
        if answer.status in _WITHOUT_BODY:
            answer = replace(answer, body=b"")
        return answer.with_headers({**fault.headers, MARK: fault.mode})

    @contextlib.contextmanager
    def _noted(self, scope: Message, send: Send) -> Iterator[Send]:
        """Keep the call, with the status that is sent."""
        call: dict[str, object] = {"method": scope["method"], "path": scope["path"], "status": None, "at": time.time()}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                call["status"] = message["status"]
            await send(message)

        if not header(scope, b"user-agent").startswith(LOOKING):
            self._calls.append(call)
        yield noting


async def _collect(app: App, scope: Message, receive: Receive) -> _Answer:
    """The answer of an application."""
    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, keep)
    start = next(message for message in sent if message["type"] == "http.response.start")
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return _Answer(start["status"], tuple(start.get("headers", ())), body)


def _unparsable(body: bytes) -> bytes:
    """JSON that ends too early."""
    return body[: len(body) // 2] if len(body) > 1 else b"{"


async def _gone(receive: Receive) -> None:
    """Wait until the connection has ended."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _pause(seconds: float, until: asyncio.Event) -> None:
    """Sleep, but not longer than the door is as it is."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(until.wait(), seconds)


async def _given_up(receive: Receive, until: asyncio.Event) -> None:
    """Wait until the caller gives up, or the door is told something else."""
    waiting = [asyncio.create_task(_gone(receive)), asyncio.create_task(until.wait())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _stream(send: Send, answer: _Answer, over_s: float, until: asyncio.Event) -> None:
    """The body in pieces, one after each part of the time."""
    size = max(1, -(-len(answer.body) // _PIECES))
    pieces = [answer.body[first : first + size] for first in range(0, len(answer.body), size)] or [b""]
    await _send(send, answer, b"", more=True)
    for piece in pieces:
        await _pause(over_s / len(pieces), until)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send(send: Send, answer: _Answer, body: bytes, *, more: bool = False) -> None:
    headers = [(name, value) for name, value in answer.headers if name.lower() != b"content-length"]
    if answer.status not in _WITHOUT_BODY:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _reply(send: Send, status: int, document: Any) -> None:
    empty = _Answer(status, (), b"")
    answer = empty if document is None else empty.with_body(json.dumps(document).encode())
    await _send(send, answer, answer.body)
