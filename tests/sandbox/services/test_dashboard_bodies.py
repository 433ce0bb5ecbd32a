"""What CloudWatch says of bodies of dashboards, mistake by mistake."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.errors import InvalidInput
from tocsin.sandbox.services.cloudwatch.dashboard_bodies import complaints_of

METRIC = ["AWS/Lambda", "Errors", "FunctionName", "desk"]
NO_DATA = "The metric widget should have specified a region and a data source or an alarm annotation"


def properties(**more: Any) -> dict[str, Any]:
    return {"metrics": [METRIC], "region": "us-east-1", **more}


def widget(kind: str = "metric", **more: Any) -> dict[str, Any]:
    return {"type": kind, "properties": properties(), **more}


def said(body: Any) -> list[tuple[str, str]]:
    return [(one.path, one.message) for one in complaints_of(json.dumps(body))]


def of_metrics(*metrics: Any) -> list[tuple[str, str]]:
    found = said({"widgets": [widget(properties=properties(metrics=list(metrics)))]})
    return [(path.removeprefix("/widgets/0/properties/metrics"), message) for path, message in found]


@pytest.mark.parametrize(
    "body",
    [
        {"widgets": []},
        {"start": "-PT6H", "periodOverride": "inherit", "widgets": [widget(x=0, y=0, width=24, height=6)]},
        {"start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:00Z", "widgets": []},
        {"variables": [{"type": "property"}], "widgets": []},
        {"widgets": [widget("text", properties={"markdown": "# Desk"})]},
        {"widgets": [widget("log", properties={"region": "us-east-1", "query": "SOURCE 'desk' | limit 1"})]},
        {"widgets": [widget("alarm", properties={"alarms": ["arn:aws:cloudwatch:us-east-1:1:alarm:desk"]})]},
        {"widgets": [widget("explorer", properties={})]},
        {"widgets": [widget(properties={"region": "us-east-1", "annotations": {"alarms": ["arn"]}})]},
        {"widgets": [widget(properties=properties(view="gauge", period=60, stat="p99"))]},
    ],
)
def test_what_is_as_the_page_says(body: Any) -> None:
    assert said(body) == []


@pytest.mark.parametrize(
    "metrics",
    [
        [["AWS/EC2", "CPUUtilization"]],
        [[*METRIC, {"yAxis": "right", "label": "errors", "period": 3600, "stat": "Sum", "visible": False}]],
        [METRIC, [".", "Invocations", ".", "."], ["...", "office"], ["...", {"stat": "Sum"}]],
        [[*METRIC, {"id": "m1"}], [{"expression": "SUM(METRICS())", "label": "all", "id": "e1"}]],
        [[{"expression": "SEARCH('{AWS/EC2,InstanceId} CPU', 'Average', 300)"}]],
    ],
)
def test_metrics_as_the_page_says(metrics: list[Any]) -> None:
    assert of_metrics(*metrics) == []


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"widgets"'])
def test_a_body_that_is_no_object(body: str) -> None:
    with pytest.raises(InvalidInput, match="The field DashboardBody must be a valid JSON object"):
        complaints_of(body)


@pytest.mark.parametrize(
    ("body", "complaints"),
    [
        ({}, [("", "Should have required property 'widgets'")]),
        ({"widgets": {}}, [("/widgets", "Should be array")]),
        ({"widgets": [widget()] * 501}, [("/widgets", "Should NOT have more than 500 items")]),
        ({"widgets": ["x"]}, [("/widgets/0", "Should be object")]),
        (
            {"widgets": [{}]},
            [("/widgets/0", f"Should have required property '{name}'") for name in ("type", "properties")],
        ),
        ({"widgets": [widget("grafic")]}, [("/widgets/0/type", "Should be equal to one of the allowed values")]),
        ({"widgets": [widget(), widget(properties=[])]}, [("/widgets/1/properties", "Should be object")]),
        ({"widgets": [widget(x=24, y=-1)]}, [("/widgets/0/x", "Should be <= 23"), ("/widgets/0/y", "Should be >= 0")]),
        ({"widgets": [widget(width="wide")]}, [("/widgets/0/width", "Should be integer")]),
        ({"widgets": [widget(height=True)]}, [("/widgets/0/height", "Should be integer")]),
        ({"widgets": [widget(x=1)]}, [("/widgets/0", "Should have property y when property x is present")]),
        ({"widgets": [], "end": "x"}, [("", "Should have property start when property end is present")]),
        (
            {"widgets": [], "periodOverride": "never"},
            [("/periodOverride", "Should be equal to one of the allowed values")],
        ),
        ({"widgets": [], "variables": [{}] * 26}, [("/variables", "Should NOT have more than 25 items")]),
        (
            {"widgets": [widget("text", properties={})]},
            [("/widgets/0/properties", "Should have required property 'markdown'")],
        ),
        (
            {"widgets": [widget("log", properties={"region": "us-east-1"})]},
            [("/widgets/0/properties", "Should have required property 'query'")],
        ),
        (
            {"widgets": [widget("alarm", properties={})]},
            [("/widgets/0/properties", "Should have required property 'alarms'")],
        ),
        (
            {"widgets": [widget(properties={})]},
            [
                ("/widgets/0/properties", "Should have required property 'metrics'"),
                ("/widgets/0/properties", NO_DATA),
                ("/widgets/0/properties", "Should have required property 'annotations'"),
            ],
        ),
        ({"widgets": [widget(properties={"metrics": [METRIC]})]}, [("/widgets/0/properties", NO_DATA)]),
        (
            {"widgets": [widget(properties=properties(annotations={"alarms": ["a", "b"]}))]},
            [
                ("/widgets/0/properties", "Should NOT have metrics and an alarm annotation"),
                ("/widgets/0/properties/annotations/alarms", "Should NOT have more than 1 items"),
            ],
        ),
        (
            {"widgets": [widget(properties=properties(view="heatmap"))]},
            [("/widgets/0/properties/view", "Should be equal to one of the allowed values")],
        ),
        (
            {"widgets": [widget(properties=properties(period=90))]},
            [("/widgets/0/properties/period", "Should be multiple of 60")],
        ),
        (
            {"widgets": [widget(properties=properties(period="60"))]},
            [("/widgets/0/properties/period", "Should be integer")],
        ),
    ],
)
def test_mistakes(body: Any, complaints: list[tuple[str, str]]) -> None:
    assert said(body) == complaints


ARRAYS = (
    'Field "metrics" has to be an array of array of strings, with an optional metricRenderer object as last element'
)
STRINGS = 'Invalid metric field type, only "String" type is allowed'


@pytest.mark.parametrize(
    ("metrics", "complaints"),
    [
        (METRIC[:1], [("/0", "Should be array"), ("/0", ARRAYS)]),
        ([["AWS/Lambda"]], [("/0", "Should NOT have fewer than 2 items")]),
        ([METRIC[:3]], [("/0", "Should have a value of the dimension FunctionName")]),
        ([[*METRIC[:2], {"dimensions": {"FunctionName": "desk"}}]], [("/0", "Should NOT have more than 2 items")]),
        ([[*METRIC, {"id": "M1"}]], [("/0", "Should NOT have more than 4 items")]),
        ([[*METRIC, {"yAxis": "top"}]], [("/0", "Should NOT have more than 4 items")]),
        ([[*METRIC[:2], {"stat": "Sum"}, {"label": "x"}]], [("/0/2", STRINGS), ("/0", "Should have a value of the ")]),
        ([[*METRIC, {"period": 61}]], [("/0/4/period", "Should be multiple of 60")]),
        ([[".", "Errors"]], [("/0", 'Should NOT refer to a metric before it with "."')]),
        ([["...", "desk"]], [("/0", 'Should NOT refer to a metric before it with "..."')]),
        ([[*METRIC, {"expression": "m1"}]], [("/0", "Should NOT have a metric and an expression")]),
    ],
)
def test_mistakes_in_metrics(metrics: list[Any], complaints: list[tuple[str, str]]) -> None:
    found = of_metrics(*metrics)
    assert [path for path, _ in found] == [path for path, _ in complaints]
    assert all(message.startswith(words) for (_, message), (_, words) in zip(found, complaints, strict=True))


def test_what_is_ignored_is_a_warning() -> None:
    found = complaints_of(json.dumps({"widgets": [widget(color="red")], "title": "Desk"}))
    assert [one.is_warning for one in found] == [True, True]
    assert [(one.path, one.message) for one in found] == [
        ("", 'The "title" property is not expected, will be ignored'),
        ("/widgets/0", 'The "color" property is not expected to be part of a widget definition, will be ignored'),
    ]
