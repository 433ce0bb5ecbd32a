"""CloudWatch's rules of evaluation, as the user guide states them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.alarms.cloudwatch import AlarmEvaluator, MetricKey, StateValue, judge, metric_key, reason_text
from tocsin.alarms.statistics import percentile, percentile_of, statistic_value
from tocsin.errors import InvalidInput
from tocsin.model.alarm_fields import TreatMissingData
from tocsin.model.system import MetricAlarm
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


DYNAMO = {"Namespace": "AWS/DynamoDB", "MetricName": "ThrottledRequests"}


@pytest.mark.parametrize("treatment", [None, *TREATMENTS])
@pytest.mark.parametrize("before", STATES)
def test_alarms_on_dynamodb_ignore_missing_data_whatever_is_chosen(treatment: str | None, before: StateValue) -> None:
    # "... always ignore missing data even if you choose a different option for TreatMissingData"
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    definition = alarm(**DYNAMO, TreatMissingData=treatment)
    assert state_of(definition, Metrics(), before=before) == before
    of = {"Metric": DYNAMO, "Period": MINUTE, "Stat": "Sum"}
    throttled = {"Id": "m", "MetricStat": of, "ReturnData": False}
    math = math_alarm(throttled, {"Id": "e", "Expression": "m * 2"}, TreatMissingData=treatment)
    assert state_of(math, Metrics(), before=before) == before
    filled = math_alarm(throttled, {"Id": "e", "Expression": "FILL(m, 9)"}, TreatMissingData=treatment)
    assert filled.missing_data == "ignore"


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


@pytest.mark.parametrize(
    ("used", "named"),
    [
        ("METRICS()", "where 'e1 > 5' uses it, found 'METRICS\\(\\)', which yields an array of time series"),
        # "The final result of any math expression must be a single time series or an array of time series."
        ("AVG(m1)", "yields one time series, found 'AVG\\(m1\\)': a number"),
    ],
)
def test_an_expression_that_another_one_uses_is_one_time_series(used: str, named: str) -> None:
    definition = math_alarm(
        stat("m1", "Errors"),
        {"Id": "e1", "Expression": used, "ReturnData": False},
        {"Id": "e2", "Expression": "e1 > 5"},
    )
    with pytest.raises(InvalidInput, match=named):
        AlarmEvaluator(definition)


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


def test_a_missing_operand_counts_as_zero() -> None:
    # "Missing values in a time series are treated as 0": Metric math syntax and functions.
    metrics = Metrics()
    metrics.add(NOW - MINUTE, 100, metric="Requests")
    assert state_of(share_alarm(), metrics) == "OK"
    assert state_of(share_alarm(ComparisonOperator="LessThanThreshold"), metrics) == "ALARM"


def test_where_every_operand_is_missing_there_is_no_data() -> None:
    assert state_of(share_alarm(), Metrics()) == "INSUFFICIENT_DATA"
    assert state_of(share_alarm(TreatMissingData="breaching"), Metrics()) == "ALARM"


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
        (stat("m1", "Errors"), {"Id": "a", "Expression": "SUM(m1)"}),
        (stat("m1", "Errors"), {"Id": "a", "Expression": "FILL(METRICS(), 0)"}),
    ],
    ids=[
        "unknown id",
        "each other",
        "a number",
        "an array",
    ],
)
def test_metric_math_that_cannot_be_evaluated_is_refused(queries: Iterable[Mapping[str, Any]]) -> None:
    with pytest.raises(InvalidInput):
        AlarmEvaluator(math_alarm(*queries))


def test_metrics_of_an_expression_are_the_metrics_alone() -> None:
    queries = (
        {"Id": "worst", "Expression": "MAX(METRICS())"},
        {"Id": "hundred", "Expression": "TIME_SERIES(100)", "ReturnData": False},
        stat("m2", "Requests"),
        stat("m1", "Errors"),
    )
    metrics = Metrics()
    metrics.add(NOW - MINUTE, 4)
    metrics.add(NOW - MINUTE, 3, metric="Requests")
    found = AlarmEvaluator(math_alarm(*queries)).evaluate("OK", NOW, metrics)
    assert [point.value for point in found.evaluated] == [4]


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
