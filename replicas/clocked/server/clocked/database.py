"""PostgreSQL: a pool of a fixed size, whose connections are made anew when they are broken."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from clocked.errors import ApiError, Unavailable
from clocked.settings import Settings

_SOCKET_TIMEOUT_S = 13
_BORROW_TIMEOUT_S = 0.5
_STATEMENT_TIMEOUT_MS = 10_000
"""A statement that waits for a lock gives its connection back at last."""

_UNIQUE_VIOLATION, _FOREIGN_KEY_VIOLATION = "23505", "23503"
_AWAY = ("57", "53", "08")
"""SQLSTATE classes of a server that shuts down, has no room, or lost the connection.
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

Row = Mapping[str, Any]


class Database:
    """Runs statements; a slot of the pool holds a connection, or None until it is needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._slots: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for _ in range(settings.pool_size):
            self._slots.put(None)
        self._watching: Connection | None = None
        self._watch_lock = threading.Lock()

    def rows(self, sql: str, **values: Any) -> Sequence[Row]:
        """Run one statement in a transaction of its own.

        Raises:
            Unavailable: no connection, or it broke.
            ApiError: 409 for what exists already, 404 for what it refers to and is not there, 500 for the rest.
        """
        with self._borrowed() as connection, _told():
            found = connection.run(sql, **values) or []
            names = [column["name"] for column in connection.columns or []]
            return [dict(zip(names, row, strict=True)) for row in found]

    def connections(self) -> tuple[int, int]:
        """Client connections of the server and how many it allows; asked outside of the pool.

        Raises:
            Unavailable: the database does not answer.
        """
        with self._watch_lock:
            try:
                self._watching = self._watching or self._connect()
                ((active, allowed),) = self._watching.run(
                    "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
                    " current_setting('max_connections')::int"
                )
            except (DatabaseError, InterfaceError, OSError) as error:
                _close(self._watching)
                self._watching = None
                raise Unavailable("database") from error
        return int(active), int(allowed)

    @contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        try:
            connection = self._slots.get(timeout=_BORROW_TIMEOUT_S)
        except queue.Empty:
            raise Unavailable("database connection") from None
        try:
            connection = connection or self._connect()
            yield connection
        except (InterfaceError, OSError, DatabaseError, Unavailable) as error:
            if connection is not None:
                # What ended this one ended those that wait idle, too: the next callers must not find that out.
                _close(connection)
                self._forget_idle()
            connection = None
            raise error if isinstance(error, ApiError) else Unavailable("database") from error
        finally:
            self._slots.put(connection)

    def _forget_idle(self) -> None:
        idle = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._slots.get_nowait())
        for connection in idle:
            _close(connection)
            self._slots.put(None)

    def _connect(self) -> Connection:
        settings = self._settings
        connection = Connection(
            settings.database_user,
            host=settings.database_host,
            port=settings.database_port,
            database=settings.database_name,
            password=settings.database_password,
            timeout=_SOCKET_TIMEOUT_S,
            application_name=f"clocked-server {settings.port}",
        )
        connection.run(f"SET statement_timeout = {_STATEMENT_TIMEOUT_MS}")
        return connection


@contextmanager
def _told() -> Iterator[None]:
    """PostgreSQL's errors as answers."""
    try:
        yield
    except DatabaseError as error:
        code = error.args[0].get("C", "") if error.args and isinstance(error.args[0], dict) else ""
        if code == _UNIQUE_VIOLATION:
            raise ApiError(409, "exists already") from error
        if code == _FOREIGN_KEY_VIOLATION:
            raise ApiError(404, "not found") from error
        if code.startswith(_AWAY):
            raise Unavailable("database") from error
        raise ApiError(500, "internal error") from error


def _close(connection: Connection | None) -> None:
    if connection is not None:
        try:
            connection.close()
        except (InterfaceError, DatabaseError, OSError):
            return
