"""A port of the sandbox answers to its own names only."""

from __future__ import annotations

from tocsin.sandbox.doors import wrong_host
from tocsin.sandbox.http import App, Message, Receive, Send, send_answer

MISDIRECTED = 421
"""https://www.rfc-editor.org/rfc/rfc9110#section-15.5.20"""


def for_own_names(app: App, port: int) -> App:
    """An application that hears only requests for loopback and this port.

    Others are answered by 421: a name of somebody's page that was made to resolve to this machine (DNS rebinding)
    reaches nothing, and changes nothing.
    """

    async def named(scope: Message, receive: Receive, send: Send) -> None:
        why = None if scope["type"] == "lifespan" else wrong_host(scope["headers"], port)
        if why is None:
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await send_answer(send, MISDIRECTED, {"content-type": "text/plain; charset=utf-8"}, why.encode())
        else:
            await send({"type": "websocket.close"})

    return named
