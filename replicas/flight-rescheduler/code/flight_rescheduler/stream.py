"""Server-sent events out of Redis: one subscription a server, and a queue for everybody who listens.

A server that loses Redis subscribes again as soon as it can; streams stay open meanwhile, with nothing but heartbeats,
and what was published in between is lost. So that somebody sees that, each server sends itself a probe all the time,
and tells whether it came back: metric `StreamDelivered`, 1 or 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator

from starlette.concurrency import run_in_threadpool
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from . import aws, logs
from .settings import number, setting

HEARTBEAT_S = 5.0
PROBE_WITHIN_S = 1.0
_TRY_AGAIN_S = 0.2
_WAITING = 100
"""Messages that wait for one listener; one that reads more slowly loses the oldest."""
_PREFIX = "notifications:"
_BY_ALL = f"{_PREFIX}*"

Queue = asyncio.Queue[tuple[str, str]]


class Hub:
    """The streams of one server."""

    def __init__(self) -> None:
        self._redis = Valkey.from_url(
            setting("REDIS_URL"), decode_responses=True, socket_connect_timeout=1.0, health_check_interval=1
        )
        self._listeners: dict[str, set[Queue]] = defaultdict(set)
        self._subscribed = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether what is published now would be heard."""
        return self._subscribed.is_set()

    async def publish(self, user_id: str, event: str, data: dict[str, object]) -> None:
        """Publish through Redis to whoever listens as this user, on whichever server. Raises ValkeyError."""
        async with asyncio.timeout(PROBE_WITHIN_S):
            await self._redis.publish(f"{_PREFIX}{user_id}", json.dumps({"event": event, "data": data}))

    @contextlib.contextmanager
    def _queue(self, user_id: str) -> Iterator[Queue]:
        queue: Queue = asyncio.Queue(_WAITING)
        self._listeners[user_id].add(queue)
        try:
            yield queue
        finally:
            self._listeners[user_id].discard(queue)
            if not self._listeners[user_id]:
                del self._listeners[user_id]

    async def events(self, user_id: str) -> AsyncGenerator[str]:
        """What a listener is sent, from the first of them on until it leaves: events, and comments as heartbeats."""
        with self._queue(user_id) as queue:
            yield ": listening\n\n"
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        event, data = await queue.get()
                    yield f"event: {event}\ndata: {data}\n\n"
                except TimeoutError:
                    yield ": heartbeat\n\n"

    async def listen(self) -> None:
        """Pass on what Redis says, for ever."""
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.psubscribe(_BY_ALL)
                    async for message in subscription.listen():
                        if message["type"] == "psubscribe":
                            self._subscribed.set()
                        elif message["type"] == "pmessage":
                            self._pass_on(message["channel"].removeprefix(_PREFIX), message["data"])
            except (ValkeyError, OSError) as cause:
                if self._subscribed.is_set():
                    logs.error("stream.redis_lost", reason=f"{type(cause).__name__}: {cause}")
            self._subscribed.clear()
            await asyncio.sleep(_TRY_AGAIN_S)

    async def probe(self) -> None:
        """Send a message of its own through Redis, again and again, and tell whether it came back."""
        every_s = number("STREAM_PROBE_EVERY_S", "60")
        while True:
            delivered = await self._comes_back()
            try:
                await run_in_threadpool(aws.count, StreamDelivered=float(delivered))
            except aws.AwsError as cause:
                logs.error("metrics.failed", reason=str(cause))
            await asyncio.sleep(every_s)

    async def _comes_back(self) -> bool:
        name = f"probe-{uuid.uuid4()}"
        with self._queue(name) as queue:
            try:
                async with asyncio.timeout(PROBE_WITHIN_S):
                    await self._subscribed.wait()
                    await self.publish(name, "probe", {})
                    await queue.get()
            except (TimeoutError, ValkeyError, OSError):
                return False
        return True

    def _pass_on(self, user_id: str, text: str) -> None:
        try:
            message = json.loads(text)
            event, data = str(message["event"]), json.dumps(message["data"])
        except (ValueError, KeyError, TypeError):
            logs.error("stream.not_a_message", userId=user_id)
            return
        for queue in self._listeners.get(user_id, ()):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait((event, data))
