"""One connection an environment, through RDS Proxy, and transactions on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from pg8000.native import Connection, DatabaseError, InterfaceError

from . import aws
from .errors import DependencyUnavailable
from .settings import setting

# A request that waits longer than this for the database is answered with 503.
TIMEOUT_S = 3.0

# Connection exceptions, insufficient resources, operator intervention: not the request's fault.
UNAVAILABLE_CLASSES = ("08", "53", "57")

_connection: Connection | None = None


@cache
def _credentials() -> dict[str, str]:
    arn = setting("DB_SECRET_ARN")
    try:
        secret: dict[str, str] = json.loads(aws.get_secret_value(arn))
    except aws.AwsError as cause:
        raise DependencyUnavailable("secrets", str(cause)) from cause
    return secret


def _connect() -> Connection:
    secret = _credentials()
    try:
        return Connection(
            secret["username"],
            password=secret["password"],
            host=setting("DB_PROXY_ENDPOINT"),
            port=int(secret["port"]),
            database=secret["dbname"],
            timeout=TIMEOUT_S,
        )
    except (InterfaceError, DatabaseError, OSError) as cause:
        raise DependencyUnavailable("database", str(cause)) from cause


def _disconnect() -> None:
    global _connection
    connection, _connection = _connection, None
    if connection is not None:
        with suppress(InterfaceError, OSError):
            connection.close()


def _begin() -> Connection:
    """Begin a transaction; a connection that died while it was idle is replaced once."""
    global _connection
    if _connection is not None:
        try:
            _connection.run("BEGIN")
            return _connection
        except (InterfaceError, ConnectionError):
            _disconnect()
    _connection = _connect()
    _connection.run("BEGIN")
    return _connection


@contextmanager
def transaction() -> Iterator[Connection]:
    """A transaction: committed at the end, rolled back by an exception.

    Statements with parameters run inside of it only, so that RDS Proxy can share its connections.
    Raises DependencyUnavailable when the database is not there or does not answer in time.
    """
    try:
        connection = _begin()
        yield connection
        connection.run("COMMIT")
    except (InterfaceError, OSError) as cause:
        _disconnect()
        raise DependencyUnavailable("database", str(cause) or type(cause).__name__) from cause
    except DatabaseError as cause:
        _disconnect()
        code = cause.args[0].get("C", "") if cause.args and isinstance(cause.args[0], dict) else ""
        if code[:2] in UNAVAILABLE_CLASSES:
            raise DependencyUnavailable("database", cause.args[0].get("M", code)) from cause
        raise
    except BaseException:
        _roll_back()
        raise


def _roll_back() -> None:
    try:
        if _connection is not None:
            _connection.run("ROLLBACK")
    except (InterfaceError, DatabaseError, OSError):
        _disconnect()
