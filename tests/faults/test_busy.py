"""A resource that is busy is asked again later, at the injection and at the undo, as long as its fault may take."""

from __future__ import annotations

import pytest
from tests.faults.stub.account import StubAws
from tests.faults.stub.bench import FaultBench
from tests.faults.stub.faults import ARGUMENTS, furnish

from tocsin.errors import Busy, Refused, TargetError
from tocsin.model.events import FaultStage

BUSY = {
    "dynamodb_table_deny": ("dynamodb:PutResourcePolicy", "dynamodb:DeleteResourcePolicy", "ResourceInUseException"),
    "ecs_scale": (
        "application-autoscaling:RegisterScalableTarget",
        "application-autoscaling:RegisterScalableTarget",
        "ConcurrentUpdateException",
    ),
    "elasticache_failover": ("elasticache:TestFailover", None, "InvalidReplicationGroupState"),
    "elasticache_reboot": ("elasticache:RebootCacheCluster", None, "InvalidCacheClusterState"),
    "iam_role_deny": ("iam:PutRolePolicy", "iam:DeleteRolePolicy", "ConcurrentModification"),
    "lambda_bad_release": ("lambda:UpdateFunctionCode", "lambda:UpdateAlias", "ResourceConflictException"),
    "lambda_environment_credential": (
        "lambda:UpdateFunctionConfiguration",
        "lambda:UpdateFunctionConfiguration",
        "ResourceConflictException",
    ),
    "lambda_event_source_disabled": (
        "lambda:UpdateEventSourceMapping",
        "lambda:UpdateEventSourceMapping",
        "ResourceInUseException",
    ),
    "rds_proxy_throttle": (
        "rds:ModifyDBProxyTargetGroup",
        "rds:ModifyDBProxyTargetGroup",
        "InvalidDBProxyStateFault",
    ),
    "rds_reboot": ("rds:RebootDBInstance", None, "InvalidDBInstanceState"),
    "rds_stop": ("rds:StopDBInstance", "rds:StartDBInstance", "InvalidDBInstanceState"),
    "s3_bucket_deny": ("s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "OperationAborted"),
    "sqs_poison_message": ("sqs:SendMessage", "sqs:ReceiveMessage", "KMS.ThrottlingException"),
}
"""Fault -> a call of its injection, one of its undo, and what both may answer while something else goes on."""


@pytest.fixture
def account(stub: StubAws) -> StubAws:
    furnish(stub)
    return stub


@pytest.mark.parametrize("kind", BUSY)
def test_what_is_busy_for_a_while_is_broken_and_mended_later(account: StubAws, life: FaultBench, kind: str) -> None:
    at_injection, at_undo, code = BUSY[kind]
    before = account.clock.now
    account.fails(at_injection, code, times=5)
    assert life.inject(kind, **ARGUMENTS[kind]) is FaultStage.EFFECTIVE
    assert account.clock.now - before >= 1 + 2 + 4 + 8 + 15
    if at_undo is not None:
        account.fails(at_undo, code, times=5)
    assert life.lifecycle.undo_all() == []
    assert life.open == []


def test_an_undo_waits_for_what_is_busy_as_long_as_its_fault_may_take(account: StubAws, life: FaultBench) -> None:
    life.inject("rds_stop", instance="orders")
    account.fails("rds:StartDBInstance", "InvalidDBInstanceState", times=25)  # a little less than half an hour
    assert life.lifecycle.undo_all() == []
    assert FaultStage.UNDO_RETRIED in life.stages


def test_what_stays_busy_is_left_and_named(account: StubAws, life: FaultBench) -> None:
    life.inject("rds_stop", instance="orders")
    before = account.clock.now
    account.fails("rds:StartDBInstance", "InvalidDBInstanceState")
    (left,) = life.lifecycle.undo_all()
    assert "InvalidDBInstanceState" in life.why(left)
    assert 1700 < account.clock.now - before < 2000


def test_an_injection_gives_up_after_the_patience_of_its_fault(account: StubAws, life: FaultBench) -> None:
    before = account.clock.now
    account.fails("rds:ModifyDBProxyTargetGroup", "InvalidDBProxyStateFault", times=9)
    with pytest.raises(Busy, match="InvalidDBProxyStateFault"):
        life.inject("rds_proxy_throttle", **ARGUMENTS["rds_proxy_throttle"])
    assert account.clock.now - before <= 120
    assert life.lifecycle.undo_all() == []  # nothing was broken, and that was looked at
    assert life.open == []


def test_the_end_of_a_drill_ends_the_wait_for_what_is_busy(account: StubAws, life: FaultBench) -> None:
    def over(seconds: float) -> None:
        raise Refused("interrupted", "the end was asked for")

    life.lifecycle.wait = over
    account.fails("rds:ModifyDBProxyTargetGroup", "InvalidDBProxyStateFault", times=1)
    with pytest.raises(Refused, match="the end was asked for"):
        life.inject("rds_proxy_throttle", **ARGUMENTS["rds_proxy_throttle"])
    assert life.lifecycle.undo_all() == []


def test_what_is_final_is_asked_once(account: StubAws, life: FaultBench) -> None:
    account.fails("rds:ModifyDBProxyTargetGroup", "DBProxyTargetGroupNotFoundFault")
    with pytest.raises(TargetError, match="DBProxyTargetGroupNotFoundFault"):
        life.inject("rds_proxy_throttle", **ARGUMENTS["rds_proxy_throttle"])
    assert account.asked.count("rds:ModifyDBProxyTargetGroup") == 1
