"""The ASGI application of the daemon: what stands in front of ministack, and the doors beside it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from hypercorn.asyncio import serve
from hypercorn.config import Config

from tocsin.errors import TocsinError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

Door = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""A request of the `up` process to the daemon: JSON object in, JSON object out."""

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_API_PATH = re.compile(r"/_aws/execute-api/([^/]+)(/.*)?")
TASK_PATH = "/_tocsin/ecs/v4/"
"""Below it is the task metadata endpoint of each task of ECS. On AWS its address is one that only the task reaches."""
_CODE_PATH = "/_tocsin/lambda-code/"
_DOOR_PATH = "/_tocsin/"

_logger = logging.getLogger("tocsin.sandbox")

OwnService = Callable[[tuple[str, str], str, Mapping[str, Any]], Mapping[str, Any]]
"""An AWS service of the sandbox's own, of a JSON protocol: (account and region, operation, request) -> answer."""

Routes = tuple[tuple[str, str, str], ...]
"""Of a service of the REST protocol: (method, pattern of the path, operation). Groups of the pattern are parameters."""


class ApiError(TocsinError):
    """An error answer of the AWS API."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


ApiCall = Callable[
    [str, str, str, dict[str, str], bytes, dict[str, list[str]], str],
    Awaitable[tuple[int, dict[str, Any], bytes]],
]


@dataclass(frozen=True)
class Gateway:
    """What the application passes requests to."""

    aws: App
    """ministack"""
    services: frozenset[str]
    """names of the services it has"""
    own: Mapping[str, OwnService]
    """services that it does not have, by the name that a request is signed for"""
    routes: Mapping[str, Routes]
    """those of them that speak REST"""
    denied: Callable[[str, tuple[str, str], str], str | None]
    """(access key id, account and region, IAM action) -> why IAM forbids it, or None"""
    account: str
    """of a request whose access key is not an account id"""
    call_api: ApiCall
    code: Callable[[str], bytes | None]
    task_stats: Callable[[str], Mapping[str, Any] | None]
    """id of a task of ECS -> what its metadata endpoint answers to `/task/stats`"""
    changed: Mapping[str, Sequence[Callable[[], Awaitable[None]]]]
    """service -> what is to be awaited after each call to it, before it is answered"""
    doors: Mapping[str, Door]


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
    await serve(app, config, shutdown_trigger=until)


def aws_app(gateway: Gateway) -> App:
    """The application behind the sandbox's endpoint URL."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await _route(gateway, scope, receive, send)
        else:
            await gateway.aws(scope, receive, send)

    return app


def api_app(api_id: str, call_api: ApiCall) -> App:
    """The application behind the `ApiEndpoint` of one HTTP API."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await _serve_api(call_api, api_id, scope["path"], scope, receive, send)

    return app


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's start and end."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _route(gateway: Gateway, scope: Message, receive: Receive, send: Send) -> None:
    path: str = scope["path"]
    api = _API_PATH.fullmatch(path)
    if api is not None:
        await _serve_api(gateway.call_api, api[1], api[2] or "/", scope, receive, send)
    elif path.startswith(_CODE_PATH):
        await _serve_code(gateway, path.removeprefix(_CODE_PATH), send)
    elif path.startswith(TASK_PATH):
        await _serve_task(gateway, path.removeprefix(TASK_PATH), send)
    elif path.startswith(_DOOR_PATH):
        await _serve_door(gateway, path.removeprefix(_DOOR_PATH), receive, send)
    else:
        await _serve_aws(gateway, scope, receive, send)


async def _serve_aws(gateway: Gateway, scope: Message, receive: Receive, send: Send) -> None:
    key, region, service = _signed_for(scope)
    if service in gateway.own:
        where = key if re.fullmatch(r"\d{12}", key) else gateway.account, region
        await _serve_own(gateway, service, (key, where), scope, receive, send)
    elif service and service not in gateway.services:
        # ministack would read the models of all services for this answer: five seconds and 400 MiB.
        await _refuse(service, scope, send)
    elif service in gateway.changed:
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)

        await gateway.aws(scope, receive, hold)
        for changed in gateway.changed[service]:
            await changed()
        for message in held:
            await send(message)
    else:
        await gateway.aws(scope, receive, send)


def _header(scope: Message, wanted: bytes) -> str:
    values = [value for name, value in scope["headers"] if name.lower() == wanted]
    return values[0].decode("latin-1") if values else ""


def _signed_for(scope: Message) -> tuple[str, str, str]:
    """Access key id, region and service of a signature; empty when there is none."""
    match = _CREDENTIAL.search(_header(scope, b"authorization"))
    return (match[1], match[2], match[3]) if match else ("", "", "")


async def _serve_own(
    gateway: Gateway, service: str, caller: tuple[str, tuple[str, str]], scope: Message, receive: Receive, send: Send
) -> None:
    headers = {"content-type": "application/x-amz-json-1.1"}
    body = json.loads(await read_body(receive) or b"{}")
    try:
        operation, named = _operation(gateway.routes.get(service), scope)
        request = {**body, **named}
        refusal = gateway.denied(*caller, f"{service}:{operation}")
        if refusal is not None:
            raise ApiError("AccessDeniedException", refusal)
        answer = gateway.own[service](caller[1], operation, request)
    except ApiError as error:
        headers["x-amzn-errortype"] = error.code
        said = {"__type": error.code, "message": str(error)}
        await _answer(send, 400, headers, json.dumps(said).encode())
    else:
        await _answer(send, 200, headers, json.dumps(answer).encode())


def _operation(routes: Routes | None, scope: Message) -> tuple[str, Mapping[str, str]]:
    """What is asked for, and the parameters that are not in the body. Raises ApiError."""
    if routes is None:
        return _header(scope, b"x-amz-target").rsplit(".", 1)[-1], {}
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    for method, pattern, operation in routes:
        found = re.fullmatch(pattern, scope["path"]) if method == scope["method"] else None
        if found is not None:
            return operation, {**{name: values[0] for name, values in query.items()}, **found.groupdict()}
    raise ApiError("UnsupportedOperation", f"The sandbox has no {scope['method']} {scope['path']} of this service.")


async def _refuse(service: str, scope: Message, send: Send) -> None:
    code, text = "UnsupportedOperation", f"The sandbox has no service '{service}'."
    if "x-www-form-urlencoded" in _header(scope, b"content-type"):
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
            f"<Message>{escape(text)}</Message></Error></ErrorResponse>"
        ).encode()
        await _answer(send, 400, {"content-type": "text/xml"}, body)
        return
    headers = {"content-type": "application/json", "x-amzn-errortype": code}
    await _answer(send, 400, headers, json.dumps({"__type": code, "message": text}).encode())


async def _serve_api(call_api: ApiCall, api_id: str, path: str, scope: Message, receive: Receive, send: Send) -> None:
    raw_query = scope.get("query_string", b"").decode("latin-1")
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    status, answer, body = await call_api(
        api_id,
        scope["method"],
        path,
        headers,
        await read_body(receive),
        parse_qs(raw_query, keep_blank_values=True),
        raw_query,
    )
    await _answer(send, status, answer, b"" if scope["method"] == "HEAD" else body)


async def _serve_code(gateway: Gateway, digest: str, send: Send) -> None:
    code = gateway.code(digest)
    if code is None:
        await _answer(send, 404, {"content-type": "text/plain"}, b"no such deployment package")
    else:
        await _answer(send, 200, {"content-type": "application/zip"}, code)


async def _serve_task(gateway: Gateway, path: str, send: Send) -> None:
    task, _, wanted = path.partition("/")
    stats = gateway.task_stats(task) if wanted == "task/stats" else None
    headers = {"content-type": "application/json"}
    if stats is None:
        await _answer(send, 404, headers, json.dumps(f"the sandbox has no {wanted} of a task {task}").encode())
    else:
        await _answer(send, 200, headers, json.dumps(stats).encode())


async def _serve_door(gateway: Gateway, name: str, receive: Receive, send: Send) -> None:
    door = gateway.doors.get(name)
    headers = {"content-type": "application/json"}
    if door is None:
        await _answer(send, 404, headers, json.dumps({"error": f"no door '{name}'"}).encode())
        return
    try:
        answer = await door(json.loads(await read_body(receive) or b"{}"))
    except TocsinError as error:
        await _answer(send, 400, headers, json.dumps({"error": str(error)}).encode())
    except Exception as error:  # told to whoever asked, who could not look into our log
        _logger.exception("door %s", name)
        await _answer(send, 500, headers, json.dumps({"error": repr(error)}).encode())
    else:
        await _answer(send, 200, headers, json.dumps(answer).encode())


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def _answer(send: Send, status: int, headers: Mapping[str, Any], body: bytes) -> None:
    lines = [(b"content-length", str(len(body)).encode())]
    for name, value in headers.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if name.lower() != "content-length":
                lines.append((name.lower().encode("latin-1"), str(one).encode("latin-1")))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
