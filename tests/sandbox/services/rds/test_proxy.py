"""The data plane of RDS Proxy against a real PostgreSQL and real clients."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pg8000.native
import pytest

from tocsin.sandbox.clock import Clock
from tocsin.sandbox.services.rds import pgwire
from tocsin.sandbox.services.rds.plant import (
    DbInstance,
    DbProxy,
    Endpoints,
    Master,
    ProxyPool,
    RdsPlant,
    max_connections,
)

T = TypeVar("T")

OWNER = Master("owner", "not-a-secret")
INSTANCE = DbInstance("shop-db", "db.t3.micro", "shop", OWNER)
SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:shop"
# 3 % of 112 connections are 3; the proxy keeps two for itself.
ONE_USABLE = 3


@dataclass
class Sink:
    """Remembers what was published."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def put(self, namespace: str, name: str, dimensions: Mapping[str, str], value: float, unit: str = "None") -> None:
        assert namespace == "AWS/RDS"
        (key,) = dimensions
        self.values.setdefault(f"{key}/{name}", []).append(value)


class Plant:
    """A plant in an event loop of its own, so that tests can use blocking clients."""

    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.sink = Sink()
        self.secret: dict[str, str] = {}
        self.plant = RdsPlant(directory, Clock(60), self.sink, read_secret={SECRET: self.secret}.__getitem__)
        self.instance = INSTANCE
        self.endpoints = Endpoints({}, {})
        self.clients: list[pg8000.native.Connection] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def pool(
        self,
        percent: int = 100,
        *,
        idle: int = 50,
        timeout_s: int = 60,
        targets: tuple[str, ...] = ("shop-db",),
    ) -> None:
        proxy = DbProxy("shop-proxy", ProxyPool(percent, idle, timeout_s), targets, (SECRET,))
        self.secret |= {"username": OWNER.name, "password": OWNER.password}
        self.endpoints = self.run(self.plant.reconcile([self.instance], [proxy]))

    def connect(self, user: str = OWNER.name, password: str = OWNER.password) -> pg8000.native.Connection:
        host, port = self.endpoints.proxies["shop-proxy"]
        client = pg8000.native.Connection(user, host=host, port=port, database="shop", password=password, timeout=120)
        self.clients.append(client)
        return client

    def hang_up(self) -> None:
        for client in self.clients:
            with suppress(pg8000.native.InterfaceError, OSError):
                client.close()
        self.clients.clear()

    def published(self) -> dict[str, list[float]]:
        self.sink.values.clear()
        done = threading.Event()

        def publish() -> None:
            self.plant.publish()
            done.set()

        self.loop.call_soon_threadsafe(publish)
        assert done.wait(60)
        return dict(self.sink.values)

    def close(self) -> None:
        self.run(self.plant.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture(scope="module")
def shared_plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    plant = Plant(tmp_path_factory.mktemp("rds") / "plant")
    yield plant
    plant.close()


@pytest.fixture
def plant(shared_plant: Plant) -> Iterator[Plant]:
    # Without a target the pool is emptied: each test begins with no database connection open.
    shared_plant.pool(targets=())
    shared_plant.pool()
    shared_plant.published()
    yield shared_plant
    shared_plant.hang_up()
    assert eventually(lambda: shared_plant.published()["ProxyName/ClientConnections"] == [0])


def backend(connection: pg8000.native.Connection) -> int:
    ((pid,),) = connection.run("SELECT pg_backend_pid()")
    return int(pid)


def eventually(check: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_max_connections_follow_the_instance_class() -> None:
    assert max_connections("db.t3.micro") == 112
    assert max_connections("db.t4g.medium") == 450


def test_reconcile_is_idempotent(plant: Plant) -> None:
    before = plant.endpoints
    plant.pool()
    assert plant.endpoints == before
    assert set(before.instances) == {"shop-db"}


def test_many_clients_share_one_connection(plant: Plant) -> None:
    plant.pool(ONE_USABLE)
    clients = [plant.connect() for _ in range(5)]
    assert len({backend(client) for client in clients}) == 1
    metrics = plant.published()
    assert metrics["ProxyName/ClientConnections"] == [5]
    assert metrics["ProxyName/DatabaseConnections"] == [1]
    assert metrics["ProxyName/DatabaseConnectionsCurrentlyBorrowed"] == [0]
    assert metrics["ProxyName/MaxDatabaseConnectionsAllowed"] == [1]
    assert metrics["ProxyName/QueryRequests"] == [5]
    assert len(metrics["ProxyName/DatabaseConnectionsBorrowLatency"]) == 5
    assert metrics["DBInstanceIdentifier/DatabaseConnections"] == [1]


def test_a_transaction_keeps_its_connection_and_others_wait_for_it(plant: Plant) -> None:
    plant.pool(ONE_USABLE)
    first, second = plant.connect(), plant.connect()
    first.run("BEGIN")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(backend, second)
        assert not eventually(waiting.done, seconds=0.3)
        first.run("COMMIT")
        assert waiting.result(60) > 0


def test_parameters_work_outside_a_transaction(plant: Plant) -> None:
    # The driver sends Parse, Describe, Bind and Execute with a Sync after each.
    plant.pool(ONE_USABLE)
    first, second = plant.connect(), plant.connect()
    for client in (first, second, first):
        assert client.run("SELECT :a::int + 1", a=41) == [[42]]
    with pytest.raises(pg8000.native.DatabaseError, match="22P02"):
        first.run("SELECT :a::int", a="x")
    assert second.run("SELECT :a::int + 1", a=41) == [[42]]


@pytest.mark.parametrize(
    "sql",
    [
        "SET search_path = public",
        "CREATE TEMP TABLE t (a int)",
        "SELECT pg_advisory_lock(1)",
        "SELECT 1; LISTEN news",
    ],
)
def test_session_state_pins_the_connection(plant: Plant, sql: str) -> None:
    plant.pool(ONE_USABLE, timeout_s=0)
    pinned, other = plant.connect(), plant.connect()
    pinned.run(sql)
    assert plant.published()["ProxyName/DatabaseConnectionsCurrentlySessionPinned"] == [1]
    with pytest.raises(pg8000.native.DatabaseError, match="Timed-out waiting"):
        other.run("SELECT 1")
    pinned.close()
    # The proxy may hear of it after the next client has come.
    plant.pool(ONE_USABLE)
    replacement = plant.connect()
    assert replacement.run("SHOW search_path") == [['"$user", public']]


@pytest.mark.parametrize("sql", ["BEGIN; SET LOCAL work_mem = '1MB'; COMMIT", "SELECT 'SET x' AS reset_me"])
def test_what_ends_with_the_transaction_does_not_pin(plant: Plant, sql: str) -> None:
    client = plant.connect()
    client.run(sql)
    assert plant.published()["ProxyName/DatabaseConnectionsCurrentlySessionPinned"] == [0]


def test_a_named_statement_pins(plant: Plant) -> None:
    plant.pool(ONE_USABLE)
    client = plant.connect()
    assert client.prepare("SELECT :a::int").run(a=7) == [[7]]
    assert plant.published()["ProxyName/DatabaseConnectionsCurrentlySessionPinned"] == [1]


def test_one_percent_leaves_nothing_to_borrow(plant: Plant) -> None:
    plant.pool(1, timeout_s=1)
    client = plant.connect()
    with pytest.raises(pg8000.native.DatabaseError) as caught:
        client.run("SELECT 1")
    assert caught.value.args[0]["C"] == "08000"
    assert caught.value.args[0]["M"] == "Timed-out waiting to acquire database connection."
    metrics = plant.published()
    assert metrics["ProxyName/MaxDatabaseConnectionsAllowed"] == [0]
    assert min(metrics["ProxyName/DatabaseConnectionsBorrowLatency"]) >= 1e6


def test_settings_hold_at_once_for_those_who_wait(plant: Plant) -> None:
    plant.pool(1, timeout_s=60)
    hopeful = plant.connect()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(backend, hopeful)
        plant.pool(100, timeout_s=60)
        assert waiting.result(60) > 0
        plant.pool(1, timeout_s=300)
        waiting = threads.submit(backend, hopeful)
        plant.pool(1, timeout_s=1)
        with pytest.raises(pg8000.native.DatabaseError, match="Timed-out waiting"):
            waiting.result(60)


def test_connections_above_a_lowered_limit_are_closed_when_they_come_back(plant: Plant) -> None:
    clients = [plant.connect() for _ in range(3)]
    for client in clients:
        client.run("BEGIN")
        client.run("SELECT 1")
    plant.pool(ONE_USABLE)
    assert plant.published()["ProxyName/DatabaseConnections"] == [3]
    for client in clients:
        client.run("COMMIT")
    assert eventually(lambda: plant.published()["ProxyName/DatabaseConnections"] == [1])


def test_idle_connections_above_their_share_are_closed(plant: Plant) -> None:
    clients = [plant.connect() for _ in range(3)]
    for client in clients:
        client.run("BEGIN")
    plant.pool(100, idle=1)
    for client in clients:
        client.run("ROLLBACK")
    assert eventually(lambda: plant.published()["ProxyName/DatabaseConnections"] == [1])


def test_a_client_that_gives_up_waiting_leaves_the_queue(plant: Plant) -> None:
    plant.pool(ONE_USABLE, timeout_s=60)
    holder = plant.connect()
    holder.run("BEGIN")
    impatient = plant.connect()
    impatient._usock.settimeout(0.2)  # no sooner: to log in may take as long
    with pytest.raises((pg8000.native.InterfaceError, TimeoutError)):
        impatient.run("SELECT 1")
    impatient.close()
    patient = plant.connect()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(backend, patient)
        holder.run("COMMIT")
        assert waiting.result(60) > 0


def test_a_client_lost_in_a_transaction_is_rolled_back(plant: Plant) -> None:
    setup = plant.connect()
    setup.run("CREATE TABLE IF NOT EXISTS ledger (a int)")
    setup.run("TRUNCATE ledger")
    lost = plant.connect()
    lost.run("BEGIN")
    lost.run("INSERT INTO ledger VALUES (1)")
    lost.close()
    assert eventually(lambda: plant.published()["ProxyName/ClientConnections"] == [1])
    assert eventually(lambda: plant.published()["ProxyName/DatabaseConnections"] == [0])
    assert setup.run("SELECT count(*) FROM ledger") == [[0]]


def test_a_killed_database_session_is_an_error_once_and_then_replaced(plant: Plant) -> None:
    plant.pool(ONE_USABLE)
    client = plant.connect()
    pid = backend(client)
    host, port = plant.endpoints.instances["shop-db"]
    with pg8000.native.Connection("owner", host=host, port=port, database="shop", password=OWNER.password) as admin:
        assert admin.run("SELECT pg_terminate_backend(:pid, 60000)", pid=pid) == [[True]]
    assert eventually(lambda: plant.published()["ProxyName/DatabaseConnections"] == [0])
    assert backend(client) != pid


def refused(plant: Plant, **login: str) -> tuple[str, str]:
    """SQLSTATE and words with which the proxy refuses a login."""
    with pytest.raises(pg8000.native.DatabaseError) as caught:
        plant.connect(**login)
    return caught.value.args[0]["C"], caught.value.args[0]["M"]


def test_a_client_has_to_know_the_password_of_the_secret(plant: Plant) -> None:
    wrong = "The password that was provided for the role owner is wrong."
    for password in ("", "owner", OWNER.password + "x"):
        assert refused(plant, password=password) == ("28P01", wrong)
    code, text = refused(plant, user="somebody")
    assert (code, text.split(".")[0]) == ("28000", "This RDS Proxy has no credentials for the role somebody")
    published = plant.published()
    assert published["ProxyName/ClientConnectionsSetupFailedAuth"] == [4]
    assert published["ProxyName/ClientConnectionsSetupSucceeded"] == [0]
    assert plant.connect().run("SELECT current_user") == [["owner"]]


def test_a_login_that_is_none_is_hung_up_on(plant: Plant) -> None:
    """Also where the client claims to have logged in, or sends its statements without having."""
    host, port = plant.endpoints.proxies["shop-proxy"]
    begin = pgwire.startup(pgwire.Login("owner", "shop"), "test")
    query = pgwire.message(b"Q", b"SELECT 1\0")
    first = pgwire.message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", 14) + b"n,,n=,r=abcdef")
    unproved = pgwire.message(b"p", b"c=biws,r=abcdef,p=AAAA")
    for said in (query, pgwire.message(b"p", b"not-a-secret\0"), first + unproved, first + query):
        with socket.create_connection((host, port), timeout=60) as client:
            client.sendall(begin + said)
            heard = b""
            while piece := client.recv(4096):
                heard += piece
        kinds = [one[:1] for one in pgwire.Messages().feed(heard)]
        assert set(kinds) == {b"R"}, said
        assert struct.pack("!i", 0) not in [one[5:9] for one in pgwire.Messages().feed(heard)]


def test_another_password_in_the_secret_is_asked_for_at_once(plant: Plant) -> None:
    """Where the database does not take it, clients log in to the proxy and wait for a connection in vain."""
    plant.pool(targets=())
    plant.pool(timeout_s=0)
    plant.secret["password"] = "another-one"
    assert refused(plant)[0] == "28P01"
    with pytest.raises(pg8000.native.DatabaseError, match="Timed-out waiting"):
        plant.connect(password="another-one").run("SELECT 1")
    plant.instance = replace(INSTANCE, master=Master("owner", "another-one"))
    plant.run(plant.plant.reconcile([plant.instance], []))
    try:
        plant.pool()
        plant.secret["password"] = "another-one"
        assert plant.connect(password="another-one").run("SELECT 1") == [[1]]
    finally:
        plant.instance = INSTANCE


def test_without_a_target_every_borrow_times_out(plant: Plant) -> None:
    plant.pool(targets=(), timeout_s=0)
    client = plant.connect()
    with pytest.raises(pg8000.native.DatabaseError, match="Timed-out waiting"):
        client.run("SELECT 1")
    assert plant.published()["ProxyName/AvailabilityPercentage"] == [0]
    plant.pool()
    again = plant.connect()
    assert again.run("SELECT 1") == [[1]]


def test_many_clients_at_once_never_exceed_the_limit(plant: Plant) -> None:
    plant.pool(5)

    def work(number: int) -> int:
        client = plant.connect()
        try:
            for _ in range(5):
                client.run("BEGIN")
                client.run("SELECT :n::int", n=number)
                client.run("COMMIT")
            ((count,),) = client.run("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'RDSProxy%'")
            return int(count)
        finally:
            client.close()

    with ThreadPoolExecutor(12) as threads:
        assert max(threads.map(work, range(24))) <= 3
