"""Clients that a file of canaries or load sends with past Tocsin: nobody looks at what they send, or writes it down."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_EVERYTHING: frozenset[str] = frozenset()
_CLIENTS = {
    # Its errors and types are those of `api` itself, so only what sends is looked for.
    "httpx": frozenset(
        ("get", "post", "put", "patch", "delete", "head", "options", "request", "stream", "Client", "AsyncClient")
    ),
    **dict.fromkeys(
        (
            *("requests", "urllib.request", "urllib3", "http.client", "aiohttp", "geventhttpclient", "websockets"),
            *("boto3", "botocore", "aioboto3", "aiobotocore", "smtplib", "paramiko"),
            *("pg8000", "psycopg", "psycopg2", "asyncpg", "pymysql", "redis"),
        ),
        _EVERYTHING,
    ),
}
"""Modules -> what of each sends; where nothing is named, all of it."""


def unseen_clients(tree: ast.Module, instead: str) -> Iterator[tuple[str, int]]:
    """What a file imports to send with past `instead`, in words, and the line; each module once.

    Only what the file itself imports by name: nobody can tell what the modules beside it do.
    """
    told: set[str] = set()
    for name, line in sorted(_used(tree), key=lambda used: used[1]):
        client = _client(name)
        if client is not None and client not in told:
            told.add(client)
            yield (
                f"expected requests that are sent with {instead}, found `{name}`: what it sends would be in no record, "
                "and nobody would look for the mark of `test_data` in it",
                line,
            )


def _client(name: str) -> str | None:
    for client, senders in _CLIENTS.items():
        if name == client or name.startswith(f"{client}."):
            sends = not senders or name.removeprefix(f"{client}.").partition(".")[0] in senders
            return client if sends else None
    return None


def _used(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Dotted names that are imported, and those that are reached through the name of an imported module."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                yield one.name, node.lineno
                modules[one.asname or one.name.partition(".")[0]] = (
                    one.name if one.asname else one.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for one in node.names:
                yield f"{node.module}.{one.name}", node.lineno
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield f"{modules[node.value.id]}.{node.attr}", node.lineno
