"""The migrations of Flight Rescheduler: applied once, in order, and never what destroys data without a word for it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from pg8000.native import DatabaseError

from tocsin.project.python_files import import_python
from tocsin.sandbox.services.rds.postgres import Master, PostgresServer

FILE = Path(__file__).parents[2] / "replicas" / "flight-rescheduler" / "migrate.py"
MASTER = Master("owner", "not-a-secret-but-long")


@pytest.fixture(scope="module")
def migrate() -> ModuleType:
    return import_python(FILE, "flight_rescheduler_migrate")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    folder = tmp_path_factory.mktemp("server") / "db"
    with asyncio.Runner() as runner:
        server = runner.run(PostgresServer.start(folder, master=MASTER, database="app", max_connections=20))
        try:
            yield server
        finally:
            runner.run(server.stop())


@pytest.fixture
def url(server: PostgresServer, migrate: ModuleType, request: pytest.FixtureRequest) -> str:
    """A database of its own."""
    base = f"postgresql://{MASTER.name}:{MASTER.password}@{server.host}:{server.port}"
    name = request.node.name.split("[")[0][-60:]
    with migrate.connected(f"{base}/app") as connection:
        connection.run(f'CREATE DATABASE "{name}"')
    return f"{base}/{name}"


@pytest.fixture
def write(tmp_path: Path, migrate: ModuleType) -> Callable[..., Sequence[object]]:
    """Migrations of the test, by name."""

    def write(**migrations: str) -> Sequence[object]:
        for name, sql in migrations.items():
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "migration.sql").write_text(sql)
        return list(migrate.read(tmp_path))

    return write


Write = Callable[..., Sequence[object]]


def tables(migrate: ModuleType, url: str) -> set[str]:
    with migrate.connected(url) as connection:
        found = connection.run("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    return {name for (name,) in found}


def test_the_migrations_are_applied_once(migrate: ModuleType, url: str) -> None:
    migrations = migrate.read()
    names = [migration.name for migration in migrations]
    assert names == sorted(names)
    assert migrate.status(url, migrations) == names
    assert tables(migrate, url) == set()
    assert migrate.deploy(url, migrations) == names
    assert {"bookings", "flights", "proposals"} <= tables(migrate, url)
    assert migrate.status(url, migrations) == []
    assert migrate.deploy(url, migrations) == []


def test_only_what_is_new_is_applied(migrate: ModuleType, url: str, write: Write) -> None:
    assert migrate.deploy(url, write(a="CREATE TABLE tea (id integer)")) == ["a"]
    more = write(b="ALTER TABLE tea ADD COLUMN name text")
    assert migrate.status(url, more) == ["b"]
    assert migrate.deploy(url, more) == ["b"]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE tea",
        "alter table tea\n  drop column id",
        "TRUNCATE tea",
        "DELETE FROM tea",
        "ALTER TABLE tea ALTER COLUMN id TYPE smallint",
        "/* harmless */ SELECT 1; DROP TABLE tea",
    ],
    ids=["table", "column", "truncate", "delete", "type", "second"],
)
def test_what_destroys_data_is_recognised(sql: str, write: Write) -> None:
    (migration,) = write(a=sql)
    assert migration.destroys is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE tea (id integer)", "-- DROP TABLE tea\nSELECT 1", "DROP INDEX tea_by_id"]
)
def test_what_destroys_none_is_let_through(sql: str, write: Write) -> None:
    (migration,) = write(a=sql)
    assert migration.destroys is None  # type: ignore[attr-defined]


def test_what_destroys_data_needs_a_word_and_nothing_is_applied_without(
    migrate: ModuleType, url: str, write: Write
) -> None:
    migrate.deploy(url, write(a="CREATE TABLE tea (id integer)"))
    more = write(b="CREATE TABLE cups (id integer)", c="DROP TABLE tea")
    with pytest.raises(migrate.MigrationError, match=r"c destroys data \(DROP TABLE tea\)\. Nothing was applied"):
        migrate.deploy(url, more)
    assert tables(migrate, url) == {"tea", "_migrations"}
    assert migrate.deploy(url, more, accept_data_loss=True) == ["b", "c"]
    assert tables(migrate, url) == {"cups", "_migrations"}


def test_one_that_was_changed_after_it_was_applied_is_told(migrate: ModuleType, url: str, write: Write) -> None:
    migrate.deploy(url, write(a="CREATE TABLE tea (id integer)"))
    changed = write(a="CREATE TABLE tea (id bigint)")
    with pytest.raises(migrate.MigrationError, match="expected a as it was applied, found it changed"):
        migrate.status(url, changed)


def test_one_that_is_gone_is_told(migrate: ModuleType, url: str, write: Write) -> None:
    migrate.deploy(url, write(a="CREATE TABLE tea (id integer)"))
    with pytest.raises(migrate.MigrationError, match="expected a, which was applied, among the migrations"):
        migrate.deploy(url, [])


def test_one_that_fails_leaves_no_trace(migrate: ModuleType, url: str, write: Write) -> None:
    broken = write(a="CREATE TABLE tea (id integer)", b="CREATE TABLE cups (id integer); SELECT nothing_at_all()")
    with pytest.raises(DatabaseError):
        migrate.deploy(url, broken)
    assert tables(migrate, url) == {"tea", "_migrations"}
    assert migrate.status(url, broken) == ["b"]


def test_the_command_says_whether_the_database_is_up_to_date(url: str) -> None:
    def ran(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, str(FILE), *arguments]
        done = subprocess.run(
            command, env={**os.environ, "DATABASE_URL": url}, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout

    assert ran("status")[0] == 1
    assert ran("deploy")[0] == 0
    code, said = ran("status")
    assert (code, said) == (0, "2 migrations found. None pending: the database is up to date.\n")
