"""The ASGI application: the API, the stream of notifications, and what surrounds every request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from pg8000.native import DatabaseError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from valkey.exceptions import ValkeyError

from . import logs
from .aws import AwsError
from .bookings import HANDLERS, Handler
from .calls import Call
from .database import DatabaseUnavailable, Pool
from .errors import ApiError
from .settings import setting
from .stream import Hub
from .tokens import user_of

STREAM, PROBE = "/api/notifications/stream", "/api/notifications/probe"


def make_app() -> Starlette:
    """The application. Database and Redis are looked for when they are first needed."""
    database, hub = Pool(setting("DATABASE_URL"), "flight-rescheduler-app"), Hub()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(hub.listen()), asyncio.create_task(hub.probe())]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    by_path: dict[str, dict[str, Handler]] = {}
    for method, path, handler in HANDLERS:
        by_path.setdefault(path, {})[method] = handler
    routes = [Route(path, _endpoint(database, handlers), methods=list(handlers)) for path, handlers in by_path.items()]
    return Starlette(
        routes=[*routes, Route(STREAM, _stream(hub)), Route(PROBE, _probe(hub), methods=["POST"])],
        exception_handlers={404: _no_such_route, 405: _no_such_route},
        lifespan=lifespan,
    )


def _endpoint(database: Pool, handlers: Mapping[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        call = Call(request, await request.body())
        return await _told(lambda: run_in_threadpool(handlers[method], database, call))

    return endpoint


def _stream(hub: Hub) -> Callable[[Request], Awaitable[Response]]:
    """GET: the caller's notifications as they come."""

    async def endpoint(request: Request) -> Response:
        try:
            user = user_of(request.headers.get("authorization"))
        except ApiError as error:
            return JSONResponse({"error": error.error}, error.status)
        if not hub.is_connected:
            return JSONResponse({"error": "redis unavailable"}, 503)
        events = hub.events(user.id)
        # The head is sent when somebody listens: what is published after it arrives.
        first = await anext(events)
        headers = {"Cache-Control": "no-store"}
        return StreamingResponse(_with(first, events), media_type="text/event-stream", headers=headers)

    return endpoint


async def _with(first: str, events: AsyncGenerator[str]) -> AsyncIterator[str]:
    async with aclosing(events):
        yield first
        async for event in events:
            yield event


def _probe(hub: Hub) -> Callable[[Request], Awaitable[Response]]:
    """POST: a message through Redis to the caller's own streams."""

    async def endpoint(request: Request) -> Response:
        call = Call(request, await request.body())

        async def send() -> tuple[int, Any]:
            user, probe = user_of(call.authorization), call.uuid("probeId")
            await hub.publish(user.id, "probe", {"probeId": probe})
            return 202, {"probeId": probe}

        return await _told(send)

    return endpoint


async def _told(answer: Callable[[], Awaitable[tuple[int, Any]]]) -> Response:
    try:
        status, document = await answer()
    except ApiError as error:
        return JSONResponse({"error": error.error}, error.status)
    except (DatabaseUnavailable, AwsError, ValkeyError, TimeoutError) as cause:
        logs.error("request.failed", reason=f"{type(cause).__name__}: {cause}")
        return JSONResponse({"error": "unavailable"}, 503)
    except DatabaseError as cause:
        logs.error("request.failed", reason=f"{cause}")
        return JSONResponse({"error": "internal error"}, 500)
    return JSONResponse(document, status)


async def _no_such_route(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    document = {"error": "not found" if status == 404 else "method not allowed"}
    return JSONResponse(document, status, headers=getattr(error, "headers", None))
