"""Microsoft Entra's token endpoint and the calendar events of Microsoft Graph, as far as a sync worker needs them.

| request | answer |
|---|---|
| `POST /{tenant}/oauth2/v2.0/token` | client credentials grant: 200, or 400/401 with an AADSTS error |
| `POST /v1.0/users/{id}/events` | 201; the same `transactionId` and content again: 200 and the same event |
| `GET /v1.0/users/{id}/events` | 200 `{"value": [...]}` |
| `POST /_fault` | `{"status": 503, "delay_s": 0, "count": 3, "path": "/v1.0/"}`, each member optional |
| `DELETE /_fault` | ends the fault |
| `GET /_calls` | `{"value": [{"method", "path", "status"}]}`: the requests so far, the oldest dropped first |

Shapes: Microsoft identity platform "OAuth 2.0 client credentials flow", Graph "Create event" and "event
resource type". Microsoft documents that a repeated `transactionId` makes no second event, but not the status of
that answer: 200 is ours, so that a caller can tell that it created nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import secrets
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tocsin.errors import SandboxError
from tocsin.sandbox.stubs import HttpStub, Request, Response, Stub

TOKEN_LIFETIME_S = 3599
KEPT_CALLS = 1000
KEPT_EVENTS = 50_000

TOKEN_PATH = re.compile(r"/(?P<tenant>[^/]+)/oauth2/v2\.0/token")
EVENTS_PATH = re.compile(r"/v1\.0/users/(?P<user>[^/]+)/events")


@dataclass(frozen=True)
class Options:
    """The app registration that may log in; `token_lifetime_s` is wall time."""

    tenant: str
    client_id: str
    client_secret: str
    token_lifetime_s: float

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Options:
        """From `tenant`, `client_id`, `client_secret` and `time_scale`. Raises SandboxError."""
        try:
            return cls(
                tenant=options["tenant"],
                client_id=options["client_id"],
                client_secret=options["client_secret"],
                token_lifetime_s=TOKEN_LIFETIME_S / float(options.get("time_scale", "1")),
            )
        except (KeyError, ValueError, ZeroDivisionError) as cause:
            raise SandboxError(
                "the stub 'microsoft-graph' expects the options tenant, client_id, client_secret and "
                f"time_scale (a number), but: {cause!r}"
            ) from cause


class Fault(BaseModel):
    """What the fault door does to requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: int | None = Field(default=None, ge=400, le=599)
    delay_s: float = Field(default=0.0, ge=0, description="real seconds before the answer")
    count: int | None = Field(default=None, ge=1, description="how many requests; without it, all")
    path: str = Field(default="/", description="only paths that contain this")


class DateTimeTimeZone(BaseModel):
    """Graph's dateTimeTimeZone."""

    dateTime: str  # noqa: N815
    timeZone: str  # noqa: N815


class NewEvent(BaseModel):
    """What must be in a new event; everything else is kept as it is."""

    model_config = ConfigDict(extra="allow")

    subject: str
    start: DateTimeTimeZone
    end: DateTimeTimeZone
    transactionId: str | None = None  # noqa: N815


@dataclass(frozen=True)
class Event:
    """A stored event and the request that made it."""

    id: str
    created: str
    request: NewEvent

    def document(self) -> dict[str, object]:
        """As Graph shows it."""
        return {"id": self.id, "createdDateTime": self.created, **self.request.model_dump()}


class MicrosoftGraph:
    """The state behind the stub."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tokens: dict[str, float] = {}
        self._events: dict[str, list[Event]] = {}
        self._by_transaction: dict[tuple[str, str], Event] = {}
        self._fault: Fault | None = None
        self._calls: deque[dict[str, object]] = deque(maxlen=KEPT_CALLS)

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        if request.path == "/_fault":
            return self._set_fault(request)
        if request.path == "/_calls":
            return Response(200, {"value": list(self._calls)})
        fault = self._take_fault(request.path)
        if fault is not None and fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        if fault is not None and fault.status is not None:
            response = _graph_error(fault.status, "serviceNotAvailable", "The fault door is open.")
        else:
            response = self._serve(request)
        self._calls.append({"method": request.method, "path": request.path, "status": response.status})
        return response

    def _set_fault(self, request: Request) -> Response:
        if request.method == "DELETE":
            self._fault = None
            return Response(204)
        try:
            self._fault = Fault.model_validate_json(request.body)
        except ValidationError as cause:
            return _graph_error(400, "BadRequest", str(cause))
        return Response(204)

    def _take_fault(self, path: str) -> Fault | None:
        fault = self._fault
        if fault is None or fault.path not in path:
            return None
        if fault.count is not None:
            left = fault.count - 1
            self._fault = fault.model_copy(update={"count": left}) if left else None
        return fault

    def _serve(self, request: Request) -> Response:
        token = TOKEN_PATH.fullmatch(request.path)
        if token and request.method == "POST":
            return self._issue_token(token["tenant"], request)
        events = EVENTS_PATH.fullmatch(request.path)
        if not events:
            return _graph_error(404, "ResourceNotFound", f"Resource not found for {request.path}.")
        if not self._authorised(request):
            return _graph_error(401, "InvalidAuthenticationToken", "Lifetime validation failed, or no token.")
        if request.method == "POST":
            return self._create_event(events["user"], request)
        if request.method == "GET":
            stored = self._events.get(events["user"], [])
            return Response(200, {"value": [event.document() for event in stored]})
        return _graph_error(405, "Request_BadRequest", "Method not allowed.")

    def _issue_token(self, tenant: str, request: Request) -> Response:
        form = {name: values[-1] for name, values in parse_qs(request.body.decode(errors="replace")).items()}
        if tenant != self._options.tenant:
            return _entra_error(400, "invalid_request", 90002, f"Tenant '{tenant}' not found.")
        if form.get("grant_type") != "client_credentials":
            return _entra_error(400, "unsupported_grant_type", 70003, "The grant type is not supported.")
        if form.get("client_id") != self._options.client_id:
            return _entra_error(400, "unauthorized_client", 700016, "Application was not found in the directory.")
        if not hmac.compare_digest(form.get("client_secret", "").encode(), self._options.client_secret.encode()):
            return _entra_error(401, "invalid_client", 7000215, "Invalid client secret provided.")
        token = secrets.token_urlsafe(48)
        now = time.monotonic()
        self._tokens = {known: expires for known, expires in self._tokens.items() if expires > now}
        self._tokens[token] = now + self._options.token_lifetime_s
        expires_in = int(self._options.token_lifetime_s)
        return Response(
            200,
            {
                "token_type": "Bearer",
                "expires_in": expires_in,
                "ext_expires_in": expires_in,
                "access_token": token,
            },
        )

    def _authorised(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._tokens.get(token, 0.0) > time.monotonic()

    def _create_event(self, user: str, request: Request) -> Response:
        try:
            new = NewEvent.model_validate(json.loads(request.body))
        except ValueError:
            return _graph_error(400, "RequestBodyRead", "An event needs subject, start and end.")
        known = self._by_transaction.get((user, new.transactionId or ""))
        if known is not None:
            if known.request == new:
                return Response(200, known.document())
            return _graph_error(
                409,
                "ErrorDuplicateTransactionId",
                "Your request can't be completed. The TransactionId specified in the request has already been "
                "used to create a different event.",
            )
        event = Event(uuid.uuid4().hex, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), new)
        self._store(user, event)
        return Response(201, event.document())

    def _store(self, user: str, event: Event) -> None:
        self._events.setdefault(user, []).append(event)
        if event.request.transactionId is not None:
            self._by_transaction[user, event.request.transactionId] = event
        if len(self._by_transaction) > KEPT_EVENTS:
            del self._by_transaction[next(iter(self._by_transaction))]


async def start(options: Mapping[str, str]) -> Stub:
    """Start the stub in the current event loop. Options: see `Options.parse`. Raises SandboxError."""
    stub = HttpStub(MicrosoftGraph(Options.parse(options)).answer)
    await stub.listen()
    return stub


def _graph_error(status: int, code: str, text: str) -> Response:
    return Response(status, {"error": {"code": code, "message": text}})


def _entra_error(status: int, error: str, code: int, text: str) -> Response:
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    timestamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    return Response(
        status,
        {
            "error": error,
            "error_description": f"AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} "
            f"Timestamp: {timestamp}",
            "error_codes": [code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
        },
    )
