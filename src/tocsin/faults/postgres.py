"""Faults inside a PostgreSQL database, made by the means of PostgreSQL: no AWS API can break it like this.

The way in is a secret: see `aws/database.py`. Its user must own the table that a fault is about, and be the one as whom
the system itself connects: otherwise its sessions cannot be counted or ended.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar

import pg8000.native
from pydantic import Field

from tocsin.aws import keys
from tocsin.aws.database import TABLE, Login, close, database_arns, login_of, secret_arn, told
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.target import Aws
from tocsin.errors import TargetError, Unavailable
from tocsin.faults.base import Fault, State

_LOCK_S = 10
_ROUNDS = 5
_AT_ONCE = 8
# What keeps a session of a fault open is this process: if it dies, the server sees the connection end.
_HELD: dict[str, list[pg8000.native.Connection]] = {}


class InForce(State):
    """Whether what the fault made is there."""

    in_force: bool


class _InDatabase(Fault[InForce]):
    """What is the same for every fault inside a database."""

    state: ClassVar[type[State]] = InForce
    aws_service: ClassVar[str] = "rds"
    permissions: ClassVar[tuple[str, ...]] = ("secretsmanager:GetSecretValue",)
    effect_within_s: ClassVar[float] = 60.0

    secret: str = Field(min_length=1, description="name or ARN of the secret with the way into the database")

    @property
    def resource(self) -> str:
        return f"database of secret {self.secret}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return database_arns(aws, self.secret)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        return (secret_arn(self.secret, arns),)

    def key_grants(self, aws: Aws) -> Iterator[Grant]:
        yield from keys.of_secret(aws.target, self.secret)

    def broken(self, prior: InForce) -> InForce:
        return InForce(in_force=True)

    def observe(self, aws: Aws, prior: InForce | None) -> InForce:
        with self._session(aws) as run:
            query, values = self._evidence(aws)
            return InForce(in_force=run(query, **values)[0][0] > 0)

    @abstractmethod
    def _evidence(self, aws: Aws) -> tuple[str, dict[str, str]]:
        """A query that counts what the fault made, and its parameters."""

    def _login(self, aws: Aws) -> Login:
        return login_of(aws.target, self.secret)

    @contextmanager
    def _session(self, aws: Aws) -> Iterator[Any]:
        """A function that runs statements: on a session that is held since the injection, or on a new one."""
        held = _HELD.get(aws.entry)
        control = held[0] if held else self._login(aws).connect("tocsin")
        try:
            yield control.run
        except pg8000.native.DatabaseError as error:
            raise told(f"asking the {self.resource}", error) from error
        except (pg8000.native.InterfaceError, OSError) as error:
            # The server has ended the session that was held: the next attempt has one of its own.
            _let_go(aws.entry)
            raise Unavailable(f"asking the {self.resource}: {error}") from error
        finally:
            if not held:
                close(control)


def _application(aws: Aws) -> str:
    """`application_name` of the sessions of a fault: what people see in pg_stat_activity."""
    return f"tocsin {aws.entry}"


def _let_go(entry: str) -> None:
    for connection in _HELD.pop(entry, []):
        close(connection)


# ------------------------------------------------------------------------------------------------ sessions


class _Sessions(_InDatabase):
    """A fault that consists of open sessions. It ends with the process that holds them."""

    def undo(self, aws: Aws, prior: InForce) -> None:
        with self._session(aws) as run:
            run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name",
                name=_application(aws),
            )
        _let_go(aws.entry)


class PostgresConnections(_Sessions):
    """Take the connections of a database until few are left: sessions that are idle, and stay.

    They end with the process that holds them, so that no schedule is needed for the case that nobody comes back.
    https://www.postgresql.org/docs/current/runtime-config-connection.html
    """

    kind: ClassVar[str] = "postgres_connections"
    summary: ClassVar[str] = "take the connections of a database (ends with the process)"

    keep: int = Field(default=3, ge=0, description="connections that are left for the user of the secret")

    def _evidence(self, aws: Aws) -> tuple[str, dict[str, str]]:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name"
        return query, {"name": _application(aws)}

    def inject(self, aws: Aws, prior: InForce) -> None:
        login = self._login(aws)
        # The first is not one of them: it looks, and ends them, when nobody gets in any more.
        held = _HELD[aws.entry] = [login.connect("tocsin")]
        for _ in range(_ROUNDS):
            wanted = int(held[0].run(_FREE)[0][0]) - self.keep
            if wanted <= 0:
                return
            # Side by side: an alarm must not ring before the injection is complete.
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                opening = [threads.submit(login.connect, _application(aws)) for _ in range(wanted)]
            held.extend(one.result() for one in opening if one.exception() is None)
            refused = [error for one in opening if (error := one.exception()) is not None]
            for error in refused:
                if not isinstance(error, Unavailable):
                    raise error
            if refused:
                return  # somebody else has taken the rest


_FREE = """
SELECT current_setting('max_connections')::int
     - CASE WHEN rolsuper THEN 0 ELSE current_setting('superuser_reserved_connections')::int
            + coalesce(current_setting('reserved_connections', true)::int, 0) END
     - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
FROM pg_roles WHERE rolname = current_user
"""
"""Connections that a user of the same rights could still have."""


class PostgresLock(_Sessions):
    """Lock a table against everybody: a transaction that holds ACCESS EXCLUSIVE and does nothing.

    Whoever reads or writes the table waits behind it. It ends with the process that holds it; PostgreSQL ends it after
    `dead_man_s` also when that process hangs.
    https://www.postgresql.org/docs/current/explicit-locking.html
    """

    kind: ClassVar[str] = "postgres_lock"
    summary: ClassVar[str] = "lock a table against readers and writers (ends with the process)"

    table: str = Field(pattern=TABLE, description="name of the table, with its schema where it is not on the path")
    dead_man_s: int = Field(default=300, ge=1, description="production seconds after which PostgreSQL ends it")

    @property
    def resource(self) -> str:
        return f"table {self.table} of secret {self.secret}"

    def _evidence(self, aws: Aws) -> tuple[str, dict[str, str]]:
        query = (
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = :name "
            "AND relation = to_regclass(:table) AND mode = 'AccessExclusiveLock' AND granted"
        )
        return query, {"name": _application(aws), "table": self.table}

    def inject(self, aws: Aws, prior: InForce) -> None:
        login = self._login(aws)
        holder = login.connect(_application(aws))
        _HELD[aws.entry] = [login.connect("tocsin"), holder]
        timeout_ms = int(1000 * self.dead_man_s / aws.target.scale)
        try:
            holder.run("BEGIN")
            holder.run(f"SET LOCAL lock_timeout = '{_LOCK_S}s'")
            holder.run(f"SET LOCAL idle_in_transaction_session_timeout = {timeout_ms}")
            holder.run(f"LOCK TABLE {self.table} IN ACCESS EXCLUSIVE MODE")
        except pg8000.native.DatabaseError as error:
            raise told(f"locking {self.resource}", error) from error


# ------------------------------------------------------------------------------------------------ triggers


_BUSIEST = """
SELECT application_name FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND application_name <> '' AND application_name NOT LIKE 'tocsin%'
GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1
"""


class _OnInsert(_InDatabase):
    """A fault that consists of a trigger. After its time the trigger does nothing, whoever comes back."""

    expires: ClassVar[bool] = True

    table: str = Field(pattern=TABLE, description="name of the table, with its schema where it is not on the path")
    one_client: bool = Field(
        default=False, description="only inserts of one client: the application_name with most sessions"
    )

    @property
    def resource(self) -> str:
        return f"table {self.table} of secret {self.secret}"

    @abstractmethod
    def _body(self, turn: str) -> str:
        """What the trigger does at an insert; `turn` is an expression that counts them from 1."""

    def _evidence(self, aws: Aws) -> tuple[str, dict[str, str]]:
        return "SELECT count(*) FROM pg_trigger WHERE tgname = :name", {"name": _name(aws)}

    def inject(self, aws: Aws, prior: InForce) -> None:
        name, turn = _name(aws), f"nextval('{self._schema}{_name(aws)}')"
        until = f"clock_timestamp() < to_timestamp({aws.expires_at})" if aws.expires_at is not None else "true"
        with self._session(aws) as run:
            if self.one_client:
                until += f" AND current_setting('application_name') = {_busiest(run)}"
            run("BEGIN")
            run(f"SET LOCAL lock_timeout = '{_LOCK_S}s'")
            run(f"CREATE SEQUENCE {self._schema}{name}")
            run(
                f"CREATE FUNCTION {self._schema}{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ "
                f"BEGIN IF {until} THEN {self._body(turn)} END IF; RETURN NEW; END $$"
            )
            run(
                f"CREATE TRIGGER {name} BEFORE INSERT ON {self.table} "
                f"FOR EACH ROW EXECUTE FUNCTION {self._schema}{name}()"
            )
            run("COMMIT")

    def undo(self, aws: Aws, prior: InForce) -> None:
        name = _name(aws)
        with self._session(aws) as run:
            run("BEGIN")
            run(f"SET LOCAL lock_timeout = '{_LOCK_S}s'")
            run(f"DROP FUNCTION IF EXISTS {self._schema}{name}() CASCADE")
            run(f"DROP SEQUENCE IF EXISTS {self._schema}{name}")
            run("COMMIT")

    @property
    def _schema(self) -> str:
        return f"{self.table.split('.')[0]}." if "." in self.table else ""


def _busiest(run: Any) -> str:
    """The client with most sessions in this database, as a literal of SQL."""
    found = run(_BUSIEST)
    if not found:
        raise TargetError(
            "expected a client with an application_name in the database, found none: leave out one_client"
        )
    return str(pg8000.native.literal(found[0][0]))


def _name(aws: Aws) -> str:
    """Name of the trigger, its function and its sequence."""
    return re.sub(r"[^a-z0-9_]", "_", f"tocsin_{aws.entry}")


class PostgresSlowStatements(_OnInsert):
    """Delay every n-th row that is inserted into a table.

    Exactly every n-th, counted over all sessions by a sequence. The delay is latency: never divided by a time scale.
    https://www.postgresql.org/docs/current/plpgsql-trigger.html
    """

    kind: ClassVar[str] = "postgres_slow_statements"
    summary: ClassVar[str] = "delay every n-th insert into a table (ends by itself)"

    every: int = Field(default=10, ge=1, description="one in so many is slow")
    delay_ms: int = Field(default=700, ge=1, le=60_000, description="real milliseconds")

    def _body(self, turn: str) -> str:
        return f"IF {turn} % {self.every} = 0 THEN PERFORM pg_sleep({self.delay_ms / 1000}); END IF;"


class PostgresFailingStatements(_OnInsert):
    """Refuse the next rows that are inserted into a table, with an internal error (SQLSTATE XX000).

    Exactly so many, counted over all sessions by a sequence, which no rollback turns back.
    https://www.postgresql.org/docs/current/plpgsql-errors-and-messages.html
    """

    kind: ClassVar[str] = "postgres_failing_statements"
    summary: ClassVar[str] = "refuse the next inserts into a table (ends by itself)"

    count: int = Field(default=4, ge=1, description="how many")

    def _body(self, turn: str) -> str:
        return f"IF {turn} <= {self.count} THEN RAISE EXCEPTION 'tocsin' USING ERRCODE = 'XX000'; END IF;"
