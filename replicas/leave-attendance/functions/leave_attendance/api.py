"""From an API Gateway HTTP API event (payload format 2.0) to a handler and back."""

from __future__ import annotations

import base64
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import wraps
from typing import Any
from uuid import UUID

from . import auth, logs
from .errors import ApiError, DependencyUnavailable, forbidden, invalid

RETRY_AFTER_S = 5
MAX_PAGE_SIZE = 100

Event = dict[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True)
class Response:
    """Status and JSON document."""

    status: int
    document: dict[str, Any]


@dataclass(frozen=True)
class Page:
    """A window into a list: pages are counted from 1."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        """How many rows come before it."""
        return (self.number - 1) * self.size


class Request:
    """What a handler needs of the event; each accessor raises ApiError 400 for what cannot be used."""

    def __init__(self, event: Event) -> None:
        self._event = event
        self.headers: dict[str, str] = {name.lower(): value for name, value in event.get("headers", {}).items()}
        self._user: auth.User | None = None

    @property
    def user(self) -> auth.User:
        """Who asks; the endpoint has verified it."""
        assert self._user is not None
        return self._user

    def authenticate(self) -> None:
        """Verify the bearer token."""
        self._user = auth.authenticate(self.headers.get("authorization"))
        logs.add(userId=self._user.id)

    def json(self) -> dict[str, Any]:
        """The body; an empty one is an empty object."""
        body = self._event.get("body") or ""
        try:
            if self._event.get("isBase64Encoded"):
                body = base64.b64decode(body, validate=True).decode()
            document = json.loads(body) if body.strip() else {}
        except ValueError:
            raise invalid("The body is not JSON.") from None
        if not isinstance(document, dict):
            raise invalid("The body is not a JSON object.")
        return document

    def path_uuid(self, name: str) -> str:
        """A path parameter that is an id."""
        return uuid_of(name, self._event.get("pathParameters", {}).get(name))

    def query(self, name: str) -> str | None:
        """A query parameter."""
        value: str | None = (self._event.get("queryStringParameters") or {}).get(name)
        return value

    def query_date(self, name: str) -> date | None:
        """A query parameter that is a date."""
        value = self.query(name)
        return None if value is None else date_of(name, value)

    def query_int(self, name: str, default: int, low: int, high: int) -> int:
        """A query parameter that is a number from `low` to `high`."""
        text = self.query(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
            raise invalid(f"{name} is a number from {low} to {high}.")
        return int(text)

    def page(self) -> Page:
        """`page` and `pageSize`."""
        number = self.query_int("page", 1, 1, 1_000_000)
        return Page(number, self.query_int("pageSize", 20, 1, MAX_PAGE_SIZE))

    def subject(self) -> str | None:
        """`user_id`: whose data is asked for. Somebody else's is for ADMIN only."""
        asked = self.query("user_id")
        if asked is None:
            return None
        asked = uuid_of("user_id", asked)
        if asked != self.user.id and not self.user.is_admin:
            raise forbidden("Only ADMIN may see other users.")
        return asked


def uuid_of(name: str, value: object) -> str:
    """A value as an id in its canonical form. Raises ApiError 400."""
    try:
        if not isinstance(value, str) or len(value) != 36:
            raise ValueError
        return str(UUID(value))
    except ValueError:
        raise invalid(f"{name} is not an id.") from None


def date_of(name: str, value: object) -> date:
    """A value as a date. Raises ApiError 400."""
    try:
        if not isinstance(value, str) or len(value) != 10:
            raise ValueError
        return date.fromisoformat(value)
    except ValueError:
        raise invalid(f"{name} is not a date (YYYY-MM-DD).") from None


def text_of(name: str, value: object, longest: int) -> str | None:
    """An optional text. Raises ApiError 400."""
    if value is None:
        return None
    # PostgreSQL's text knows no NUL, and UTF-8 no half of a surrogate pair.
    if not isinstance(value, str) or len(value) > longest or "\0" in value or not _encodable(value):
        raise invalid(f"{name} is a text of at most {longest} characters.")
    return value


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def endpoint(
    *, public: bool = False, admin_only: bool = False
) -> Callable[[Callable[[Request], Response]], Callable[[Event, Any], Answer]]:
    """Make a Lambda handler of a function from Request to Response: token, role, errors, one log line."""

    def decorate(function: Callable[[Request], Response]) -> Callable[[Event, Any], Answer]:
        @wraps(function)
        def handler(event: Event, context: Any) -> Answer:
            started = time.perf_counter()
            http = event.get("requestContext", {}).get("http", {})
            logs.begin(
                requestId=context.aws_request_id,
                userId=None,
                functionName=context.function_name,
                functionVersion=context.function_version,
            )
            answer = _answer(lambda: _call(function, Request(event), public, admin_only), context.aws_request_id)
            logs.info(
                "request",
                method=http.get("method"),
                path=http.get("path"),
                status=answer["statusCode"],
                durationMs=round((time.perf_counter() - started) * 1000, 1),
            )
            return answer

        return handler

    return decorate


def _call(function: Callable[[Request], Response], request: Request, public: bool, admin_only: bool) -> Response:
    if not public:
        request.authenticate()
        if admin_only and not request.user.is_admin:
            raise forbidden("Only ADMIN may do this.")
    return function(request)


def _answer(work: Callable[[], Response], request_id: str) -> Answer:
    try:
        response = work()
        return _http(response.status, response.document)
    except ApiError as refusal:
        return _problem(refusal.status, refusal.code, refusal.message, request_id)
    except DependencyUnavailable as cause:
        logs.error("dependency.unavailable", dependency=cause.dependency, reason=str(cause))
        message = f"The {cause.dependency} is temporarily unavailable."
        answer = _problem(503, "DEPENDENCY_UNAVAILABLE", message, request_id)
        answer["headers"]["retry-after"] = str(RETRY_AFTER_S)
        return answer
    except Exception as cause:
        logs.error("unhandled", reason=repr(cause), trace=traceback.format_exc())
        return _problem(500, "INTERNAL_ERROR", "Internal error.", request_id)


def _problem(status: int, code: str, message: str, request_id: str) -> Answer:
    answer = _http(status, {"error": {"code": code, "message": message, "requestId": request_id}})
    if status == 401:
        answer["headers"]["www-authenticate"] = "Bearer"
    return answer


def _http(status: int, document: dict[str, Any]) -> Answer:
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(document)}
