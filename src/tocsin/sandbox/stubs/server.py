"""The server of a stub: uvicorn in the event loop of the sandbox, and the one thing that ASGI has no word for.

An application cannot end its connection without an answer; a third party that is in trouble does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence

import uvicorn

from tocsin.sandbox.hosts import for_own_names
from tocsin.sandbox.http import Message, drained, listen
from tocsin.sandbox.stubs import Stub, ThirdParty
from tocsin.sandbox.stubs.door import Door

_CLOSES_WITHIN_S = 1


class _Server(uvicorn.Server):
    """Leaves signals alone: they are the daemon's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Served:
    """A running stub."""

    def __init__(self, kind: str, third_party: ThirdParty, token: str) -> None:
        self._kind = kind
        self._received = third_party.received
        self._door = Door(third_party, kind, self._hang_up, token)
        listener = listen()
        self._port: int = listener.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                drained(for_own_names(self._door, self._port)),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_CLOSES_WITHIN_S,
            )
        )
        self._serving = asyncio.create_task(self._server.serve([listener]))

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def received(self) -> Sequence[Mapping[str, object]]:
        return [{"stub": self._kind, **one} for one in self._received()]

    async def close(self) -> None:
        self._server.should_exit = True
        self._door.close()
        await self._serving

    def _hang_up(self, scope: Message) -> None:
        """End the connection of a request: what was sent arrives, and nothing more."""
        for connection in list(self._server.server_state.connections):
            transport = connection.transport
            if transport.get_extra_info("peername") == scope["client"]:
                transport.close()


def serve(kind: str, third_party: ThirdParty, token: str) -> Stub:
    """Serve a third party behind its fault door, which takes the token, on a free port of loopback."""
    return _Served(kind, third_party, token)
