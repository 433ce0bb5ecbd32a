"""Whether a filter policy lets an alarm's message through; unknown where only AWS knows."""

from __future__ import annotations

import pytest

from tocsin.alarms.delivery import passes

ATTRIBUTES, BODY = "MessageAttributes", "MessageBody"


@pytest.mark.parametrize(
    ("policy", "scope", "answer"),
    [
        (None, ATTRIBUTES, True),
        ("", ATTRIBUTES, True),
        ("{}", ATTRIBUTES, True),
        ('{"severity": ["critical"]}', ATTRIBUTES, False),
        ('{"AlarmName": ["shop-5xx"]}', ATTRIBUTES, False),
        ('{"AlarmName": ["shop-5xx"]}', BODY, True),
        ('{"AlarmName": ["other", "shop-5xx"]}', BODY, True),
        ('{"AlarmName": ["other"]}', BODY, False),
        ('{"AlarmName": [{"prefix": "shop-"}]}', BODY, True),
        ('{"AlarmName": [{"prefix": "desk-"}]}', BODY, False),
        ('{"AlarmName": [{"suffix": "-5xx"}]}', BODY, True),
        ('{"AlarmName": [{"equals-ignore-case": "SHOP-5XX"}]}', BODY, True),
        ('{"AlarmName": [{"anything-but": ["shop-5xx"]}]}', BODY, False),
        ('{"AlarmName": [{"anything-but": "other"}]}', BODY, True),
        ('{"AlarmName": [{"exists": true}]}', BODY, True),
        ('{"AlarmName": [{"exists": false}]}', BODY, False),
        ('{"NewStateValue": ["ALARM"]}', BODY, True),
        ('{"NewStateValue": ["OK"]}', BODY, False),
        ('{"NewStateValue": ["OK"], "Region": ["x"]}', BODY, False),
        ('{"NewStateValue": ["ALARM"], "Region": ["x"]}', BODY, None),
        ('{"AlarmName": [{"wildcard": "shop-*"}]}', BODY, None),
        ('{"$or": [{"AlarmName": ["a"]}, {"AlarmName": ["b"]}]}', BODY, None),
        ("not JSON", BODY, None),
        ("[]", BODY, None),
    ],
)
def test_a_policy_lets_through(policy: str | None, scope: str, answer: bool | None) -> None:
    assert passes(policy, scope, "shop-5xx") is answer
