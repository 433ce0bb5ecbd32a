"""https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html: changes take up to 15 minutes."""

from __future__ import annotations

from typing import Any

import pytest

from tocsin.sandbox.services.sns.filters import BODY, Filter, Filters, Rejected, why_rejected

A, B, C = (Filter(f'{{"kind": ["{name}"]}}') for name in "abc")


def test_a_filter_that_did_not_change_is_in_effect() -> None:
    assert Filters().in_effect("s", A, 0.0) == A


def test_a_change_is_in_effect_after_fifteen_minutes_and_not_before() -> None:
    filters = Filters()
    filters.changed("s", A, 100.0)
    assert [filters.in_effect("s", B, at) for at in (100.0, 999.9, 1000.0)] == [A, A, B]


def test_each_change_waits_for_itself() -> None:
    filters = Filters()
    filters.changed("s", A, 0.0)
    filters.changed("s", B, 300.0)
    assert [filters.in_effect("s", C, at) for at in (600.0, 900.0, 1199.0, 1200.0)] == [A, B, B, C]


def test_a_change_that_is_undone_still_takes_effect_in_between() -> None:
    filters = Filters()
    filters.changed("s", A, 0.0)
    filters.changed("s", B, 60.0)
    assert [filters.in_effect("s", A, at) for at in (899.0, 901.0, 960.0)] == [A, B, A]


def test_another_subscription_is_not_changed() -> None:
    filters = Filters()
    filters.changed("s", A, 0.0)
    assert filters.in_effect("t", B, 1.0) == B


def test_what_a_subscription_says() -> None:
    assert Filter.of({}) == Filter("", "MessageAttributes")
    assert Filter.of({"FilterPolicy": "{}", "FilterPolicyScope": BODY}) == Filter("{}", BODY)


@pytest.mark.parametrize(
    ("scope", "attributes", "message", "why"),
    [
        ("MessageAttributes", {}, "m", Rejected.NO_ATTRIBUTES),
        ("MessageAttributes", {"a": {"DataType": "String", "StringValue": "1"}}, "m", Rejected.ATTRIBUTES),
        ("MessageAttributes", {"a": {"DataType": "String.Array", "StringValue": '["1"]'}}, "m", Rejected.ATTRIBUTES),
        (
            "MessageAttributes",
            {"a": {"DataType": "String.Array", "StringValue": "["}},
            "m",
            Rejected.INVALID_ATTRIBUTES,
        ),
        ("MessageBody", {}, '{"a": 1}', Rejected.BODY),
        ("MessageBody", {}, "no JSON", Rejected.INVALID_BODY),
        ("MessageBody", {}, "[1]", Rejected.INVALID_BODY),
    ],
)
def test_why_a_message_is_rejected(scope: str, attributes: dict[str, Any], message: str, why: Rejected) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html"""
    assert why_rejected(scope, attributes, message) is why
