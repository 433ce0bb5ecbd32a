"""DescribeAlarms by names: looked up, and the very answer that ministack gives by going through all alarms."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.sandbox.services.cloudwatch.ministack import described_by_name

cloudwatch = pytest.importorskip("ministack.services.cloudwatch", reason="the extra `sandbox` is not installed")

SCOPE = ("000000000007", "eu-west-3")
BOTH = ["MetricAlarm", "CompositeAlarm"]
MANY = [f"bell-{number:03d}" for number in range(120)]


@pytest.fixture
def stores() -> Any:
    """120 metric alarms of one account, two composite alarms, and one of the same name in another account."""
    responses = pytest.importorskip("ministack.core.responses")
    found = {"MetricAlarm": cloudwatch._alarms, "CompositeAlarm": cloudwatch._composite_alarms}
    kept = {kind: dict(store._data) for kind, store in found.items()}
    with responses.request_scope("000000000008", SCOPE[1]):
        cloudwatch._alarms["elsewhere"] = {"AlarmName": "elsewhere", "StateValue": "OK"}
    with responses.request_scope(*SCOPE):
        for name in reversed(MANY):
            cloudwatch._alarms[name] = {"AlarmName": name, "StateValue": "OK"}
        for name in ("tower", "belfry"):
            cloudwatch._composite_alarms[name] = {"AlarmName": name, "StateValue": "ALARM", "AlarmRule": "TRUE"}
        yield found
    for kind, store in found.items():
        store._data.clear()
        store._data.update(kept[kind])


@pytest.mark.parametrize(
    "request_",
    [
        {"AlarmNames": ["bell-004"]},
        {"AlarmNames": ["bell-009", "nobody", "bell-002", "bell-009"]},
        {"AlarmNames": ["tower", "bell-001", "belfry", "elsewhere"], "AlarmTypes": [*BOTH, "LogAlarm"]},
        {"AlarmNames": ["tower", "bell-001"], "AlarmTypes": ["CompositeAlarm"]},
        {"AlarmNames": ["tower", "bell-001"], "AlarmTypes": []},
        {"AlarmNames": ["tower", "bell-001"], "AlarmTypes": ["LogAlarm"]},
        {"AlarmNames": MANY[:50]},
        {"AlarmNames": [*MANY[:98], "tower", "belfry"], "AlarmTypes": BOTH, "MaxRecords": 100},
    ],
    ids=str,
)
def test_the_answer_is_that_of_going_through_all(stores: Any, request_: dict[str, Any]) -> None:
    status, _, body = cloudwatch._describe_alarms({}, request_, False, True)
    assert status == 200
    assert described_by_name(request_, stores) == json.loads(body)


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"AlarmNames": []},
        {"AlarmNames": "bell-001"},
        {"AlarmNames": [7]},
        {"AlarmNames": MANY[:51]},
        {"AlarmNames": MANY[:3], "MaxRecords": 2},
        {"AlarmNames": MANY[:3], "MaxRecords": 101},
        {"AlarmNames": MANY[:3], "MaxRecords": 0},
        {"AlarmNames": MANY[:3], "MaxRecords": "5"},
        {"AlarmNames": MANY[:3], "StateValue": "OK"},
        {"AlarmNames": MANY[:3], "NextToken": "bell-002"},
        {"AlarmNames": MANY[:3], "AlarmNamePrefix": "bell"},
    ],
    ids=str,
)
def test_what_is_asked_beyond_names_is_left_to_it(stores: Any, request_: dict[str, Any]) -> None:
    assert described_by_name(request_, stores) is None
