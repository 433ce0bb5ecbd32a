"""A restore is rehearsed, its rows are compared; the statements of a runbook meet a lock. On a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pg8000.native
import pytest
from tests.sandbox.aws.shop import Shop, eventually
from tests.sandbox.aws.test_data_faults import NAME, SECRET, Bench, Database
from tests.sandbox.aws.test_data_faults import database as database  # a fixture of this module too

from tocsin.errors import InvalidInput, NotFound, TargetError
from tocsin.faults.postgres import PostgresLock
from tocsin.faults.restore import RdsRestoreRehearsal
from tocsin.faults.session import CONFIGURATION_KEY
from tocsin.probes.postgres import postgres_value, rows_restored
from tocsin.procedures.postgres import postgres_query

RESTORED = f"{NAME}-test"
TABLES = ["orders", "lines"]
REHEARSAL = RdsRestoreRehearsal(instance=NAME, restored=RESTORED, secret=SECRET)


@pytest.fixture(scope="module")
def bench(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(shop, tmp_path_factory.mktemp("ledger"))
    yield bench
    assert bench.lifecycle.undo_all() == []


@pytest.fixture(scope="module")
def configuration(bench: Bench) -> dict[str, Any]:
    return {CONFIGURATION_KEY: bench.lifecycle}


@pytest.fixture(scope="module")
def restored(shop: Shop, bench: Bench, database: Database) -> Database:
    """The copy. The source has changed since its snapshot: a row came, one went, one has another value."""
    database.run('CREATE TABLE orders (id int PRIMARY KEY, note text); CREATE TABLE lines ("of" int, what text)')
    database.run("INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 9) AS n")
    database.run("INSERT INTO lines VALUES (1, 'tea'), (1, 'tea'), (2, NULL)")
    bench.inject(REHEARSAL)
    database.run("INSERT INTO orders VALUES (10, 'later'); DELETE FROM orders WHERE id = 9")
    database.run("UPDATE orders SET note = 'another' WHERE id = 8")
    endpoint = shop.client("rds").describe_db_instances(DBInstanceIdentifier=RESTORED)["DBInstances"][0]["Endpoint"]
    return Database(endpoint["Address"], endpoint["Port"])


def compared(configuration: dict[str, Any], tables: list[str] = TABLES) -> str:
    return rows_restored(SECRET, RESTORED, tables, configuration=configuration)


@pytest.mark.usefixtures("restored")
def test_what_was_written_since_the_snapshot_is_no_difference(configuration: dict[str, Any]) -> None:
    told = compared(configuration)
    assert told.startswith("complete: orders 7 of 9 rows, checksum ")
    assert "; lines 3 of 3 rows, checksum " in told


@pytest.mark.parametrize(
    ("bug", "mend", "told"),
    [
        ("DELETE FROM orders WHERE id = 3", "INSERT INTO orders VALUES (3, 'order 3')", "orders lacks 1 of the 7 rows"),
        (
            "UPDATE orders SET note = 'wrong' WHERE id IN (1, 2)",
            "UPDATE orders SET note = 'order ' || id WHERE id IN (1, 2)",
            "orders lacks 2 of the 7 rows",
        ),
        (
            "DELETE FROM lines WHERE ctid = '(0,1)'",
            "INSERT INTO lines VALUES (1, 'tea')",
            "lines lacks 1 of the 3 rows",
        ),
    ],
    ids=["a row is lost", "values are wrong", "one of two equal rows is lost"],
)
def test_a_copy_that_differs_is_not_complete(
    restored: Database, configuration: dict[str, Any], bug: str, mend: str, told: str
) -> None:
    restored.run(bug)
    assert told in compared(configuration)
    assert not compared(configuration).startswith("complete")
    restored.run(mend)
    assert compared(configuration).startswith("complete")


@pytest.mark.usefixtures("restored")
def test_a_comparison_of_nothing_is_not_complete(database: Database, configuration: dict[str, Any]) -> None:
    database.run("TRUNCATE items")
    told = "incomplete: no row of items is older than the snapshot"
    assert rows_restored(SECRET, RESTORED, ["items"], configuration=configuration) == told


@pytest.mark.usefixtures("restored")
def test_what_cannot_be_compared_is_told(configuration: dict[str, Any]) -> None:
    with pytest.raises(TargetError, match="42P01"):
        compared(configuration, ["nowhere"])
    with pytest.raises(InvalidInput, match="name of a table"):
        compared(configuration, ["orders; DROP TABLE orders"])
    with pytest.raises(NotFound, match="expected a DB instance nowhere"):
        rows_restored(SECRET, "nowhere", TABLES, configuration=configuration)
    with pytest.raises(TargetError, match="not made by rds_restore_rehearsal"):
        rows_restored(SECRET, NAME, TABLES, configuration=configuration)


@pytest.mark.usefixtures("restored")
def test_a_query_may_go_to_the_copy_and_only_read(configuration: dict[str, Any]) -> None:
    count = "SELECT count(*) FROM orders;"
    assert postgres_value(SECRET, count, configuration=configuration) == 9
    assert postgres_value(SECRET, count, RESTORED, configuration=configuration) == 9
    with pytest.raises(TargetError, match="25006"):
        postgres_value(SECRET, "DELETE FROM orders RETURNING id", configuration=configuration)
    with pytest.raises(TargetError, match="expected a row"):
        postgres_value(SECRET, "SELECT 1 WHERE false", configuration=configuration)


def test_an_instance_that_is_there_already_is_never_touched(
    shop: Shop, restored: Database, bench: Bench, tmp_path: Path
) -> None:
    """That of the first rehearsal is somebody else's to a second one."""
    other = Bench(shop, tmp_path)
    with pytest.raises(TargetError, match=f"expected no DB instance {RESTORED}, found one"):
        other.lifecycle.inject(REHEARSAL)
    assert other.ledger.entries() == []
    entry = other.ledger.intend("d", REHEARSAL.kind, REHEARSAL.resource, REHEARSAL, _prior(bench), None)
    assert other.lifecycle.undo_all([entry]) == []
    assert restored.answers()


def _prior(bench: Bench) -> Any:
    return REHEARSAL.state.model_validate(bench.ledger.entries()[0].prior)


# ------------------------------------------------------------------------------------------------ a lock

KILL_LONG_RUNNING = """
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE state = 'active'
AND query_start < now() - interval '30 milliseconds';
"""
END_WHO_BLOCKS = """
SELECT pg_terminate_backend(blocker) FROM (
  SELECT DISTINCT unnest(pg_blocking_pids(pid)) AS blocker FROM pg_stat_activity
) AS blockers WHERE cardinality(pg_blocking_pids(blocker)) = 0
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
HOLDERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name LIKE 'tocsin %'"
)


class Victim(threading.Thread):
    """Somebody who wants to read the table."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self._database = database
        self.answer: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self._database.run("SELECT count(*) FROM items")
        except (pg8000.native.InterfaceError, pg8000.native.DatabaseError, OSError):
            self.answer = "ended"


def test_to_kill_what_runs_long_ends_who_waits_and_leaves_who_holds(
    shop: Shop, database: Database, tmp_path: Path
) -> None:
    bench = Bench(shop, tmp_path)
    configuration = {CONFIGURATION_KEY: bench.lifecycle}
    with pytest.raises(TargetError, match="had nothing to work on"):
        postgres_query(SECRET, END_WHO_BLOCKS, rows_at_least=1, configuration=configuration)

    bench.inject(PostgresLock(secret=SECRET, table="public.items", dead_man_s=3600))
    victim = Victim(database)
    assert eventually(lambda: postgres_value(SECRET, WAITING, configuration=configuration) == 1)
    eventually(lambda: postgres_query(SECRET, KILL_LONG_RUNNING, configuration=configuration) == "1 rows")
    victim.join(60)
    assert victim.answer == "ended"
    assert postgres_value(SECRET, HOLDERS, configuration=configuration) == 1

    victim = Victim(database)
    assert eventually(lambda: postgres_value(SECRET, WAITING, configuration=configuration) == 1)
    assert postgres_query(SECRET, END_WHO_BLOCKS, rows_at_least=1, configuration=configuration) == "1 rows"
    victim.join(60)
    assert isinstance(victim.answer, list)
    assert postgres_value(SECRET, HOLDERS, configuration=configuration) == 0
    bench.undo()
