"""What a target is given of an event. The examples are those of AWS's page on input transformation.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.sandbox.services.events.inputs import Occasion, payload, problem

EVENT: dict[str, Any] = {
    "version": "0",
    "id": "7bf73129-1428-4cd3-a780-95db273d1602",
    "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2",
    "account": "123456789012",
    "time": "2015-11-11T21:29:54Z",
    "region": "us-east-1",
    "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111"],
    "detail": {"instance-id": "i-0123456789", "state": "RUNNING", "disks": [{"id": "a"}, {"id": "b"}]},
}
OCCASION = Occasion("example", "arn:aws:events:us-east-2:123456789012:rule/example", "2026-01-02T03:04:05Z")
PATHS = {"instance": "$.detail.instance-id", "state": "$.detail.state"}


def given(**target: Any) -> str:
    return payload({"Id": "1", **target}, EVENT, OCCASION)


def transformed(template: str, **paths: str) -> str:
    return given(InputTransformer={"InputPathsMap": {**PATHS, **paths}, "InputTemplate": template})


def test_without_a_wish_the_whole_event() -> None:
    assert json.loads(given()) == EVENT


def test_a_constant() -> None:
    assert given(Input='{"a": 1}') == '{"a": 1}'


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", EVENT),
        ("$.detail", EVENT["detail"]),
        ("$.detail.instance-id", "i-0123456789"),
        ("$.resources[0]", EVENT["resources"][0]),
        ("$.detail.disks[1].id", "b"),
        ("$.detail.disks[*].id", ["a", "b"]),
        ("$.detail.nothing", None),
        ("$.resources[7]", None),
    ],
)
def test_a_part(path: str, value: Any) -> None:
    assert json.loads(given(InputPath=path)) == value


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ('"instance <instance> is in <state>"', '"instance i-0123456789 is in RUNNING"'),
        ('"instance \\"<instance>\\" is in <state>"', '"instance \\"i-0123456789\\" is in RUNNING"'),
        ('{"instance" : <instance>, "state": <state>}', '{"instance" : "i-0123456789", "state": "RUNNING"}'),
        ('{"instance": "<instance>"}', '{"instance": "i-0123456789"}'),
        ('{"state": [ 9, <state>, true ], "T": "Yes"}', '{"state": [ 9, "RUNNING", true ], "T": "Yes"}'),
        ('"<aws.events.rule-name> triggered"', '"example triggered"'),
        ('{"rule": <aws.events.rule-arn>}', f'{{"rule": "{OCCASION.rule_arn}"}}'),
        ('{"at": <aws.events.event.ingestion-time>}', '{"at": "2026-01-02T03:04:05Z"}'),
        ("<instance> is <state>", "i-0123456789 is RUNNING"),
        ("<unheard-of> stays", "<unheard-of> stays"),
    ],
)
def test_a_template(template: str, output: str) -> None:
    assert transformed(template) == output


def test_the_event_in_a_template_is_with_or_without_its_detail() -> None:
    output = json.loads(transformed('{"short": <aws.events.event>, "whole": <aws.events.event.json>}'))
    assert output["whole"] == EVENT
    assert output["short"] == {name: value for name, value in EVENT.items() if name != "detail"}


def test_a_path_that_leads_nowhere_leaves_nothing() -> None:
    assert transformed('{"a": "<gone>"}', gone="$.detail.gone") == '{"a": ""}'


def test_an_object_inside_of_a_string_loses_its_quotes_so_that_the_string_stays_one() -> None:
    assert json.loads(transformed('{"text": "disks: <disks>"}', disks="$.detail.disks")) == {
        "text": "disks: [{id: a}, {id: b}]"
    }


def test_what_is_extracted_is_not_escaped() -> None:
    event = {**EVENT, "detail": {"state": 'a "quoted" one'}}
    transformer = {"InputPathsMap": {"state": "$.detail.state"}, "InputTemplate": '{"state": <state>}'}
    assert payload({"InputTransformer": transformer}, event, OCCASION) == '{"state": "a "quoted" one"}'


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"Input": "{}", "InputPath": "$"}, "Only one of Input, InputPath, or InputTransformer"),
        ({"InputTransformer": {"InputPathsMap": {}}}, "InputTemplate is required"),
        ({"InputTransformer": {"InputPathsMap": {"aws.events.x": "$"}, "InputTemplate": "x"}}, "reserved aws.events.x"),
    ],
)
def test_what_contradicts_itself_is_refused(target: dict[str, Any], said: str) -> None:
    found = problem(target)
    assert found is not None
    assert said in found


def test_what_the_examples_ask_for_is_no_problem() -> None:
    assert problem({"InputTransformer": {"InputPathsMap": PATHS, "InputTemplate": "<state>"}}) is None
