"""Alarms of the sandbox through the CloudWatch API."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import Shop, eventually


def test_life_of_an_alarm(shop: Shop) -> None:
    actions = {"AlarmActions": [shop.topic], "InsufficientDataActions": [shop.topic]}
    shop.put_alarm("orders", TreatMissingData="missing", **actions)
    created = shop.describe("orders")
    assert created["StateValue"] == "INSUFFICIENT_DATA"
    assert created["ActionsEnabled"] is True

    shop.publish("orders", 4, 3)
    shop.wait_for("orders", "ALARM")
    (update,) = shop.history("orders", "StateUpdate")
    assert update["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM"
    assert update["HistoryData"]["oldState"]["stateValue"] == "INSUFFICIENT_DATA"
    new = update["HistoryData"]["newState"]
    assert new["stateValue"] == "ALARM"
    assert new["stateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoint [7]")
    assert new["stateReasonData"]["recentDatapoints"] == [7]
    assert new["stateReasonData"]["period"] == 60
    assert json.loads(shop.describe("orders")["StateReasonData"])["threshold"] == 5

    # Still breaching: evaluated again every minute, told once. The others tell that such a minute has passed.
    for other in ("orders-fence-1", "orders-fence-2"):
        shop.publish("orders", 9)
        shop.put_alarm(other, MetricName="orders")
        shop.wait_for(other, "ALARM")
        assert shop.state("orders") == "ALARM"
    assert len(shop.history("orders", "Action")) == 1

    shop.wait_for("orders", "INSUFFICIENT_DATA")
    summaries = [item["HistorySummary"] for item in shop.history("orders", "StateUpdate")]
    assert summaries[-1] == "Alarm updated from ALARM to INSUFFICIENT_DATA"
    action = shop.history("orders", "Action")[0]
    assert action["HistorySummary"] == f"Successfully executed action {shop.topic}"
    assert action["HistoryData"] == {"actionState": "Succeeded", "notificationResource": shop.topic}
    alarm, silence = shop.alerts("orders")
    assert (alarm["OldStateValue"], alarm["NewStateValue"]) == ("INSUFFICIENT_DATA", "ALARM")
    assert (silence["OldStateValue"], silence["NewStateValue"]) == ("ALARM", "INSUFFICIENT_DATA")
    assert alarm["Trigger"]["MetricName"] == "orders"
    assert shop.history("orders", "ConfigurationUpdate")[0]["HistorySummary"] == 'Alarm "orders" created'


def test_disabled_actions_are_silent_and_the_state_changes_all_the_same(shop: Shop) -> None:
    for name in ("muted", "loud"):
        shop.put_alarm(name, AlarmActions=[shop.topic])
    shop.client("cloudwatch").disable_alarm_actions(AlarmNames=["muted"])
    shop.publish("muted", 9)
    shop.wait_for("muted", "ALARM")
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
    shop.wait_for("share", "ALARM")
    assert "[30]" in shop.history("share", "StateUpdate")[-1]["HistoryData"]["newState"]["stateReason"]


def test_data_of_another_dimension_does_not_matter(shop: Shop) -> None:
    for stage in ("dev", "prod"):
        shop.put_alarm(f"stage-{stage}", MetricName="stage", Dimensions=[{"Name": "Stage", "Value": stage}])
    shop.publish("stage", 100, Stage="dev")
    shop.publish("stage", 100)
    shop.wait_for("stage-dev", "ALARM")
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
    shop.wait_for("once", "ALARM")
    assert shop.state("twice") != "ALARM"
    shop.publish("twice", 9)
    shop.wait_for("twice", "ALARM")


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
