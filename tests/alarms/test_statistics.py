"""Statistics of CloudWatch, by the sentences of its page.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Statistics-definitions.html
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.alarms.statistics import check_statistic, percentile_of, statistic_value
from tocsin.errors import InvalidInput
from tocsin.sandbox.metrics import Bucket


def published(*values: float) -> list[Bucket]:
    bucket = Bucket()
    for value in values:
        bucket.add(value)
    return [bucket]


ONE_TO_TEN = published(*range(1, 11))


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("tm90", 5),  # the mean of 1 to 9: the highest 10 % are removed
        ("TM(:90%)", 5),
        ("TM(10%:90%)", 5.5),  # 2 to 9
        ("TM(10%:)", 6),  # 2 to 10
        ("TM(3:7)", 5.5),  # 4 to 7: a fixed lower boundary is excluded, the higher one included
        ("TM(:3)", 2),
        ("TM(7:)", 9),
        ("IQM", 5.5),  # TM(25%:75%)
        ("TM(25%:75%)", 5.5),
        ("wm90", (sum(range(1, 10)) + 9.1) / 10),  # 10 counts as the 90th percentile
        ("WM(3:7)", (3 + 3 + 3 + 4 + 5 + 6 + 7 + 7 + 7 + 7) / 10),
        ("tc90", 9),
        ("TC(3:7)", 4),
        ("TC(0.5:0.7)", 0),
        ("ts90", 45),
        ("TS(80%:)", 19),  # 9 and 10
        ("TS(3:7)", 22),
        ("PR(:3)", 30),
        ("PR(3:7)", 40),
        ("PR(7:)", 30),
        ("p50", 5.5),
        ("p99.9", 9.991),
    ],
)
def test_statistics_of_one_to_ten(statistic: str, expected: float) -> None:
    check_statistic(statistic)
    assert statistic_value(ONE_TO_TEN, statistic) == (pytest.approx(expected), 10)


@pytest.mark.parametrize(
    ("statistic", "samples", "expected"), [("TC(28%:)", 26, 19), ("TC(:29%)", 101, 30), ("TS(55%:)", 21, 155)]
)
def test_a_sample_right_on_a_boundary_in_per_cent_is_inside(statistic: str, samples: int, expected: float) -> None:
    # The boundaries are the samples of rank 7, 29 and 11, counted from 0, without any rounding.
    assert statistic_value(published(*range(samples)), statistic) == (expected, samples)


@pytest.mark.parametrize(
    "statistic",
    [
        "tm0",
        "tm101",
        "TM",
        "TM()",
        "TM(:)",
        "TM(10:90%)",
        "TM(90%:10%)",
        "TM(5:5)",
        "TM(10%:110%)",
        "TM(%:90%)",
        "TM90",
        "tm(10%:90%)",
        "PR(10%:90%)",
        "pr90",
        "p101",
        "p-1",
        "iqm",
        "average",
        "",
        "p",
        "PR",
        "WM(-1:3)",
        "p1.12345678901",
    ],
)
def test_what_is_no_statistic_is_refused(statistic: str) -> None:
    with pytest.raises(InvalidInput, match="expected a statistic"):
        check_statistic(statistic)


@pytest.mark.parametrize("statistic", ["p95", "tm95", "IQM", "TM(1:2)", "PR(:3)", "tc90", "ts90", "wm90"])
def test_a_negative_value_leaves_no_statistic_of_single_values(statistic: str) -> None:
    # "these type of statistics are not available for metrics when any of the metric values are negative numbers"
    assert statistic_value(published(-1, 2, 3), statistic) is None
    assert statistic_value(published(-1, 2, 3), "Average") == (pytest.approx(4 / 3), 3)


def test_a_range_without_values_has_no_mean_but_a_count() -> None:
    assert statistic_value(ONE_TO_TEN, "TM(100:200)") is None
    assert statistic_value(ONE_TO_TEN, "TC(100:200)") == (0, 10)


def test_statistic_sets_have_none_unless_all_samples_are_equal() -> None:
    mixed, equal = Bucket(), Bucket()
    mixed.add_set(10, 55, 1, 10)
    equal.add_set(10, 70, 7, 7)
    assert statistic_value([mixed], "tm95") is None
    assert statistic_value([equal], "tm95") == (7, 10)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=40), st.integers(1, 99))
def test_the_sum_is_the_mean_times_the_count(samples: list[int], percent: int) -> None:
    buckets = published(*samples)
    mean, count, total = (statistic_value(buckets, f"{name}{percent}") for name in ("tm", "tc", "ts"))
    assert count is not None
    assert total is not None
    assert total[0] == pytest.approx((mean[0] if mean else 0) * count[0])


def test_more_than_a_hundred_per_cent_is_no_percentile() -> None:
    assert percentile_of("p100") == 100
    assert percentile_of("p100.1") is None
