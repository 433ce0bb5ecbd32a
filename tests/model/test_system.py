"""What a system file may name: one place where it answers, and each alarm once."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tocsin.model.system import Endpoint, System

ALARM = {
    "Namespace": "Shop",
    "MetricName": "orders",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 5,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
}


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ({}, "expected one of url, http_api and load_balancer, found none"),
        ({"url": "https://shop.test", "http_api": "shop"}, "found url and http_api"),
        ({"url": "https://shop.test", "stage": "prod"}, "expected `stage` beside `http_api`, found it beside `url`"),
    ],
)
def test_an_endpoint_is_one_place(endpoint: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Endpoint.model_validate(endpoint)
    assert Endpoint(http_api="shop", stage="prod").stage == "prod"


def system(*alarm_names: str) -> System:
    alarms: dict[str, Any] = {
        f"alarm-{number}": {"title": "t", "cloudwatch": {**ALARM, "AlarmName": name}}
        for number, name in enumerate(alarm_names)
    }
    return System.model_validate({"system": "shop", "title": "Shop", "endpoint": {"http_api": "a"}, "alarms": alarms})


def test_two_alarms_of_one_name_are_refused() -> None:
    assert len(system("orders", "queue").alarms) == 2
    with pytest.raises(ValidationError, match="found orders of both alarm-0 and alarm-1: what one of them does would"):
        system("orders", "orders")
