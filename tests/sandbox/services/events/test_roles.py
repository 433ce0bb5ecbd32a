"""Rules and schedules with a role, in a sandbox that enforces IAM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.sandbox.aws.shop import Shop, eventually
from tests.secret_scan import watched

from tocsin.sandbox import control

ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("guarded")
    home = root / "replicas" / "guarded"
    home.mkdir(parents=True)
    (home / "deploy.py").write_text("def deploy(account):\n    pass\n")
    state = control.up("guarded", root, policy=json.dumps({"Version": "2012-10-17", "Statement": [ALL]}))
    try:
        with watched(root):
            yield Shop(state.account, root)
    finally:
        control.down(root)


def role(shop: Shop, name: str, service: str, *actions: str) -> str:
    """A role that a service may assume, and in which these actions are allowed."""
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    iam = shop.client("iam")
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=document)
    return str(made["Role"]["Arn"])


def queue(shop: Shop, name: str, service: str = "") -> str:
    """A queue into which a service may send, or nobody; its ARN."""
    statement = {**ALL, "Action": "sqs:SendMessage", "Principal": {"Service": service}}
    policy = {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})} if service else {}
    shop.client("sqs").create_queue(QueueName=name, Attributes=policy)
    return shop.arn(name)


def received(shop: Shop, name: str) -> tuple[str, dict[str, str]]:
    """The one message of a queue, and its attributes."""
    (message,) = eventually(lambda: shop.receive(name, MessageAttributeNames=["All"]))
    attributes = message.get("MessageAttributes", {})
    return message["Body"], {key: value["StringValue"] for key, value in attributes.items()}


def put(shop: Shop, rule: str, arn: str, **target: Any) -> None:
    """Put an event for a rule of that name with that target."""
    events = shop.client("events")
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": [rule]}))
    events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": arn, **target}])
    events.put_events(Entries=[{"Source": rule, "DetailType": "t", "Detail": "{}"}])


def test_a_rule_with_a_role_needs_what_the_role_may_and_not_the_policy_of_the_queue(guarded: Shop) -> None:
    allowed = role(guarded, "sends", "events.amazonaws.com", "sqs:SendMessage")
    put(guarded, "with-role", queue(guarded, "roles-inbox"), RoleArn=allowed)
    assert json.loads(received(guarded, "roles-inbox")[0])["source"] == "with-role"


@pytest.mark.parametrize(
    ("service", "action", "code"),
    [
        ("events.amazonaws.com", "sqs:ReceiveMessage", "NO_PERMISSIONS"),
        ("lambda.amazonaws.com", "sqs:SendMessage", "FAILED_TO_ASSUME_ROLE"),
    ],
)
def test_a_role_that_may_not_or_is_for_somebody_else(guarded: Shop, service: str, action: str, code: str) -> None:
    name = code.lower().replace("_", "-")
    dead = queue(guarded, f"{name}-dead", "events.amazonaws.com")
    put(
        guarded,
        name,
        queue(guarded, f"{name}-inbox"),
        RoleArn=role(guarded, name, service, action),
        DeadLetterConfig={"Arn": dead},
    )
    assert received(guarded, f"{name}-dead")[1]["ERROR_CODE"] == code


def schedule(shop: Shop, name: str, role_arn: str, dead: str) -> None:
    """Change the visibility timeout of the queue of dead letters at once."""
    queue_name = dead.rsplit(":", 1)[-1]
    shop.client("scheduler").create_schedule(
        Name=name,
        ScheduleExpression="at(2026-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:sqs:setQueueAttributes",
            "RoleArn": role_arn,
            "Input": json.dumps({"QueueUrl": shop.url(queue_name), "Attributes": {"VisibilityTimeout": "77"}}),
            "DeadLetterConfig": {"Arn": dead},
        },
    )


def test_a_schedule_calls_in_its_role(guarded: Shop) -> None:
    dead, queues = queue(guarded, "calls-dead"), guarded.client("sqs")
    may_not = role(guarded, "may-not", "scheduler.amazonaws.com", "sqs:SendMessage")
    schedule(guarded, "may-not", may_not, dead)
    assert received(guarded, "calls-dead")[1]["ERROR_CODE"].startswith("AccessDenied")
    may = role(guarded, "may", "scheduler.amazonaws.com", "sqs:SetQueueAttributes")
    schedule(guarded, "may", may, dead)

    def timeout() -> str:
        answer = queues.get_queue_attributes(QueueUrl=guarded.url("calls-dead"), AttributeNames=["VisibilityTimeout"])
        return str(answer["Attributes"]["VisibilityTimeout"])

    eventually(lambda: timeout() == "77")
