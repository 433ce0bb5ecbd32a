"""`DATABASE_URL=... python migrate.py status | deploy [--accept-data-loss]`: the migrations, and the ledger of them.

Stands in for `prisma migrate`: a migration is a directory with a `migration.sql`, applied once, in the order of the
names, each in a transaction together with its line of the ledger. One that was changed after it was applied, or that
is in the ledger and no longer here, is told and nothing is done. Unlike prisma, which applies whatever it finds,
`deploy` refuses one that destroys data, unless `--accept-data-loss` is said, as `prisma db push` has it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pg8000.native import Connection

if TYPE_CHECKING:
    from typing import Any

MIGRATIONS = Path(__file__).parent / "migrations"
LEDGER = """
CREATE TABLE IF NOT EXISTS _migrations (
    name         text PRIMARY KEY,
    checksum     text NOT NULL,
    finished_at  timestamptz NOT NULL DEFAULT now()
)
"""
_ONE_AT_A_TIME = 72707369
"""Key of the advisory lock, prisma's own: two that deploy at once wait for each other."""
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_DESTROYS = re.compile(
    r"\b(?:DROP\s+(?:TABLE|COLUMN|SCHEMA|DATABASE|TYPE)|TRUNCATE|DELETE\s+FROM|ALTER\s+COLUMN\s+\S+\s+(?:SET\s+DATA\s+)?TYPE)\b[^;]*",
    re.IGNORECASE,
)


class MigrationError(Exception):
    """Nothing was applied; the message says why, and what to do."""


@dataclass(frozen=True)
class Migration:
    """One migration, as it stands here."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Tells whether it is still what was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def destroys(self) -> str | None:
        """The first statement by which data is lost, in short; None where there is none."""
        found = _DESTROYS.search(_COMMENT.sub(" ", self.sql))
        return None if found is None else " ".join(found.group().split())[:80]


def read(directory: Path = MIGRATIONS) -> list[Migration]:
    """The migrations of a directory, in their order."""
    files = sorted(directory.glob("*/migration.sql"))
    return [Migration(file.parent.name, file.read_text(encoding="utf-8")) for file in files]


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A session of the database behind a URL, `postgresql://user:password@host:port/database`."""
    parts = urlsplit(url)
    connection = Connection(
        unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host=parts.hostname or "",
        port=parts.port or 5432,
        database=parts.path.lstrip("/"),
        timeout=30,
    )
    try:
        yield connection
    finally:
        connection.close()


def pending(connection: Connection, migrations: Sequence[Migration]) -> list[Migration]:
    """Those that were not applied yet.

    Raises:
        MigrationError: ledger and directory contradict each other.
    """
    applied: dict[str, str] = dict(_rows(connection, "SELECT name, checksum FROM _migrations"))
    missing = sorted(applied.keys() - {migration.name for migration in migrations})
    if missing:
        raise MigrationError(f"expected {missing[0]}, which was applied, among the migrations, found it nowhere")
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationError(f"expected {migration.name} as it was applied, found it changed: write a new one")
    return [migration for migration in migrations if migration.name not in applied]


def deploy(url: str, migrations: Sequence[Migration], *, accept_data_loss: bool = False) -> list[str]:
    """Apply what is pending; the names of it.

    Raises:
        MigrationError: one of them destroys data, or the ledger contradicts the directory: none is applied.
        DatabaseError: PostgreSQL refused one, which left no trace; those before it are applied.
    """
    with connected(url) as connection:
        connection.run("SELECT pg_advisory_lock(:key)", key=_ONE_AT_A_TIME)
        connection.run(LEDGER)
        due = pending(connection, migrations)
        for migration in due:
            if migration.destroys and not accept_data_loss:
                raise MigrationError(
                    f"{migration.name} destroys data ({migration.destroys}). Nothing was applied; "
                    "say --accept-data-loss when that is meant"
                )
        for migration in due:
            connection.run("BEGIN")
            connection.run(migration.sql)
            connection.run(
                "INSERT INTO _migrations (name, checksum) VALUES (:name, :checksum)",
                name=migration.name,
                checksum=migration.checksum,
            )
            connection.run("COMMIT")
        return [migration.name for migration in due]


def status(url: str, migrations: Sequence[Migration]) -> list[str]:
    """The names of those that are pending. Raises MigrationError as `deploy`; the database is not changed."""
    with connected(url) as connection:
        if _rows(connection, "SELECT to_regclass('_migrations')") == [[None]]:
            return [migration.name for migration in migrations]
        return [migration.name for migration in pending(connection, migrations)]


def main(arguments: Sequence[str]) -> int:
    """The command: 0 when the database is as the migrations say, 1 when some are pending or were refused."""
    parser = argparse.ArgumentParser(prog="migrate", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status")
    commands.add_parser("deploy").add_argument("--accept-data-loss", action="store_true")
    options = parser.parse_args(arguments)
    migrations = read()
    try:
        if options.command == "status":
            names = status(os.environ["DATABASE_URL"], migrations)
            sys.stdout.write(f"{len(migrations)} migrations found. {_told('pending', names)}\n")
            return 1 if names else 0
        names = deploy(os.environ["DATABASE_URL"], migrations, accept_data_loss=options.accept_data_loss)
    except MigrationError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{len(migrations)} migrations found. {_told('applied', names)}\n")
    return 0


def _told(what: str, names: Sequence[str]) -> str:
    return f"{len(names)} {what}: {', '.join(names)}" if names else f"None {what}: the database is up to date."


def _rows(connection: Connection, sql: str) -> list[Any]:
    return list(connection.run(sql) or [])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
