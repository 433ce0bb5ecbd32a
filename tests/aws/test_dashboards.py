"""What the widgets of a dashboard show, as its body says it."""

from __future__ import annotations

from typing import Any

from tocsin.aws.dashboards import Widget, widgets_of


def read(kind: str = "metric", **properties: Any) -> Widget:
    (widget,) = widgets_of({"widgets": [{"type": kind, "properties": properties}]}, "eu-west-1")
    return widget


def metric(namespace: str, name: str, **dimensions: str) -> dict[str, Any]:
    listed = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    return {"Namespace": namespace, "MetricName": name, "Dimensions": listed}


def test_metrics_refer_to_the_one_before() -> None:
    rows = [
        ["AWS/Lambda", "Errors", "FunctionName", "desk"],
        [".", "Invocations", ".", "."],
        ["...", "office"],
        [{"expression": "100 * m1", "id": "e1"}],
        ["..."],
        ["AWS/SES", "Send"],
        [".", "Bounce"],
    ]
    found = [one.query["MetricStat"]["Metric"] for one in read(metrics=rows).series if "MetricStat" in one.query]
    assert found == [
        metric("AWS/Lambda", "Errors", FunctionName="desk"),
        metric("AWS/Lambda", "Invocations", FunctionName="desk"),
        metric("AWS/Lambda", "Invocations", FunctionName="office"),
        metric("AWS/Lambda", "Invocations", FunctionName="office"),
        metric("AWS/SES", "Send"),
        metric("AWS/SES", "Bounce"),
    ]


def test_what_a_metric_says_itself_comes_before_what_its_widget_says() -> None:
    own = {"id": "m1", "stat": "p99", "period": 60, "region": "us-east-1", "accountId": "999999999999"}
    of_widget, of_metric = read(
        metrics=[["N", "M"], ["N", "M", own]], period=3600, stat="Sum", region="eu-central-1", accountId="111111111111"
    ).series
    assert (of_widget.region, of_metric.region) == ("eu-central-1", "us-east-1")
    assert of_widget.query == {
        "Id": "tocsin0",
        "ReturnData": True,
        "AccountId": "111111111111",
        "MetricStat": {"Metric": metric("N", "M"), "Period": 3600, "Stat": "Sum"},
    }
    assert of_metric.query == {
        "Id": "m1",
        "ReturnData": True,
        "AccountId": "999999999999",
        "MetricStat": {"Metric": metric("N", "M"), "Period": 60, "Stat": "p99"},
    }


def test_what_nobody_says_is_what_cloudwatch_takes() -> None:
    (series,) = read(metrics=[["N", "M"]]).series
    assert (series.region, series.query["MetricStat"]["Period"], series.query["MetricStat"]["Stat"]) == (
        "eu-west-1",
        300,
        "Average",
    )


def test_an_expression_is_asked_for_as_one() -> None:
    (series,) = read(metrics=[[{"expression": "SUM(METRICS())", "label": "all"}]], period=60).series
    assert series.query == {"Id": "tocsin0", "ReturnData": True, "Expression": "SUM(METRICS())", "Period": 60}
    assert series.text == "SUM(METRICS())"


def test_alarms_of_both_kinds_of_widgets() -> None:
    arns = ["arn:aws:cloudwatch:eu-west-1:1:alarm:a", "arn:aws:cloudwatch:eu-west-1:1:alarm:b:c"]
    assert read("alarm", alarms=arns).alarms == tuple(arns)
    assert read(annotations={"alarms": arns[:1]}).alarms == (arns[0],)
    assert read(metrics=[], annotations={"horizontal": []}).alarms == ()


def test_which_widgets_nobody_but_cloudwatch_can_read() -> None:
    kinds = ("metric", "alarm", "log", "text", "explorer", "chart", "custom", "new")
    assert [kind for kind in kinds if read(kind).cannot_be_told] == ["explorer", "chart", "custom", "new"]
    assert all(not read(kind, metrics=[["N", "M"]]).series for kind in kinds if kind != "metric")


def test_a_widget_is_called_by_its_place_and_title() -> None:
    body = {"widgets": [{"type": "text", "properties": {}}, {"type": "metric", "properties": {"title": "Errors"}}]}
    assert [widget.text for widget in widgets_of(body, "eu-west-1")] == ["widget 1", "widget 2 'Errors'"]
