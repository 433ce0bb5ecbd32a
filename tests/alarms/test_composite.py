"""Rules of composite alarms, as AWS's page states them.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-combining.html
"""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.alarms.composite import CompositeRule, check_parents, in_cycles, in_order
from tocsin.errors import InvalidInput

STATES = ("OK", "ALARM", "INSUFFICIENT_DATA")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("ALARM(a)", True),
        ("ALARM(b)", False),
        ('ALARM("a")', True),
        ("ALARM(arn:aws:cloudwatch:us-east-1:123456789012:alarm:a)", True),
        ('ALARM("name with (parentheses) and spaces")', True),
        ("OK(b)", True),
        ("INSUFFICIENT_DATA(c)", True),
        ("ALARM(nobody)", False),
        ("OK(nobody) OR INSUFFICIENT_DATA(nobody)", False),
        ("NOT ALARM(b)", True),
        ("NOT NOT ALARM(a)", True),
        ("ALARM(a) AND ALARM(b)", False),
        ("ALARM(a) OR ALARM(b)", True),
        ("ALARM(a) AND NOT ALARM(b)", True),
        ("ALARM(a) OR ALARM(b) AND ALARM(b)", True),
        ("(ALARM(a) OR ALARM(b)) AND ALARM(b)", False),
        ("NOT ALARM(b) AND ALARM(a)", True),
        ("NOT (ALARM(b) OR ALARM(a))", False),
        ("TRUE", True),
        ("FALSE OR TRUE", True),
        ("((ALARM(a)))", True),
        ("ALARM(a)\n  AND\n  OK(b)", True),
    ],
)
def test_composite_rule(rule: str, expected: bool) -> None:
    states = {"a": "ALARM", "b": "OK", "c": "INSUFFICIENT_DATA", "name with (parentheses) and spaces": "ALARM"}
    assert CompositeRule(rule).holds(states) is expected


def test_children_of_a_composite_rule() -> None:
    rule = CompositeRule('ALARM("a b") AND (OK(arn:aws:cloudwatch:eu-west-1:123456789012:alarm:c) OR NOT ALARM(d))')
    assert rule.children == {"a b", "c", "d"}


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "ALARM",
        "ALARM(",
        "ALARM()",
        "ALARM(a",
        "ALARM(a))",
        "ALARM(a) AND",
        "ALARM(a) ALARM(b)",
        "AND ALARM(a)",
        "RINGS(a)",
        'ALARM("a)',
        "NOT",
        "()",
        "AT_LEAST(ALARM, (a))",
        "AT_LEAST(0, ALARM, (a, b))",
        "AT_LEAST(3, ALARM, (a, b))",
        "AT_LEAST(101%, ALARM, (a, b))",
        "AT_LEAST(1, ALARM, ())",
        "AT_LEAST(1, RINGING, (a))",
        "AT_LEAST(1, ALARM, a)",
        " OR ".join(f"ALARM(a{n})" for n in range(101)),
        " AND ".join(["TRUE"] * 501),
        "(" * 5000 + "TRUE" + ")" * 5000,
    ],
)
def test_a_rule_that_cannot_be_read_is_refused(rule: str) -> None:
    with pytest.raises(InvalidInput):
        CompositeRule(rule)


rules = st.recursive(
    st.sampled_from(["ALARM(a)", "ALARM(b)", "OK(a)", "OK(b)"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map("({0[0]} {0[1]} {0[2]})".format),
        inner.map("NOT {}".format),
    ),
    max_leaves=8,
)


@given(rules, st.sampled_from(STATES), st.sampled_from(STATES))
def test_a_rule_is_boolean_logic(rule: str, a: str, b: str) -> None:
    states = {"a": a, "b": b}
    spelled = rule.replace("AND", "and").replace("OR", "or").replace("NOT", "not")
    for name, state in product(states, ("ALARM", "OK")):
        spelled = spelled.replace(f"{state}({name})", str(states[name] == state))
    assert CompositeRule(rule).holds(states) is eval(spelled)
    assert CompositeRule(f"NOT ({rule})").holds(states) is not eval(spelled)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("AT_LEAST(1, ALARM, (a, b, c, d))", True),
        ("AT_LEAST(2, ALARM, (a, b, c, d))", True),
        ("AT_LEAST(3, ALARM, (a, b, c, d))", False),
        ("AT_LEAST(50%, ALARM, (a, b, c, d))", True),
        ("AT_LEAST(51%, ALARM, (a, b, c, d))", False),
        ("AT_LEAST(2, NOT ALARM, (a, b, c, d))", True),
        ("AT_LEAST(75%, NOT OK, (a, b, c, d))", True),
        ("AT_LEAST(1, INSUFFICIENT_DATA, (a, b))", False),
        ('AT_LEAST(2, ALARM, ("a", arn:aws:cloudwatch:us-east-1:123456789012:alarm:b)) AND OK(c)', True),
        ("NOT AT_LEAST(1, OK, (a, b))", True),
    ],
)
def test_at_least(rule: str, expected: bool) -> None:
    parsed = CompositeRule(rule)
    assert parsed.holds({"a": "ALARM", "b": "ALARM", "c": "OK", "d": "INSUFFICIENT_DATA"}) is expected
    assert {"a", "b"} <= parsed.children


def test_an_alarm_that_is_not_there_counts_for_nothing() -> None:
    assert not CompositeRule("AT_LEAST(1, NOT OK, (nobody, a))").holds({"a": "OK"})


@pytest.mark.parametrize(
    ("children", "circular"),
    [
        ({"a": ["x"], "b": ["a"], "c": ["a", "b"]}, set()),
        ({"a": ["a"]}, {"a"}),
        ({"a": ["b"], "b": ["a"], "above": ["a"]}, {"a", "b"}),
        ({"a": ["b"], "b": ["c"], "c": ["a", "x"], "apart": ["x"]}, {"a", "b", "c"}),
    ],
)
def test_rules_that_look_at_themselves_in_the_end(children: dict[str, list[str]], circular: set[str]) -> None:
    assert in_cycles(children) == circular


@pytest.mark.parametrize(
    ("needed", "ordered"),
    [
        ({"top": ["middle"], "other": [], "middle": ["bottom"], "bottom": []}, ["other", "bottom", "middle", "top"]),
        ({"a": ["b"], "b": ["a"], "c": []}, ["c", "a", "b"]),
        ({"a": ["a", "elsewhere"], "b": ["a"]}, ["a", "b"]),
    ],
)
def test_alarms_stand_after_those_that_they_need(needed: dict[str, list[str]], ordered: list[str]) -> None:
    assert in_order(needed) == ordered


def test_one_alarm_is_looked_at_by_at_most_150_composite_alarms() -> None:
    # "Any single alarm can be included in the rule expressions of as many as 150 composite alarms": PutCompositeAlarm
    children = {f"c{number}": ["a"] for number in range(150)}
    check_parents(children)
    with pytest.raises(InvalidInput, match="at most 150 composite alarms that look at one alarm, found 151: a"):
        check_parents({**children, "one-more": ["a"]})


@pytest.mark.parametrize(
    ("rule", "only"),
    [
        ("ALARM(a) AND (ALARM(b) OR TRUE)", True),
        ("AT_LEAST(1, ALARM, (a, b))", True),
        ("ALARM(a) AND NOT ALARM(b)", False),
        ("ALARM(a) OR OK(b)", False),
        ("ALARM(a) OR INSUFFICIENT_DATA(b)", False),
        ("AT_LEAST(1, NOT ALARM, (a, b))", False),
        ("AT_LEAST(1, OK, (a, b))", False),
    ],
)
def test_a_rule_tells_whether_it_only_asks_for_alarms(rule: str, only: bool) -> None:
    assert CompositeRule(rule).only_rings is only
