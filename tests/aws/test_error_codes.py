"""What AWS's own models call a conflict is asked again; the few that are final are named here, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator

import botocore.session
import pytest

from tocsin.aws.error_codes import BUSY, LATER, NOT_FOUND
from tocsin.aws.iam import Arns
from tocsin.faults.deadman import CALLS, PERMISSIONS
from tocsin.faults.registry import FAULTS
from tocsin.parity.throwaway import running
from tocsin.parity.throwaway.registry import RECOVERABLE, THROWAWAY

_PASSES = re.compile(
    r"State|Stale|Conflict|Concurrent|InUse|InProgress|Recently|Throttl|TooManyRequests|TooManyUpdates|Capacity"
)
FINAL = {
    "FunctionVersionsPerCapacityProviderLimitExceededException": "a quota",
    "InvalidState": "SNS: the topic is set so that the call has no place there",
    "InvalidVPCNetworkStateFault": "the network is set so that the instance has no place in it",
    "KmsInvalidState": "somebody has to enable the key",
}
_CLIENT = {"elasticloadbalancing": "elbv2"}
_ELSEWHERE = {
    "AWS.SimpleQueueService.QueueDeletedRecently": "SQS writes QueueDeletedRecently so",
    "KMS.ThrottlingException": "SQS writes KmsThrottled so",
    "OperationAborted": "s3, whose model has no errors",
    "PriorRequestNotComplete": "route53",
    "TooManyUpdates": "ssm",
    "TransactionInProgressException": "dynamodb",
}
"""Codes of BUSY that no operation of ours has in its model, and where they are from."""


def actions() -> set[str]:
    """IAM actions of all that is ever changed: by faults, by the schedules that end them, and to measure an account."""
    kinds = {action for kind in RECOVERABLE.values() for action in kind.permissions}
    arns = Arns(partition="aws", region="eu-west-1", account="123456789012")
    measured = {action for grant in running.grants(arns, "the role") for action in grant.actions}
    return kinds | measured | {*PERMISSIONS, *CALLS}


def services() -> Iterator[tuple[str, set[str]]]:
    """Services that are called, and the names of the operations."""
    session = botocore.session.get_session()
    named: dict[str, set[str]] = {}
    for action in actions():
        service, _, operation = action.partition(":")
        named.setdefault(_CLIENT.get(service, service), set()).add(operation)
    for service, operations in named.items():
        known = set(session.get_service_model(service).operation_names)
        yield service, operations & known


def codes() -> set[str]:
    """Codes of every error that those operations document."""
    session, found = botocore.session.get_session(), set()
    for service, operations in services():
        model = session.get_service_model(service)
        for operation in operations:
            for shape in model.operation_model(operation).error_shapes:
                found.add(str(shape.metadata.get("error", {}).get("code", shape.name)))
    return found


def test_nothing_that_is_called_is_left_out() -> None:
    asked = {f"{service}:{operation}" for service, operations in services() for operation in operations}
    made = {
        "sns:DeleteTopic",
        "cloudwatch:DeleteAlarms",
        "iam:DeleteRole",
        "sqs:CreateQueue",
        "scheduler:DeleteSchedule",
    }
    assert asked >= {*made, "rds:StopDBInstance", "cloudwatch:PutMetricData", "lambda:PutFunctionConcurrency"}
    assert RECOVERABLE.keys() == FAULTS.keys() | THROWAWAY.keys()


@pytest.fixture(scope="module")
def documented() -> set[str]:
    return codes()


def test_every_conflict_of_the_models_is_later_or_final_for_a_reason(documented: set[str]) -> None:
    passing = {code for code in documented if _PASSES.search(code) and not any(mark in code for mark in NOT_FOUND)}
    assert passing - BUSY - LATER == set(FINAL)


def test_every_code_that_is_waited_for_is_one_of_aws(documented: set[str]) -> None:
    assert BUSY - documented == set(_ELSEWHERE)
    assert not BUSY & LATER


def test_what_a_model_calls_a_failure_of_its_own_is_answered_with_a_status_that_is_later() -> None:
    """`fault` in the model is a 5xx: no code of these needs a row."""
    session = botocore.session.get_session()
    for service, operations in services():
        model = session.get_service_model(service)
        for operation in operations:
            for shape in model.operation_model(operation).error_shapes:
                if shape.metadata.get("fault"):
                    assert shape.metadata.get("error", {}).get("httpStatusCode", 500) >= 500
