"""What schedules are refused for, and what a universal target calls."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import botocore.session
import pytest

from tocsin.sandbox.services.events.plans import problem, universal, window_s, zone
from tocsin.sandbox.services.events.universal import request

QUEUE = {"Arn": "arn:aws:sqs:eu-central-1:123456789012:q", "RoleArn": "arn:aws:iam::123456789012:role/r"}
OFF = {"Mode": "OFF"}


def refused(expression: str = "rate(1 hour)", window: Any = OFF, target: Any = QUEUE, **more: Any) -> str:
    asked = {"ScheduleExpression": expression, "FlexibleTimeWindow": window, "Target": target, **more}
    return problem(asked, lambda text: text == "cron(0 12 * * ? *)", {"sqs", "events"}) or ""


@pytest.mark.parametrize("expression", ["rate(1 hour)", "at(2026-11-29T07:30:12)", "cron(0 12 * * ? *)"])
def test_good_expressions(expression: str) -> None:
    assert refused(expression) == ""


@pytest.mark.parametrize("expression", ["rate(1 hours)", "at(tomorrow)", "cron(* * *)", "now"])
def test_bad_expressions(expression: str) -> None:
    assert expression in refused(expression)


@pytest.mark.parametrize(
    "window", [{"Mode": "ON"}, {"Mode": "FLEXIBLE"}, {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 1441}]
)
def test_bad_windows(window: dict[str, Any]) -> None:
    assert "Invalid FlexibleTimeWindow" in refused(window=window)


def test_a_window_is_minutes_of_production() -> None:
    assert window_s({"FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}}) == 900
    assert window_s({"FlexibleTimeWindow": OFF}) == 0


def test_time_zones() -> None:
    assert zone({}) is UTC
    assert zone({"ScheduleExpressionTimezone": "Europe/Berlin"}) == ZoneInfo("Europe/Berlin")
    assert "Invalid time zone: Mars" in refused(ScheduleExpressionTimezone="Mars")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({**QUEUE, "Arn": "arn:aws:ecs:eu-central-1:123456789012:cluster/c"}, "do not reach ecs, but events, sqs and"),
        ({**QUEUE, "Arn": "arn:aws:scheduler:::aws-sdk:rds"}, "Invalid universal target"),
        ({**QUEUE, "Arn": "arn:aws:scheduler:::aws-sdk:rds:describeDBInstances"}, "only reads"),
        ({**QUEUE, "DeadLetterConfig": {"Arn": "arn:aws:sqs:eu-central-1:123456789012:d.fifo"}}, "a standard queue"),
        ({**QUEUE, "RetryPolicy": {"MaximumEventAgeInSeconds": 1}}, "MaximumEventAgeInSeconds"),
        ({**QUEUE, "Arn": "arn:aws:events:eu-central-1:123456789012:event-bus/b"}, "EventBridgeParameters"),
    ],
)
def test_bad_targets(target: dict[str, Any], said: str) -> None:
    assert said in refused(target=target)


def test_a_universal_target_names_a_service_and_an_operation() -> None:
    assert universal("arn:aws:scheduler:::aws-sdk:rds:startDBInstance") == ("rds", "startDBInstance")
    assert universal(QUEUE["Arn"]) is None


def test_members_are_named_as_in_the_sdk_for_java() -> None:
    """At every depth; what is in a map is a key and stays as it is."""
    session = botocore.session.get_session()
    proxy = session.get_service_model("rds").operation_model("ModifyDBProxyTargetGroup").input_shape
    given = {"DbProxyName": "p", "TargetGroupName": "default", "ConnectionPoolConfig": {"maxConnectionsPercent": 5}}
    assert request(given, proxy) == {
        "DBProxyName": "p",
        "TargetGroupName": "default",
        "ConnectionPoolConfig": {"MaxConnectionsPercent": 5},
    }
    queue = session.get_service_model("sqs").operation_model("SetQueueAttributes").input_shape
    assert request({"queueUrl": "u", "attributes": {"delaySeconds": "1"}}, queue) == {
        "QueueUrl": "u",
        "Attributes": {"delaySeconds": "1"},
    }
