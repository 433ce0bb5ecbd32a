"""PostgreSQL as far as the faults ask it: sessions by their name, locks and triggers."""

from __future__ import annotations

import re
from typing import Any

_CONNECTIONS = 100


class Postgres:
    """One server; `connect` stands for `pg8000.native.Connection`."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.triggers: set[str] = set()

    def connect(self, user: str, **options: Any) -> Session:
        """A new session."""
        session = Session(self, options["application_name"])
        self.sessions.append(session)
        return session

    def named(self, name: str) -> list[Session]:
        """Sessions of that `application_name`."""
        return [one for one in self.sessions if one.name == name]


class Session:
    """A session, and whether it holds a lock."""

    def __init__(self, server: Postgres, name: str) -> None:
        self._server, self.name, self.locks = server, name, False

    def run(self, sql: str, **values: Any) -> list[list[Any]]:
        """The answer to one of the statements that the faults know."""
        server = self._server
        if "pg_snapshot_xmin" in sql:
            return [["1000"]]
        if "pg_terminate_backend" in sql:
            server.sessions = [one for one in server.sessions if one.name != values["name"]]
        elif "pg_locks" in sql:
            return [[sum(one.locks for one in server.named(values["name"]))]]
        elif "pg_trigger" in sql:
            return [[int(values["name"] in server.triggers)]]
        elif "max_connections" in sql:
            return [[_CONNECTIONS - len(server.sessions)]]
        elif "FROM pg_stat_activity" in sql:
            return [[len(server.named(values["name"]))]]
        elif sql.startswith("LOCK TABLE"):
            self.locks = True
        elif (made := re.match(r"CREATE TRIGGER (\w+)", sql)) is not None:
            server.triggers.add(made[1])
        elif (gone := re.match(r"DROP FUNCTION IF EXISTS (\w+)", sql)) is not None:
            server.triggers.discard(gone[1])
        return []

    def close(self) -> None:
        """End it."""
        if self in self._server.sessions:
            self._server.sessions.remove(self)
