"""Third parties that the systems talk to, as small HTTP servers on loopback with a fault door.

A stub is a module here with `async def start(options) -> Stub`; its kind is the module's name with dashes.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from tocsin.errors import SandboxError, near_match

KINDS = ("microsoft-graph",)

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Stub(Protocol):
    """A running stub."""

    @property
    def base_url(self) -> str:
        """Where it listens, without a slash at the end."""

    async def close(self) -> None:
        """Stop listening."""


async def start(kind: str, options: Mapping[str, str]) -> Stub:
    """Start the stub of `kind`. Raises SandboxError for a kind that does not exist."""
    if kind not in KINDS:
        raise SandboxError(f"expected a stub that exists, found '{kind}'. {near_match(kind, KINDS)}")
    module = importlib.import_module(f"{__name__}.{kind.replace('-', '_')}")
    stub: Stub = await module.start(options)
    return stub


@dataclass(frozen=True)
class Request:
    """An HTTP request that has arrived completely."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Response:
    """A JSON answer; `document` None is an empty body."""

    status: int
    document: object = None


class HttpStub:
    """An HTTP server on a free port of 127.0.0.1 in the current event loop."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._port = 0

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    async def listen(self) -> None:
        """Accept connections from now on."""
        listener = socket.create_server(("127.0.0.1", 0))
        self._port = listener.getsockname()[1]
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.accesslog = None
        config.errorlog = None
        config.graceful_timeout = 0.1
        application: Any = self._application
        self._serving = asyncio.create_task(hypercorn_serve(application, config, shutdown_trigger=self._stop.wait))

    async def close(self) -> None:
        """Stop listening; safe to call twice."""
        self._stop.set()
        if self._serving is not None:
            await self._serving

    async def _application(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        response = await self._answer(await _read(scope, receive))
        headers = [(b"content-type", b"application/json; charset=utf-8")]
        body = b"" if response.document is None else json.dumps(response.document).encode()
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _read(scope: Message, receive: Callable[[], Awaitable[Message]]) -> Request:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], scope["path"], headers, body)
