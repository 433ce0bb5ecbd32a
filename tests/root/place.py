"""A small project that other users can reach, and commands in it as any of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tocsin.sandbox import control

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else; CI is, see .ci/run")

REPLICAS = {
    "plain": """
def deploy(account):
    account.client("sqs").create_queue(QueueName="orders")
""",
    "base": """
import pg8000.native

def deploy(account):
    rds = account.client("rds")
    rds.create_db_instance(
        DBInstanceIdentifier="base", DBInstanceClass="db.t3.micro", Engine="postgres", MasterUsername="owner",
        MasterUserPassword="not-a-secret", AllocatedStorage=20, DBName="orders",
    )
    query(account, "base", "CREATE TABLE seen AS SELECT 42 AS answer")
    rds.create_db_snapshot(DBInstanceIdentifier="base", DBSnapshotIdentifier="kept")
    rds.get_waiter("db_snapshot_completed").wait(DBSnapshotIdentifier="kept", WaiterConfig={"Delay": 1})
    rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier="again", DBSnapshotIdentifier="kept")
    rds.get_waiter("db_instance_available").wait(DBInstanceIdentifier="again", WaiterConfig={"Delay": 1})
    account.client("elasticache").create_replication_group(
        ReplicationGroupId="carts", ReplicationGroupDescription="of a test", Engine="valkey"
    )
    assert query(account, "again", "SELECT answer FROM seen") == [[42]]

def query(account, instance, statement):
    host, port = account.database(instance)
    connection = pg8000.native.Connection(
        "owner", host=host, port=port, database="orders", password="not-a-secret"
    )
    try:
        return connection.run(statement)
    finally:
        connection.close()
""",
}
EXPERIMENT = """
title: Nothing is broken
description: A drill for whoever may start one.
method:
  - {type: action, name: nothing, provider: {type: process, path: "true"}}
rollbacks: []
extensions:
  - {name: tocsin, system: plain, load: null, expect: {gap: nobody watches, recovery: {within: 10m}}}
"""
SYSTEM = "system: {name}\ntitle: Orders\nendpoint: {{url: 'http://127.0.0.1:9'}}\n"


@dataclass(frozen=True)
class User:
    """Somebody: a number, and a home where there is one."""

    uid: int
    home: Path | None = None


ROOT = User(0, Path("/root"))
NAMELESS = User(54_321)
"""A number that no user of this machine has, as a container may be started under."""


@dataclass(frozen=True)
class Place:
    """A project."""

    root: Path

    def tocsin(self, *arguments: str, user: User = ROOT, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
        """Run a command here as somebody; whoever it is, it ends without a traceback."""
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        environment |= {"HOME": str(user.home)} if user.home else {}
        done = subprocess.run(
            [*become(user), sys.executable, "-m", "tocsin.cli", *arguments],
            cwd=self.root, env=environment, umask=umask, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def give(self, uid: int) -> None:
        """Let all of it belong to somebody."""
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, uid, uid)


def become(user: User) -> list[str]:
    """What a command begins with, so that it runs as somebody else."""
    if user.uid == 0:
        return []
    # A Python in root's home may be read, and nothing else of root's rights is left.
    rights = [f"--{kind}=-all,+dac_read_search" for kind in ("bounding-set", "inh-caps", "ambient-caps")]
    return ["setpriv", f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups", *rights]


@contextmanager
def place(parent: Path | None = None) -> Iterator[Place]:
    """A project below `parent`; without one where every user may go. A sandbox in it is stopped."""
    root = Path(tempfile.mkdtemp(prefix="tocsin-root-", dir=parent or "/tmp"))
    root.chmod(0o755)
    (root / "systems").mkdir()
    for name, code in REPLICAS.items():
        (root / "replicas" / name).mkdir(parents=True)
        (root / "replicas" / name / "deploy.py").write_text(code)
        (root / "systems" / f"{name}.yaml").write_text(SYSTEM.format(name=name))
    (root / "nothing.yaml").write_text(EXPERIMENT)
    try:
        yield Place(root)
    finally:
        control.down(root)
        shutil.rmtree(root)


def owners_of_postgres(root: Path) -> set[int]:
    """Users of the PostgreSQL processes of a sandbox."""
    state = control.status(root)
    assert state is not None
    family = psutil.Process(state.pid).children(recursive=True)
    return {process.uids().real for process in family if process.name() == "postgres"}
