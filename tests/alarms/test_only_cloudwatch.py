"""Alarms that only CloudWatch evaluates: written down, told by their kind, compared, and never calculated with.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutLogAlarm.html
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from pydantic import ValidationError
from tests.alarms.kinds import BAND, LOGS, ONLY_CLOUDWATCH, PROMQL

from tocsin.actors.alarm_evidence import has_datapoints
from tocsin.alarms.askable import cannot_be
from tocsin.alarms.easier import Differences, differences
from tocsin.alarms.evaluable import not_evaluated
from tocsin.alarms.feasibility import Traffic, forecast_all
from tocsin.alarms.settling import settles_within_s
from tocsin.alarms.state_reason import grounds
from tocsin.aws.cloudwatch import definition_drift
from tocsin.model.experiment import MustAlarm
from tocsin.model.only_cloudwatch import LogAlarm, OnlyCloudWatch
from tocsin.model.system import CloudWatchAlarm, CompositeAlarm, System

Change = Callable[[dict[str, Any]], Any]


def alarm(definition: Mapping[str, Any]) -> CloudWatchAlarm:
    return CloudWatchAlarm.model_validate({"title": "An alarm", "cloudwatch": definition})


def told(definition: Mapping[str, Any]) -> dict[str, Any]:
    """As DescribeAlarms tells of it: with what CloudWatch fills in."""
    described = copy.deepcopy(dict(definition)) | {"ActionsEnabled": True, "AlarmActions": [], "StateValue": "OK"}
    if "ScheduledQueryConfiguration" in described:
        described["ScheduledQueryConfiguration"] |= {"QueryARN": "arn:aws:logs:::q", "Tags": []}
        described["ScheduledQueryConfiguration"]["ScheduleConfiguration"]["EndTimeOffset"] = 0
    if "EvaluationCriteria" in described:
        described["EvaluationCriteria"]["PromQLCriteria"]["RecoveryPeriod"] = 0
    if "Metrics" in described:
        for query in described["Metrics"]:
            query["ReturnData"] = True
    if "EvaluationPeriods" in described:
        described["DatapointsToAlarm"] = described["EvaluationPeriods"]
    return described


@pytest.mark.parametrize(("definition", "kind"), ONLY_CLOUDWATCH, ids=lambda one: one if isinstance(one, str) else "")
def test_each_kind_can_be_written_down_and_is_told(definition: Mapping[str, Any], kind: str) -> None:
    found = alarm(definition)
    (why,) = not_evaluated({"one": found}).values()
    assert kind in why
    page = CompositeAlarm(alarm_name="page", alarm_rule=f"ALARM({definition['AlarmName']})")
    both = {"one": found, "page": CloudWatchAlarm(title="Page", cloudwatch=page)}
    assert set(not_evaluated(both)) == {"one", "page"}


@pytest.mark.parametrize(("definition", "kind"), ONLY_CLOUDWATCH, ids=lambda one: one if isinstance(one, str) else "")
def test_each_kind_is_one_that_the_api_takes(definition: Mapping[str, Any], kind: str) -> None:
    del kind
    written = alarm(definition).cloudwatch
    api = botocore.session.get_session().get_service_model("cloudwatch")
    call = "PutLogAlarm" if isinstance(written, LogAlarm) else "PutMetricAlarm"
    for asked in (definition, written.model_dump(by_alias=True, exclude_none=True)):
        shape = api.operation_model(call).input_shape
        assert not ParamValidator().validate(asked, shape).has_errors()


@pytest.mark.parametrize(("definition", "kind"), ONLY_CLOUDWATCH, ids=lambda one: one if isinstance(one, str) else "")
def test_none_is_forecast_or_waited_for(definition: Mapping[str, Any], kind: str) -> None:
    one = alarm(definition).cloudwatch
    page = CompositeAlarm(alarm_name="page", alarm_rule=f"ALARM({one.alarm_name})")
    found = forecast_all({"one": 300.0, "page": 300.0}, {"one": one, "page": page}, Traffic(), {})
    assert found["one"].feasible
    assert found["one"].earliest_s is None
    assert found["one"].detail.startswith("cannot be forecast: ")
    assert kind in found["one"].detail
    # Of a child that cannot be forecast nobody knows that it stays silent.
    assert found["page"].feasible
    assert f"not judged: {one.alarm_name}" in found["page"].detail
    if isinstance(one, OnlyCloudWatch):
        assert settles_within_s(one, "INSUFFICIENT_DATA", {}) == 0


@pytest.mark.parametrize("definition", [BAND, PROMQL, LOGS], ids=["band", "PromQL", "logs"])
def test_the_accounts_alarm_is_the_documented_one(definition: Mapping[str, Any]) -> None:
    documented = alarm(definition)
    assert definition_drift(documented, told(definition)) == ()
    assert differences(documented.cloudwatch, told(definition)) == Differences()


def _query(changed: dict[str, Any]) -> None:
    changed["ScheduledQueryConfiguration"]["QueryString"] = "stats count(*)"


def _band(changed: dict[str, Any]) -> None:
    changed["Metrics"][1]["Expression"] = "ANOMALY_DETECTION_BAND(orders, 5)"


def _pending(changed: dict[str, Any]) -> None:
    changed["EvaluationCriteria"]["PromQLCriteria"]["PendingPeriod"] = 0


@pytest.mark.parametrize(
    ("definition", "change", "field"),
    [
        (BAND, _band, "Metrics"),
        (BAND, lambda changed: changed.update(ComparisonOperator="LessThanLowerThreshold"), "ComparisonOperator"),
        (BAND, lambda changed: changed.update(DatapointsToAlarm=1), "DatapointsToAlarm"),
        (PROMQL, _pending, "EvaluationCriteria"),
        (PROMQL, lambda changed: changed.update(EvaluationInterval=30), "EvaluationInterval"),
        (LOGS, _query, "ScheduledQueryConfiguration"),
        (LOGS, lambda changed: changed.update(Threshold=5), "Threshold"),
    ],
)
def test_what_differs_is_named_and_proves_nothing(definition: Mapping[str, Any], change: Change, field: str) -> None:
    documented, account = alarm(definition), told(definition)
    change(account)
    assert [one.split()[0] for one in definition_drift(documented, account)] == [field]
    assert differences(documented.cloudwatch, account) == Differences(other=(field,))


def test_an_alarm_of_another_kind_is_another_alarm() -> None:
    for documented in (BAND, PROMQL, LOGS):
        for account in (BAND, PROMQL, LOGS):
            same = account is documented
            assert (differences(alarm(documented).cloudwatch, told(account)) == Differences()) is same
            named = told({**account, "AlarmName": documented["AlarmName"]})
            assert (definition_drift(alarm(documented), named) == ()) is same


STATIC = {
    "Metrics": [{**BAND["Metrics"][0], "ReturnData": False}, BAND["Metrics"][1]],
    "Threshold": 5,
    "ComparisonOperator": "GreaterThanThreshold",
    "ThresholdMetricId": None,
}
"""A band that is compared with a number: Threshold is not for alarms based on anomaly detection models."""


@pytest.mark.parametrize(
    ("definition", "changes", "named"),
    [
        (BAND, {"Threshold": 5}, "expected no Threshold: ThresholdMetricId and the ComparisonOperator"),
        (BAND, STATIC, "expected ThresholdMetricId 'usual' and an operator of bands in place of Threshold"),
        (BAND, {"ComparisonOperator": "GreaterThanThreshold"}, "ComparisonOperator"),
        (BAND, {"ThresholdMetricId": "other"}, "found none of that Id"),
        (BAND, {"ThresholdMetricId": "orders"}, "ANOMALY_DETECTION_BAND"),
        (BAND, {"ThresholdMetricId": None}, "ThresholdMetricId"),
        (BAND, {"Metrics": [BAND["Metrics"][1]]}, "found 0"),
        (BAND, {"MetricName": "orders"}, "MetricName"),
        (BAND, {"DatapointsToAlarm": 3}, "could never ring"),
        (BAND, {"AlarmActions": ["arn:aws:autoscaling:eu-west-1:123456789012:policy"]}, "on anomaly detection can do"),
        (PROMQL, {"Threshold": 1}, "Threshold"),
        (PROMQL, {"EvaluationPeriods": 1}, "EvaluationPeriods"),
        (PROMQL, {"EvaluationInterval": None}, "EvaluationInterval"),
        (PROMQL, {"EvaluationInterval": 45}, "multiple of 60"),
        (PROMQL, {"EvaluationInterval": 7200}, "at most 3600"),
        (PROMQL, {"EvaluationCriteria": {"PromQLCriteria": {"Query": ""}}}, "Query"),
        (LOGS, {"Threshold": None}, "Threshold"),
        (LOGS, {"QueryResultsToAlarm": 4}, "could never ring"),
        (LOGS, {"QueryResultsToEvaluate": 101}, "QueryResultsToEvaluate"),
        (LOGS, {"ActionLogLineCount": 5}, "ActionLogLineRoleArn"),
        (LOGS, {"ComparisonOperator": "GreaterThanUpperThreshold"}, "ComparisonOperator"),
        (LOGS, {"AlarmActions": ["arn:aws:swf:eu-west-1:123456789012:action"]}, "a log alarm can do"),
    ],
)
def test_what_the_call_refuses_cannot_be_written_down(
    definition: Mapping[str, Any], changes: Mapping[str, Any], named: str
) -> None:
    changed = {name: value for name, value in {**definition, **changes}.items() if value is not None}
    with pytest.raises(ValidationError) as refused:
        alarm(changed)
    assert named in str(refused.value)


def test_a_query_of_no_time_and_a_schedule_that_is_none_cannot_be_written_down() -> None:
    for part, named in (({"EndTimeOffset": 360}, "below StartTimeOffset"), ({"ScheduleExpression": "daily"}, "rate")):
        changed = copy.deepcopy(dict(LOGS))
        changed["ScheduledQueryConfiguration"]["ScheduleConfiguration"] |= part
        with pytest.raises(ValidationError, match=named):
            alarm(changed)


def test_how_they_change_is_not_documented_and_no_sign_of_a_hand() -> None:
    words = '{"version": "1.0"}'
    assert grounds(told(PROMQL), "ALARM", words).evidence is None
    assert grounds(told(LOGS), "OK", None).evidence is None
    assert grounds(told(BAND), "ALARM", None).evidence == "none"
    assert grounds(told(BAND), "ALARM", '{"recentDatapoints": [400.0]}').evidence == "datapoints"
    late = '{"recentDatapoints": [3.0], "threshold": 10.0}'
    silent = told(LOGS) | {"TreatMissingData": "breaching"}
    assert grounds(silent, "ALARM", late).evidence == "silence"


def test_no_datapoints_are_compared_with_a_threshold_that_is_none() -> None:
    assert not any(has_datapoints(told(one)) for one in (BAND, PROMQL, LOGS))


def test_what_never_lacks_data_cannot_be_asked_to_say_so() -> None:
    alarms = {"down": alarm(PROMQL), "odd": alarm({**BAND, "TreatMissingData": "missing"})}
    system = System.model_validate({"system": "depot", "title": "Depot", "endpoint": {"url": "http://127.0.0.1:9"}})
    system = system.model_copy(update={"alarms": alarms})
    down = MustAlarm(alarm="down", within=60, by="INSUFFICIENT_DATA")
    odd = MustAlarm(alarm="odd", within=60, by="INSUFFICIENT_DATA")
    ((field, words),) = cannot_be(down, system)
    assert field == "by"
    assert "a PromQL alarm" in words
    assert list(cannot_be(odd, system)) == []
