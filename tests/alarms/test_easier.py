"""Which alarm is easier to ring: tables of single fields, and the same answer from two alarms that are evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from tocsin.alarms.cloudwatch import AlarmEvaluator, MetricKey
from tocsin.alarms.easier import Differences, differences
from tocsin.alarms.statistics import Samples
from tocsin.model.system import CompositeAlarm, MetricAlarm

DOCUMENTED: dict[str, Any] = {
    "AlarmName": "orders",
    "Namespace": "AWS/ApiGateway",
    "MetricName": "Count",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 5.0,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
}
ABOVE, AT, BELOW, UNDER = (
    "GreaterThanThreshold",
    "GreaterThanOrEqualToThreshold",
    "LessThanOrEqualToThreshold",
    "LessThanThreshold",
)


def compare(documented: Mapping[str, Any], account: Mapping[str, Any]) -> Differences:
    left = MetricAlarm.model_validate({**DOCUMENTED, **documented})
    return differences(left, {**DOCUMENTED, **documented, **account})


# documented, in the account: easier, and the other way round harder
EASIER: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("a lower threshold", {}, {"Threshold": 4}),
    ("a higher threshold of what must not fall", {"ComparisonOperator": UNDER}, {"Threshold": 6}),
    ("the threshold itself breaches", {"ComparisonOperator": ABOVE}, {"ComparisonOperator": AT}),
    ("the threshold itself breaches, below", {"ComparisonOperator": UNDER}, {"ComparisonOperator": BELOW}),
    ("a lower threshold that does not breach itself", {}, {"Threshold": 4, "ComparisonOperator": ABOVE}),
    ("fewer periods", {"EvaluationPeriods": 3}, {"EvaluationPeriods": 1}),
    ("fewer of the same periods", {"EvaluationPeriods": 3}, {"DatapointsToAlarm": 2}),
    ("one of more periods", {}, {"EvaluationPeriods": 3, "DatapointsToAlarm": 1}),
    ("a longer period of a sum", {}, {"Period": 300}),
    ("a longer period of a maximum", {"Statistic": "Maximum"}, {"Period": 300}),
    ("a longer period of a minimum", {"Statistic": "Minimum", "ComparisonOperator": UNDER}, {"Period": 120}),
    (
        "a shorter period of a sum that must not fall",
        {"ComparisonOperator": UNDER, "Period": 300, "TreatMissingData": "breaching"},
        {"Period": 60},
    ),
    ("the maximum for the average", {"Statistic": "Average"}, {"Statistic": "Maximum"}),
    ("the sum for the maximum", {"Statistic": "Maximum"}, {"Statistic": "Sum"}),
    (
        "a higher percentile",
        {"Statistic": None, "ExtendedStatistic": "p90"},
        {"ExtendedStatistic": "p99"},
    ),
    (
        "the minimum of what must not fall",
        {"Statistic": "Average", "ComparisonOperator": UNDER},
        {"Statistic": "Minimum"},
    ),
    ("silence that rings", {}, {"TreatMissingData": "breaching"}),
    ("silence that is unknown", {"TreatMissingData": "notBreaching"}, {"TreatMissingData": "missing"}),
]


@pytest.mark.parametrize(("_name", "documented", "change"), EASIER, ids=[row[0] for row in EASIER])
def test_easier_and_the_other_way_round_harder(_name: str, documented: dict[str, Any], change: dict[str, Any]) -> None:
    found = compare(documented, change)
    fields = {"Statistic" if name == "ExtendedStatistic" else name for name in change}
    assert found.easier
    assert set(found.easier) <= {*fields, "DatapointsToAlarm"}
    assert found.unproven_ring == found.easier
    assert not found.unproven_clear
    back = compare({**documented, **change}, {**dict.fromkeys(change), **DOCUMENTED, **documented})
    assert set(back.harder) == set(found.easier)
    assert not back.unproven_ring


OTHER: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ("another metric", {}, {"MetricName": "refunds"}, ("MetricName",)),
    ("another dimension", {}, {"Dimensions": [{"Name": "desk", "Value": "2"}]}, ("Dimensions",)),
    ("only one unit", {}, {"Unit": "Count"}, ("Unit",)),
    ("the other side", {}, {"ComparisonOperator": UNDER}, ("ComparisonOperator",)),
    ("a longer period of an average", {"Statistic": "Average"}, {"Period": 300}, ("Period",)),
    ("a period that is no multiple", {"Period": 120}, {"Period": 180}, ("Period",)),
    ("a longer period of several in a row", {"EvaluationPeriods": 2}, {"Period": 300}, ("Period",)),
    ("a shorter period that may be empty", {"ComparisonOperator": UNDER, "Period": 120}, {"Period": 60}, ("Period",)),
    ("a count for a sum", {}, {"Statistic": "SampleCount"}, ("Statistic",)),
    (
        "an average for a percentile",
        {"Statistic": None, "ExtendedStatistic": "p90"},
        {"ExtendedStatistic": None, "Statistic": "Average"},
        ("Statistic",),
    ),
    (
        "two of three for one",
        {},
        {"EvaluationPeriods": 3, "DatapointsToAlarm": 2},
        ("DatapointsToAlarm", "EvaluationPeriods"),
    ),
    ("silence that keeps its state", {}, {"TreatMissingData": "ignore"}, ("TreatMissingData",)),
    ("no metric at all", {}, {"MetricName": None}, ("the definition",)),
    ("a band", {}, {"ComparisonOperator": "LessThanLowerThreshold"}, ("ComparisonOperator",)),
]


@pytest.mark.parametrize(("_name", "documented", "change", "fields"), OTHER, ids=[row[0] for row in OTHER])
def test_what_is_neither(
    _name: str, documented: dict[str, Any], change: dict[str, Any], fields: tuple[str, ...]
) -> None:
    found = compare(documented, change)
    assert found == Differences(other=fields)
    assert found.unproven_ring == found.unproven_clear == fields


NEUTRAL: list[dict[str, Any]] = [
    {"AlarmDescription": "for people"},
    {"AlarmActions": ["arn:aws:sns:us-east-1:000000000000:bells"]},
    {"ActionsEnabled": False},
    {"DatapointsToAlarm": 1},
    {"TreatMissingData": "missing"},
    {"EvaluateLowSampleCountPercentile": "evaluate"},
    {"StateValue": "OK", "AlarmArn": "arn:aws:cloudwatch:us-east-1:000000000000:alarm:orders"},
]


@pytest.mark.parametrize("change", NEUTRAL, ids=[next(iter(one)) for one in NEUTRAL])
def test_what_changes_nothing(change: dict[str, Any]) -> None:
    assert compare({}, change) == Differences()


def test_a_composite_has_its_rule() -> None:
    documented = CompositeAlarm.model_validate({"AlarmName": "page", "AlarmRule": "ALARM(a) AND ALARM(b)"})
    assert differences(documented, {"AlarmRule": "ALARM(a) AND ALARM(b)"}) == Differences()
    assert differences(documented, {"AlarmRule": "ALARM(a) OR ALARM(b)"}).other == ("AlarmRule",)


# --- against the evaluator: what is called easier is in ALARM whenever the other one is ----------------------------


@dataclass(frozen=True)
class Minute:
    """One minute of a metric, with all its values."""

    values: Mapping[float, float]

    @property
    def sample_count(self) -> float:
        return sum(self.values.values())

    @property
    def total(self) -> float:
        return sum(value * count for value, count in self.values.items())

    @property
    def minimum(self) -> float:
        return min(self.values)

    @property
    def maximum(self) -> float:
        return max(self.values)


def rings(alarm: MetricAlarm, minutes: Sequence[Mapping[float, float] | None]) -> bool:
    def buckets(_metric: MetricKey, start_s: int, end_s: int) -> Sequence[Samples]:
        inside = range(max(start_s, 0) // 60, max(end_s, 0) // 60)
        found = (minutes[minute] for minute in inside if minute < len(minutes))
        return [Minute(values) for values in found if values is not None]

    return AlarmEvaluator(alarm).evaluate("OK", len(minutes) * 60, buckets).state == "ALARM"


CHANGES: list[dict[str, Any]] = [
    {},
    {"Threshold": 3},
    {"ComparisonOperator": ABOVE},
    {"ComparisonOperator": UNDER},
    {"ComparisonOperator": UNDER, "Threshold": 3},
    {"EvaluationPeriods": 2},
    {"EvaluationPeriods": 2, "DatapointsToAlarm": 1},
    {"EvaluationPeriods": 3, "DatapointsToAlarm": 2},
    {"EvaluationPeriods": 3},
    {"Period": 120},
    {"Period": 120, "ComparisonOperator": UNDER},
    {"Statistic": "Maximum"},
    {"Statistic": "Minimum"},
    {"Statistic": "Average"},
    {"Statistic": "Minimum", "Period": 120},
    {"Statistic": None, "ExtendedStatistic": "p50"},
    {"Statistic": None, "ExtendedStatistic": "p90"},
]
SAMPLES: list[Mapping[float, float]] = [{0: 1}, {4: 1}, {5: 1}, {2: 2, 4: 1}]
MINUTES = list(product(SAMPLES, repeat=6))


BALANCE = {"Namespace": "Shop", "MetricName": "balance"}
"""Nothing is known of it: it may be negative."""
SIGNED = list(product([*SAMPLES[:3], {-6: 1, 6: 1}, {-3: 2}], repeat=6))


@pytest.mark.parametrize(("metric", "seen"), [({}, MINUTES[::41]), (BALANCE, SIGNED[::101])], ids=["count", "balance"])
@pytest.mark.parametrize("documented", CHANGES, ids=[str(one) for one in CHANGES])
def test_what_is_called_easier_rings_whenever_the_other_one_does(
    documented: dict[str, Any], metric: dict[str, Any], seen: Sequence[Sequence[Mapping[float, float] | None]]
) -> None:
    base = {**DOCUMENTED, **metric}
    left = MetricAlarm.model_validate({**base, **documented})
    told = 0
    for change in CHANGES:
        right = MetricAlarm.model_validate({**base, **change})
        found = differences(left, {**base, **change})
        one_way = not found.unproven_clear, not found.unproven_ring
        if not any(one_way):
            continue
        told += 1
        for minutes in seen:
            documented_rings, account_rings = rings(left, minutes), rings(right, minutes)
            assert not (one_way[0] and documented_rings and not account_rings), (change, minutes)
            assert not (one_way[1] and account_rings and not documented_rings), (change, minutes)
    assert told, "at least itself"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("EvaluationWindow", {"WallClockWindow": {}}),
        ("ThresholdMetricId", "band"),
        ("WarmUpConfiguration", {"WarmUpPeriodDurationInMinutes": 5}),
    ],
)
def test_what_nobody_here_evaluates_is_another_alarm(field: str, value: object) -> None:
    assert compare({}, {field: value}) == Differences(other=(field,))


def test_a_window_on_the_wall_clock_that_is_documented_is_no_difference() -> None:
    window = {"EvaluationWindow": {"WallClockWindow": {}}}
    assert compare(window, {}) == Differences()
    assert compare(window, {"EvaluationWindow": None}) == Differences(other=("EvaluationWindow",))


def test_a_sliding_window_is_what_every_alarm_has() -> None:
    assert compare({}, {"EvaluationWindow": {"SlidingWindow": {}}}) == Differences()


def test_alarms_on_dynamodb_do_not_differ_in_what_they_never_do() -> None:
    table = {"Namespace": "AWS/DynamoDB", "TreatMissingData": "notBreaching"}
    assert compare(table, {"TreatMissingData": "breaching"}) == Differences()
