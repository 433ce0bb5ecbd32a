"""Event patterns: the operators of AWS's page on content filtering, each with what it matches and what not.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import Shop

EVENT: dict[str, Any] = {
    "version": "0",
    "id": "3e3c153a-8339-4e30-8c35-687ebef853fe",
    "detail-type": "EC2 Instance Launch Successful",
    "source": "aws.autoscaling",
    "account": "123456789012",
    "time": "2015-11-11T21:31:47Z",
    "region": "us-east-1",
    "resources": ["arn:one", "arn:two"],
    "detail": {
        "eventName": "",
        "c-count": 5,
        "d-count": 3,
        "x-limit": 3.018e2,
        "source-ip": "10.0.0.123",
        "state": "initializing",
        "FileName": "image.png",
        "path": "dir1/dir2/file.txt",
        "nothing": None,
        "flag": True,
        "items": [{"sku": "a", "amount": 1}, {"sku": "b", "amount": 9}],
        "empty": [],
    },
}


def matches(shop: Shop, pattern: dict[str, Any], **detail: Any) -> bool:
    event = {**EVENT, "detail": {**EVENT["detail"], **detail}}
    answer = shop.client("events").test_event_pattern(EventPattern=json.dumps(pattern), Event=json.dumps(event))
    return bool(answer["Result"])


@pytest.mark.parametrize(
    ("field", "filters", "matched", "not_matched"),
    [
        ("state", ["initializing"], "initializing", "running"),
        ("state", ["running", "stopped"], "stopped", "initializing"),
        ("state", [""], "", "x"),
        ("nothing", [None], None, "null"),
        ("flag", [True], True, "true"),
        ("c-count", [5], 5.0, "5"),
        ("state", [{"prefix": "init"}], "initializing", "reinit"),
        ("state", [{"prefix": {"equals-ignore-case": "INIT"}}], "initializing", "reinit"),
        ("FileName", [{"suffix": ".png"}], "image.png", "image.png.gz"),
        ("FileName", [{"suffix": {"equals-ignore-case": ".PNG"}}], "image.pNg", "image.gif"),
        ("state", [{"anything-but": "initializing"}], "running", "initializing"),
        ("state", [{"anything-but": ["stopped", "overloaded"]}], "running", "stopped"),
        ("x-limit", [{"anything-but": 123}], 456, 123),
        ("x-limit", [{"anything-but": [100, 200]}], 300, 200),
        ("state", [{"anything-but": {"prefix": "init"}}], "running", "initializing"),
        ("state", [{"anything-but": {"prefix": ["init", "error"]}}], "running", "error-1"),
        ("FileName", [{"anything-but": {"suffix": ".txt"}}], "image.png", "a.txt"),
        ("FileName", [{"anything-but": {"suffix": [".txt", ".rtf"]}}], "image.png", "a.rtf"),
        ("state", [{"anything-but": {"equals-ignore-case": "initializing"}}], "running", "INITIALIZING"),
        ("path", [{"anything-but": {"wildcard": "*/lib/*"}}], "a/src/b", "a/lib/b"),
        ("c-count", [{"numeric": [">", 0, "<=", 5]}], 5, 0),
        ("d-count", [{"numeric": ["<", 10]}], 3, 10),
        ("x-limit", [{"numeric": ["=", 3.018e2]}], 301.8, 301.9),
        ("c-count", [{"numeric": [">=", 5]}], 5, "5"),
        ("source-ip", [{"cidr": "10.0.0.0/24"}], "10.0.0.123", "10.0.1.123"),
        ("source-ip", [{"cidr": "2001:db8::/32"}], "2001:db8::1", "2001:db9::1"),
        ("FileName", [{"equals-ignore-case": "IMAGE.png"}], "image.PNG", "images.png"),
        ("path", [{"wildcard": "dir1/*/file.txt"}], "dir1/x/y/file.txt", "dir1/file.txt"),
        ("path", [{"wildcard": "a\\*b"}], "a*b", "axb"),
        ("items", ["a", "b"], ["x", "b"], ["x"]),
    ],
)
def test_an_operator(shop: Shop, field: str, filters: list[Any], matched: Any, not_matched: Any) -> None:
    pattern = {"detail": {field: filters}}
    assert matches(shop, pattern, **{field: matched})
    assert not matches(shop, pattern, **{field: not_matched})


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["aws.autoscaling"], "region": ["us-east-1"]}, True),
        ({"source": ["aws.autoscaling"], "region": ["eu-west-1"]}, False),
        ({"resources": ["arn:two"]}, True),
        ({"detail": {"state": [{"exists": True}]}}, True),
        ({"detail": {"state": [{"exists": False}]}}, False),
        ({"detail": {"gone": [{"exists": False}]}}, True),
        ({"detail": {"nothing": [{"exists": True}]}}, True),
        ({"detail": {"empty": [{"exists": False}]}}, True),
        ({"detail": {"gone": [{"exists": False}, "x"]}}, True),
        ({"detail": {"items": {"sku": ["a"], "amount": [1]}}}, True),
        ({"detail": {"items": {"sku": ["a"], "amount": [9]}}}, False),
        ({"detail": {"c-count": [{"numeric": [">", 0]}], "d-count": [{"numeric": ["<", 2]}]}}, False),
        ({"detail": {"$or": [{"c-count": [{"numeric": [">", 99]}]}, {"d-count": [{"numeric": ["<", 10]}]}]}}, True),
        ({"detail": {"$or": [{"c-count": [99]}, {"state": ["running"]}]}}, False),
        ({"source": ["aws.autoscaling"], "$or": [{"detail": {"c-count": [5]}}, {"detail": {"c-count": [6]}}]}, True),
        ({"replay-name": [{"exists": False}]}, True),
    ],
)
def test_a_pattern(shop: Shop, pattern: dict[str, Any], expected: bool) -> None:
    assert matches(shop, pattern) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        {},
        {"source": "aws.ec2"},
        {"source": []},
        {"detail": {"n": [{"numeric": [">", "1"]}]}},
        {"detail": {"n": [{"between": [1, 2]}]}},
        {"detail": {"n": [{"exists": "yes"}]}},
        {"detail": {"n": [{"wildcard": "a**b"}]}},
        {"detail": {"n": [{"cidr": "10.0.0.0"}]}},
        {"detail": {"n": [{"anything-but": [1, "a"]}]}},
    ],
)
def test_a_pattern_that_aws_refuses_is_refused(shop: Shop, pattern: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="InvalidEventPatternException"):
        shop.client("events").put_rule(Name="never", EventPattern=json.dumps(pattern))
