"""What rules and targets are refused for."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.sandbox.services.events.rules import rule_problem, target_problem

SCOPE = ("123456789012", "eu-central-1")
SERVICES = frozenset({"lambda", "sqs"})
HERE = "eu-central-1:123456789012"


def target(arn: str, **more: Any) -> str | None:
    return target_problem({"Id": "t", "Arn": arn, **more}, SCOPE, SERVICES)


@pytest.mark.parametrize(
    "rule",
    [
        {"EventPattern": "{}"},
        {"ScheduleExpression": "rate(1 minute)"},
        {"ScheduleExpression": "cron(0 12 * * ? *)"},
        {"EventPattern": "{}", "EventBusName": "orders"},
    ],
)
def test_good_rules(rule: dict[str, str]) -> None:
    assert rule_problem(rule) is None


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "EventPattern or ScheduleExpression must be specified"),
        ({"ScheduleExpression": "rate(1 minutes)"}, "ScheduleExpression is not valid"),
        ({"ScheduleExpression": "rate(1 minute)", "EventBusName": "orders"}, "only on the default event bus"),
    ],
)
def test_bad_rules(rule: dict[str, str], said: str) -> None:
    assert said in (rule_problem(rule) or "")


@pytest.mark.parametrize(
    ("arn", "more"),
    [
        (f"arn:aws:lambda:{HERE}:function:f", {}),
        (f"arn:aws:sqs:{HERE}:q", {"DeadLetterConfig": {"Arn": f"arn:aws:sqs:{HERE}:dlq"}}),
        (f"arn:aws:sqs:{HERE}:q.fifo", {"SqsParameters": {"MessageGroupId": "g"}}),
        (f"arn:aws:events:{HERE}:event-bus/orders", {}),
        (f"arn:aws:events:{HERE}:api-destination/hook/0b1", {"RoleArn": "arn:aws:iam::123456789012:role/r"}),
    ],
)
def test_good_targets(arn: str, more: dict[str, Any]) -> None:
    assert target(arn, **more) is None


@pytest.mark.parametrize(
    ("arn", "more", "said"),
    [
        (f"arn:aws:states:{HERE}:stateMachine:s", {}, "does not deliver to states, but to lambda, sqs, event buses"),
        ("arn:aws:events:us-east-1:123456789012:event-bus/orders", {}, "of the same account and region"),
        ("arn:aws:events:eu-central-1:999999999999:event-bus/orders", {}, "of the same account and region"),
        (f"arn:aws:sqs:{HERE}:q.fifo", {}, "MessageGroupId must be specified"),
        (f"arn:aws:sqs:{HERE}:q", {"DeadLetterConfig": {"Arn": f"arn:aws:sqs:{HERE}:d.fifo"}}, "a standard queue"),
        (f"arn:aws:sqs:{HERE}:q", {"DeadLetterConfig": {"Arn": f"arn:aws:sns:{HERE}:d"}}, "a standard queue"),
        (f"arn:aws:sqs:{HERE}:q", {"RetryPolicy": {"MaximumRetryAttempts": 999}}, "MaximumRetryAttempts"),
        (f"arn:aws:sqs:{HERE}:q", {"Input": "{}", "InputPath": "$"}, "Only one of"),
        (f"arn:aws:events:{HERE}:api-destination/hook", {}, "RoleArn is required"),
    ],
)
def test_bad_targets(arn: str, more: dict[str, Any], said: str) -> None:
    found = target(arn, **more)
    assert said in (found or "")
    assert "(target t)" in (found or "")
