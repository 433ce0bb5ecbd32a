"""A load balancer passes a long body on as it comes, and keeps no more than its beginning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.sandbox.services.elb.test_plant import GROUP
from tests.sandbox.test_http import CHUNK, Sent, endless

from tocsin.sandbox.clock import Clock
from tocsin.sandbox.metrics import MetricStore, SystemTime
from tocsin.sandbox.services.elb.plant import HELD_BODY, Address, AlbPlant, LoadBalancer, TargetGroup, _Body

ARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/web/1"
WITHIN_S = 60


class Declared:
    """What the AWS API knows: one load balancer in front of one target group."""

    def load_balancer(self, arn: str) -> LoadBalancer | None:
        return LoadBalancer(arn, GROUP.scope, WITHIN_S, GROUP.arn)

    def target_group(self, arn: str) -> TargetGroup | None:
        return GROUP


def test_of_a_body_no_more_than_its_beginning_is_read_before_it_is_passed_on() -> None:
    sent = Sent(endless())

    async def run() -> list[int]:
        content = (await _Body.begun(sent.receive)).content
        assert not isinstance(content, bytes)
        read = [sent.read]
        async for _ in content:
            read.append(sent.read)
            if len(read) > 20 + HELD_BODY // CHUNK:
                break
        return read

    read = asyncio.run(run())
    assert read[0] == HELD_BODY
    passed_on = [held - CHUNK * number for number, held in enumerate(read[1:], 1)]
    assert max(passed_on) == HELD_BODY - CHUNK, "what was read and not passed on yet"
    assert passed_on[-1] == 0


def test_a_short_body_is_one_piece() -> None:
    async def content(*parts: bytes) -> object:
        return (await _Body.begun(Sent(parts).receive)).content

    assert asyncio.run(content()) == b""
    assert asyncio.run(content(b"ab", b"c")) == b"abc"


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, asyncio.Event], Awaitable[None]]


def through_a_balancer(talk: Talk) -> tuple[list[bytes], int]:
    """Head and length of what a target got of what a client said to a load balancer."""
    head, length = list[bytes](), [0]

    async def run() -> None:
        begun = asyncio.Event()

        async def target(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = await reader.readline()
            if line.startswith(b"POST"):
                head.append(line)
                while (line := await reader.readline()) != b"\r\n":
                    head.append(line.lower())
                while length[0] < 3 * HELD_BODY:
                    part = await reader.read(CHUNK)
                    if not part:
                        writer.close()
                        return
                    length[0] += len(part)
                    if length[0] > HELD_BODY:
                        begun.set()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            writer.close()

        async with await asyncio.start_server(target, "127.0.0.1", 0) as server:
            plant = AlbPlant(MetricStore(SystemTime(Clock(60), time.time())), Declared())
            plant.register(GROUP.arn, Address("127.0.0.1", server.sockets[0].getsockname()[1]))
            port = int(plant.open(ARN).rsplit(":", 1)[1])
            try:
                async with asyncio.timeout(WITHIN_S):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(f"POST /orders HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode())
                    await talk(reader, writer, begun)
                    writer.close()
            finally:
                await plant.close()

    asyncio.run(run())
    return head, length[0]


def test_a_target_gets_a_long_body_before_all_of_it_was_sent() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: asyncio.Event) -> None:
        writer.write(f"Content-Length: {3 * HELD_BODY}\r\n\r\n".encode())
        writer.write(b"\0" * (2 * HELD_BODY))
        await begun.wait()
        writer.write(b"\0" * HELD_BODY)
        assert await reader.readline() == b"HTTP/1.1 200 \r\n"

    head, length = through_a_balancer(talk)
    assert length == 3 * HELD_BODY
    assert head[0] == b"POST /orders HTTP/1.1\r\n"
    assert f"content-length: {3 * HELD_BODY}\r\n".encode() in head
    assert not [line for line in head if line.startswith(b"transfer-encoding")]


def test_a_long_body_in_chunks_is_passed_on_in_chunks() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: asyncio.Event) -> None:
        piece = f"{HELD_BODY:x}\r\n".encode() + b"\0" * HELD_BODY + b"\r\n"
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n" + piece * 2)
        await begun.wait()
        writer.write(piece + b"0\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 \r\n"

    head, length = through_a_balancer(talk)
    assert length >= 3 * HELD_BODY
    assert b"transfer-encoding: chunked\r\n" in head


def test_whoever_goes_away_in_the_middle_takes_no_target_along() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: asyncio.Event) -> None:
        port = writer.get_extra_info("peername")[1]
        writer.write(f"Content-Length: {3 * HELD_BODY}\r\n\r\n".encode() + b"\0" * (2 * HELD_BODY))
        await begun.wait()
        writer.close()
        again, asking = await asyncio.open_connection("127.0.0.1", port)
        asking.write(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert await again.readline() == b"HTTP/1.1 200 \r\n"
        asking.close()

    through_a_balancer(talk)
