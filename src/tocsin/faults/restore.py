"""A rehearsal of the restore of a database: a manual snapshot, and a new instance made of it, beside the real one.

Which rows the new one must hold is told by PostgreSQL itself, without a clock: what was written by transactions that
had ended before the snapshot was asked for. The first transaction that had not is written into a tag of the new
instance, and `tocsin.probes.rows_restored` compares.
https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field, model_validator

from tocsin.aws import keys
from tocsin.aws.database import login_of, secret_arn
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.rds import ENTRY_TAG, WRITTEN_BEFORE_TAG, find_instance, tags_of
from tocsin.aws.target import Aws, aws_errors
from tocsin.errors import Busy, NotFound, TargetError
from tocsin.faults.base import Fault, State, not_as_assumed
from tocsin.faults.rds import CUSTOM, INSTANCE

_HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
_AVAILABLE, _CREATING, _DELETING, _FAILED = "available", "creating", "deleting", "failed"
_TAKEN_OF = (_AVAILABLE, "storage-optimization")
_POLL_S, _POLL_WALL_S = 5.0, 0.1


class Rehearsed(State):
    """What is there of the rehearsal: nothing before it, all of it while it lasts, some of it on the way."""

    snapshot: bool
    instance: bool
    available: bool


class RdsRestoreRehearsal(Fault[Rehearsed]):
    """Take a snapshot of a DB instance and restore it to a new one; the undo deletes both.

    Nothing of the real instance changes, but while a snapshot is taken of an instance in a single zone its I/O may be
    suspended for a moment. The new instance has the default security group and parameter group, as the documented
    command leaves them, and costs money while it is there. One that exists already is never touched. No single call
    ends it: two things are to be deleted, and neither hurts anybody.
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_RestoreFromSnapshot.html
    """

    kind: ClassVar[str] = "rds_restore_rehearsal"
    state: ClassVar[type[State]] = Rehearsed
    summary: ClassVar[str] = "take a snapshot of a DB instance and restore it to a new one"
    aws_service: ClassVar[str] = "rds"
    permissions: ClassVar[tuple[str, ...]] = (
        "rds:AddTagsToResource",
        "rds:CreateDBSnapshot",
        "rds:DeleteDBInstance",
        "rds:DeleteDBSnapshot",
        "rds:DescribeDBInstances",
        "rds:DescribeDBSnapshots",
        "rds:RestoreDBInstanceFromDBSnapshot",
        "secretsmanager:GetSecretValue",
    )
    effect_within_s: ClassVar[float] = 2700.0

    instance: str = Field(pattern=INSTANCE, description="identifier of the DB instance to take a snapshot of")
    restored: str = Field(pattern=INSTANCE, description="identifier of the new DB instance; there must be none")
    secret: str = Field(min_length=1, description="name or ARN of the secret with the way into the database")

    @model_validator(mode="after")
    def _beside_the_real_one(self) -> RdsRestoreRehearsal:
        if self.instance == self.restored:
            raise ValueError("expected `restored` to be another instance than `instance`")
        return self

    @property
    def resource(self) -> str:
        return f"DB instance {self.restored}, a copy of {self.instance}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        # What will be made cannot have opted in: the owner of what is copied is asked.
        return (aws.arn("rds", f"db:{self.instance}"),)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        snapshot, restored = arns("rds", "snapshot:tocsin-*"), arns("rds", f"db:{self.restored}")
        source = arns("rds", f"db:{self.instance}")
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonrds.html
        groups = tuple(arns("rds", f"{kind}:*") for kind in ("og", "pg", "subgrp"))
        return {
            "rds:AddTagsToResource": (snapshot, restored),
            "rds:CreateDBSnapshot": (source, snapshot),
            "rds:DeleteDBInstance": (restored,),
            "rds:DeleteDBSnapshot": (snapshot,),
            "rds:DescribeDBInstances": (source, restored),
            "rds:DescribeDBSnapshots": (snapshot,),
            "rds:RestoreDBInstanceFromDBSnapshot": (snapshot, restored, *groups),
            "secretsmanager:GetSecretValue": (secret_arn(self.secret, arns),),
        }[action]

    def key_grants(self, aws: Aws) -> Iterator[Grant]:
        yield from keys.of_secret(aws.target, self.secret)
        yield from keys.of_instance(aws.target, self.instance)

    def observe(self, aws: Aws, prior: Rehearsed | None) -> Rehearsed:
        if prior is None:
            self._check_can_be_copied(aws)
        found = self._instance(aws)
        if found is not None and prior is None:
            raise TargetError(
                f"expected no DB instance {self.restored}, found one: it may be somebody's. Name another, or delete it."
            )
        ours = found is not None and tags_of(found).get(ENTRY_TAG) == aws.entry
        return Rehearsed(
            snapshot=bool(aws.entry) and self._snapshot_status(aws) is not None,
            instance=ours,
            available=ours and found is not None and found["DBInstanceStatus"] == _AVAILABLE,
        )

    def _check_can_be_copied(self, aws: Aws) -> None:
        """Whether AWS takes a snapshot of it now, and makes another instance of that.

        https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSnapshot.html
        https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RestoreDBInstanceFromDBSnapshot.html

        Raises:
            NotFound: there is no such instance.
            Refused: it does not.
        """
        source = find_instance(aws.target, self.instance)
        if source is None:
            raise NotFound(f"expected DB instance {self.instance}, found none of that name")
        for obstacle in _not_copied(source):
            raise not_as_assumed(
                f"DB instance {self.instance} to be one that AWS takes a snapshot of and restores",
                obstacle,
                "there would be no copy. Name another, or rehearse it by a process of your own",
            )

    def broken(self, prior: Rehearsed) -> Rehearsed:
        return Rehearsed(snapshot=True, instance=True, available=True)

    def inject(self, aws: Aws, prior: Rehearsed) -> None:
        written_before = self._horizon(aws)
        tags = [{"Key": ENTRY_TAG, "Value": aws.entry}]
        aws.ask(
            f"taking a snapshot of DB instance {self.instance}",
            aws.client("rds").create_db_snapshot,
            DBInstanceIdentifier=self.instance,
            DBSnapshotIdentifier=_snapshot(aws),
            Tags=tags,
        )
        self._await_snapshot(aws)
        aws.ask(
            f"restoring {_snapshot(aws)} to DB instance {self.restored}",
            aws.client("rds").restore_db_instance_from_db_snapshot,
            DBInstanceIdentifier=self.restored,
            DBSnapshotIdentifier=_snapshot(aws),
            Tags=[*tags, {"Key": WRITTEN_BEFORE_TAG, "Value": written_before}],
        )

    def undo(self, aws: Aws, prior: Rehearsed) -> None:
        self._delete_instance(aws)
        self._delete_snapshot(aws)

    def look_ahead(self, aws: Aws, prior: Rehearsed) -> None:
        self._snapshot_status(aws)
        self._horizon(aws)

    def _horizon(self, aws: Aws) -> str:
        """The transaction before which a row was written that must be in the snapshot."""
        with login_of(aws.target, self.secret).session() as run:
            return str(run(_HORIZON)[0][0])

    def _await_snapshot(self, aws: Aws) -> None:
        deadline = self._deadline(aws)
        while (status := self._snapshot_status(aws)) != _AVAILABLE:
            if status == _FAILED or time.monotonic() > deadline:
                raise TargetError(f"expected the snapshot {_snapshot(aws)} to become available, found it {status}")
            aws.wait(_pause(aws))

    def _delete_instance(self, aws: Aws) -> None:
        """Ask for the deletion; one that is being made may have to be finished first."""
        deadline = self._deadline(aws)
        while (found := self._instance(aws)) is not None:
            if tags_of(found).get(ENTRY_TAG) != aws.entry or found["DBInstanceStatus"] == _DELETING:
                return
            try:
                with aws_errors(f"deleting DB instance {self.restored}"):
                    aws.client("rds").delete_db_instance(
                        DBInstanceIdentifier=self.restored, SkipFinalSnapshot=True, DeleteAutomatedBackups=True
                    )
            except Busy as error:
                if time.monotonic() > deadline:
                    raise TargetError(f"{error}, for as long as that may take") from error
            time.sleep(_pause(aws))

    def _delete_snapshot(self, aws: Aws) -> None:
        """A snapshot can be deleted when it is complete."""
        deadline = self._deadline(aws)
        while (status := self._snapshot_status(aws)) == _CREATING:
            if time.monotonic() > deadline:
                raise TargetError(f"expected the snapshot {_snapshot(aws)} to be complete, so that it can be deleted")
            time.sleep(_pause(aws))
        if status not in (None, _DELETING):
            with aws_errors(f"deleting the snapshot {_snapshot(aws)}"):
                aws.client("rds").delete_db_snapshot(DBSnapshotIdentifier=_snapshot(aws))

    def _instance(self, aws: Aws) -> Mapping[str, Any] | None:
        return find_instance(aws.target, self.restored)

    def _snapshot_status(self, aws: Aws) -> str | None:
        try:
            with aws_errors(f"reading the snapshot {_snapshot(aws)}"):
                answer = aws.client("rds").describe_db_snapshots(DBSnapshotIdentifier=_snapshot(aws))
        except NotFound:
            return None
        return str(answer["DBSnapshots"][0]["Status"]) if answer["DBSnapshots"] else None

    def _deadline(self, aws: Aws) -> float:
        return time.monotonic() + self.effect_within_s / aws.target.scale


def _not_copied(source: Mapping[str, Any]) -> Iterator[str]:
    """Why there would be no copy of an instance, as RDS describes it."""
    if (status := source["DBInstanceStatus"]) not in _TAKEN_OF:
        yield f"it {status}"
    if cluster := source.get("DBClusterIdentifier"):
        yield f"that it is a member of the cluster {cluster}"
    if source.get("Engine", "").startswith(CUSTOM):
        yield f"the engine {source['Engine']} of RDS Custom"


def _snapshot(aws: Aws) -> str:
    return f"tocsin-{aws.entry}"


def _pause(aws: Aws) -> float:
    return max(_POLL_WALL_S, _POLL_S / aws.target.scale)
