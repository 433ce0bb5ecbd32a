"""`tocsin.aws` and the sandbox share no code: what either believes of AWS is held against the other here.

Names of IAM actions and resources are compared by the drills of `tests/drill/test_permissions.py`, where the sandbox
enforces the policy that the harness printed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.sandbox.aws.shop import Shop, eventually

from tocsin.aws.metrics import AGE, DEPTH, KINDS

API = "AWS/ApiGateway"


def names(shop: Shop, namespace: str) -> set[tuple[str, str]]:
    pages = shop.client("cloudwatch").get_paginator("list_metrics").paginate(Namespace=namespace)
    return {(metric["Namespace"], metric["MetricName"]) for page in pages for metric in page["Metrics"]}


def largest(shop: Shop, name: str) -> Any:
    """The largest single value of a metric of the shop's API so far."""
    now = datetime.now(UTC)
    points = shop.client("cloudwatch").get_metric_statistics(
        Namespace=API,
        MetricName=name,
        Dimensions=[{"Name": "ApiId", "Value": shop.api_id}],
        StartTime=now - timedelta(hours=1),
        EndTime=now,
        Period=86400,
        Statistics=["Maximum"],
    )["Datapoints"]
    return max(point["Maximum"] for point in points)


@pytest.fixture
def called(shop: Shop) -> Shop:
    shop.get("/no-such-path")
    eventually(lambda: names(shop, API))
    return shop


def test_what_an_api_publishes_is_known(called: Shop) -> None:
    published = names(called, API)
    assert published <= KINDS.keys()
    assert {(API, "Count"), (API, "4xx")} <= published


def test_no_value_is_beyond_what_a_metric_can_have(called: Shop) -> None:
    for kind, name in ((KINDS[one], one[1]) for one in names(called, API)):
        assert kind.at_least <= largest(called, name) <= kind.at_most


def test_a_queue_publishes_the_metrics_of_depth_and_age(shop: Shop) -> None:
    eventually(lambda: {AGE, DEPTH} <= names(shop, "AWS/SQS"))
