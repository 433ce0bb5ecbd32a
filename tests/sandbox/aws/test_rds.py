"""The life of a DB instance, as the API of RDS tells it and as a client of PostgreSQL sees it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pg8000.native
import psutil
import pytest
from botocore.exceptions import ClientError, WaiterError
from tests.sandbox.aws.shop import Shop, eventually

PASSWORD = "not-a-secret"
FAST = {"Delay": 0.1, "MaxAttempts": 1200}
TRIES = 5
"""A machine that stands still for a second has seen nothing of a reboot: it is asked again."""
GONE = (pg8000.native.InterfaceError, pg8000.native.DatabaseError, OSError)
"""What pg8000 raises when a server shuts down, is away, or goes away in the middle of a handshake."""


def instance(shop: Shop, name: str) -> dict[str, Any]:
    (found,) = shop.client("rds").describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
    return dict(found)


def status(shop: Shop, name: str) -> str:
    return str(instance(shop, name)["DBInstanceStatus"])


def address(shop: Shop, name: str) -> tuple[str, int]:
    endpoint = instance(shop, name)["Endpoint"]
    return endpoint["Address"], endpoint["Port"]


def connect(shop: Shop, name: str, password: str = PASSWORD) -> pg8000.native.Connection:
    host, port = address(shop, name)
    return pg8000.native.Connection("owner", host=host, port=port, database="orders", password=password, timeout=60)


def rows(shop: Shop, name: str) -> list[str]:
    with connect(shop, name) as connection:
        return [row[0] for row in connection.run("SELECT name FROM items ORDER BY name")]


def is_gone(shop: Shop, name: str) -> bool:
    """Whether nobody can connect now."""
    try:
        connect(shop, name).close()
    except GONE:
        return True
    return False


def rebooted_again(shop: Shop, name: str) -> str:
    """The code with which a reboot is refused now; empty when it is not."""
    try:
        shop.client("rds").reboot_db_instance(DBInstanceIdentifier=name)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def server(port: int) -> psutil.Process | None:
    """The server on a port. What it has forked a moment ago still has its command line, and is younger."""
    found = [one for one in psutil.process_iter(["cmdline"]) if ["-p", str(port)] == (one.info["cmdline"] or [])[3:5]]
    return min(found, key=lambda one: (one.create_time(), one.pid), default=None)


def add(shop: Shop, name: str, item: str) -> None:
    with connect(shop, name) as connection:
        connection.run("INSERT INTO items VALUES (:item)", item=item)


def wait_available(shop: Shop, name: str) -> None:
    shop.client("rds").get_waiter("db_instance_available").wait(DBInstanceIdentifier=name, WaiterConfig=FAST)


def refused(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**request)
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture(scope="module")
def orders(shop: Shop) -> Iterator[str]:
    """A DB instance with a table `items`."""
    rds = shop.client("rds")
    created = rds.create_db_instance(
        DBInstanceIdentifier="orders",
        Engine="postgres",
        DBInstanceClass="db.t3.micro",
        MasterUsername="owner",
        MasterUserPassword=PASSWORD,
        DBName="orders",
        AllocatedStorage=20,
    )["DBInstance"]
    assert (created["DBInstanceStatus"], created.get("Endpoint")) == ("creating", None)
    wait_available(shop, "orders")
    with connect(shop, "orders") as connection:
        connection.run("CREATE TABLE items (name text)")
    yield "orders"
    at = address(shop, "orders")
    rds.delete_db_instance(DBInstanceIdentifier="orders", SkipFinalSnapshot=True)
    with pytest.raises(GONE):
        pg8000.native.Connection("owner", host=at[0], port=at[1], password=PASSWORD, timeout=60)


def test_a_reboot_breaks_connections_and_keeps_data_and_endpoint(shop: Shop, orders: str) -> None:
    rds = shop.client("rds")
    add(shop, orders, "before")
    at, connection, since = address(shop, orders), connect(shop, orders), datetime.now(UTC)
    reboots = 0
    while reboots < TRIES:
        reboots += 1
        answer = rds.reboot_db_instance(DBInstanceIdentifier=orders)
        assert answer["DBInstance"]["DBInstanceStatus"] == "rebooting"
        with pytest.raises(GONE):
            connection.run("SELECT pg_sleep(5)")
        seen = (status(shop, orders), is_gone(shop, orders), rebooted_again(shop, orders))
        wait_available(shop, orders)
        if seen == ("rebooting", True, "InvalidDBInstanceState"):
            break
        connection = connect(shop, orders)
    else:
        pytest.fail(f"in {TRIES} tries nobody saw the instance away; seen last: {seen}")
    assert "before" in rows(shop, orders)
    assert address(shop, orders) == at
    events = rds.describe_events(SourceIdentifier=orders, SourceType="db-instance", StartTime=since)["Events"]
    assert [event["Message"] for event in events] == ["DB instance restarted."] * reboots


def test_a_stopped_instance_keeps_its_data(shop: Shop, orders: str) -> None:
    rds = shop.client("rds")
    add(shop, orders, "kept")
    at = address(shop, orders)
    assert rds.stop_db_instance(DBInstanceIdentifier=orders)["DBInstance"]["DBInstanceStatus"] == "stopping"
    eventually(lambda: status(shop, orders) == "stopped")
    with pytest.raises(GONE):
        connect(shop, orders)
    assert refused(rds.stop_db_instance, DBInstanceIdentifier=orders) == "InvalidDBInstanceState"
    assert rds.start_db_instance(DBInstanceIdentifier=orders)["DBInstance"]["DBInstanceStatus"] == "starting"
    wait_available(shop, orders)
    assert "kept" in rows(shop, orders)
    assert address(shop, orders) == at


def test_a_crash_is_survived(shop: Shop, orders: str) -> None:
    add(shop, orders, "committed")
    port = address(shop, orders)[1]
    killed = server(port)
    assert killed is not None
    os.kill(killed.pid, signal.SIGKILL)
    # That the crash was seen is a status of a second, or another server after it.
    eventually(lambda: status(shop, orders) == "rebooting" or (server(port) or killed).pid != killed.pid)
    wait_available(shop, orders)
    assert "committed" in rows(shop, orders)


def test_a_snapshot_is_restored_into_an_instance_of_its_own(shop: Shop, orders: str) -> None:
    rds = shop.client("rds")
    add(shop, orders, "in the snapshot")
    snapshot = rds.create_db_snapshot(DBSnapshotIdentifier="nightly", DBInstanceIdentifier=orders)["DBSnapshot"]
    assert snapshot["Status"] == "creating"
    restore = {"DBInstanceIdentifier": "restored", "DBSnapshotIdentifier": "nightly"}
    assert refused(rds.restore_db_instance_from_db_snapshot, **restore) == "InvalidDBSnapshotState"
    eventually(lambda: status(shop, orders) == "available")
    add(shop, orders, "too late")
    rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier="nightly", WaiterConfig=FAST)
    assert rds.restore_db_instance_from_db_snapshot(**restore)["DBInstance"]["DBInstanceStatus"] == "creating"
    assert instance(shop, "restored").get("Endpoint") is None
    wait_available(shop, "restored")
    assert address(shop, "restored") != address(shop, orders)
    assert rows(shop, "restored") == [item for item in rows(shop, orders) if item != "too late"]
    add(shop, "restored", "only here")
    assert "only here" not in rows(shop, orders)
    rds.delete_db_snapshot(DBSnapshotIdentifier="nightly")
    rds.delete_db_instance(
        DBInstanceIdentifier="restored", SkipFinalSnapshot=False, FinalDBSnapshotIdentifier="last-of-restored"
    )
    assert refused(rds.describe_db_instances, DBInstanceIdentifier="restored") == "DBInstanceNotFound"
    rds.get_waiter("db_snapshot_available").wait(DBSnapshotIdentifier="last-of-restored", WaiterConfig=FAST)
    assert [one["DBSnapshotIdentifier"] for one in rds.describe_db_snapshots()["DBSnapshots"]] == ["last-of-restored"]
    rds.delete_db_snapshot(DBSnapshotIdentifier="last-of-restored")


def login_refused(shop: Shop, name: str, password: str) -> bool:
    try:
        connect(shop, name, password).close()
    except pg8000.native.DatabaseError as error:
        return bool(error.args[0]["C"] == "28P01")
    return False


def test_the_master_password_is_asked_for_and_can_be_another_one(shop: Shop, orders: str) -> None:
    rds, other = shop.client("rds"), "not-a-secret-either"
    assert login_refused(shop, orders, "")
    assert login_refused(shop, orders, other)
    rds.modify_db_instance(DBInstanceIdentifier=orders, MasterUserPassword=other, ApplyImmediately=True)
    eventually(lambda: not login_refused(shop, orders, other))
    assert login_refused(shop, orders, PASSWORD)
    rds.modify_db_instance(DBInstanceIdentifier=orders, MasterUserPassword=PASSWORD, ApplyImmediately=True)
    eventually(lambda: not login_refused(shop, orders, PASSWORD))


def test_without_a_password_there_is_no_instance(shop: Shop) -> None:
    rds, wanted = shop.client("rds"), {"Engine": "postgres", "MasterUsername": "owner", "AllocatedStorage": 20}
    more = {"DBInstanceIdentifier": "open", "DBInstanceClass": "db.t3.micro"}
    for password in ({}, {"MasterUserPassword": "short"}, {"ManageMasterUserPassword": True}):
        assert refused(rds.create_db_instance, **wanted, **more, **password) == "InvalidParameterValue"
    cluster = {"DBClusterIdentifier": "open", "Engine": "aurora-postgresql", "MasterUsername": "owner"}
    assert refused(rds.create_db_cluster, **cluster) == "InvalidParameterValue"
    assert refused(rds.describe_db_instances, DBInstanceIdentifier="open") == "DBInstanceNotFound"
    for kind, properties in (
        ("DBInstance", {"Engine": "postgres", "MasterUsername": "owner", "DBInstanceClass": "db.t3.micro"}),
        ("DBCluster", {"Engine": "aurora-postgresql", "MasterUsername": "owner"}),
    ):
        template = {"Resources": {"Open": {"Type": f"AWS::RDS::{kind}", "Properties": properties}}}
        stacks = shop.client("cloudformation")
        stacks.create_stack(StackName=f"open-{kind}", TemplateBody=json.dumps(template))
        with pytest.raises(WaiterError):
            stacks.get_waiter("stack_create_complete").wait(StackName=f"open-{kind}", WaiterConfig=FAST)
        events = stacks.describe_stack_events(StackName=f"open-{kind}")["StackEvents"]
        assert any("MasterUserPassword must be provided" in one.get("ResourceStatusReason", "") for one in events)
