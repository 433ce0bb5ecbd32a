"""An alarm is put, and refused, alike in both protocols that the sandbox reads: JSON, and forms (Query).

botocore writes the requests and reads the answers, each by the model of the service that AWS publishes.
"""

from __future__ import annotations

from typing import Any

import botocore.session
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from tests.sandbox.aws.shop import Shop

PROTOCOLS = ("json", "query")
METRIC = {"Namespace": "Shop", "MetricName": "orders", "Dimensions": [{"Name": "desk", "Value": "1"}]}
SINGLE: dict[str, Any] = {
    **METRIC,
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "DatapointsToAlarm": 2,
    "Threshold": 2.5,
    "ComparisonOperator": "LessThanThreshold",
    "TreatMissingData": "notBreaching",
    "ActionsEnabled": False,
    "AlarmDescription": "a < b & c",
    "AlarmActions": ["arn:aws:sns:us-east-1:123456789012:bells", "arn:aws:sns:us-east-1:123456789012:whistles"],
    "InsufficientDataActions": ["arn:aws:sns:us-east-1:123456789012:bells"],
    "OKActions": [],
}
MATH: dict[str, Any] = {
    "Metrics": [
        {"Id": "share", "Expression": "100 * m / PERIOD(m)", "ReturnData": True},
        {"Id": "m", "ReturnData": False, "MetricStat": {"Metric": METRIC, "Period": 60, "Stat": "p99.9"}},
    ],
    "EvaluationPeriods": 1,
    "Threshold": -1.0,
    "ComparisonOperator": "GreaterThanThreshold",
}
COMPOSITE: dict[str, Any] = {
    "AlarmRule": 'NOT OK("protocols")',
    "ActionsSuppressor": "protocols",
    "ActionsSuppressorWaitPeriod": 60,
    "ActionsSuppressorExtensionPeriod": 0,
    "ActionsEnabled": False,
}
TOLD = ("AlarmArn", "AlarmName", "AlarmConfigurationUpdatedTimestamp", "ActionsSuppressedBy", "ActionsSuppressedReason")
"""What differs from alarm to alarm; so does what is called `State...`."""


def ask(shop: Shop, protocol: str, operation: str, **request: Any) -> tuple[int, dict[str, Any]]:
    """Status and answer of a request in one of the protocols."""
    model = botocore.session.get_session().get_service_model("cloudwatch").operation_model(operation)
    written = create_serializer(protocol).serialize_to_request(request, model)
    url = f"{shop.account.endpoint_url}{written['url_path']}"
    signed = AWSRequest(written["method"], url, written["headers"], written["body"])
    credentials, region = shop.account.target.session.get_credentials(), shop.account.region
    SigV4Auth(credentials, "monitoring", region).add_auth(signed)
    found = httpx.request(signed.method, url, content=signed.prepare().body, headers=dict(signed.headers.items()))
    answer = {"status_code": found.status_code, "headers": found.headers, "body": found.content}
    return found.status_code, create_parser(protocol).parse(answer, model.output_shape)


def described(shop: Shop, name: str) -> dict[str, Any]:
    found = shop.client("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    (alarm,) = [*found["MetricAlarms"], *found["CompositeAlarms"]]
    return {field: value for field, value in alarm.items() if field not in TOLD and not field.startswith("State")}


@pytest.mark.parametrize(
    ("operation", "definition"),
    [("PutMetricAlarm", SINGLE), ("PutMetricAlarm", MATH), ("PutCompositeAlarm", COMPOSITE)],
    ids=["one metric", "metric math", "composite"],
)
def test_an_alarm_is_the_same_in_whatever_protocol_it_was_put(
    shop: Shop, operation: str, definition: dict[str, Any]
) -> None:
    shop.client("cloudwatch").put_metric_alarm(AlarmName="protocols", **{**SINGLE, "OKActions": []})
    found = {}
    for protocol in PROTOCOLS:
        name = f"protocols-{protocol}"
        status, answer = ask(shop, protocol, operation, AlarmName=name, **definition)
        assert status == 200, answer
        found[protocol] = described(shop, name)
        status, answer = ask(shop, protocol, "SetAlarmState", AlarmName=name, StateValue="ALARM", StateReason="by hand")
        assert status == 200, answer
        kept = shop.client("cloudwatch").describe_alarm_history(AlarmName=name, HistoryItemType="StateUpdate")
        # It may have been evaluated since. A composite alarm is in ALARM from its first evaluation.
        assert any("to ALARM" in item["HistorySummary"] for item in kept["AlarmHistoryItems"])
        shop.client("cloudwatch").delete_alarms(AlarmNames=[name])
    shop.client("cloudwatch").delete_alarms(AlarmNames=["protocols"])
    asked = {field: value for field, value in definition.items() if value != []}
    for told in found.values():
        assert {field: told.get(field) for field in asked} == asked
    assert found["query"] == found["json"] | {
        # A form is read before it is put: what was left to a default is told.
        field: found["query"][field]
        for field in ("TreatMissingData", "AlarmDescription")
        if field not in definition and field in found["query"]
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("operation", "definition", "named"),
    [
        ("PutMetricAlarm", {**SINGLE, "Statistic": "Middling"}, "Statistic"),
        ("PutMetricAlarm", {**SINGLE, "ComparisonOperator": "GreaterThanUpperThreshold"}, "anomaly detection"),
        ("PutMetricAlarm", {**SINGLE, "Period": 45}, "multiple of 60"),
        ("PutMetricAlarm", {**SINGLE, "DatapointsToAlarm": 4}, "could never ring"),
        ("PutMetricAlarm", {**MATH, "ThresholdMetricId": "share"}, "ThresholdMetricId"),
        ("PutMetricAlarm", {**MATH, "Metrics": [*MATH["Metrics"], MATH["Metrics"][1]]}, "'m' twice"),
        ("PutCompositeAlarm", {"AlarmRule": "ALARM(a) ANDD ALARM(b)"}, "AlarmRule"),
        ("PutCompositeAlarm", {"AlarmRule": "FALSE", **COMPOSITE, "ActionsSuppressor": "refused"}, "the alarm itself"),
        ("SetAlarmState", {"StateValue": "ALARM", "StateReason": ""}, "not found"),
    ],
    ids=str,
)
def test_what_is_refused_is_refused_in_every_protocol(
    shop: Shop, protocol: str, operation: str, definition: dict[str, Any], named: str
) -> None:
    status, answer = ask(shop, protocol, operation, AlarmName="refused", **definition)
    assert status in (400, 404)
    assert named in answer["Error"]["Message"]
    found = shop.client("cloudwatch").describe_alarms(AlarmNames=["refused"])
    assert (found["MetricAlarms"], found["CompositeAlarms"]) == ([], [])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("changes", "named"),
    [({"StateValue": "MAYBE"}, "StateValue"), ({"StateReasonData": "{"}, "StateReasonData")],
    ids=["no state", "no JSON"],
)
def test_a_state_that_is_none_is_not_set(shop: Shop, protocol: str, changes: dict[str, str], named: str) -> None:
    shop.client("cloudwatch").put_metric_alarm(AlarmName="unsettled", **SINGLE)
    request = {"AlarmName": "unsettled", "StateValue": "ALARM", "StateReason": "", **changes}
    status, answer = ask(shop, protocol, "SetAlarmState", **request)
    assert status == 400
    assert named in answer["Error"]["Message"]
