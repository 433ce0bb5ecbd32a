"""Deny statements that end by themselves: what they may deny, when they end, and whose statements they leave alone."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ministack.core.iam_evaluator import EvalContext, evaluate, evaluate_resource_policy, parse_policy_document
from pydantic import ValidationError

from tocsin.aws.target import Aws, Target
from tocsin.errors import TargetError
from tocsin.faults.deny import Document, deny_statement, state_of, with_ours, without_ours
from tocsin.faults.registry import fault_class

TARGET = Target(name="t", region="eu-west-1", account="123456789012")
ROLE = "arn:aws:iam::123456789012:role/orders"
ALLOW = {"Sid": "Readers", "Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "s3:*", "Resource": "*"}


def aws(entry: str = "e1", ends_in_s: float = 60.0) -> Aws:
    return Aws(TARGET, entry, time.time() + ends_in_s)


def ours(entry: str = "e1", ends_in_s: float = 60.0) -> Document:
    return deny_statement(aws(entry, ends_in_s), ("s3:GetObject",), ("arn:aws:s3:::orders/*",), "*")


# --- what may be denied -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "arguments", "denied"),
    [
        ("s3_bucket_deny", {"bucket": "orders"}, "s3:*"),
        ("s3_bucket_deny", {"bucket": "orders"}, "s3:Put*"),
        ("s3_bucket_deny", {"bucket": "orders"}, "s3:deletebucketpolicy"),
        ("s3_bucket_deny", {"bucket": "orders"}, "s3:*Policy"),
        ("dynamodb_table_deny", {"table": "orders"}, "dynamodb:*"),
        ("dynamodb_table_deny", {"table": "orders"}, "dynamodb:Get*"),
        ("iam_role_deny", {"role": "orders"}, "iam:*"),
        ("iam_role_deny", {"role": "orders"}, "iam:Delete?olePolicy"),
    ],
)
def test_what_the_undo_needs_is_never_denied(kind: str, arguments: dict[str, Any], denied: str) -> None:
    with pytest.raises(ValidationError, match="expected actions that leave the way back open, found"):
        fault_class(kind).model_validate({**arguments, "actions": [denied]})


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("s3_bucket_deny", {"bucket": "orders", "actions": ["dynamodb:GetItem"]}),
        ("iam_role_deny", {"role": "orders", "actions": ["*"]}),
        ("iam_role_deny", {"role": "orders", "actions": []}),
        ("iam_role_deny", {"role": "path/orders", "actions": ["sqs:*"]}),
        ("dynamodb_table_deny", {"table": "orders", "actions": ["dynamodb:GetItem"], "principal": "orders"}),
    ],
)
def test_arguments_that_aws_would_not_take_are_refused_before(kind: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        fault_class(kind).model_validate(arguments)


# --- when they end ------------------------------------------------------------------------------------------


def request(action: str) -> EvalContext:
    return EvalContext(
        principal_arn=ROLE,
        principal_type="AssumedRole",
        principal_account=TARGET.account or "",
        action=action,
        resource_arn="arn:aws:s3:::orders/1",
        region=TARGET.region,
    )


@pytest.mark.parametrize(("ends_in_s", "decision"), [(60.0, "Deny"), (-60.0, "Allow")])
def test_a_resource_policy_denies_until_the_time_and_not_after(ends_in_s: float, decision: str) -> None:
    policy = with_ours({"Version": "2012-10-17", "Statement": [ALLOW]}, ours(ends_in_s=ends_in_s))
    assert evaluate_resource_policy(policy, request("s3:GetObject")).decision == decision
    assert evaluate_resource_policy(policy, request("s3:PutObject")).decision == "Allow"


@pytest.mark.parametrize(("ends_in_s", "decision"), [(60.0, "Deny"), (-60.0, "Allow")])
def test_a_policy_of_a_role_denies_until_the_time_and_not_after(ends_in_s: float, decision: str) -> None:
    statement = deny_statement(aws(ends_in_s=ends_in_s), ("s3:GetObject",), ("*",))
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    policies = [parse_policy_document({"Statement": [part]}) for part in (statement, allow)]
    assert evaluate(request("s3:GetObject"), policies).decision == decision


def test_a_statement_that_never_ends_is_not_made() -> None:
    with pytest.raises(TargetError, match="expected a time at which"):
        deny_statement(Aws(TARGET, "e1"), ("s3:GetObject",), ("*",))


# --- whose statements stay ----------------------------------------------------------------------------------


def test_the_other_statements_stay_and_an_empty_policy_goes() -> None:
    policy = {"Version": "2008-10-17", "Id": "theirs", "Statement": [ALLOW]}
    assert without_ours(with_ours(policy, ours()), "tocsine1") == policy
    assert without_ours(with_ours(None, ours()), "tocsine1") is None


@pytest.mark.parametrize("first", ["e1", "e2"])
def test_two_entries_on_one_policy_do_not_disturb_each_other(first: str) -> None:
    second = {"e1": "e2", "e2": "e1"}[first]
    both = with_ours(with_ours(None, ours("e1")), ours("e2"))
    left = without_ours(both, f"tocsin{first}")
    assert state_of(left, ours(first)).statement == "absent"
    assert state_of(left, ours(second)).statement == "ours"
    assert left is not None
    assert without_ours(left, f"tocsin{second}") is None


def test_a_statement_is_ours_however_aws_writes_it_down() -> None:
    mine = ours()
    written = {**mine, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::orders/*", "Principal": {"AWS": "*"}}
    assert state_of({"Statement": written}, mine).statement == "ours"


@pytest.mark.parametrize(
    "change",
    [{"Effect": "Allow"}, {"Action": ["s3:PutObject"]}, {"Condition": {}}, {"Principal": {"AWS": ROLE}}],
)
def test_a_statement_that_somebody_changed_is_not_ours(change: dict[str, Any]) -> None:
    assert state_of({"Statement": [{**ours(), **change}]}, ours()).statement == "changed"
