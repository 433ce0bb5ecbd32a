"""Settings of the running sandbox: what a system names is read whole, and a field that somebody changes is seen."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.sandbox.aws.shop import Shop

from tocsin.actors.settings import differences
from tocsin.aws.settings import read_settings
from tocsin.aws.target import Target
from tocsin.model.system import System

FUNCTIONS = ("shop-api", "shop-worker")


@pytest.fixture(scope="module")
def target(shop: Shop) -> Target:
    """One for all: making clients is what takes time."""
    return shop.account.target


@pytest.fixture
def system(shop: Shop) -> System:
    shop.put_alarm("settings", MetricName="Errors", Dimensions=[{"Name": "FunctionName", "Value": "shop-api"}])
    return System.model_validate(
        {
            "system": "shop",
            "title": "Shop",
            "endpoint": {"http_api": "shop"},
            "notifications": {"queue": "shop-alerts-inbox"},
            "third_parties": {"bank": {"stub": "bank", "env": "BANK", "functions": list(FUNCTIONS)}},
            "alarms": {
                "settings": alarm("settings", "Errors", FunctionName="shop-api", topic=shop.topic),
                "dead": alarm("dead", "Depth", QueueName="shop-orders-dlq"),
                "api": alarm("api", "5xx", ApiId=shop.api_id),
            },
        }
    )


def alarm(name: str, metric: str, topic: str | None = None, **dimensions: str) -> dict[str, object]:
    definition = {
        "AlarmName": name,
        "Namespace": "Shop",
        "MetricName": metric,
        "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 5,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "AlarmActions": [topic] if topic else [],
    }
    return {"title": name, "cloudwatch": definition}


def test_everything_that_the_system_names_is_read_and_the_same_twice(
    shop: Shop, target: Target, system: System
) -> None:
    first, second = (read_settings(system, target) for _ in range(2))
    assert first.unread == {}
    assert {"function shop-api", "function shop-worker", "queue shop-orders-dlq", "queue shop-alerts-inbox"} <= set(
        first.resources
    )
    # The queue is found by its dead-letter queue, the role by its functions.
    assert {"queue shop-orders", "role shop", "alarm settings", "topic shop-alerts"} <= set(first.resources)
    assert f"HTTP API {shop.api_id}" in first.resources
    assert list(differences(first, second)) == []


Change = Callable[[Shop], object]


def timeout(shop: Shop, seconds: int) -> object:
    shop.settle("shop-worker")
    return shop.client("lambda").update_function_configuration(FunctionName="shop-worker", Timeout=seconds)


def visibility(shop: Shop, seconds: int) -> object:
    sqs = shop.client("sqs")
    url = sqs.get_queue_url(QueueName="shop-orders")["QueueUrl"]
    return sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(seconds)})


def threshold(shop: Shop, value: int) -> object:
    where = [{"Name": "FunctionName", "Value": "shop-api"}]
    shop.put_alarm("settings", MetricName="Errors", Dimensions=where, Threshold=value)
    return None


def policy(shop: Shop, effect: str) -> object:
    document = {"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": "s3:ListBucket", "Resource": "*"}]}
    return shop.client("iam").put_role_policy(RoleName="shop", PolicyName="more", PolicyDocument=json.dumps(document))


@pytest.mark.parametrize(
    ("change", "back", "resource", "field"),
    [
        (lambda shop: timeout(shop, 9), lambda shop: timeout(shop, 4), "function shop-worker", "Timeout"),
        (lambda shop: visibility(shop, 9), lambda shop: visibility(shop, 60), "queue shop-orders", "VisibilityTimeout"),
        (lambda shop: threshold(shop, 9), lambda shop: threshold(shop, 5), "alarm settings", "Threshold"),
        (
            lambda shop: policy(shop, "Allow"),
            lambda shop: shop.client("iam").delete_role_policy(RoleName="shop", PolicyName="more"),
            "role shop",
            "policies/more",
        ),
    ],
    ids=["function", "queue", "alarm", "role"],
)
def test_a_change_that_stays_is_seen_and_one_that_is_taken_back_is_not(
    shop: Shop, target: Target, system: System, change: Change, back: Change, resource: str, field: str
) -> None:
    before = read_settings(system, target)
    try:
        change(shop)
        told = [(one.resource, one.field) for one in differences(before, read_settings(system, target))]
    finally:
        back(shop)
    assert told
    assert {where for where, _ in told} == {resource}
    assert all(field in path for _, path in told), told
    shop.client("lambda").get_waiter("function_updated_v2").wait(FunctionName="shop-worker")
    assert list(differences(before, read_settings(system, target))) == []


def test_what_is_not_there_is_named_and_keeps_nothing_else_from_being_read(target: Target, system: System) -> None:
    party = system.third_parties["bank"].model_copy(update={"functions": ("shop-api", "shop-nobody")})
    found = read_settings(system.model_copy(update={"third_parties": {"bank": party}}), target)
    assert list(found.unread) == ["shop-nobody"]
    assert {"function shop-api", "queue shop-orders"} <= set(found.resources)
