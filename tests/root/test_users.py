"""Whoever Tocsin runs as, it works, or says in one message what stands in the way."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.root.place import NAMELESS, ROOT_ONLY, Place, User, become, owners_of_postgres, place

from tocsin.sandbox import control

pytestmark = ROOT_ONLY

KNOCK = """
import sys

import pg8000.native
from valkey import Valkey
from valkey.exceptions import ValkeyError

databases, caches = (map(int, ports.split(",")) for ports in sys.argv[1:])
for port in databases:
    for user in ("owner", "rdsadmin", "postgres", "root"):
        for password in ("", "owner", "postgres", "rdsadmin", "password"):
            try:
                pg8000.native.Connection(user, host="127.0.0.1", port=port, database="postgres", password=password)
            except pg8000.native.DatabaseError as error:
                assert error.args[0]["C"] == "28P01", error
            else:
                print("let in by PostgreSQL as", user, "with", repr(password))
for port in caches:
    for login in ({}, {"password": "redis"}, {"username": "tocsin", "password": "tocsin"}):
        try:
            Valkey(port=port, **login).ping()
        except ValkeyError as error:
            assert "Authentication required" in str(error) or "invalid username-password" in str(error), error
        else:
            print("let in by Valkey with", login)
assert not [line for line in open("/proc/net/unix") if ".s.PGSQL." in line and "tocsin" in line]
print("asked")
"""

OTHER = 54_322
COMMANDS = (
    ("doctor",),
    ("sandbox", "up", "plain"),
    ("sandbox", "status"),
    ("sandbox", "down"),
    ("stop",),
    ("stop", "--clear"),
    ("ledger",),
    ("recover",),
    ("run", "nothing.yaml"),
    ("run", "nothing.yaml", "--out", "reports"),
    ("smoke", "plain"),
)
"""Those that read or write what Tocsin keeps in a checkout."""


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as ready:
        yield ready


@pytest.fixture
def other() -> Iterator[User]:
    """An ordinary user who is neither root nor the one that root's PostgreSQL runs under."""
    home = Path("/tmp") / f"tocsin-root-home-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, OTHER, OTHER)
    yield User(OTHER, home)
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def left_by_root() -> Iterator[Place]:
    """A checkout of an ordinary user, in which root's sandbox runs: as after a single `sudo tocsin`."""
    with place() as ready:
        ready.give(OTHER)
        assert ready.tocsin("sandbox", "up", "plain").returncode == 0
        yield ready


def test_an_ordinary_user_has_a_sandbox_with_a_database(here: Place) -> None:
    daemon = User(pwd.getpwnam("daemon").pw_uid)
    here.give(daemon.uid)
    up = here.tocsin("sandbox", "up", "base", user=daemon)
    assert up.returncode == 0, up.stderr
    assert owners_of_postgres(here.root) == {daemon.uid}
    assert here.tocsin("sandbox", "down", user=daemon).returncode == 0
    assert not control.directory(here.root).exists()


def test_another_user_of_the_machine_gets_into_no_database_and_no_cache(here: Place, other: User) -> None:
    up = here.tocsin("sandbox", "up", "base")
    assert up.returncode == 0, up.stderr
    state = control.status(here.root)
    assert state is not None
    account = state.account
    databases = [one["Endpoint"]["Port"] for one in account.client("rds").describe_db_instances()["DBInstances"]]
    caches = account.client("elasticache")
    caches.get_waiter("replication_group_available").wait(ReplicationGroupId="carts", WaiterConfig={"Delay": 1})
    (group,) = caches.describe_replication_groups(ReplicationGroupId="carts")["ReplicationGroups"]
    (node_group,) = group["NodeGroups"]
    ports = [node_group[name]["Port"] for name in ("PrimaryEndpoint", "ReaderEndpoint")]
    ports += [member["ReadEndpoint"]["Port"] for member in node_group["NodeGroupMembers"]]
    asked = [",".join(map(str, of)) for of in (databases, ports)]
    knock = subprocess.run(
        [*become(other), sys.executable, "-c", KNOCK, *asked], capture_output=True, text=True, timeout=60, check=False
    )
    assert (knock.stdout, knock.stderr) == ("asked\n", "")
    assert len(databases) == 2


def test_a_user_without_a_name_has_a_sandbox(here: Place) -> None:
    here.give(NAMELESS.uid)
    up = here.tocsin("sandbox", "up", "plain", user=NAMELESS)
    assert up.returncode == 0, up.stderr
    assert here.tocsin("sandbox", "status", user=NAMELESS).returncode == 0
    down = here.tocsin("sandbox", "down", user=NAMELESS)
    assert (down.returncode, down.stdout) == (0, "sandbox is down: 1 processes ended\n")


def test_a_user_without_a_name_can_stop_drills(here: Place) -> None:
    here.give(NAMELESS.uid)
    here.tocsin("sandbox", "up", "plain", user=NAMELESS)
    stopped = here.tocsin("stop", user=NAMELESS)
    assert stopped.returncode == 0, stopped.stderr
    assert f"uid-{NAMELESS.uid} on " in (here.root / ".tocsin" / "stop" / "sandbox").read_text()
    assert here.tocsin("stop", "--clear", user=NAMELESS).returncode == 0


def test_a_user_without_a_name_is_told_what_postgresql_lacks(here: Place) -> None:
    here.give(NAMELESS.uid)
    up = here.tocsin("sandbox", "up", "base", user=NAMELESS)
    assert up.returncode == 3
    assert f"PostgreSQL needs a user with a name, and uid {NAMELESS.uid} has none on this machine" in up.stderr
    doctor = here.tocsin("doctor", user=NAMELESS)
    (line,) = [line for line in doctor.stdout.splitlines() if f"uid {NAMELESS.uid} has none" in line]
    assert line.split()[:2] == ["gap", "postgresql"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_in_a_checkout_of_root_everybody_else_is_told(here: Place, other: User, command: tuple[str, ...]) -> None:
    """Nothing can be written there: what needs to says so, in one message without a traceback."""
    done = here.tocsin(*command, user=other)
    assert "this is a bug" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1, done.stderr
    assert not (here.root / ".tocsin").exists()


@pytest.mark.parametrize("command", [("run", "nothing.yaml"), ("recover",)], ids=" ".join)
def test_a_checkout_that_may_only_be_read_is_named(here: Place, other: User, command: tuple[str, ...]) -> None:
    here.give(other.uid)
    here.root.chmod(0o555)
    done = here.tocsin(*command, user=other)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert str(here.root / ".tocsin") in line
    assert "ermission denied" in line


def test_a_user_without_a_name_can_drill(here: Place) -> None:
    """With a sandbox of its own: nothing is broken, so nothing is proven."""
    here.give(NAMELESS.uid)
    done = here.tocsin("run", "nothing.yaml", "--out", "reports", "--time-scale", "120", user=NAMELESS, umask=0o000)
    assert "verdict " in done.stdout, done.stdout + done.stderr
    assert "stopped by" not in done.stdout
    assert (here.root / "reports" / "nothing" / "report.html").exists()
    assert control.status(here.root) is None
    assert here.tocsin("recover", user=NAMELESS).stdout == "nothing to recover on target 'sandbox'\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_root_left_in_a_checkout_of_ours_is_named(
    left_by_root: Place, other: User, command: tuple[str, ...]
) -> None:
    """Its sandbox goes on, and nobody stops half of it."""
    done = left_by_root.tocsin(*command, user=other)
    assert "this is a bug" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1, done.stderr
    if command[:2] in (("sandbox", "up"), ("sandbox", "down")):
        assert "it belongs to root. Work as that user" in done.stderr
        assert done.returncode == 3
    assert left_by_root.tocsin("sandbox", "status").returncode == 0
