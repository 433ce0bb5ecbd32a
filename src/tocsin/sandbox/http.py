"""ASGI of the sandbox: sockets on loopback, serving, reading and answering."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config

from tocsin.errors import TocsinError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


MIB = 1024 * 1024
DOOR_BODY = 10 * MIB
"""Bytes of a body at a door of the sandbox itself, a stub's among them: files go there by their names."""
DRAINED = 16 * MIB
"""Bytes that are read and let go after an answer that was given before its request was complete."""
_DRAINED_WITHIN_S = 5.0


class BodyTooLargeError(TocsinError):
    """A body that is longer than a door takes; nothing of it is kept."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"expected a body of at most {limit} bytes, found more: send less, or in parts")


class ApiError(TocsinError):
    """An error answer of the AWS API."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def listen() -> socket.socket:
    """A socket on a free port of loopback."""
    return socket.create_server(("127.0.0.1", 0), backlog=512)


async def serve_on(
    listener: socket.socket, app: Any, until: Callable[[], Awaitable[Any]], *, own_headers: bool = True
) -> None:
    """Serve an application on a socket of `listen` until `until()` returns.

    `own_headers` is whether the server adds its `Server` and `Date`; a reverse proxy passes those of others on.
    """
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.accesslog = None
    config.errorlog = None
    config.keep_alive_timeout = 75
    config.graceful_timeout = 0.2
    config.h11_max_incomplete_size = 64 * 1024
    config.include_server_header = own_headers
    config.include_date_header = own_headers
    await serve(cast("Any", drained(app)), config, shutdown_trigger=until)


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's start and end."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def header(scope: Message, wanted: bytes) -> str:
    values = [value for name, value in scope["headers"] if name.lower() == wanted]
    return values[0].decode("latin-1") if values else ""


def content_length(scope: Message) -> int | None:
    """How many bytes a request says that it has; None where it does not, as when it comes in chunks."""
    said = header(scope, b"content-length").strip()
    return int(said) if said.isdecimal() else None


async def read_body(receive: Receive, limit: int, declared: int | None = None) -> bytes:
    """The whole body of a request, which says to have `declared` bytes.

    Raises:
        BodyTooLargeError: it says or has more than `limit` bytes; of what it says, nothing was read then.
    """
    if declared is not None and declared > limit:
        raise BodyTooLargeError(limit)
    chunks, held, more = [], 0, True
    while more:
        chunk, more = await read_chunk(receive)
        held += len(chunk)
        if held > limit:
            raise BodyTooLargeError(limit)
        chunks.append(chunk)
    return b"".join(chunks)


async def read_chunk(receive: Receive) -> tuple[bytes, bool]:
    """The next part of a body, and whether there is more. Ends the task of a request whose caller has gone."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise asyncio.CancelledError
    return message.get("body", b""), message.get("more_body", False)


def read_again(body: bytes, receive: Receive) -> Receive:
    """For whoever reads a body after us."""
    held: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return held.pop() if held else await receive()

    return again


class _Rest:
    """What an application leaves of a request."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.over = False

    async def receive(self) -> Message:
        """What the application asks for."""
        message = await self._receive()
        self.over = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read it and let it go, up to a bound."""
        left = DRAINED
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAINED_WITHIN_S):
                while not self.over and left > 0:
                    left -= len((await self.receive()).get("body", b""))

    async def let_go(self) -> None:
        """Read until the connection is closed: the server would wait for ever to hand out what it has read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def drained(app: App) -> App:
    """An application that may answer before it has read a request, as whoever refuses one does.

    A connection that is closed with bytes unread is reset, and its caller may lose the answer: what is left is read
    first, up to `DRAINED` bytes, and only then closed. https://www.rfc-editor.org/rfc/rfc9112#section-9.6
    """

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        rest = _Rest(receive)

        async def sent(message: Message) -> None:
            if message["type"] != "http.response.body" or message.get("more_body", False) or rest.over:
                await send(message)
                return
            await send({**message, "more_body": True})
            await rest.drain()
            await _ended(send({"type": "http.response.body", "body": b""}), rest)

        try:
            await app(scope, rest.receive, sent)
        except Exception:
            if not rest.over:
                _keep(asyncio.create_task(rest.let_go()))
            raise

    return answer


async def _ended(closing: Awaitable[None], rest: _Rest) -> None:
    if not rest.over:
        _keep(asyncio.create_task(rest.let_go()))
    await closing


_letting_go: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    _letting_go.add(task)
    task.add_done_callback(_letting_go.discard)


def with_cors(send: Send, declared: Mapping[str, str]) -> Send:
    """An answer that says of CORS what is declared, and nothing of what whoever wrote it says."""
    said = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in declared.items()]
    names = {name for name, _ in said}

    async def plain(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name.lower(), value) for name, value in message.get("headers", ())]
            kept = [one for one in headers if not one[0].startswith(b"access-control-") and one[0] not in names]
            message = {**message, "headers": [*kept, *said]}
        await send(message)

    return plain


async def send_answer(send: Send, status: int, headers: Mapping[str, Any], body: bytes) -> None:
    lines = [(b"content-length", str(len(body)).encode())]
    for name, value in headers.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if name.lower() != "content-length":
                lines.append((name.lower().encode("latin-1"), str(one).encode("latin-1")))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def send_too_large(send: Send, error: BodyTooLargeError) -> None:
    """Answer a request whose body nobody reads any further.

    https://www.rfc-editor.org/rfc/rfc9110#section-15.5.14
    """
    headers = {"content-type": "application/json", "connection": "close"}
    await send_answer(send, 413, headers, json.dumps({"message": str(error)}).encode())
