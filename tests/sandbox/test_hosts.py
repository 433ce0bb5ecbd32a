"""An application behind `for_own_names` does not even hear of requests for other names."""

from __future__ import annotations

import asyncio

import pytest

from tocsin.sandbox.hosts import for_own_names
from tocsin.sandbox.http import Message, Receive, Send, send_answer


def ask(kind: str, *hosts: str) -> tuple[list[Message], int]:
    """What is answered, and how often the application was asked."""
    asked, sent = [], list[Message]()

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        asked.append(scope)
        if scope["type"] == "http":
            await send_answer(send, 200, {}, b"well")

    async def receive() -> Message:
        raise AssertionError("nobody reads the body of a request for somebody else")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": kind, "headers": [(b"host", host.encode()) for host in hosts]}
    asyncio.run(for_own_names(app, 4000)(scope, receive, send))
    return sent, len(asked)


@pytest.mark.parametrize("host", ["127.0.0.1:4000", "localhost:4000"])
def test_a_request_for_it_is_passed_on(host: str) -> None:
    sent, asked = ask("http", host)
    assert (sent[0]["status"], asked) == (200, 1)


@pytest.mark.parametrize(
    "hosts", [(), ("rebinding.test:4000",), ("127.0.0.1:4001",), ("127.0.0.1",), ("127.0.0.1:4000", "rebinding.test")]
)
def test_a_request_for_somebody_else_is_answered_by_421(hosts: tuple[str, ...]) -> None:
    sent, asked = ask("http", *hosts)
    assert (sent[0]["status"], asked) == (421, 0)
    assert b"expected the Host of this sandbox" in sent[1]["body"]
    assert not any(name.startswith(b"access-control-") for name, _ in sent[0]["headers"])


def test_a_websocket_for_somebody_else_is_closed() -> None:
    assert ask("websocket", "rebinding.test:4000") == ([{"type": "websocket.close"}], 0)


def test_the_start_and_the_end_of_a_server_have_no_host() -> None:
    assert ask("lifespan") == ([], 1)
