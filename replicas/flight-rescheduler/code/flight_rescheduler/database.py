"""PostgreSQL behind `DATABASE_URL`: a pool as Prisma's, whose size and patience are in the query of the URL."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pg8000.native import Connection, DatabaseError, InterfaceError

from .settings import ConfigurationError, setting

STATEMENT_TIMEOUT_MS = 10_000
"""A statement that waits for a lock gives its connection back at last."""
_SOCKET_TIMEOUT_S = 13

Row = Mapping[str, Any]


class DatabaseUnavailable(Exception):
    """No connection, or it broke."""


class Pool:
    """So many connections as the URL says (`connection_limit`), each made when it is first needed."""

    def __init__(self, url: str, application: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname:
            raise ConfigurationError("DATABASE_URL: expected postgresql://user:password@host:port/database")
        options = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._patience_s = float(options.get("pool_timeout", "2"))
        self._login: dict[str, Any] = {
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "host": parts.hostname,
            "port": parts.port or 5432,
            "database": parts.path.lstrip("/"),
            "timeout": _SOCKET_TIMEOUT_S,
            "application_name": application,
        }
        self._slots: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for _ in range(int(options.get("connection_limit", "1"))):
            self._slots.put(None)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction: committed at the end, rolled back by an exception.

        Raises:
            DatabaseUnavailable: no connection is free in time, none can be made, or it broke.
            DatabaseError: PostgreSQL refused a statement.
        """
        try:
            connection = self._slots.get(timeout=self._patience_s)
        except queue.Empty:
            raise DatabaseUnavailable("no connection of the pool is free") from None
        try:
            connection = _begun(connection) if connection is not None else None
            if connection is None:
                connection = self._connect()
                connection.run("BEGIN")
            yield Transaction(connection)
            connection.run("COMMIT")
        except (InterfaceError, OSError) as cause:
            _close(connection)
            connection = None
            raise DatabaseUnavailable(str(cause) or type(cause).__name__) from cause
        except BaseException:
            # Closing rolls back, and leaves nothing of a statement that PostgreSQL refused.
            _close(connection)
            connection = None
            raise
        finally:
            self._slots.put(connection)

    def _connect(self) -> Connection:
        try:
            connection = Connection(**self._login)
        except DatabaseError as cause:
            said = cause.args[0] if cause.args and isinstance(cause.args[0], dict) else {}
            # PostgreSQL says "sorry, too many clients already"; Prisma, and so the runbook, "Too many connections".
            reason = "Too many connections" if said.get("C") == "53300" else said.get("M", str(cause))
            raise DatabaseUnavailable(reason) from cause
        connection.run(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}")
        return connection


class Transaction:
    """What runs in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, **values: Any) -> list[Row]:
        """The rows of one statement, by the names of its columns."""
        found = self._connection.run(sql, **values) or []
        names = [column["name"] for column in self._connection.columns or []]
        return [dict(zip(names, row, strict=True)) for row in found]


@cache
def pool(application: str) -> Pool:
    """The pool of this process. Raises ConfigurationError without a usable `DATABASE_URL`."""
    return Pool(setting("DATABASE_URL"), application)


def _begun(connection: Connection) -> Connection | None:
    """A connection in a new transaction; None of one that died while it was idle."""
    try:
        connection.run("BEGIN")
    except (InterfaceError, DatabaseError, OSError):
        _close(connection)
        return None
    return connection


def _close(connection: Connection | None) -> None:
    if connection is not None:
        with suppress(InterfaceError, DatabaseError, OSError):
            connection.close()
