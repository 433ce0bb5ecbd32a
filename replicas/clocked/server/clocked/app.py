"""The ASGI application: routes, and what surrounds every one of them."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clocked.cache import Tokens
from clocked.database import Database
from clocked.errors import ApiError
from clocked.metrics import Metrics
from clocked.settings import Settings

_logger = logging.getLogger("clocked")
_PAGE = 20

Handler = Callable[["Server", "Call"], tuple[int, Any]]


class Call:
    """One request that has arrived completely."""

    def __init__(self, request: Request, body: bytes) -> None:
        self.path: Mapping[str, str] = request.path_params
        self.authorization = request.headers.get("authorization")
        self._body = body

    def text(self, name: str, *, longest: int = 200) -> str:
        """A string of the JSON body. Raises ApiError 400."""
        try:
            value = json.loads(self._body)[name]
        except (ValueError, KeyError, TypeError):
            value = None
        if not isinstance(value, str) or not value.strip() or len(value) > longest or "\x00" in value:
            raise ApiError(400, f"expected a JSON object with the text '{name}'")
        return value

    def id(self, name: str) -> str:
        """A UUID of the path. Raises ApiError 404."""
        try:
            return str(uuid.UUID(self.path[name]))
        except ValueError:
            raise ApiError(404, "not found") from None


class Server:
    """What the handlers share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings)
        self.tokens = Tokens(settings)
        self.started = time.monotonic()
        self.metrics = Metrics(self.database, [(method, path) for method, path, _ in ROUTES], settings)


def health(server: Server, call: Call) -> tuple[int, Any]:
    """Alive: the load balancer's question. Says nothing of database and cache."""
    return 200, {
        "status": "ok",
        "timestamp": _iso(datetime.now(UTC)),
        "uptime": round(time.monotonic() - server.started, 3),
        "version": server.settings.version,
    }


def login(server: Server, call: Call) -> tuple[int, Any]:
    """A token for a name and a password."""
    found = server.database.rows(
        "SELECT id FROM users WHERE username = :name AND password = crypt_sha256(:word, salt)",
        name=call.text("username"),
        word=call.text("password"),
    )
    if not found:
        raise ApiError(401, "unauthorized")
    return 200, {"token": server.tokens.issue(str(found[0]["id"])), "expiresIn": server.tokens.life_s}


def list_sessions(server: Server, call: Call) -> tuple[int, Any]:
    """My latest sessions of work."""
    rows = server.database.rows(
        "SELECT * FROM sessions WHERE user_id = :me ORDER BY started_at DESC LIMIT :page",
        me=server.tokens.user(call.authorization),
        page=_PAGE,
    )
    return 200, {"sessions": [_session(row) for row in rows]}


def start_session(server: Server, call: Call) -> tuple[int, Any]:
    """Start a session of work."""
    me = server.tokens.user(call.authorization)
    (row,) = server.database.rows(
        "INSERT INTO sessions (user_id, project) VALUES (:me, :project) RETURNING *",
        me=me,
        project=call.text("project"),
    )
    return 201, _session(row)


def stop_session(server: Server, call: Call) -> tuple[int, Any]:
    """Stop one of my sessions; stopping it again changes nothing."""
    me = server.tokens.user(call.authorization)
    rows = server.database.rows(
        "UPDATE sessions SET stopped_at = coalesce(stopped_at, now()) WHERE id = :id AND user_id = :me RETURNING *",
        id=call.id("session_id"),
        me=me,
    )
    if not rows:
        raise ApiError(404, "not found")
    return 200, _session(rows[0])


def list_groups(server: Server, call: Call) -> tuple[int, Any]:
    """The groups I am in."""
    rows = server.database.rows(
        "SELECT g.id, g.name, count(*) AS members FROM groups g JOIN group_members m ON m.group_id = g.id"
        " WHERE g.id IN (SELECT group_id FROM group_members WHERE user_id = :me)"
        " GROUP BY g.id, g.name, g.created_at ORDER BY g.created_at DESC LIMIT :page",
        me=server.tokens.user(call.authorization),
        page=_PAGE,
    )
    return 200, {"groups": [{"id": str(r["id"]), "name": r["name"], "members": r["members"]} for r in rows]}


def create_group(server: Server, call: Call) -> tuple[int, Any]:
    """A new group with me in it."""
    me = server.tokens.user(call.authorization)
    (row,) = server.database.rows(
        "WITH made AS (INSERT INTO groups (name) VALUES (:name) RETURNING id, name),"
        " joined AS (INSERT INTO group_members (group_id, user_id) SELECT id, :me FROM made)"
        " SELECT id, name FROM made",
        name=call.text("name"),
        me=me,
    )
    return 201, {"id": str(row["id"]), "name": row["name"], "members": 1}


def add_member(server: Server, call: Call) -> tuple[int, Any]:
    """Take somebody into a group of mine."""
    me, group = server.tokens.user(call.authorization), call.id("group_id")
    mine = server.database.rows("SELECT 1 FROM group_members WHERE group_id = :g AND user_id = :me", g=group, me=me)
    users = server.database.rows("SELECT id FROM users WHERE username = :name", name=call.text("username"))
    if not mine or not users:
        raise ApiError(404, "not found")
    server.database.rows(
        "INSERT INTO group_members (group_id, user_id) VALUES (:g, :user)", g=group, user=str(users[0]["id"])
    )
    return 201, {"groupId": group, "username": call.text("username")}


ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/health", health),
    ("POST", "/auth/login", login),
    ("GET", "/sessions", list_sessions),
    ("POST", "/sessions", start_session),
    ("PATCH", "/sessions/{session_id}/stop", stop_session),
    ("GET", "/groups", list_groups),
    ("POST", "/groups", create_group),
    ("POST", "/groups/{group_id}/members", add_member),
]


def make_app(settings: Settings) -> Starlette:
    """The application. Database and cache are looked for when they are first needed."""
    server = Server(settings)

    async def metrics(_: Request) -> Response:
        page = await run_in_threadpool(server.metrics.page)
        return Response(page, media_type="text/plain; version=0.0.4")

    by_path: dict[str, dict[str, Handler]] = {}
    for method, path, handler in ROUTES:
        by_path.setdefault(path, {})[method] = handler
    routes = [
        Route(path, _endpoint(server, path, handlers), methods=list(handlers)) for path, handlers in by_path.items()
    ]
    return Starlette(
        routes=[*routes, Route("/metrics", metrics)],
        exception_handlers={404: _no_such_route, 405: _no_such_route},
    )


def _endpoint(server: Server, path: str, handlers: Mapping[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        began = time.perf_counter()
        method = "GET" if request.method == "HEAD" else request.method
        call = Call(request, await request.body())
        status, document = await run_in_threadpool(_answer, handlers[method], server, call)
        server.metrics.answered(method, path, status, time.perf_counter() - began)
        return JSONResponse(document, status)

    return endpoint


def _answer(handler: Handler, server: Server, call: Call) -> tuple[int, Any]:
    try:
        return handler(server, call)
    except ApiError as error:
        if error.status >= 500:
            _logger.warning(json.dumps({"event": "request.failed", "status": error.status, "error": error.error}))
        return error.status, {"error": error.error}
    except Exception:  # a mistake of ours is a 500 that the load balancer counts, not a lost connection
        _logger.exception("request failed")
        return 500, {"error": "internal error"}


async def _no_such_route(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return JSONResponse({"error": "not found" if status == 404 else "method not allowed"}, status)


def _session(row: Mapping[str, Any]) -> dict[str, Any]:
    stopped = row["stopped_at"]
    return {
        "id": str(row["id"]),
        "project": row["project"],
        "startedAt": _iso(row["started_at"]),
        "stoppedAt": None if stopped is None else _iso(stopped),
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
