"""Microsoft Entra's token endpoint and the calendar events of Microsoft Graph, as far as a sync worker needs them.

| request | answer |
|---|---|
| `POST /{tenant}/oauth2/v2.0/token` | client credentials grant: 200, or 400/401 with an AADSTS error |
| `POST /v1.0/users/{id}/events` | 201; the same `transactionId` and content again: 200 and the same event |
| `GET /v1.0/users/{id}/events` | 200 `{"value": [...]}` |

Shapes: Microsoft identity platform "OAuth 2.0 client credentials flow", Graph "Create event" and "event
resource type". Microsoft documents that a repeated `transactionId` makes no second event, but not the status of
that answer: 200 is ours, so that a caller can tell that it created nothing.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tocsin.errors import SandboxError
from tocsin.sandbox.stubs import ThirdParty

TOKEN_LIFETIME_S = 3599
KEPT_EVENTS = 50_000


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

    async def token(self, request: Request) -> JSONResponse:
        """The token endpoint of a tenant."""
        return self._issue_token(request.path_params["tenant"], await request.body())

    async def events(self, request: Request) -> JSONResponse:
        """The calendar events of a user."""
        user = request.path_params["user"]
        if not self._authorised(request):
            return _graph_error(401, "InvalidAuthenticationToken", "Lifetime validation failed, or no token.")
        if request.method == "POST":
            return self._create_event(user, await request.body())
        if request.method == "GET":
            return JSONResponse({"value": [event.document() for event in self._events.get(user, [])]})
        return _graph_error(405, "Request_BadRequest", "Method not allowed.")

    def _issue_token(self, tenant: str, body: bytes) -> JSONResponse:
        form = {name: values[-1] for name, values in parse_qs(body.decode(errors="replace")).items()}
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
        return JSONResponse(
            {
                "token_type": "Bearer",
                "expires_in": expires_in,
                "ext_expires_in": expires_in,
                "access_token": token,
            }
        )

    def _authorised(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._tokens.get(token, 0.0) > time.monotonic()

    def _create_event(self, user: str, body: bytes) -> JSONResponse:
        try:
            new = NewEvent.model_validate(json.loads(body))
        except ValueError:
            return _graph_error(400, "RequestBodyRead", "An event needs subject, start and end.")
        known = self._by_transaction.get((user, new.transactionId or ""))
        if known is not None:
            if known.request == new:
                return JSONResponse(known.document())
            return _graph_error(
                409,
                "ErrorDuplicateTransactionId",
                "Your request can't be completed. The TransactionId specified in the request has already been "
                "used to create a different event.",
            )
        event = Event(uuid.uuid4().hex, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), new)
        self._store(user, event)
        return JSONResponse(event.document(), 201)

    def _store(self, user: str, event: Event) -> None:
        self._events.setdefault(user, []).append(event)
        if event.request.transactionId is not None:
            self._by_transaction[user, event.request.transactionId] = event
        if len(self._by_transaction) > KEPT_EVENTS:
            del self._by_transaction[next(iter(self._by_transaction))]


def make(options: Mapping[str, str]) -> ThirdParty:
    """The stub. Options: see `Options.parse`. Raises SandboxError."""
    graph = MicrosoftGraph(Options.parse(options))
    routes = [
        Route("/{tenant}/oauth2/v2.0/token", graph.token, methods=["POST"]),
        Route("/v1.0/users/{user}/events", graph.events, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_found})
    return ThirdParty(app, lambda status: _graph_document("serviceNotAvailable", "The fault door is open."))


def _not_found(request: Request, _: Exception) -> JSONResponse:
    return _graph_error(404, "ResourceNotFound", f"Resource not found for {request.url.path}.")


def _graph_error(status: int, code: str, text: str) -> JSONResponse:
    return JSONResponse(_graph_document(code, text), status)


def _graph_document(code: str, text: str) -> object:
    return {"error": {"code": code, "message": text}}


def _entra_error(status: int, error: str, code: int, text: str) -> JSONResponse:
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    timestamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    return JSONResponse(
        {
            "error": error,
            "error_description": f"AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} "
            f"Timestamp: {timestamp}",
            "error_codes": [code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
        },
        status,
    )
