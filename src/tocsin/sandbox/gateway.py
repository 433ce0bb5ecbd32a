"""The ASGI application of the daemon: what stands in front of ministack, and what answers beside it.

It knows no service: which one answers, settles or serves pages, the services say by their powers.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tocsin.errors import TocsinError
from tocsin.sandbox.gate import Gate, send_closed
from tocsin.sandbox.http import (
    ApiError,
    App,
    BodyTooLargeError,
    Message,
    Receive,
    Send,
    content_length,
    header,
    read_again,
    read_body,
    send_answer,
    send_too_large,
    serve_lifespan,
    with_cors,
)
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.service import (
    Answers,
    AnswersAnybody,
    Asked,
    DeclaresCors,
    Door,
    NamesResources,
    Routes,
    Serves,
    Settles,
    TakesBodies,
)
from tocsin.sandbox.signatures import Signatures
from tocsin.sandbox.world import World

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_DOOR_PATH = "/_tocsin/"

_logger = logging.getLogger("tocsin.sandbox")


@dataclass(frozen=True)
class Gateway:
    """What the application passes requests to."""

    gate: Gate
    ministack: Ministack
    known: frozenset[str]
    """names of the services that ministack has"""
    account: str
    """of a request whose access key is not an account id"""
    answers: Mapping[str, Answers]
    """services that ministack has not, by the name that a request is signed for"""
    settles: Mapping[str, Sequence[Settles]]
    """name that a request is signed for -> what is awaited after it, before it is answered"""
    pages: Mapping[str, App]
    """beginning of a path -> what answers below it"""
    doors: Mapping[str, Door]

    @classmethod
    def of(cls, world: World, doors: Mapping[str, Door]) -> Gateway:
        """The gateway to the services of a sandbox."""
        services = list(world.services.values())
        settles: dict[str, list[Settles]] = {}
        for settling in (one for one in services if isinstance(one, Settles)):
            for name in settling.settles:
                settles.setdefault(name, []).append(settling)
        pages = {path: app for one in services if isinstance(one, Serves) for path, app in one.pages().items()}
        gate = Gate(
            port=int(world.endpoint_url.rsplit(":", 1)[1]),
            keys=world.keys,
            signatures=Signatures(world.ministack.module, world.keys),
            data_planes=tuple(one for one in services if isinstance(one, AnswersAnybody)),
            pages=tuple(pages),
            with_cors=tuple(one for one in services if isinstance(one, DeclaresCors)),
            bodies={one.signed_for: one for one in services if isinstance(one, TakesBodies)},
        )
        return cls(
            gate=gate,
            ministack=world.ministack,
            known=world.ministack.services(),
            account=world.account,
            answers={one.signed_for: one for one in services if isinstance(one, Answers)},
            settles=settles,
            pages=pages,
            doors=doors,
        )


def aws_app(gateway: Gateway) -> App:
    """The application behind the sandbox's endpoint URL."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await serve_lifespan(receive, send)
        elif scope["type"] == "http":
            await _route(gateway, scope, receive, send)
        else:  # what can be opened so is no part of the sandbox
            await send({"type": "websocket.close", "code": 1008})

    return app


async def _route(gateway: Gateway, scope: Message, receive: Receive, send: Send) -> None:
    path: str = scope["path"]
    preflight = gateway.gate.preflight(scope)
    if preflight is not None:
        await send_answer(send, *preflight)
        return
    closed = gateway.gate.closed(scope)
    if closed is not None:
        await send_closed(send, closed)
        return
    open_to_all = gateway.gate.is_data_plane(scope)
    send = send if open_to_all else with_cors(send, gateway.gate.declared_cors(scope))
    page = next((app for beginning, app in gateway.pages.items() if path.startswith(beginning)), None)
    if page is not None:
        await page(scope, receive, send)
    elif open_to_all or gateway.gate.is_inner(path):
        await _serve_inner(gateway, scope, receive, send)
    else:
        body = await gateway.gate.admitted(scope, receive, send)
        if body is not None:
            await _serve_aws(gateway, scope, body, receive, send)


async def _serve_inner(gateway: Gateway, scope: Message, receive: Receive, send: Send) -> None:
    path: str = scope["path"]
    try:
        body = await read_body(receive, gateway.gate.inner_limit(scope), content_length(scope))
    except BodyTooLargeError as error:
        await send_too_large(send, error)
        return
    if path.startswith(_DOOR_PATH):
        await _serve_door(gateway, path.removeprefix(_DOOR_PATH), body, send)
    else:
        await gateway.ministack.asgi(scope, read_again(body, receive), send)


async def _serve_aws(gateway: Gateway, scope: Message, body: bytes, receive: Receive, send: Send) -> None:
    receive = read_again(body, receive)
    key, region, service = _signed_for(scope)
    if service in gateway.answers:
        where = key if re.fullmatch(r"\d{12}", key) else gateway.account, region
        await _serve_own(gateway, gateway.answers[service], (key, where), scope, body, send)
    elif service and service not in gateway.known:
        # ministack would read the models of all services for this answer: five seconds and 400 MiB.
        await _refuse(service, scope, send)
    elif service in gateway.settles:
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)

        await gateway.ministack.asgi(scope, receive, hold)
        for one in gateway.settles[service]:
            await one.settle()
        for message in held:
            await send(message)
    else:
        await gateway.ministack.asgi(scope, receive, send)


def _signed_for(scope: Message) -> tuple[str, str, str]:
    """Access key id, region and service of a signature; empty when there is none."""
    match = _CREDENTIAL.search(header(scope, b"authorization"))
    return (match[1], match[2], match[3]) if match else ("", "", "")


async def _serve_own(
    gateway: Gateway, service: Answers, caller: tuple[str, Scope], scope: Message, body: bytes, send: Send
) -> None:
    headers = {"content-type": "application/x-amz-json-1.1"}
    try:
        operation, named = _operation(service.routes, scope)
        request = {**json.loads(body or b"{}"), **named}
        refusal = gateway.ministack.refusal(
            *caller, f"{service.signed_for}:{operation}", _resource(service, caller[1], scope, body)
        )
        if refusal is not None:
            raise ApiError("AccessDeniedException", refusal)
        answer = service.call(caller[1], operation, request)
    except ApiError as error:
        headers["x-amzn-errortype"] = error.code
        said = {"__type": error.code, "message": str(error)}
        await send_answer(send, 400, headers, json.dumps(said).encode())
    else:
        await send_answer(send, 200, headers, json.dumps(answer).encode())


def _resource(service: Answers, where: Scope, scope: Message, body: bytes) -> str:
    """What policies are asked about: where a service does not say, a policy must allow all of them."""
    if not isinstance(service, NamesResources):
        return "*"
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = _query(scope)
    asked = Asked(service.signed_for, scope["method"], scope["path"], headers, body, query, where)
    return service.iam_resource(asked) or "*"


def _query(scope: Message) -> dict[str, list[str]]:
    return parse_qs(scope.get("query_string", b"").decode("latin-1"))


def _operation(routes: Routes | None, scope: Message) -> tuple[str, Mapping[str, str]]:
    """What is asked for, and the parameters that are not in the body. Raises ApiError."""
    if routes is None:
        return header(scope, b"x-amz-target").rsplit(".", 1)[-1], {}
    for method, pattern, operation in routes:
        found = re.fullmatch(pattern, scope["path"]) if method == scope["method"] else None
        if found is not None:
            return operation, {**{name: values[0] for name, values in _query(scope).items()}, **found.groupdict()}
    raise ApiError("UnsupportedOperation", f"The sandbox has no {scope['method']} {scope['path']} of this service.")


async def _refuse(service: str, scope: Message, send: Send) -> None:
    code, text = "UnsupportedOperation", f"The sandbox has no service '{service}'."
    if "x-www-form-urlencoded" in header(scope, b"content-type"):
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
            f"<Message>{escape(text)}</Message></Error></ErrorResponse>"
        ).encode()
        await send_answer(send, 400, {"content-type": "text/xml"}, body)
        return
    headers = {"content-type": "application/json", "x-amzn-errortype": code}
    await send_answer(send, 400, headers, json.dumps({"__type": code, "message": text}).encode())


async def _serve_door(gateway: Gateway, name: str, body: bytes, send: Send) -> None:
    door = gateway.doors.get(name)
    headers = {"content-type": "application/json"}
    if door is None:
        await send_answer(send, 404, headers, json.dumps({"error": f"no door '{name}'"}).encode())
        return
    try:
        answer = await door(json.loads(body or b"{}"))
    except TocsinError as error:
        await send_answer(send, 400, headers, json.dumps({"error": str(error)}).encode())
    except Exception as error:  # told to whoever asked, who could not look into our log
        _logger.exception("door %s", name)
        await send_answer(send, 500, headers, json.dumps({"error": repr(error)}).encode())
    else:
        await send_answer(send, 200, headers, json.dumps(answer).encode())
