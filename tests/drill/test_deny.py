"""Deny statements on the running sandbox: somebody else's statements stay, whatever happens meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.drill.conftest import Checkout
from tests.drill.fault_table import ARGUMENTS, TABLE
from tests.drill.test_faults import Bench

from tocsin.aws.target import Aws
from tocsin.errors import Unavailable
from tocsin.faults.dynamodb import DynamodbTableDeny
from tocsin.faults.lifecycle import recover
from tocsin.faults.registry import fault_class
from tocsin.model.events import FaultStage

pytestmark = [pytest.mark.account, pytest.mark.takes(100), pytest.mark.xdist_group("faults")]

BUCKET = ARGUMENTS["s3_bucket_deny"]["bucket"]
THEIRS = {"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}}


class BucketPolicy:
    """The policy of the bucket, as the AWS API tells it."""

    kind = "s3_bucket_deny"

    def __init__(self, bench: Bench) -> None:
        self.client = bench.client("s3")
        self.allow = {**THEIRS, "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}

    def read(self) -> Any:
        try:
            return json.loads(self.client.get_bucket_policy(Bucket=BUCKET)["Policy"])
        except ClientError:
            return None

    def write(self, policy: Any) -> None:
        self.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))

    def delete(self) -> None:
        self.client.delete_bucket_policy(Bucket=BUCKET)


class TablePolicy:
    """The policy of the table, as the AWS API tells it."""

    kind = "dynamodb_table_deny"

    def __init__(self, bench: Bench) -> None:
        self.client = bench.client("dynamodb")
        self.arn = self.client.describe_table(TableName=TABLE)["Table"]["TableArn"]
        self.allow = {**THEIRS, "Action": "dynamodb:GetItem", "Resource": self.arn}

    def read(self) -> Any:
        try:
            return json.loads(self.client.get_resource_policy(ResourceArn=self.arn)["Policy"])
        except ClientError:
            return None

    def write(self, policy: Any) -> None:
        self.client.put_resource_policy(ResourceArn=self.arn, Policy=json.dumps(policy))

    def delete(self) -> None:
        self.client.delete_resource_policy(ResourceArn=self.arn)


@pytest.fixture
def bench(checkout: Checkout, tmp_path: Path) -> Bench:
    return Bench(checkout, tmp_path)


@pytest.fixture(params=[BucketPolicy, TablePolicy])
def policy(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Any]:
    found = request.param(bench)
    yield found
    found.delete()


def inject(bench: Bench, kind: str) -> str:
    """The ledger entry of a fault that was injected and seen."""
    assert bench.lifecycle.inject(fault_class(kind).model_validate(ARGUMENTS[kind])) is FaultStage.EFFECTIVE
    return bench.ledger.entries()[-1].id


def test_what_somebody_adds_meanwhile_stays(bench: Bench, policy: Any) -> None:
    before = {"Version": "2012-10-17", "Id": "theirs", "Statement": [policy.allow]}
    policy.write(before)
    inject(bench, policy.kind)
    now = policy.read()
    assert now["Statement"][0] == policy.allow
    more = {**policy.allow, "Sid": "More"}
    policy.write({**now, "Statement": [*now["Statement"], more]})
    assert bench.lifecycle.undo_all() == []
    assert policy.read() == {**before, "Statement": [policy.allow, more]}


def test_two_faults_on_one_policy_are_undone_in_any_order(bench: Bench, policy: Any) -> None:
    first, second = inject(bench, policy.kind), inject(bench, policy.kind)
    entries = {entry.id: entry for entry in bench.ledger.entries()}
    assert bench.lifecycle.undo_all([entries[first]]) == []
    assert [statement["Sid"] for statement in policy.read()["Statement"]] == [f"tocsin{second}"]
    assert bench.lifecycle.undo_all([entries[second]]) == []
    assert policy.read() is None


def test_our_statement_changed_by_somebody_else_is_left_and_reported(bench: Bench, policy: Any) -> None:
    inject(bench, policy.kind)
    changed = policy.read()
    changed["Statement"][0] |= {"Effect": "Allow", "Principal": THEIRS["Principal"]}
    policy.write(changed)
    assert len(bench.lifecycle.undo_all()) == 1
    assert policy.read() == changed
    assert "changed by somebody else" in bench.ledger.entries(only_open=True)[0].detail
    policy.delete()  # they take it away
    assert len(recover(bench.target, bench.ledger)) == 1


def test_a_policy_of_a_role_changed_by_somebody_else_is_left_and_reported(bench: Bench) -> None:
    iam, role = bench.client("iam"), ARGUMENTS["iam_role_deny"]["role"]
    entry = inject(bench, "iam_role_deny")
    of = {"RoleName": role, "PolicyName": f"tocsin-{entry}"}
    document = iam.get_role_policy(**of)["PolicyDocument"]
    document["Statement"][0]["Action"] = "sqs:DeleteMessage"
    iam.put_role_policy(**of, PolicyDocument=json.dumps(document))
    assert len(bench.lifecycle.undo_all()) == 1
    assert iam.get_role_policy(**of)["PolicyDocument"] == document
    iam.delete_role_policy(**of)
    assert len(recover(bench.target, bench.ledger)) == 1


def test_a_table_policy_written_in_the_same_instant_is_not_overwritten(bench: Bench) -> None:
    theirs = TablePolicy(bench)
    fault = DynamodbTableDeny.model_validate(ARGUMENTS["dynamodb_table_deny"])
    aws = Aws(bench.target, "e1", expires_at=1.0)
    policy, revision = fault._read(aws)
    assert policy is None
    theirs.write({"Version": "2012-10-17", "Statement": [theirs.allow]})
    try:
        with pytest.raises(Unavailable, match="found it changed by somebody else"):
            fault._write(aws, {"Version": "2012-10-17", "Statement": []}, revision)
        assert theirs.read()["Statement"] == [theirs.allow]
    finally:
        theirs.delete()
