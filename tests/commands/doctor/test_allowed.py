"""With the policy that `tocsin permissions` prints, doctor finds no gap: whatever it asks of a system is allowed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.second_target.shop import ALARM, ONCALL, SYSTEM, experiment, write
from tests.stubbed import Stubbed

from tocsin.aws.target import Target
from tocsin.commands.doctor import readiness
from tocsin.commands.doctor.readiness import Deployed
from tocsin.commands.doctor.result import Level, ask
from tocsin.commands.permissions import declared
from tocsin.drill.plan import Planner
from tocsin.project.documents import load_system

REGION, ACCOUNT = "eu-west-1", "123456789012"
TOPIC, QUEUE = (f"arn:aws:{service}:{REGION}:{ACCOUNT}:" for service in ("sns", "sqs"))
ORDERS = {**ALARM, "AlarmName": "shop-orders", "Namespace": "Shop", "MetricName": "Orders", "Dimensions": []}
"""Of a metric of the shop's own: one on the depth of a dead-letter queue has drills read queues in any case."""


def allowing(service: str, action: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": action, "Resource": "*"}
    return json.dumps({"Statement": [statement]})


def answering(target: Target) -> None:
    """The shop as it should be."""
    api, topic = Stubbed(target), f"{TOPIC}shop-pages"
    at = datetime(2026, 1, 1, tzinfo=UTC)
    alarm: dict[str, Any] = {
        **ORDERS,
        "AlarmArn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:shop-orders",
        "AlarmActions": [topic],
        "ActionsEnabled": True,
        "StateValue": "OK",
        "StateUpdatedTimestamp": at,
    }
    api.answers("cloudwatch", "DescribeAlarms", {"MetricAlarms": [alarm]})
    api.answers("cloudwatch", "ListAlarmMuteRules", {"AlarmMuteRuleSummaries": []})
    api.answers("sns", "ListTopics", {"Topics": [{"TopicArn": topic}]})
    subscription = {"Protocol": "sqs", "Endpoint": f"{QUEUE}{ONCALL}", "SubscriptionArn": f"{topic}:1"}
    api.answers("sns", "ListSubscriptionsByTopic", {"Subscriptions": [subscription]})
    api.answers("sns", "GetSubscriptionAttributes", {"Attributes": {}})
    publish = allowing("cloudwatch.amazonaws.com", "sns:Publish")
    api.answers("sns", "GetTopicAttributes", {"Attributes": {"Policy": publish}})
    api.answers("sqs", "GetQueueUrl", {"QueueUrl": f"https://sqs/{ACCOUNT}/{ONCALL}"})
    send = allowing("sns.amazonaws.com", "sqs:SendMessage")
    api.answers("sqs", "GetQueueAttributes", {"Attributes": {"QueueArn": f"{QUEUE}{ONCALL}", "Policy": send}})


def test_what_doctor_asks_of_a_system_is_in_the_printed_policy(tmp_path: Path) -> None:
    quiet = experiment("Quiet", "lambda_reserved_concurrency", {"function": "shop-packer"}, {"quiet": ["orders"]})
    write(tmp_path, "staging", "http://127.0.0.1:9", "http://127.0.0.1:9", quiet=quiet)
    orders = {"title": "No orders", "cloudwatch": {**ORDERS, "AlarmActions": ["${pages}"]}}
    document = {**SYSTEM, "region": REGION, "endpoint": {"url": "http://127.0.0.1:9"}, "alarms": {"orders": orders}}
    (tmp_path / "systems/shop.yaml").write_text(json.dumps(document))
    target = Target("staging", REGION, account=ACCOUNT, access_key_id="x", secret_access_key="x")
    answering(target)
    deployed = Deployed(tmp_path, target, load_system(tmp_path, "shop"))
    results = {name: ask(check, deployed) for name, check in readiness.SYSTEM.items()}
    assert {name: result.found for name, result in results.items() if result.level is Level.GAP} == {}
    asked = target.calls.take().keys()
    assert "sqs:GetQueueAttributes" in asked
    plans = Planner(tmp_path).plan_all(sorted((tmp_path / "experiments").glob("*.yaml")))
    assert asked <= declared(plans, tmp_path).actions
