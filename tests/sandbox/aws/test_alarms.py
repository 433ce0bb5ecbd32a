"""Alarms of the sandbox through the CloudWatch API."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.alarms.kinds import BAND, CONTRIBUTORS, INSIGHTS, LOGS, ONLY_CLOUDWATCH, PROMQL
from tests.sandbox.aws.shop import Shop, eventually

from tocsin.model.system import CloudWatchAlarm, Endpoint, System
from tocsin.sandbox.control import put_what_is_evaluated


def test_life_of_an_alarm(shop: Shop) -> None:
    actions = {"AlarmActions": [shop.topic], "InsufficientDataActions": [shop.topic]}
    shop.put_alarm("orders", TreatMissingData="missing", **actions)
    created = shop.describe("orders")
    assert created["StateValue"] == "INSUFFICIENT_DATA"
    assert created["ActionsEnabled"] is True

    shop.publish("orders", 4, 3)
    shop.wait_for_ring("orders")
    update = shop.history("orders", "StateUpdate")[0]
    assert update["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM"
    assert update["HistoryData"]["oldState"]["stateValue"] == "INSUFFICIENT_DATA"
    new = update["HistoryData"]["newState"]
    assert new["stateValue"] == "ALARM"
    assert new["stateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoint [7]")
    assert new["stateReasonData"]["recentDatapoints"] == [7]
    assert new["stateReasonData"]["period"] == 60
    assert json.loads(shop.describe("orders")["StateReasonData"])["threshold"] == 5

    shop.wait_for("orders", "INSUFFICIENT_DATA")
    summaries = [item["HistorySummary"] for item in shop.history("orders", "StateUpdate")]
    assert summaries[-1] == "Alarm updated from ALARM to INSUFFICIENT_DATA"
    action = eventually(lambda: shop.history("orders", "Action"))[0]
    assert action["HistorySummary"] == f"Successfully executed action {shop.topic}"
    assert action["HistoryData"]["actionState"] == "Succeeded"
    assert (action["HistoryData"]["notificationResource"], action["HistoryData"]["error"]) == (shop.topic, None)
    published = json.loads(json.loads(action["HistoryData"]["publishedMessage"])["default"])
    assert published["NewStateValue"] == "ALARM"
    alarm, silence = eventually(lambda: len(told := shop.alerts("orders")) == 2 and told)
    assert (alarm["OldStateValue"], alarm["NewStateValue"]) == ("INSUFFICIENT_DATA", "ALARM")
    assert (silence["OldStateValue"], silence["NewStateValue"]) == ("ALARM", "INSUFFICIENT_DATA")
    assert alarm["Trigger"]["MetricName"] == "orders"
    assert shop.history("orders", "ConfigurationUpdate")[0]["HistorySummary"] == 'Alarm "orders" created'


def test_an_alarm_that_rings_on_is_evaluated_every_minute_and_told_once(shop: Shop) -> None:
    shop.put_alarm("ringing-on", TreatMissingData="missing", AlarmActions=[shop.topic])
    # Of several minutes that are to come, in one request: however late the next look is, none of them has no data.
    now = datetime.now(UTC)
    halves = [{"MetricName": "ringing-on", "Value": 9, "Timestamp": now + timedelta(seconds=n / 2)} for n in range(12)]
    shop.client("cloudwatch").put_metric_data(Namespace="Shop", MetricData=halves)
    eventually(lambda: shop.states("ringing-on") == ["ALARM", "INSUFFICIENT_DATA"])
    assert len(shop.history("ringing-on", "Action")) == 1
    (alert,) = eventually(lambda: shop.alerts("ringing-on"))
    assert alert["NewStateValue"] == "ALARM"


def test_disabled_actions_are_silent_and_the_state_changes_all_the_same(shop: Shop) -> None:
    for name in ("muted", "loud"):
        shop.put_alarm(name, AlarmActions=[shop.topic])
    shop.client("cloudwatch").disable_alarm_actions(AlarmNames=["muted"])
    shop.publish("muted", 9)
    shop.wait_for_ring("muted")
    shop.publish("loud", 9)
    # Whatever the muted one would have said is older than this.
    eventually(lambda: shop.history("loud", "Action"))
    assert shop.history("muted", "StateUpdate")
    assert not shop.history("muted", "Action")
    assert not shop.alerts("muted")
    shop.client("cloudwatch").enable_alarm_actions(AlarmNames=["muted"])
    assert shop.describe("muted")["ActionsEnabled"] is True


def test_an_action_that_cannot_be_executed_is_in_the_history(shop: Shop) -> None:
    shop.put_alarm("unheard", AlarmActions=[f"{shop.topic}-of-nobody"])
    shop.publish("unheard", 9)
    (item,) = eventually(lambda: shop.history("unheard", "Action"))
    assert item["HistoryData"]["actionState"] == "Failed"
    assert "Topic does not exist" in item["HistorySummary"]


def only_this_account() -> str:
    return policy({"AWS": "arn:aws:iam::123456789012:root"}, ["sns:Publish", "kms:*"])


def policy(principal: dict[str, str], actions: list[str]) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": actions, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def key(shop: Shop, policy_text: str) -> str:
    return str(shop.client("kms").create_key(Policy=policy_text)["KeyMetadata"]["KeyId"])


ALARMS = {"Service": "cloudwatch.amazonaws.com"}
DENIED = "AWSKMS; Status Code: 400; Error Code: AccessDeniedException"
TOPICS: dict[str, tuple[Callable[[Shop], dict[str, str]], str | None]] = {
    "key-of-aws": (lambda _: {"KmsMasterKeyId": "alias/aws/sns"}, DENIED),
    "key-of-people": (lambda shop: {"KmsMasterKeyId": key(shop, only_this_account())}, DENIED),
    "key-that-is-gone": (lambda _: {"KmsMasterKeyId": "alias/gone"}, "Error Code: NotFoundException"),
    "key-for-alarms": (
        lambda shop: {"KmsMasterKeyId": key(shop, policy(ALARMS, ["kms:GenerateDataKey*", "kms:Decrypt"]))},
        None,
    ),
    "topic-of-people": (lambda _: {"Policy": only_this_account()}, "not authorized to perform: SNS:Publish"),
    "topic-for-alarms": (lambda _: {"Policy": policy(ALARMS, ["sns:Publish"])}, None),
}


@pytest.mark.parametrize("name", TOPICS)
def test_who_may_not_publish_tells_nobody_and_the_history_says_why(shop: Shop, name: str) -> None:
    attributes, error = TOPICS[name]
    topic = shop.client("sns").create_topic(Name=name, Attributes=attributes(shop))["TopicArn"]
    topics = policy({"Service": "sns.amazonaws.com"}, ["sqs:SendMessage"])
    inbox = shop.client("sqs").create_queue(QueueName=name, Attributes={"Policy": topics})["QueueUrl"]
    arn = shop.client("sqs").get_queue_attributes(QueueUrl=inbox, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    shop.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    shop.put_alarm(name, AlarmActions=[topic])
    shop.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="rehearsal")
    (item,) = eventually(lambda: shop.history(name, "Action"))
    came = shop.client("sqs").receive_message(QueueUrl=inbox).get("Messages", [])
    assert bool(came) is (error is None)
    if error is None:
        assert item["HistorySummary"] == f"Successfully executed action {topic}"
    else:
        assert item["HistorySummary"].startswith(f"Failed to execute action {topic}. Received error: ")
        assert error in item["HistorySummary"]
        assert error in item["HistoryData"]["error"]


def test_a_state_that_was_set_by_hand_does_not_last(shop: Shop) -> None:
    shop.put_alarm("rehearsed", AlarmActions=[shop.topic])
    shop.wait_for("rehearsed", "OK")
    shop.client("cloudwatch").set_alarm_state(AlarmName="rehearsed", StateValue="ALARM", StateReason="rehearsal")
    shop.wait_for("rehearsed", "OK")
    updates = [item["HistoryData"]["newState"] for item in shop.history("rehearsed", "StateUpdate")]
    assert [update["stateValue"] for update in updates] == ["OK", "ALARM", "OK"]
    assert updates[1]["stateReason"] == "rehearsal"
    (alert,) = eventually(lambda: shop.alerts("rehearsed"))
    assert alert["NewStateReason"] == "rehearsal"


def test_composite_alarm(shop: Shop) -> None:
    for name in ("errors", "maintenance"):
        shop.put_alarm(name, TreatMissingData="ignore")
    shop.client("cloudwatch").put_composite_alarm(
        AlarmName="page", AlarmRule='ALARM("errors") AND NOT ALARM(maintenance)', AlarmActions=[shop.topic]
    )
    shop.publish("errors", 9)
    shop.wait_for("page", "ALARM")
    shop.publish("maintenance", 9)
    shop.wait_for("page", "OK")
    assert shop.state("errors") == "ALARM"
    (alert,) = eventually(lambda: shop.alerts("page"))
    assert alert["AlarmRule"] == 'ALARM("errors") AND NOT ALARM(maintenance)'


def test_metric_math_alarm(shop: Shop) -> None:
    def query(name: str, metric: str) -> dict[str, object]:
        of = {"Namespace": "Shop", "MetricName": metric}
        return {"Id": name, "MetricStat": {"Metric": of, "Period": 60, "Stat": "Sum"}, "ReturnData": False}

    queries = [query("m1", "refused"), query("m2", "asked"), {"Id": "share", "Expression": "100*m1/m2"}]
    single = dict.fromkeys(("Namespace", "MetricName", "Statistic", "Period"))
    shop.put_alarm("share", Metrics=queries, Threshold=20, **single)
    described = shop.describe("share")["Metrics"]
    assert [one["Id"] for one in described] == ["m1", "m2", "share"]
    # One request, so that both are in the same minute.
    shop.client("cloudwatch").put_metric_data(
        Namespace="Shop", MetricData=[{"MetricName": "refused", "Value": 3}, {"MetricName": "asked", "Value": 10}]
    )
    shop.wait_for_ring("share")
    reasons = [item["HistoryData"]["newState"]["stateReason"] for item in shop.history("share", "StateUpdate")]
    assert any("[30]" in reason for reason in reasons)


def test_data_of_another_dimension_does_not_matter(shop: Shop) -> None:
    for stage in ("dev", "prod"):
        shop.put_alarm(f"stage-{stage}", MetricName="stage", Dimensions=[{"Name": "Stage", "Value": stage}])
    shop.publish("stage", 100, Stage="dev")
    shop.publish("stage", 100)
    shop.wait_for_ring("stage-dev")
    shop.wait_for("stage-prod", "OK")
    assert shop.states("stage-prod") == ["OK"]


def test_high_resolution_alarm(shop: Shop) -> None:
    shop.put_alarm("quick", Period=10)
    shop.client("cloudwatch").put_metric_data(
        Namespace="Shop", MetricData=[{"MetricName": "quick", "Value": 9, "StorageResolution": 1}]
    )
    # Gone again after ten seconds, so that only the history can tell.
    updates = eventually(
        lambda: [item for item in shop.history("quick", "StateUpdate") if "to ALARM" in item["HistorySummary"]]
    )
    assert updates[0]["HistoryData"]["newState"]["stateReasonData"]["period"] == 10


def test_m_out_of_n_over_five_minutes(shop: Shop) -> None:
    shop.put_alarm("twice", EvaluationPeriods=5, DatapointsToAlarm=2)
    shop.publish("twice", 9)
    shop.put_alarm("once", MetricName="twice")
    # The alarm that asks for one breach has seen it; the other one asks for two.
    shop.wait_for_ring("once")
    assert "ALARM" not in shop.states("twice")
    # Five minutes are five seconds: whoever publishes late has to publish twice again.
    eventually(lambda: (shop.publish("twice", 9), "ALARM" in shop.states("twice"))[1])


def test_metrics_are_read_as_they_were_published(shop: Shop) -> None:
    cloudwatch = shop.client("cloudwatch")
    shop.publish("size", *range(1, 101), Shelf="a")
    listed = cloudwatch.list_metrics(Namespace="Shop", MetricName="size")["Metrics"]
    assert [metric["Dimensions"] for metric in listed] == [[{"Name": "Shelf", "Value": "a"}]]
    assert shop.total("Shop", "size", Shelf="a") == 5050
    window = {"StartTime": datetime.now(UTC) - timedelta(hours=1), "EndTime": datetime.now(UTC)}
    of = {"Namespace": "Shop", "MetricName": "size", "Dimensions": [{"Name": "Shelf", "Value": "a"}]}
    results = cloudwatch.get_metric_data(
        MetricDataQueries=[
            {"Id": "p95", "MetricStat": {"Metric": of, "Period": 3600, "Stat": "p95"}},
            {"Id": "most", "MetricStat": {"Metric": of, "Period": 3600, "Stat": "Maximum"}, "ReturnData": False},
            {"Id": "half", "Expression": "most / 2"},
        ],
        **window,
    )["MetricDataResults"]
    values = {result["Id"]: result["Values"] for result in results}
    assert values["half"] == [50]
    assert values["p95"][0] == pytest.approx(95, abs=1)


@pytest.mark.parametrize("expression", ["__import__('os')", "m1 ** m1", "unknown + 1"])
def test_hostile_or_wrong_metric_math_is_a_validation_error(shop: Shop, expression: str) -> None:
    of = {"Namespace": "Shop", "MetricName": "size"}
    queries = [
        {"Id": "m1", "MetricStat": {"Metric": of, "Period": 60, "Stat": "Sum"}},
        {"Id": "e", "Expression": expression},
    ]
    with pytest.raises(ClientError, match="Validation"):
        shop.client("cloudwatch").get_metric_data(
            MetricDataQueries=queries, StartTime=datetime.now(UTC) - timedelta(hours=1), EndTime=datetime.now(UTC)
        )


def test_a_composite_rule_that_cannot_be_read_is_refused(shop: Shop) -> None:
    with pytest.raises(ClientError, match="Validation"):
        shop.client("cloudwatch").put_composite_alarm(AlarmName="bad", AlarmRule="ALARM(nobody) XOR TRUE")


def _math(expression: str) -> list[dict[str, object]]:
    """Metrics of an alarm on an expression of `failed` and `all`."""
    return [
        {"Id": "watched", "Expression": expression, "Label": "for people"},
        *(
            {
                "Id": name,
                "ReturnData": False,
                "MetricStat": {
                    "Metric": {"Namespace": "Shop", "MetricName": f"math-{name}"},
                    "Period": 60,
                    "Stat": "Sum",
                },
            }
            for name in ("failed", "all")
        ),
    ]


ONE_METRIC = ("Namespace", "MetricName", "Statistic", "Period")


def test_an_alarm_on_metric_math_rings_by_its_expression(shop: Shop) -> None:
    expression = "IF(all > 2 AND failed > 0, 100 * failed / all, 0)"
    shop.put_alarm("failed-share", Metrics=_math(expression), Threshold=50, **dict.fromkeys(ONE_METRIC))
    shop.publish("math-all", 4)
    shop.wait_for("failed-share", "OK")
    # One request, so that both are in the same minute; a half also where this is still the minute of the first four.
    shop.client("cloudwatch").put_metric_data(
        Namespace="Shop", MetricData=[{"MetricName": f"math-{name}", "Value": 4} for name in ("all", "failed")]
    )
    shop.wait_for_ring("failed-share")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"Period": 45}, "multiple of 60"),
        ({"EvaluationPeriods": 2, "DatapointsToAlarm": 3}, "could never ring"),
        ({"ExtendedStatistic": "p99"}, "both"),
        ({"Statistic": None, "ExtendedStatistic": "tm101"}, "expected a statistic"),
        ({"AlarmActions": ["arn:aws:sns:us-east-1:123456789012:a"] * 6}, "AlarmActions"),
        ({"Metrics": _math("SUM(failed)"), **dict.fromkeys(ONE_METRIC)}, "a number"),
        ({"Metrics": _math("MAX(ANOMALY_DETECTION_BAND(failed))"), **dict.fromkeys(ONE_METRIC)}, "not evaluated"),
        ({"Metrics": _math("ANOMALY_DETECTION_BAND(failed)"), **dict.fromkeys(ONE_METRIC)}, "in place of Threshold"),
        ({"ThresholdMetricId": "band", "ComparisonOperator": "GreaterThanUpperThreshold"}, "ThresholdMetricId"),
        ({"EvaluationWindow": {"WallClockWindow": {"Timezone": "UTC"}}}, "EvaluationWindow"),
    ],
    ids=str,
)
def test_an_alarm_that_nobody_would_evaluate_is_refused(shop: Shop, changes: dict[str, object], named: str) -> None:
    with pytest.raises(ClientError, match="ValidationError") as refused:
        shop.put_alarm("refused", **changes)
    assert named in str(refused.value)
    assert not shop.client("cloudwatch").describe_alarms(AlarmNames=["refused"])["MetricAlarms"]


@pytest.mark.parametrize(
    ("definition", "named"),
    [
        (BAND, "The sandbox does not evaluate an alarm on anomaly detection (ThresholdMetricId)"),
        (PROMQL, "The sandbox does not evaluate a PromQL alarm (EvaluationCriteria"),
        (LOGS, "The sandbox does not evaluate log alarms (PutLogAlarm)"),
        (INSIGHTS, "Metrics Insights is not evaluated here"),
        (CONTRIBUTORS, "INSIGHT_RULE_METRIC is not evaluated here"),
    ],
    ids=["band", "PromQL", "logs", "Insights", "contributors"],
)
def test_an_alarm_that_only_cloudwatch_evaluates_is_refused_by_name(
    shop: Shop, definition: dict[str, Any], named: str
) -> None:
    cloudwatch = shop.client("cloudwatch")
    put = cloudwatch.put_log_alarm if definition is LOGS else cloudwatch.put_metric_alarm
    with pytest.raises(ClientError, match="ValidationError") as refused:
        put(**definition)
    assert named in str(refused.value)
    kinds = ["MetricAlarm", "CompositeAlarm", "LogAlarm"]
    found = cloudwatch.describe_alarms(AlarmNames=[definition["AlarmName"]], AlarmTypes=kinds)
    assert not found["MetricAlarms"]
    assert not found.get("LogAlarms")


def test_a_system_with_such_alarms_is_put_without_them_and_says_so(shop: Shop) -> None:
    alarms = {kind: CloudWatchAlarm.model_validate({"title": kind, "cloudwatch": one}) for one, kind in ONLY_CLOUDWATCH}
    system = System(system="depot", title="Depot", endpoint=Endpoint(url="http://127.0.0.1:9"), alarms=alarms)
    said: list[str] = []
    put_what_is_evaluated(system, shop.account, said.append)
    assert [line.partition(",")[0] for line in said] == [f"leaving out the alarm {kind}" for kind in alarms]
    assert all(kind in line.partition(",")[2] for kind, line in zip(alarms, said, strict=True))


def test_alarms_are_put_after_those_that_they_look_at_whatever_the_order_of_the_file(shop: Shop) -> None:
    quiet = {"ActionsSuppressor": "order-top", "ActionsSuppressorWaitPeriod": 0, "ActionsSuppressorExtensionPeriod": 0}
    metric = {"Namespace": "Shop", "MetricName": "order-bottom", "Statistic": "Sum", "Period": 60}
    rings = {"EvaluationPeriods": 1, "Threshold": 5, "ComparisonOperator": "GreaterThanThreshold"}
    definitions: dict[str, dict[str, Any]] = {
        "paged": {"AlarmName": "order-paged", "AlarmRule": "FALSE", **quiet},
        "top": {"AlarmName": "order-top", "AlarmRule": "ALARM(order-middle)"},
        "middle": {"AlarmName": "order-middle", "AlarmRule": "OK(order-bottom) OR ALARM(order-bottom)"},
        "bottom": {"AlarmName": "order-bottom", **metric, **rings},
    }
    alarms = {
        name: CloudWatchAlarm.model_validate({"title": name, "cloudwatch": one}) for name, one in definitions.items()
    }
    system = System(system="depot", title="Depot", endpoint=Endpoint(url="http://127.0.0.1:9"), alarms=alarms)
    put_what_is_evaluated(system, shop.account, lambda _: None)
    found = shop.client("cloudwatch").describe_alarms(AlarmNamePrefix="order-", AlarmTypes=["CompositeAlarm"])
    assert {one["AlarmName"] for one in found["CompositeAlarms"]} == {"order-paged", "order-top", "order-middle"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"AlarmRule": "ALARM(a) ANDD ALARM(b)"}, "AlarmRule"),
        ({"ActionsSuppressor": "quiet-hours"}, "ActionsSuppressor"),
    ],
)
def test_a_composite_alarm_that_nobody_would_evaluate_is_refused(
    shop: Shop, changes: dict[str, str], named: str
) -> None:
    with pytest.raises(ClientError, match="ValidationError") as refused:
        shop.client("cloudwatch").put_composite_alarm(AlarmName="both", **{"AlarmRule": "ALARM(a)", **changes})
    assert named in str(refused.value)


def test_a_composite_alarm_counts_its_children(shop: Shop) -> None:
    names = [f"counted-{n}" for n in range(3)]
    for name in names:
        shop.put_alarm(name)
    rule = f"AT_LEAST(2, ALARM, ({', '.join(names)}))"
    shop.client("cloudwatch").put_composite_alarm(AlarmName="two-of-three", AlarmRule=rule)
    found = shop.client("cloudwatch").describe_alarms

    def state() -> str:
        return str(
            found(AlarmNames=["two-of-three"], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"][0]["StateValue"]
        )

    shop.publish(names[0], 9)
    shop.wait_for_ring(names[0])
    eventually(lambda: state() == "OK")
    eventually(lambda: [shop.publish(name, 9) for name in names[:2]] and state() == "ALARM")


def test_composites_of_composites_follow_their_children_again_and_again(shop: Shop) -> None:
    put = shop.client("cloudwatch").put_composite_alarm
    shop.put_alarm("root-cause", TreatMissingData="ignore")
    put(AlarmName="middle", AlarmRule="AT_LEAST(50%, ALARM, (root-cause))")
    put(AlarmName="top", AlarmRule="AT_LEAST(1, NOT OK, (middle)) AND ALARM(root-cause)")
    for state, value in (("ALARM", 9), ("OK", 0), ("ALARM", 9)):
        shop.publish("root-cause", value)
        shop.wait_for("top", state)
    assert shop.states("top")[-3:] == ["ALARM", "OK", "ALARM"]
    assert shop.states("middle")[-3:] == ["ALARM", "OK", "ALARM"]


def test_composites_that_look_at_each_other_are_evaluated_no_more(shop: Shop) -> None:
    put = shop.client("cloudwatch").put_composite_alarm
    shop.put_alarm("watched", TreatMissingData="ignore")
    put(AlarmName="left", AlarmRule="ALARM(watched)")
    put(AlarmName="right", AlarmRule="NOT ALARM(left)")
    shop.wait_for("right", "ALARM")
    # "the evaluation of composite alarms stops if CloudWatch detects a cycle": PutCompositeAlarm. AWS takes it.
    put(AlarmName="left", AlarmRule="ALARM(watched) OR ALARM(right)")
    before = len(shop.history("right", "StateUpdate"))
    shop.publish("watched", 9)
    shop.wait_for("watched", "ALARM")
    assert len(shop.history("right", "StateUpdate")) == before
    put(AlarmName="left", AlarmRule="FALSE")


def test_a_suppressor_holds_the_actions_back_and_the_state_goes_on(shop: Shop) -> None:
    for name in ("failing", "deploying"):
        shop.put_alarm(name, TreatMissingData="ignore")
    put = shop.client("cloudwatch").put_composite_alarm
    periods = {"ActionsSuppressorWaitPeriod": 60, "ActionsSuppressorExtensionPeriod": 120}
    put(
        AlarmName="pager",
        AlarmRule="ALARM(failing)",
        ActionsSuppressor="deploying",
        AlarmActions=[shop.topic],
        **periods,
    )
    shop.publish("deploying", 9)
    shop.wait_for("deploying", "ALARM")
    shop.publish("failing", 9)
    shop.wait_for("pager", "ALARM")
    described = eventually(lambda: (found := shop.describe("pager"))["StateValue"] == "ALARM" and found)
    assert (described["ActionsSuppressor"], described["ActionsSuppressedBy"]) == ("deploying", "Alarm")
    assert {name: described[name] for name in periods} == periods
    assert shop.history("pager", "StateUpdate")[-1]["HistoryData"]["newState"]["actionsSuppressedBy"] == "Alarm"
    assert not shop.history("pager", "Action")
    # Out of ALARM, then the extension period: the page that was held back is sent, because it still rings.
    shop.publish("deploying", 0)
    (alert,) = eventually(lambda: shop.alerts("pager"))
    assert (alert["NewStateValue"], alert["OldStateValue"]) == ("ALARM", "OK")
    assert "ActionsSuppressedBy" not in shop.describe("pager")


def test_a_suppressor_that_is_not_there_or_has_no_periods_is_refused(shop: Shop) -> None:
    put = shop.client("cloudwatch").put_composite_alarm
    periods = {"ActionsSuppressorWaitPeriod": 0, "ActionsSuppressorExtensionPeriod": 0}
    with pytest.raises(ClientError, match="found none of nobody"):
        put(AlarmName="bad", AlarmRule="TRUE", ActionsSuppressor="nobody", **periods)
    with pytest.raises(ClientError, match="expected ActionsSuppressorWaitPeriod with ActionsSuppressor"):
        put(AlarmName="bad", AlarmRule="TRUE", ActionsSuppressor="orders")


def test_a_mute_rule_holds_the_actions_back_until_it_is_deleted(shop: Shop) -> None:
    cloudwatch = shop.client("cloudwatch")
    shop.put_alarm("hushed", AlarmActions=[shop.topic], TreatMissingData="ignore")
    shop.wait_for("hushed", "INSUFFICIENT_DATA")
    began = datetime.now(UTC).strftime("at(%Y-%m-%dT%H:%M)")
    for name, expression in (("now", began), ("next-year", "cron(0 2 1 JAN *)")):
        rule = {"Schedule": {"Expression": expression, "Duration": "P15D" if name == "now" else "PT1M"}}
        cloudwatch.put_alarm_mute_rule(Name=name, Rule=rule, MuteTargets={"AlarmNames": ["hushed"]})
    listed = cloudwatch.list_alarm_mute_rules(AlarmName="hushed", Statuses=["ACTIVE"])["AlarmMuteRuleSummaries"]
    assert [one["AlarmMuteRuleArn"].rpartition(":")[2] for one in listed] == ["now"]
    assert cloudwatch.list_alarm_mute_rules(AlarmName="orders")["AlarmMuteRuleSummaries"] == []
    described = cloudwatch.get_alarm_mute_rule(AlarmMuteRuleName="now")
    assert (described["Status"], described["MuteType"]) == ("ACTIVE", "ONE_TIME")
    assert described["Rule"]["Schedule"]["Expression"] == began
    assert cloudwatch.get_alarm_mute_rule(AlarmMuteRuleName="next-year")["Status"] == "SCHEDULED"

    shop.publish("hushed", 9)
    shop.wait_for("hushed", "ALARM")
    shop.put_alarm("heard", MetricName="hushed", AlarmActions=[shop.topic], TreatMissingData="ignore")
    eventually(lambda: shop.history("heard", "Action"))
    assert not shop.history("hushed", "Action")
    # "If those alarms are in an ALARM state, their configured actions will trigger": DeleteAlarmMuteRule
    cloudwatch.delete_alarm_mute_rule(AlarmMuteRuleName="now")
    (alert,) = eventually(lambda: shop.alerts("hushed"))
    assert alert["NewStateValue"] == "ALARM"
    cloudwatch.delete_alarm_mute_rule(AlarmMuteRuleName="next-year")
    with pytest.raises(ClientError, match="ResourceNotFound"):
        cloudwatch.get_alarm_mute_rule(AlarmMuteRuleName="now")


@pytest.mark.parametrize(
    ("schedule", "targets", "words"),
    [
        ({"Expression": "rate(5 minutes)", "Duration": "PT1H"}, [], "expected at"),
        ({"Expression": "cron(0 2 * * *)", "Duration": "PT30S"}, [], "expected PT1M to P15D"),
        ({"Expression": "cron(0 2 * * *)", "Duration": "PT1H"}, ["nobody"], "found none of nobody"),
    ],
)
def test_a_mute_rule_that_cloudwatch_refuses_is_refused(
    shop: Shop, schedule: dict[str, str], targets: list[str], words: str
) -> None:
    put = shop.client("cloudwatch").put_alarm_mute_rule
    with pytest.raises(ClientError, match=words):
        put(Name="bad", Rule={"Schedule": schedule}, MuteTargets={"AlarmNames": targets})


def test_alarms_of_kinds_that_nobody_here_evaluates_are_refused_by_name(shop: Shop) -> None:
    cloudwatch = shop.client("cloudwatch")
    query = {
        "QueryString": "fields @message",
        "ScheduledQueryRoleARN": "arn:aws:iam::123456789012:role/logs",
        "ScheduleConfiguration": {"ScheduleExpression": "rate(5 minutes)", "StartTimeOffset": 300},
        "AggregationExpression": "count(*)",
    }
    with pytest.raises(ClientError, match=r"does not evaluate log alarms \(PutLogAlarm\)"):
        cloudwatch.put_log_alarm(
            AlarmName="logs",
            ScheduledQueryConfiguration=query,
            QueryResultsToEvaluate=1,
            QueryResultsToAlarm=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
        )
    with pytest.raises(ClientError, match="does not evaluate Contributor Insights"):
        cloudwatch.put_insight_rule(RuleName="top", RuleDefinition="{}")
    with pytest.raises(
        ClientError, match=r"does not evaluate a PromQL alarm \(EvaluationCriteria, EvaluationInterval\)"
    ):
        cloudwatch.put_metric_alarm(
            AlarmName="promql", EvaluationCriteria={"PromQLCriteria": {"Query": "up == 0"}}, EvaluationInterval=60
        )


def test_datapoints_of_another_unit_are_not_seen(shop: Shop) -> None:
    for name, unit in (("percent", "Percent"), ("count", "Count")):
        shop.put_alarm(f"unit-{name}", MetricName="unit", Unit=unit, TreatMissingData="missing")
    data = [{"MetricName": "unit", "Value": 9, "Unit": "Count"}]
    shop.client("cloudwatch").put_metric_data(Namespace="Shop", MetricData=data)
    shop.wait_for_ring("unit-count")
    assert shop.state("unit-percent") == "INSUFFICIENT_DATA"


def test_statistics_of_two_units_are_two_datapoints(shop: Shop) -> None:
    data = [{"MetricName": "mixed", "Value": value, "Unit": unit} for value, unit in ((9, "Count"), (50, "Percent"))]
    shop.client("cloudwatch").put_metric_data(Namespace="Shop", MetricData=data)
    now = datetime.now(UTC)
    window = {"StartTime": now - timedelta(hours=1), "EndTime": now, "Period": 86400, "Statistics": ["Sum"]}

    def sums(**unit: str) -> dict[str, float]:
        asked = {"Namespace": "Shop", "MetricName": "mixed", **window, **unit}
        points = shop.client("cloudwatch").get_metric_statistics(**asked)["Datapoints"]
        return {point["Unit"]: point["Sum"] for point in points}

    # "two separate data streams are returned, one for each unit"
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#Unit
    assert sums() == {"Count": 9, "Percent": 50}
    assert sums(Unit="Percent") == {"Percent": 50}


def test_a_template_may_have_an_alarm_on_metric_math_and_a_wrong_one_fails(shop: Shop) -> None:
    properties = {
        "AlarmName": "of-a-template",
        "Metrics": _math("failed / all"),
        "EvaluationPeriods": "1",
        "Threshold": "0.5",
        "ComparisonOperator": "GreaterThanThreshold",
        "Tags": [{"Key": "team", "Value": "shop"}],
    }
    for name, wrong, expected in (
        ("templated", {}, "CREATE_COMPLETE"),
        ("not-templated", {"DatapointsToAlarm": 2}, "ROLLBACK"),
    ):
        resource = {"Type": "AWS::CloudWatch::Alarm", "Properties": {**properties, **wrong, "AlarmName": name}}
        cloudformation = shop.client("cloudformation")
        cloudformation.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": {"Alarm": resource}}))
        eventually(lambda name=name: "IN_PROGRESS" not in _status(shop, name))
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
        assert _status(shop, name).startswith(expected), [event.get("ResourceStatusReason") for event in events]
        assert wrong == {} or any("could never ring" in str(event) for event in events)
    described = shop.describe("templated")
    assert [query["Id"] for query in described["Metrics"]] == ["watched", "failed", "all"]
    assert described["Threshold"] == 0.5
    assert not shop.client("cloudwatch").describe_alarms(AlarmNames=["not-templated"])["MetricAlarms"]


def _status(shop: Shop, stack: str) -> str:
    return str(shop.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
