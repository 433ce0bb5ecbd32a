"""CloudWatch's rules of evaluation, as the user guide states them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.alarms.cloudwatch import (
    AlarmEvaluator,
    CompositeRule,
    MetricKey,
    StateValue,
    compile_expression,
    judge,
    metric_key,
    percentile,
    percentile_of,
    reason_text,
    statistic_value,
)
from tocsin.errors import InvalidInput
from tocsin.model.system import MetricAlarm, TreatMissingData
from tocsin.sandbox.metrics import Bucket

STATES: tuple[StateValue, ...] = ("OK", "ALARM", "INSUFFICIENT_DATA")
TREATMENTS: tuple[str, ...] = get_args(TreatMissingData)
MINUTE = 60
HOUR = 3600
NOW = 1000 * HOUR

# The two tables of "How alarm state is evaluated when data is missing": an evaluation range of five, oldest first,
# X breaching, 0 not breaching, - missing; then the outcome for missing, ignore, breaching, notBreaching.
RETAIN = "the present state"
INSUFFICIENT = "INSUFFICIENT_DATA"
THREE_OF_THREE = {
    "0-X-X": ("OK", "OK", "OK", "OK"),
    "0----": ("OK", "OK", "OK", "OK"),
    "-----": (INSUFFICIENT, RETAIN, "ALARM", "OK"),
    "0XX-X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "--X--": ("ALARM", RETAIN, "ALARM", "OK"),
}
TWO_OF_THREE = {
    "0-X-X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "00X0X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "0-X--": ("OK", "OK", "ALARM", "OK"),
    "----0": ("OK", "OK", "ALARM", "OK"),
    "---X-": ("ALARM", RETAIN, "ALARM", "OK"),
}
CELLS = [
    pytest.param(datapoints, needed, treatment, expected, id=f"{needed} of 3, {datapoints}, {treatment}")
    for needed, table in ((3, THREE_OF_THREE), (2, TWO_OF_THREE))
    for datapoints, row in table.items()
    for treatment, expected in zip(TREATMENTS, row, strict=True)
]


@dataclass
class Metrics:
    """Buckets of one minute, or of ten seconds, filled by a test."""

    width_s: int = MINUTE
    filled: dict[tuple[MetricKey, int], Bucket] = field(default_factory=dict)

    def add(self, at_s: int, *values: float, metric: str = "Errors", **dimensions: str) -> None:
        where = (metric_key("Shop", metric, dimensions), at_s // self.width_s)
        bucket = self.filled.setdefault(where, Bucket())
        for value in values:
            bucket.add(value)

    def __call__(self, key: MetricKey, start_s: int, end_s: int) -> Sequence[Bucket]:
        numbers = range(start_s // self.width_s, end_s // self.width_s)
        return [self.filled[key, number] for number in numbers if (key, number) in self.filled]


def alarm(**changes: Any) -> MetricAlarm:
    definition = {
        "AlarmName": "shop-errors",
        "Namespace": "Shop",
        "MetricName": "Errors",
        "Statistic": "Sum",
        "Period": MINUTE,
        "EvaluationPeriods": 1,
        "Threshold": 5,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        **changes,
    }
    return MetricAlarm.model_validate({name: value for name, value in definition.items() if value is not None})


def math_alarm(*queries: Mapping[str, Any], **changes: Any) -> MetricAlarm:
    single = dict.fromkeys(("Namespace", "MetricName", "Statistic", "Period"))
    return alarm(**{**single, "Metrics": queries, **changes})


def stat(name: str, metric: str, period: int = MINUTE) -> dict[str, Any]:
    of = {"Metric": {"Namespace": "Shop", "MetricName": metric}, "Period": period, "Stat": "Sum"}
    return {"Id": name, "MetricStat": of, "ReturnData": False}


def state_of(
    definition: MetricAlarm, metrics: Metrics, *, now: int = NOW, before: StateValue = "INSUFFICIENT_DATA"
) -> StateValue:
    return AlarmEvaluator(definition).evaluate(before, now, metrics).state


def read(datapoints: str) -> list[bool | None]:
    return [{"X": True, "0": False, "-": None}[one] for one in datapoints]


# ------------------------------------------------------------------------------------------------ missing data


@pytest.mark.parametrize(("datapoints", "needed", "treatment", "expected"), CELLS)
@pytest.mark.parametrize("before", STATES)
def test_cell_of_the_truth_tables(
    datapoints: str, needed: int, treatment: str, expected: str, before: StateValue
) -> None:
    assert judge(read(datapoints), 3, needed, treatment, before) == (before if expected == RETAIN else expected)


def test_there_are_forty_cells() -> None:
    assert len(CELLS) == 40


@pytest.mark.parametrize(("datapoints", "needed", "treatment", "expected"), CELLS)
def test_cell_as_an_alarm_with_metric_data(datapoints: str, needed: int, treatment: str, expected: str) -> None:
    metrics = Metrics()
    for age, one in enumerate(reversed(datapoints), 1):
        if one != "-":
            metrics.add(NOW - age * MINUTE, 9 if one == "X" else 1)
    definition = alarm(EvaluationPeriods=3, DatapointsToAlarm=needed, TreatMissingData=treatment)
    assert state_of(definition, metrics, before="OK") == ("OK" if expected == RETAIN else expected)


ranges = st.integers(1, 6).flatmap(
    lambda periods: st.tuples(
        st.lists(st.sampled_from([True, False, None]), min_size=periods + 2, max_size=periods + 2),
        st.just(periods),
        st.integers(1, periods),
        st.sampled_from(TREATMENTS),
        st.sampled_from(STATES),
    )
)


@given(ranges)
def test_complete_data_is_counted_whatever_missing_data_would_mean(
    case: tuple[list[bool | None], int, int, str, StateValue],
) -> None:
    datapoints, periods, needed, treatment, before = case
    complete = [bool(one) for one in datapoints]
    expected = "ALARM" if sum(complete[-periods:]) >= needed else "OK"
    assert judge(complete, periods, needed, treatment, before) == expected


@given(ranges, st.data())
def test_one_more_breach_never_ends_an_alarm(
    case: tuple[list[bool | None], int, int, str, StateValue], data: st.DataObject
) -> None:
    datapoints, periods, needed, treatment, before = case
    if judge(datapoints, periods, needed, treatment, before) == "ALARM":
        worse = list(datapoints)
        worse[data.draw(st.integers(0, len(datapoints) - 1))] = True
        assert judge(worse, periods, needed, treatment, before) == "ALARM"


@given(ranges)
def test_an_alarm_needs_a_breach_or_silence_that_counts_as_one(
    case: tuple[list[bool | None], int, int, str, StateValue],
) -> None:
    datapoints, periods, needed, treatment, _ = case
    if judge(datapoints, periods, needed, treatment, "OK") == "ALARM":
        assert True in datapoints or treatment == "breaching"


@given(ranges)
def test_only_silence_gives_insufficient_data(case: tuple[list[bool | None], int, int, str, StateValue]) -> None:
    datapoints, periods, needed, treatment, _ = case
    if judge(datapoints, periods, needed, treatment, "OK") == "INSUFFICIENT_DATA":
        assert set(datapoints) == {None}
        assert treatment == "missing"


@given(ranges)
def test_the_same_question_has_the_same_answer(case: tuple[list[bool | None], int, int, str, StateValue]) -> None:
    datapoints, periods, needed, treatment, before = case
    first = judge(datapoints, periods, needed, treatment, before)
    # Nothing new was published: evaluating again from the state that was reached stays there.
    assert judge(datapoints, periods, needed, treatment, first) == first


# ------------------------------------------------------------------------------------------------ windows and ticks


@pytest.mark.parametrize("needed", [1, 2, 3, 4, 5])
def test_m_out_of_n(needed: int) -> None:
    for breaches in product((False, True), repeat=5):
        metrics = Metrics()
        for age, breach in enumerate(reversed(breaches), 1):
            metrics.add(NOW - age * MINUTE, 5 if breach else 4)
        definition = alarm(EvaluationPeriods=5, DatapointsToAlarm=needed)
        assert state_of(definition, metrics) == ("ALARM" if sum(breaches) >= needed else "OK")


def test_a_window_ends_at_any_minute() -> None:
    """Five errors on both sides of a clock-aligned five-minute border are five errors within five minutes."""
    metrics = Metrics()
    border = NOW
    for minute in range(-20, 20):
        metrics.add(border + minute * MINUTE, 0)
    metrics.add(border - MINUTE, 3)
    metrics.add(border + MINUTE, 2)
    definition = alarm(Period=5 * MINUTE, TreatMissingData="notBreaching")
    assert AlarmEvaluator(definition).tick_s == MINUTE
    states = {minute: state_of(definition, metrics, now=border + minute * MINUTE) for minute in range(-1, 9)}
    assert [minute for minute, state in states.items() if state == "ALARM"] == [2, 3, 4]


def test_a_breach_stays_in_the_window_for_the_whole_period() -> None:
    metrics = Metrics()
    metrics.add(NOW, 5)
    definition = alarm(Period=5 * MINUTE, TreatMissingData="notBreaching")
    ringing = [minute for minute in range(10) if state_of(definition, metrics, now=NOW + minute * MINUTE) == "ALARM"]
    # Data of the minute that begins at NOW is first seen when that minute is over, and for the length of the
    # evaluation range, because one real datapoint is all that one evaluation period asks for.
    assert ringing[0] == 1
    assert ringing == list(range(1, len(ringing) + 1))


def test_data_that_is_newer_than_the_window_is_not_seen() -> None:
    metrics = Metrics()
    metrics.add(NOW, 100)
    assert state_of(alarm(), metrics, now=NOW) == "INSUFFICIENT_DATA"
    assert state_of(alarm(), metrics, now=NOW + MINUTE) == "ALARM"


@pytest.mark.parametrize(
    ("period", "periods", "tick"),
    [(10, 1, 10), (30, 6, 10), (60, 1, 60), (300, 3, 60), (3600, 24, 60), (3600, 25, 3600), (86400, 7, 3600)],
)
def test_how_often_an_alarm_is_evaluated(period: int, periods: int, tick: int) -> None:
    assert AlarmEvaluator(alarm(Period=period, EvaluationPeriods=periods)).tick_s == tick


def test_high_resolution_periods_see_ten_seconds() -> None:
    metrics = Metrics(width_s=10)
    metrics.add(NOW - 20, 9)
    metrics.add(NOW - 10, 1)
    assert state_of(alarm(Period=10), metrics, now=NOW - 10) == "ALARM"
    assert state_of(alarm(Period=10), metrics, now=NOW) == "OK"
    assert state_of(alarm(Period=30, Threshold=10), metrics, now=NOW) == "ALARM"
    assert state_of(alarm(Period=30, Threshold=10.5), metrics, now=NOW) == "OK"


def test_data_of_other_dimensions_is_another_metric() -> None:
    metrics = Metrics()
    metrics.add(NOW - MINUTE, 100, Stage="dev")
    prod = alarm(Dimensions=[{"Name": "Stage", "Value": "prod"}])
    assert state_of(prod, metrics) == "INSUFFICIENT_DATA"
    assert state_of(alarm(), metrics) == "INSUFFICIENT_DATA"
    assert state_of(alarm(Dimensions=[{"Name": "Stage", "Value": "dev"}]), metrics) == "ALARM"


def test_the_order_of_dimensions_does_not_matter() -> None:
    metrics = Metrics()
    metrics.add(NOW - MINUTE, 100, Stage="dev", ApiId="a")
    dimensions = [{"Name": "Stage", "Value": "dev"}, {"Name": "ApiId", "Value": "a"}]
    assert state_of(alarm(Dimensions=dimensions), metrics) == "ALARM"
    assert state_of(alarm(Dimensions=dimensions[::-1]), metrics) == "ALARM"


# ------------------------------------------------------------------------------------------------ values

OPERATORS: Mapping[str, Callable[[float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value: value >= 5,
    "GreaterThanThreshold": lambda value: value > 5,
    "LessThanThreshold": lambda value: value < 5,
    "LessThanOrEqualToThreshold": lambda value: value <= 5,
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("value", [4.999, 5, 5.001])
def test_comparison_operators(operator: str, value: float) -> None:
    metrics = Metrics()
    metrics.add(NOW - MINUTE, value)
    expected = "ALARM" if OPERATORS[operator](value) else "OK"
    assert state_of(alarm(ComparisonOperator=operator), metrics) == expected


@pytest.mark.parametrize(
    ("statistic", "expected"), [("SampleCount", 4), ("Sum", 10), ("Average", 2.5), ("Minimum", 1), ("Maximum", 4)]
)
def test_statistics_over_the_minutes_of_a_period(statistic: str, expected: float) -> None:
    metrics = Metrics()
    metrics.add(NOW - 3 * MINUTE, 4, 1)
    metrics.add(NOW - MINUTE, 2, 3)
    key = metric_key("Shop", "Errors", {})
    assert statistic_value(metrics(key, NOW - 5 * MINUTE, NOW), statistic) == (expected, 4)
    definition = alarm(Statistic=statistic, Period=5 * MINUTE, Threshold=expected)
    assert state_of(definition, metrics) == "ALARM"
    above = alarm(Statistic=statistic, Period=5 * MINUTE, Threshold=expected, ComparisonOperator="GreaterThanThreshold")
    assert state_of(above, metrics) == "OK"


def test_percentiles_are_of_the_samples_and_not_of_the_minutes() -> None:
    metrics = Metrics()
    metrics.add(NOW - 2 * MINUTE, *[10] * 99)
    metrics.add(NOW - MINUTE, 1000)
    p95 = alarm(Statistic=None, ExtendedStatistic="p95", Period=5 * MINUTE, Threshold=500)
    assert state_of(p95, metrics) == "OK"
    metrics.add(NOW - MINUTE, *[1000] * 10)
    assert state_of(p95, metrics) == "ALARM"


def test_statistic_sets_have_no_percentile_unless_all_samples_are_equal() -> None:
    mixed, equal = Bucket(), Bucket()
    mixed.add_set(10, 55, 1, 10)
    equal.add_set(10, 70, 7, 7)
    assert statistic_value([mixed], "p95") is None
    assert statistic_value([mixed], "Average") == (5.5, 10)
    assert statistic_value([equal], "p95") == (7, 10)


@given(st.dictionaries(st.floats(-1e6, 1e6), st.integers(1, 50).map(float), min_size=1, max_size=20), st.floats(0, 100))
def test_a_percentile_lies_between_the_samples(values: dict[float, float], percent: float) -> None:
    found = percentile(values, percent)
    assert min(values) <= found <= max(values)
    assert percentile(values, 0) == min(values)
    assert percentile(values, 100) == max(values)


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=40), st.floats(0, 100), st.floats(0, 100))
def test_a_higher_percentile_is_not_lower(samples: list[int], one: float, other: float) -> None:
    bucket = Bucket()
    for sample in samples:
        bucket.add(sample)
    assert bucket.values is not None
    low, high = sorted((one, other))
    assert percentile(bucket.values, low) <= percentile(bucket.values, high) + 1e-9


@pytest.mark.parametrize(
    ("name", "percent"), [("p95", 95), ("p99.9", 99.9), ("p100", 100), ("p0", 0), ("p101", None), ("tm99", None)]
)
def test_names_of_percentiles(name: str, percent: float | None) -> None:
    assert percentile_of(name) == percent


# The page "Percentile-based alarms and low data samples": 10 / (1 - p) samples from p50 on, 10 / p below.
@pytest.mark.parametrize(
    ("statistic", "least"), [("p50", 20), ("p90", 100), ("p95", 200), ("p99", 1000), ("p99.9", 10_000), ("p10", 100)]
)
def test_a_percentile_of_few_samples_does_not_change_the_state(statistic: str, least: int) -> None:
    definition = alarm(Statistic=None, ExtendedStatistic=statistic, EvaluateLowSampleCountPercentile="ignore")
    metrics = Metrics()
    metrics.add(NOW - MINUTE, *[9] * (least - 1))
    for before in STATES:
        assert state_of(definition, metrics, before=before) == before
    metrics.add(NOW - MINUTE, 9)
    assert state_of(definition, metrics, before="OK") == "ALARM"


@pytest.mark.parametrize("choice", [None, "evaluate"])
def test_a_percentile_of_few_samples_is_evaluated_otherwise(choice: str | None) -> None:
    metrics = Metrics()
    metrics.add(NOW - MINUTE, 9)
    definition = alarm(Statistic=None, ExtendedStatistic="p95", EvaluateLowSampleCountPercentile=choice)
    assert state_of(definition, metrics, before="OK") == "ALARM"


@pytest.mark.parametrize(
    "changes",
    [
        {"Statistic": None},
        {"MetricName": None},
        {"Statistic": None, "ExtendedStatistic": "p101"},
        {"Statistic": None, "ExtendedStatistic": "tm(10%:90%)"},
    ],
)
def test_an_alarm_that_cannot_be_evaluated_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        AlarmEvaluator(alarm(**changes))


# ------------------------------------------------------------------------------------------------ metric math

SHARE = {"Id": "share", "Expression": "100*m1/m2"}


def share_alarm(**changes: Any) -> MetricAlarm:
    return math_alarm(stat("m1", "Errors"), stat("m2", "Requests"), SHARE, **changes)


def test_metric_math_of_an_error_share() -> None:
    metrics = Metrics()
    metrics.add(NOW - MINUTE, 5)
    metrics.add(NOW - MINUTE, 100, metric="Requests")
    assert state_of(share_alarm(), metrics) == "ALARM"
    metrics.add(NOW - MINUTE, 1, metric="Requests")
    assert state_of(share_alarm(), metrics) == "OK"


def test_a_missing_operand_is_missing_data() -> None:
    metrics = Metrics()
    metrics.add(NOW - MINUTE, 100, metric="Requests")
    assert state_of(share_alarm(), metrics) == "INSUFFICIENT_DATA"
    assert state_of(share_alarm(TreatMissingData="notBreaching"), metrics) == "OK"
    assert state_of(share_alarm(TreatMissingData="breaching"), metrics) == "ALARM"


def test_a_division_by_zero_is_missing_data() -> None:
    metrics = Metrics()
    metrics.add(NOW - MINUTE, 5)
    metrics.add(NOW - MINUTE, 0, metric="Requests")
    assert state_of(share_alarm(), metrics) == "INSUFFICIENT_DATA"


def test_fill_gives_a_missing_operand_a_value() -> None:
    filled = {"Id": "share", "Expression": "100 * FILL(m1, 0) / m2"}
    metrics = Metrics()
    metrics.add(NOW - MINUTE, 100, metric="Requests")
    assert state_of(math_alarm(stat("m1", "Errors"), stat("m2", "Requests"), filled), metrics) == "OK"


def test_expressions_may_use_each_other_in_any_order() -> None:
    queries = (
        {"Id": "percent", "Expression": "share * 100"},
        {"Id": "share", "Expression": "m1 / m2", "ReturnData": False},
        stat("m2", "Requests"),
        stat("m1", "Errors"),
    )
    metrics = Metrics()
    metrics.add(NOW - MINUTE, 5)
    metrics.add(NOW - MINUTE, 100, metric="Requests")
    assert state_of(math_alarm(*queries), metrics) == "ALARM"


def test_metric_math_slides_with_the_largest_period_of_its_operands() -> None:
    five = math_alarm(stat("m1", "Errors", 300), stat("m2", "Requests", 300), SHARE)
    metrics = Metrics()
    metrics.add(NOW - 4 * MINUTE, 5)
    metrics.add(NOW - MINUTE, 100, metric="Requests")
    assert state_of(five, metrics) == "ALARM"


@pytest.mark.parametrize(
    "queries",
    [
        (stat("m1", "Errors"), SHARE),
        ({"Id": "a", "Expression": "b"}, {"Id": "b", "Expression": "a", "ReturnData": False}),
        (stat("m1", "Errors"), stat("m2", "Requests")),
        ({"Id": "a", "Expression": "1"}, {"Id": "b", "Expression": "2"}),
        ({"Id": "a"},),
    ],
    ids=["unknown id", "each other", "nothing returned", "two returned", "neither metric nor expression"],
)
def test_metric_math_that_cannot_be_evaluated_is_refused(queries: Iterable[Mapping[str, Any]]) -> None:
    with pytest.raises(InvalidInput):
        AlarmEvaluator(math_alarm(*queries))


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "m1 +",
        "m1; m2",
        "m1 = 2",
        "m1 ** m2",
        "9 ** 9 ** 9",
        "m1 % 2",
        "m1.real",
        "m1[0]",
        "__import__('os').system('true')",
        "().__class__",
        "(lambda: 1)()",
        "[m1 for m1 in m2]",
        "'text'",
        "True",
        "m1 if m2 else 0",
        "m1 < m2",
        "FILL(m1)",
        "FILL(m1, *m2)",
        "ANOMALY_DETECTION_BAND(m1)",
        "m1 \0",
        "(" * 500 + "m1" + ")" * 500,
        "-" * 5000 + "m1",
        "1" + "0" * 400,
        "1" * 6000,
    ],
)
def test_anything_else_in_an_expression_is_refused(expression: str) -> None:
    with pytest.raises(InvalidInput):
        compile_expression(expression)


numbers = st.integers(-1000, 1000).map(float)
expressions = st.recursive(
    st.one_of(st.sampled_from(["m1", "m2"]), st.integers(0, 99).map(str)),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map("({0[0]} {0[1]} {0[2]})".format),
    max_leaves=8,
)


@given(expressions, numbers, numbers)
def test_arithmetic_is_that_of_python(expression: str, m1: float, m2: float) -> None:
    operand, ids = compile_expression(expression)
    values = {"m1": m1, "m2": m2}
    assert ids <= values.keys()
    try:
        expected = float(eval(expression, {}, values))
    except ZeroDivisionError:
        assert operand(values) is None
    else:
        assert operand(values) == pytest.approx(expected)


@given(expressions)
def test_a_missing_operand_makes_every_expression_missing(expression: str) -> None:
    operand, ids = compile_expression(expression)
    if ids:
        assert operand(dict.fromkeys(ids)) is None


# ------------------------------------------------------------------------------------------------ composite alarms


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


# ------------------------------------------------------------------------------------------------ reasons


def test_a_reason_names_the_datapoints_newest_first() -> None:
    metrics = Metrics()
    metrics.add(NOW - 3 * MINUTE, 7)
    metrics.add(NOW - 2 * MINUTE, 1)
    metrics.add(NOW - MINUTE, 9)
    evaluator = AlarmEvaluator(alarm(EvaluationPeriods=3, DatapointsToAlarm=2))
    found = evaluator.evaluate("OK", NOW, metrics)
    assert reason_text(evaluator, "OK", found) == (
        "Threshold Crossed: 2 out of the last 3 datapoints [9, 7] were greater than or equal to the threshold (5) "
        "(minimum 2 datapoints for OK -> ALARM transition)."
    )


def test_a_reason_tells_what_silence_was_taken_for() -> None:
    evaluator = AlarmEvaluator(alarm(TreatMissingData="notBreaching"))
    found = evaluator.evaluate("ALARM", NOW, Metrics())
    assert "treated as [NonBreaching]" in reason_text(evaluator, "ALARM", found)
