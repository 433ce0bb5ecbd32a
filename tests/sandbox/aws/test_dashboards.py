"""Dashboards in a running sandbox: what is kept and refused, and whether their widgets have data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import Shop, eventually

from tocsin.errors import InvalidInput, NotFound
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.session import CONFIGURATION_KEY
from tocsin.probes import dashboard_data
from tocsin.record.ledger import Ledger

WINDOW = "24h"
"""24 minutes on the wall: a machine that stands still has not made data old."""

_numbers = count()


def metric_widget(*metrics: Any, **more: Any) -> dict[str, Any]:
    return {"type": "metric", "properties": {"metrics": list(metrics), "region": "us-east-1", "stat": "Sum", **more}}


def put(shop: Shop, *widgets: Any, name: str | None = None) -> str:
    """Put a dashboard; returns its name."""
    name = name or f"desk-{next(_numbers)}"
    answer = shop.client("cloudwatch").put_dashboard(DashboardName=name, DashboardBody=json.dumps({"widgets": widgets}))
    assert answer["DashboardValidationMessages"] == []
    return name


@contextmanager
def refused(code: str) -> Iterator[dict[str, Any]]:
    answer: dict[str, Any] = {}
    with pytest.raises(ClientError) as caught:
        yield answer
    answer.update(caught.value.response)
    assert answer["Error"]["Code"] == code


# ------------------------------------------------------------------------------------------------ what is kept


def test_a_dashboard_is_kept_as_it_was_put(shop: Shop) -> None:
    client = shop.client("cloudwatch")
    body = json.dumps({"widgets": [metric_widget(["Shop", "größe"])]}, ensure_ascii=False)
    client.put_dashboard(DashboardName="as-it-was", DashboardBody=body)
    found = client.get_dashboard(DashboardName="as-it-was")
    arn = f"arn:aws:cloudwatch::{shop.account.account_id}:dashboard/as-it-was"
    assert (found["DashboardArn"], found["DashboardBody"], found["DashboardName"]) == (arn, body, "as-it-was")
    (entry,) = client.list_dashboards(DashboardNamePrefix="as-it-was")["DashboardEntries"]
    assert (entry["DashboardArn"], entry["Size"]) == (arn, len(body.encode()))
    client.put_dashboard(DashboardName="as-it-was", DashboardBody='{"widgets": []}')
    assert client.get_dashboard(DashboardName="as-it-was")["DashboardBody"] == '{"widgets": []}'


def test_dashboards_are_those_of_the_account_in_every_region(shop: Shop) -> None:
    name = put(shop, metric_widget(["Shop", "orders"]))
    elsewhere = dataclasses.replace(shop.account, region="eu-west-1").client("cloudwatch")
    assert elsewhere.get_dashboard(DashboardName=name)["DashboardName"] == name
    elsewhere.delete_dashboards(DashboardNames=[name])
    with refused("ResourceNotFound"):
        shop.client("cloudwatch").get_dashboard(DashboardName=name)


def test_a_list_is_in_order_and_by_prefix(shop: Shop) -> None:
    client = shop.client("cloudwatch")
    for name in ("page-b", "page-a", "pages"):
        put(shop, name=name)
    listed = client.list_dashboards(DashboardNamePrefix="page-")
    assert [entry["DashboardName"] for entry in listed["DashboardEntries"]] == ["page-a", "page-b"]
    assert "NextToken" not in listed
    assert {"page-a", "page-b", "pages"} <= {
        one["DashboardName"] for one in client.list_dashboards()["DashboardEntries"]
    }


def test_as_many_as_possible_are_deleted(shop: Shop) -> None:
    client, name = shop.client("cloudwatch"), put(shop)
    with refused("ResourceNotFound"):
        client.delete_dashboards(DashboardNames=["nowhere", name])
    with refused("ResourceNotFound"):
        client.get_dashboard(DashboardName=name)
    with refused("InvalidParameterValue"):
        client.delete_dashboards(DashboardNames=[f"many-{number}" for number in range(101)])


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_wrong_body_is_refused_with_each_mistake(shop: Shop) -> None:
    client = shop.client("cloudwatch")
    wrong = {"widgets": [metric_widget(["Shop"]), {"type": "grafic", "properties": {}}]}
    with pytest.raises(client.exceptions.DashboardInvalidInputError) as caught:
        client.put_dashboard(DashboardName="wrong", DashboardBody=json.dumps(wrong))
    answer = caught.value.response
    assert answer["Error"]["Code"] == "InvalidParameterInput"
    assert answer["Error"]["Message"].startswith("The dashboard body is invalid, there are 2 validation errors:\n[")
    assert answer["dashboardValidationMessages"] == [
        {"DataPath": "/widgets/0/properties/metrics/0", "Message": "Should NOT have fewer than 2 items"},
        {"DataPath": "/widgets/1/type", "Message": "Should be equal to one of the allowed values"},
    ]
    with refused("ResourceNotFound"):
        client.get_dashboard(DashboardName="wrong")


@pytest.mark.parametrize(
    "asked",
    [
        {"DashboardName": "no json", "DashboardBody": '{"widgets": []}'},
        {"DashboardName": "no-json", "DashboardBody": "{"},
        {"DashboardName": "tagged", "DashboardBody": '{"widgets": []}', "Tags": [{"Key": "a", "Value": "b"}]},
    ],
)
def test_what_cannot_be_kept_is_refused(shop: Shop, asked: dict[str, Any]) -> None:
    with refused("InvalidParameterInput"):
        shop.client("cloudwatch").put_dashboard(**asked)


def test_what_is_ignored_is_told_and_kept(shop: Shop) -> None:
    client = shop.client("cloudwatch")
    body = json.dumps({"widgets": [], "title": "Desk"})
    answer = client.put_dashboard(DashboardName="warned", DashboardBody=body)
    said = 'The "title" property is not expected, will be ignored'
    assert answer["DashboardValidationMessages"] == [{"DataPath": "", "Message": said}]
    assert client.get_dashboard(DashboardName="warned")["DashboardBody"] == body


def test_a_template_is_refused_with_the_same_words(shop: Shop) -> None:
    stacks = shop.client("cloudformation")

    def create(name: str, body: dict[str, Any]) -> list[str]:
        properties = {"DashboardName": name, "DashboardBody": json.dumps(body)}
        resources = {"Board": {"Type": "AWS::CloudWatch::Dashboard", "Properties": properties}}
        stacks.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": resources}))
        ended = ("CREATE_COMPLETE", "ROLLBACK_COMPLETE")
        eventually(lambda: stacks.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"] in ended)
        events = stacks.describe_stack_events(StackName=name)["StackEvents"]
        return [event["ResourceStatusReason"] for event in events if event["ResourceStatus"] == "CREATE_FAILED"]

    assert "Should have required property 'widgets'" in " ".join(create("wrong-board", {}))
    assert create("right-board", {"widgets": []}) == []
    assert shop.client("cloudwatch").get_dashboard(DashboardName="right-board")["DashboardBody"] == '{"widgets": []}'


# ------------------------------------------------------------------------------------------------ the probe


@pytest.fixture(scope="module")
def configuration(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite", "sandbox")
    yield {CONFIGURATION_KEY: FaultLifecycle(target=shop.account.target, ledger=ledger, drill="d")}
    ledger.close()


ORDERS = ["Shop", "dashboard-orders", "desk", "1"]


@pytest.fixture
def board(shop: Shop) -> list[dict[str, Any]]:
    """Widgets of a healthy dashboard: each shows something that there is."""
    shop.publish("dashboard-orders", 1, 2, desk="1")
    shop.publish("dashboard-orders", 3, desk="2")
    shop.put_alarm("dashboard-alarm")
    alarm = shop.describe("dashboard-alarm")["AlarmArn"]
    return [
        {"type": "text", "properties": {"markdown": "# Desk"}},
        metric_widget(
            [*ORDERS, {"id": "m1"}], ["...", "2", {"id": "m2"}], [{"expression": "SUM(METRICS())"}], title="Orders"
        ),
        metric_widget(ORDERS, title="Orders in an hour", period=3600),
        {"type": "alarm", "properties": {"alarms": [alarm]}},
        {"type": "metric", "properties": {"annotations": {"alarms": [alarm]}, "region": "us-east-1"}},
    ]


def test_a_dashboard_whose_every_widget_has_data(
    shop: Shop, configuration: dict[str, Any], board: list[dict[str, Any]]
) -> None:
    told = dashboard_data(put(shop, *board), WINDOW, configuration=configuration)
    assert told == "complete: 5 widgets, 6 metrics and alarms, in the last 24h"


PLANTED = {
    "a dimension of nobody": (
        metric_widget(["Shop", "dashboard-orders", "desk", "7"], title="Orders"),
        "widget 6 'Orders': no data of Shop dashboard-orders (desk=7)",
    ),
    "no dimension": (metric_widget(ORDERS[:2]), "widget 6: no data of Shop dashboard-orders"),
    "a slip of the pen": (metric_widget(ORDERS, [".", "order", ".", "."]), "widget 6: no data of Shop order (desk=1)"),
    "another region": (
        metric_widget(ORDERS, region="eu-west-1"),
        "widget 6: no data of Shop dashboard-orders (desk=1)",
    ),
    "an expression of nothing": (
        metric_widget([*ORDERS, {"id": "m1"}], [{"expression": "m1 / 0", "id": "e1"}]),
        "widget 6: no data of m1 / 0",
    ),
    "an alarm that is not there": (
        {"type": "alarm", "properties": {"alarms": ["arn:aws:cloudwatch:us-east-1:123456789012:alarm:nowhere"]}},
        "widget 6: there is no alarm nowhere",
    ),
    "what the sandbox cannot evaluate": (
        metric_widget([{"expression": "SEARCH('{Shop,desk} dashboard', 'Sum', 60)"}]),
        "widget 6: reading its metrics: AWS answered ValidationError: ",
    ),
    "an explorer": ({"type": "explorer", "properties": {}}, "widget 6: of a widget of type explorer nobody but "),
}


@pytest.mark.parametrize(("widget", "named"), PLANTED.values(), ids=PLANTED.keys())
def test_a_widget_without_data_is_named(
    shop: Shop, configuration: dict[str, Any], board: list[dict[str, Any]], widget: dict[str, Any], named: str
) -> None:
    told = dashboard_data(put(shop, *board, widget), WINDOW, configuration=configuration)
    assert told.startswith(f"incomplete: in the last 24h: {named}")
    assert told.count("widget") - told.count("of a widget") == 1


def test_data_that_is_too_old_is_none(shop: Shop, configuration: dict[str, Any]) -> None:
    shop.publish("dashboard-old", 1)
    name = put(shop, metric_widget(["Shop", "dashboard-old"], period=60))
    assert dashboard_data(name, WINDOW, configuration=configuration).startswith("complete")
    eventually(lambda: dashboard_data(name, "2m", configuration=configuration).startswith("incomplete"))
    assert dashboard_data(name, WINDOW, configuration=configuration).startswith("complete")


def test_a_dashboard_that_shows_nothing_is_not_complete(shop: Shop, configuration: dict[str, Any]) -> None:
    name = put(shop, {"type": "text", "properties": {"markdown": "soon"}})
    assert dashboard_data(name, configuration=configuration) == (
        f"incomplete: dashboard {name} shows no metric and no alarm"
    )


def test_what_cannot_be_asked(configuration: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="reading the dashboard nowhere"):
        dashboard_data("nowhere", configuration=configuration)
    with pytest.raises(InvalidInput, match="`dashboard_data`"):
        dashboard_data("nowhere", "soon", configuration=configuration)
