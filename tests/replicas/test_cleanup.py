"""The clean-ups that the system files name, on PostgreSQL with the schema of the replica: nothing of people goes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pg8000.native
import pytest

from tocsin.canary import Canary, Surroundings, run_canary
from tocsin.project.documents import load_system
from tocsin.project.python_files import import_python
from tocsin.sandbox.services.rds.postgres import Master, PostgresServer

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Replica:
    """A system with people in it: `people` are statements that make them and what they did, `tables` where it is.

    `drilled` are statements that make what drills write.
    """

    system: str
    secret: str
    people: tuple[str, ...]
    drilled: tuple[str, ...]
    tables: tuple[str, ...]
    kept: tuple[str, ...] = ()
    """tables in which the synthetic rows stay: the users themselves"""


REPLICAS = [
    Replica(
        "leave-attendance",
        "itcenter/dev/db",
        (
            "INSERT INTO app_users (id, email, full_name) VALUES (gen_random_uuid(), 'mere@example.com', 'Mere'), "
            "(gen_random_uuid(), 'not-synthetic-1@example.com', 'Not')",
            "INSERT INTO leave_balances SELECT id, 2026, 'ANNUAL', 3 FROM app_users WHERE email NOT LIKE 'synthetic-%'",
            "INSERT INTO leave_requests (user_id, leave_type, start_date, end_date, days) "
            "SELECT id, 'ANNUAL', '2026-03-02', '2026-03-04', 3 FROM app_users WHERE email NOT LIKE 'synthetic-%'",
            "INSERT INTO attendance_logs (user_id) SELECT id FROM app_users WHERE email NOT LIKE 'synthetic-%'",
        ),
        (
            "INSERT INTO leave_balances SELECT id, 2101, 'ANNUAL', 2 FROM app_users WHERE email LIKE 'synthetic-%'",
            "INSERT INTO leave_requests (user_id, leave_type, start_date, end_date, days, decided_by) "
            "SELECT id, 'ANNUAL', '2101-03-07', '2101-03-08', 2, id FROM app_users WHERE email LIKE 'synthetic-%'",
            "INSERT INTO attendance_logs (user_id) SELECT id FROM app_users WHERE email LIKE 'synthetic-%'",
        ),
        ("leave_requests", "leave_balances", "attendance_logs"),
        ("app_users", "leave_policies"),
    ),
    Replica(
        "clocked",
        "clocked/db",
        (
            "INSERT INTO users (username, salt, password) VALUES ('mere', 'x', 'x'), ('synthetic', 'x', 'x')",
            "INSERT INTO sessions (user_id, project) "
            "SELECT id, 'load test' FROM users WHERE username NOT LIKE 'synthetic-%'",
            "INSERT INTO groups (name) VALUES ('canary, of people')",
            "INSERT INTO group_members SELECT groups.id, users.id FROM groups, users "
            "WHERE username IN ('mere', 'synthetic-user')",
        ),
        (
            "INSERT INTO sessions (user_id, project) SELECT id, 'canary' FROM users WHERE username LIKE 'synthetic-%'",
            "INSERT INTO groups (name) VALUES ('ours')",
            "INSERT INTO group_members SELECT groups.id, users.id FROM groups, users "
            "WHERE name = 'ours' AND username LIKE 'synthetic-%'",
        ),
        ("sessions", "groups", "group_members"),
        ("users",),
    ),
    Replica(
        "flight-rescheduler",
        "prod/db-admin",
        (
            "INSERT INTO airports VALUES ('EHAM', 0, 0), ('EGLL', 1, 1)",
            "INSERT INTO flights (number, origin, destination, departs_at) "
            "SELECT number, 'EHAM', 'EGLL', now() FROM unnest(ARRAY['OURS', 'BOTH', 'THEIRS']) number",
            "INSERT INTO users (username, email, salt, password) "
            "VALUES ('mere', 'mere@example.com', 'x', 'x'), ('synthetic', 'synthetic@example.com', 'x', 'x')",
            "INSERT INTO bookings (user_id, flight_id) SELECT users.id, flights.id FROM users, flights "
            "WHERE username NOT LIKE 'synthetic-%' AND number <> 'OURS'",
            "INSERT INTO alerts (id, flight_id, source, severity) "
            "SELECT gen_random_uuid(), id, 'MONITOR', 'SEVERE' FROM flights WHERE number <> 'OURS'",
            "INSERT INTO proposals (id, booking_id, alert_id, reason, options) "
            "SELECT gen_random_uuid(), b.id, a.id, 'x', '[]' FROM bookings b JOIN alerts a USING (flight_id) "
            "JOIN flights f ON f.id = flight_id "
            "WHERE number = 'THEIRS'",
        ),
        (
            "INSERT INTO bookings (user_id, flight_id) SELECT users.id, flights.id FROM users, flights "
            "WHERE username LIKE 'synthetic-%' AND number <> 'THEIRS'",
            "INSERT INTO alerts (id, flight_id, source, severity) "
            "SELECT gen_random_uuid(), id, 'DISPATCHER', 'SEVERE' FROM flights WHERE number = 'OURS'",
            "INSERT INTO proposals (id, booking_id, alert_id, reason, options) "
            "SELECT gen_random_uuid(), b.id, a.id, 'x', '[]' FROM bookings b JOIN alerts a USING (flight_id) "
            "JOIN users u ON u.id = user_id "
            "WHERE username LIKE 'synthetic-%'",
        ),
        ("bookings", "alerts", "proposals"),
        ("users", "flights", "airports"),
    ),
]


SYNTHETIC = {
    "leave-attendance": "INSERT INTO app_users (id, email, full_name) VALUES "
    "(gen_random_uuid(), 'synthetic-01@example.com', 'x'), (gen_random_uuid(), 'synthetic-admin@example.com', 'x')",
    "clocked": "INSERT INTO users (username, salt, password) "
    "VALUES ('synthetic-user', 'x', 'x'), ('synthetic-load-01', 'x', 'x')",
    "flight-rescheduler": "INSERT INTO users (username, email, salt, password) VALUES "
    "('synthetic-passenger', 'synthetic-passenger@example.com', 'x', 'x'), "
    "('synthetic-load-01', 'synthetic-load-01@example.com', 'x', 'x')",
}
"""Those whom a deployment makes."""
MASTER = Master("owner", "not-a-secret-but-long")


def schema_of(system: str) -> list[str]:
    """The tables of a replica: one file, or its migrations."""
    files = sorted((REPOSITORY / "replicas" / system).rglob("*.sql"))
    return [file.read_text(encoding="utf-8") for file in files]


@contextmanager
def a_server(folder: Path) -> Iterator[PostgresServer]:
    """PostgreSQL, in a loop of its own: what asks it waits for its answers."""
    with asyncio.Runner() as runner:
        server = runner.run(PostgresServer.start(folder, master=MASTER, database="app", max_connections=20))
        try:
            yield server
        finally:
            runner.run(server.stop())


@contextmanager
def connected(server: PostgresServer) -> Iterator[pg8000.native.Connection]:
    connection = pg8000.native.Connection(
        MASTER.name, host=server.host, port=server.port, database="app", password=MASTER.password, timeout=60
    )
    try:
        yield connection
    finally:
        connection.close()


def cleanups(system: str) -> Iterator[tuple[str, Canary]]:
    """Each that the system file names, once."""
    said = load_system(REPOSITORY, system).test_data
    assert said is not None
    for cleanup in dict.fromkeys(kind.cleanup for kind in said.kinds.values() if kind.cleanup):
        file, _, name = cleanup.partition(":")
        yield cleanup, getattr(import_python(REPOSITORY / file, f"cleanup_of_{Path(file).stem}"), name)


@pytest.mark.parametrize("replica", REPLICAS, ids=lambda one: one.system)
def test_the_statements_remove_what_is_synthetic_and_nothing_of_people(replica: Replica, tmp_path: Path) -> None:
    with a_server(tmp_path / "db") as server, connected(server) as connection:
        for statement in (*schema_of(replica.system), SYNTHETIC[replica.system], *replica.people):
            connection.run(statement)
        before = rows_of(connection, replica)
        for statement in replica.drilled:
            connection.run(statement)
        written = rows_of(connection, replica)
        assert [table for table in replica.tables if written[table] == before[table]] == []

        @contextmanager
        def session(secret: str) -> Iterator[Any]:
            assert secret == replica.secret
            yield connection.run

        around = Surroundings("http://127.0.0.1:9", token=str, database=session)
        for name, procedure in cleanups(replica.system):
            ran = run_canary(name, procedure, around, retry=False)
            assert ran.ok, ran.detail
        assert rows_of(connection, replica) == before


def rows_of(connection: pg8000.native.Connection, replica: Replica) -> dict[str, list[str]]:
    """Every row of the tables, as text."""
    return {
        table: sorted(map(str, connection.run(f"SELECT * FROM {table}"))) for table in (*replica.tables, *replica.kept)
    }
