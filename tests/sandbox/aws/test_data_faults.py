"""Faults of databases and caches, seen where a user sees them: in what PostgreSQL and Valkey answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pg8000.native
import pytest
from tests.sandbox.aws.shop import Shop, cut_off, eventually
from valkey import Valkey
from valkey.exceptions import ValkeyError

from tocsin.errors import TargetError
from tocsin.faults import postgres
from tocsin.faults.base import AnyFault
from tocsin.faults.elasticache import ElasticacheFailover, ElasticacheReboot
from tocsin.faults.lifecycle import FaultLifecycle, recover
from tocsin.faults.postgres import PostgresConnections, PostgresFailingStatements, PostgresLock, PostgresSlowStatements
from tocsin.faults.rds import RdsReboot, RdsStop
from tocsin.model.events import FaultStage
from tocsin.record.ledger import Ledger

NAME = "faulty"
SECRET, TABLE = f"{NAME}/database", "public.items"
PASSWORD = "correct-horse"
TEXT = {"decode_responses": True}
FAST = {"Delay": 0.1, "MaxAttempts": 1200}


@dataclass(frozen=True)
class Database:
    host: str
    port: int

    def connect(self, application: str | None = None) -> pg8000.native.Connection:
        return pg8000.native.Connection(
            "owner",
            host=self.host,
            port=self.port,
            database="app",
            password=PASSWORD,
            timeout=60,
            application_name=application,
        )

    def run(self, sql: str) -> Any:
        with self.connect() as connection:
            return connection.run(sql)

    def insert(self) -> float:
        """Wall seconds that an insert takes."""
        started = time.monotonic()
        self.run("INSERT INTO items DEFAULT VALUES")
        return time.monotonic() - started

    def answers(self) -> bool:
        # pg8000 passes on what the socket raises, when the server goes away in the middle of a handshake.
        with suppress(pg8000.native.InterfaceError, pg8000.native.DatabaseError, OSError):
            return bool(self.run("SELECT 1"))
        return False


@pytest.fixture(scope="module")
def database(shop: Shop) -> Iterator[Database]:
    """A DB instance with a table, and a secret that leads to it."""
    rds, secrets = shop.client("rds"), shop.client("secretsmanager")
    rds.create_db_instance(
        DBInstanceIdentifier=NAME,
        Engine="postgres",
        DBInstanceClass="db.t3.micro",
        MasterUsername="owner",
        MasterUserPassword=PASSWORD,
        DBName="app",
        AllocatedStorage=20,
    )
    rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier=NAME, WaiterConfig=FAST)
    endpoint = rds.describe_db_instances(DBInstanceIdentifier=NAME)["DBInstances"][0]["Endpoint"]
    way_in = {"host": endpoint["Address"], "port": endpoint["Port"], "dbname": "app", "username": "owner"}
    more = {"password": PASSWORD, "dbInstanceIdentifier": NAME}
    secrets.create_secret(Name=SECRET, SecretString=json.dumps(way_in | more))
    found = Database(endpoint["Address"], endpoint["Port"])
    found.run("CREATE TABLE items (id serial)")
    yield found
    secrets.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    rds.delete_db_instance(DBInstanceIdentifier=NAME, SkipFinalSnapshot=True)


@pytest.fixture(scope="module")
def cache(shop: Shop) -> Iterator[Any]:
    """A replication group of two nodes: one command through its primary endpoint, None when there is no answer."""
    elasticache = shop.client("elasticache")
    elasticache.create_replication_group(
        ReplicationGroupId=NAME,
        ReplicationGroupDescription="of a test",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
    )
    elasticache.get_waiter("replication_group_available").wait(ReplicationGroupId=NAME, WaiterConfig=FAST)
    (group,) = elasticache.describe_replication_groups(ReplicationGroupId=NAME)["ReplicationGroups"]
    at = group["NodeGroups"][0]["PrimaryEndpoint"]

    def ask(*words: str) -> Any:
        try:
            with Valkey.from_url(f"redis://{at['Address']}:{at['Port']}", socket_timeout=60, **TEXT) as client:
                return client.execute_command(*words)
        except ValkeyError:
            return None

    yield Cache(ask, (at["Address"].rpartition("@")[2], at["Port"]))
    elasticache.delete_replication_group(ReplicationGroupId=NAME)


@dataclass(frozen=True)
class Cache:
    """A command through the primary endpoint, and where that is."""

    ask: Callable[..., Any]
    at: tuple[str, int]

    def __call__(self, *words: str) -> Any:
        return self.ask(*words)


class Bench:
    def __init__(self, shop: Shop, directory: Path) -> None:
        self.target = shop.account.target
        self.ledger = Ledger(directory / "ledger.sqlite", "sandbox")
        self.lifecycle = FaultLifecycle(target=self.target, ledger=self.ledger, drill="d")

    def inject(self, fault: AnyFault) -> None:
        assert self.lifecycle.inject(fault) is FaultStage.EFFECTIVE

    def undo(self) -> None:
        assert self.lifecycle.undo_all() == []
        # As after a crash between the undo and its last line in the ledger.
        assert self.lifecycle.undo_all(self.ledger.entries()) == []

    def recover(self) -> None:
        """In another process, after the one that injected was killed."""
        for entry in list(postgres._HELD):
            postgres._HELD.pop(entry)
        assert len(recover(self.target, self.ledger)) == 1


@pytest.fixture
def bench(shop: Shop, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(shop, tmp_path)
    yield bench
    assert bench.lifecycle.undo_all() == []
    assert PASSWORD.encode() not in bench.ledger.path.read_bytes()


# ------------------------------------------------------------------------------------------------ ElastiCache


def test_a_failover_keeps_the_data_and_is_waited_for(bench: Bench, cache: Any) -> None:
    cache("SET", "a", "1")
    cache("WAIT", "1", "60000")
    with cut_off(cache.at):
        bench.inject(ElasticacheFailover(replication_group=NAME))
    bench.undo()
    assert cache("GET", "a") == "1"


def test_a_reboot_of_all_nodes_loses_the_data(bench: Bench, cache: Any) -> None:
    cache("SET", "a", "1")
    with cut_off(cache.at):
        bench.inject(ElasticacheReboot(replication_group=NAME))
    bench.recover()
    assert (cache("PING"), cache("GET", "a")) == (True, None)


# ------------------------------------------------------------------------------------------------ RDS


def test_a_rebooted_database_is_waited_for(bench: Bench, database: Database) -> None:
    connection = database.connect()
    bench.inject(RdsReboot(instance=NAME))
    # It may be back before anybody connects anew: what stays is that whoever was connected is not any more.
    with pytest.raises((pg8000.native.InterfaceError, pg8000.native.DatabaseError, OSError)):
        connection.run("SELECT pg_sleep(5)")
    bench.undo()
    assert database.answers()


def test_a_stopped_database_is_started_also_when_it_is_still_stopping(bench: Bench, database: Database) -> None:
    bench.inject(RdsStop(instance=NAME))
    eventually(lambda: not database.answers())
    bench.recover()
    assert database.answers()


# ------------------------------------------------------------------------------------------------ PostgreSQL


def test_connections_are_taken_until_few_are_left(bench: Bench, database: Database) -> None:
    # A session that ends while they are taken would be one more that is left.
    eventually(lambda: database.run(OTHERS) == [[0]])
    bench.inject(PostgresConnections(secret=SECRET, keep=2))
    left = [database.connect() for _ in range(2)]
    with pytest.raises(pg8000.native.DatabaseError, match="53300"):
        database.connect()
    for connection in left:
        connection.close()
    bench.undo()
    assert eventually(database.answers)
    assert database.run("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'tocsin%'") == [[0]]


OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
HOLD = """
import os, sys, time
from pathlib import Path
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.postgres import PostgresConnections
from tocsin.record.ledger import Ledger
from tocsin.aws.target import Target

url, account, scale, ledger, secret = sys.argv[1:]
key = {"access_key_id": account, "secret_access_key": os.environ["ROOT_KEY"]}
target = Target("sandbox", "us-east-1", url, account, scale=float(scale), **key)
lifecycle = FaultLifecycle(target=target, ledger=Ledger(Path(ledger), "sandbox"), drill="d")
print(lifecycle.inject(PostgresConnections(secret=secret, keep=20)).value, flush=True)
time.sleep(600)
"""


def test_the_sessions_of_a_killed_process_are_gone(bench: Bench, database: Database) -> None:
    target = bench.target
    arguments = (str(target.endpoint_url), str(target.account), str(target.scale), str(bench.ledger.path), SECRET)
    environment = {**os.environ, "ROOT_KEY": str(target.secret_access_key)}
    command = [sys.executable, "-c", HOLD, *arguments]
    drill = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert drill.stdout is not None
    assert drill.stdout.readline() == "effective\n"
    assert sessions(database) > 50
    drill.kill()
    drill.wait()
    drill.stdout.close()
    assert eventually(lambda: sessions(database) == 0)
    bench.recover()


def sessions(database: Database) -> int:
    found: int = database.run("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'tocsin %'")[0][0]
    return found


def test_a_locked_table_lets_nobody_in(bench: Bench, database: Database) -> None:
    bench.inject(PostgresLock(secret=SECRET, table=TABLE, dead_man_s=3600))
    with pytest.raises(pg8000.native.DatabaseError, match="55P03"):
        database.run("SET lock_timeout = '50ms'; SELECT * FROM items")
    bench.undo()
    database.run("SET lock_timeout = '50ms'; INSERT INTO items DEFAULT VALUES")


def test_postgresql_itself_ends_a_lock_that_nobody_comes_back_for(bench: Bench, database: Database) -> None:
    # Five seconds on the wall, in which the lock has to be seen.
    bench.inject(PostgresLock(secret=SECRET, table=TABLE, dead_man_s=300))
    database.insert()
    bench.recover()


def test_every_nth_insert_is_slow(bench: Bench, database: Database) -> None:
    bench.inject(PostgresSlowStatements(secret=SECRET, table=TABLE, every=3, delay_ms=4000))
    assert [database.insert() >= 4 for _ in range(6)] == [False, False, True, False, False, True]
    bench.undo()
    assert not any(database.insert() >= 4 for _ in range(3))
    assert database.run("SELECT count(*) FROM pg_class WHERE relname LIKE 'tocsin%'") == [[0]]


def test_the_next_inserts_fail_and_then_no_more(bench: Bench, database: Database) -> None:
    bench.inject(PostgresFailingStatements(secret=SECRET, table=TABLE, count=2))
    for _ in range(2):
        with pytest.raises(pg8000.native.DatabaseError, match="XX000"):
            database.insert()
    database.insert()
    bench.recover()


def test_only_the_inserts_of_the_busiest_client_fail(bench: Bench, database: Database) -> None:
    with database.connect("busy"), database.connect("busy") as busy, database.connect("idle") as idle:
        bench.inject(PostgresFailingStatements(secret=SECRET, table=TABLE, count=1, one_client=True))
        idle.run("INSERT INTO items DEFAULT VALUES")
        with pytest.raises(pg8000.native.DatabaseError, match="XX000"):
            busy.run("INSERT INTO items DEFAULT VALUES")
        busy.run("INSERT INTO items DEFAULT VALUES")
        bench.undo()


def test_a_trigger_that_nobody_comes_back_for_does_nothing_any_more(bench: Bench, database: Database) -> None:
    bench.lifecycle.expires_at = time.time() + 0.5
    bench.inject(PostgresFailingStatements(secret=SECRET, table=TABLE, count=1000))
    eventually(lambda: time.time() > (bench.lifecycle.expires_at or 0))
    database.insert()
    bench.recover()


def test_a_secret_that_leads_nowhere_is_said(bench: Bench, shop: Shop) -> None:
    shop.client("secretsmanager").create_secret(Name="no-way-in", SecretString='{"token": "x"}')
    with pytest.raises(TargetError, match="JSON with host, username and password, found no host, password, username"):
        bench.lifecycle.inject(PostgresConnections(secret="no-way-in"))
