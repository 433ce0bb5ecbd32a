"""How much of a request is read and kept, counted in bytes: what is refused is neither kept nor read to its end."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from tocsin.sandbox.http import (
    DRAINED,
    App,
    BodyTooLargeError,
    Message,
    Receive,
    Send,
    content_length,
    drained,
    listen,
    read_body,
    send_answer,
    serve_on,
)

CHUNK = 64 * 1024
WITHIN_S = 60
"""Real seconds: only a server that hangs is cut off by it."""


class Sent:
    """Parts of a body, and how many bytes of them somebody asked for."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self.read = 0

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        part = next(self._parts, None)
        if part is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        self.read += len(part)
        return {"type": "http.request", "body": part, "more_body": True}


def endless() -> Iterable[bytes]:
    while True:
        yield b"\0" * CHUNK


def read(sent: Sent, limit: int, declared: int | None = None) -> bytes:
    return asyncio.run(read_body(sent.receive, limit, declared))


def test_a_body_of_the_limit_is_whole_and_one_byte_more_is_too_large() -> None:
    assert read(Sent([b"ab", b"", b"cd"]), 4) == b"abcd"
    assert read(Sent([]), 0) == b""
    with pytest.raises(BodyTooLargeError, match="at most 4 bytes"):
        read(Sent([b"ab", b"cd", b"e"]), 4)


def test_no_more_is_read_than_shows_that_it_is_too_large() -> None:
    sent = Sent(endless())
    with pytest.raises(BodyTooLargeError):
        read(sent, 10 * CHUNK)
    assert sent.read == 11 * CHUNK


def test_of_a_body_that_says_to_be_too_large_nothing_is_read() -> None:
    sent = Sent(endless())
    with pytest.raises(BodyTooLargeError):
        read(sent, CHUNK, CHUNK + 1)
    assert sent.read == 0
    assert read(Sent([b"ab"]), 2, 2) == b"ab"
    with pytest.raises(BodyTooLargeError):
        read(Sent([b"abc"]), 2, 1)  # it has more than it says


@pytest.mark.parametrize(("said", "found"), [("12", 12), (" 7 ", 7), ("", None), ("-1", None), ("1e9", None)])
def test_what_a_request_says_of_its_length(said: str, found: int | None) -> None:
    assert content_length({"headers": [(b"Content-Length", said.encode())]}) == found
    assert content_length({"headers": []}) is None


def test_who_goes_away_is_not_waited_for() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(read_body(gone, 10))


# --- an answer that is given early ---------------------------------------------------------------------------


async def refuse(scope: Message, receive: Receive, send: Send) -> None:
    """Whoever refuses a request does not read it."""
    await send_answer(send, 403, {}, b"no")


async def stumble(scope: Message, receive: Receive, send: Send) -> None:
    raise RuntimeError("as asked")


def test_what_is_left_of_a_request_is_read_up_to_a_bound_and_the_answer_is_sent_first() -> None:
    sent, read_when_told = Sent(endless()), list[int]()

    async def send(message: Message) -> None:
        read_when_told.append(sent.read)

    async def run() -> None:
        # What is beyond the bound is read only until the server has closed the connection.
        await drained(refuse)({"type": "http", "headers": []}, sent.receive, send)

    asyncio.run(run())
    assert read_when_told == [0, 0, DRAINED], "status, the whole body, and the end"


def test_of_a_request_that_was_read_nothing_more_is_asked() -> None:
    sent, told = Sent([b"abc"]), list[Message]()

    async def read_all(scope: Message, receive: Receive, send: Send) -> None:
        await read_body(receive, 10)
        await send_answer(send, 200, {}, b"yes")

    async def send(message: Message) -> None:
        told.append(message)

    asyncio.run(drained(read_all)({"type": "http", "headers": []}, sent.receive, send))
    assert [one.get("more_body") for one in told] == [None, None], "nothing is added"


@asynccontextmanager
async def served(app: App) -> AsyncIterator[int]:
    """The port of an application that a real server serves."""
    listener, end = listen(), asyncio.Event()
    port = listener.getsockname()[1]
    serving = asyncio.create_task(serve_on(listener, app, end.wait))
    try:
        async with asyncio.timeout(WITHIN_S):
            yield port
    finally:
        end.set()
        await serving


class Client:
    """A connection that sends as much as it is told to, and counts it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.sent = 0

    @classmethod
    async def asking(cls, port: int, *headers: str) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        lines = ["POST / HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers, "", ""]
        client._writer.write("\r\n".join(lines).encode())
        return client

    async def send_until_closed(self) -> None:
        """Send chunks of a body that never ends, until nobody takes them."""
        with contextlib.suppress(ConnectionError):
            while True:
                self._writer.write(f"{CHUNK:x}\r\n".encode() + b"\0" * CHUNK + b"\r\n")
                await self._writer.drain()
                self.sent += CHUNK

    async def answer(self) -> bytes:
        """The first line of the answer."""
        return await self._reader.readline()

    async def closed(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self._reader.read()

    def close(self) -> None:
        self._writer.close()


@pytest.mark.parametrize(("app", "line"), [(refuse, b"HTTP/1.1 403 \r\n"), (stumble, b"HTTP/1.1 500 \r\n")])
def test_whoever_sends_without_end_reads_the_answer_and_loses_the_connection(app: App, line: bytes) -> None:
    async def run() -> tuple[bytes, int]:
        async with served(app) as port:
            client = await Client.asking(port, "Transfer-Encoding: chunked")
            sending = asyncio.create_task(client.send_until_closed())
            found = await client.answer()
            await client.closed()
            await sending
            client.close()
            return found, client.sent

    found, sent = asyncio.run(run())
    assert found == line
    # Beside what was read, buffers of both ends are full.
    assert sent < DRAINED + 32 * 1024 * 1024


def test_who_waits_for_the_answer_before_sending_gets_it_and_others_are_served_meanwhile() -> None:
    async def run() -> list[bytes]:
        async with served(refuse) as port:
            slow = await Client.asking(port, "Content-Length: 200000000")
            first = await slow.answer()
            other = await Client.asking(port, "Content-Length: 0")
            second = await other.answer()
            slow.close()
            other.close()
            return [first, second]

    assert asyncio.run(run()) == [b"HTTP/1.1 403 \r\n"] * 2


def test_a_connection_of_which_all_was_read_is_used_again() -> None:
    def ask(port: int) -> list[int]:
        connection, statuses = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S), []
        for _ in range(2):
            connection.request("POST", "/", b"\0" * (1024 * 1024))
            answer = connection.getresponse()
            statuses.append(answer.status)
            answer.read()
            assert connection.sock is not None, "the server did not close it"
        connection.close()
        return statuses

    async def run() -> list[int]:
        async with served(refuse) as port:
            return await asyncio.to_thread(ask, port)

    assert asyncio.run(run()) == [403, 403]
