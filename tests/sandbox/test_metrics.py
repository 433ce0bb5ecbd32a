"""The metric store: buckets of production time, percentiles that stay small, memory that is bounded."""

from __future__ import annotations

import random

import pytest

from tocsin.alarms.cloudwatch import metric_key
from tocsin.alarms.statistics import statistic_value
from tocsin.sandbox.clock import Clock
from tocsin.sandbox.metrics import Bucket, MetricStore, ScopedSink, SystemTime

HERE = ("123456789012", "us-east-1")
STARTED = 1_000_000.0
KEY = metric_key("Shop", "orders", {"b": "2", "a": "1"})


def store(scale: float) -> MetricStore:
    return MetricStore(SystemTime(Clock(scale), STARTED))


@pytest.mark.parametrize("scale", [1, 60, 0.5])
def test_a_minute_of_production_is_a_bucket(scale: float) -> None:
    metrics = store(scale)
    system = metrics.system_time
    first = int(system.at(STARTED))
    for second in (0, 59.9, 60, 119.9):
        metrics.put(HERE, KEY, 1.0, wall=STARTED + second / scale)

    assert [bucket.total for bucket in metrics.buckets(HERE, KEY, first, first + 120)] == [2.0, 2.0]
    assert system.wall(system.at(12345.0)) == pytest.approx(12345.0)


def test_only_metrics_of_ones_own_have_high_resolution() -> None:
    metrics = store(1)
    first = int(metrics.system_time.at(STARTED))
    lambda_key = metric_key("AWS/Lambda", "Errors", {})
    for key in (KEY, lambda_key):
        metrics.put(HERE, key, 1.0, wall=STARTED + 15)

    assert len(metrics.buckets(HERE, KEY, first + 10, first + 20)) == 1
    assert metrics.buckets(HERE, lambda_key, first + 10, first + 20) == []
    assert len(metrics.buckets(HERE, lambda_key, first, first + 60)) == 1


def test_accounts_and_regions_do_not_see_each_other() -> None:
    metrics = store(1)
    ScopedSink(metrics, lambda _: HERE).put("Shop", "orders", {"a": "1", "b": "2"}, 1.0, "Count")
    assert metrics.keys(HERE) == [KEY]
    assert metrics.keys((HERE[0], "eu-west-1")) == []
    assert metrics.units(HERE, KEY) == ("Count",)


def test_each_unit_is_a_stream_of_its_own() -> None:
    metrics = store(1)
    first = int(metrics.system_time.at(STARTED))
    for unit, value in (("Percent", 90.0), ("Count", 7.0), ("Percent", 10.0)):
        metrics.put(HERE, KEY, value, unit, wall=STARTED)

    def total(unit: str | None) -> float:
        return sum(bucket.total for bucket in metrics.buckets(HERE, KEY._replace(unit=unit), first, first + 60))

    assert metrics.units(HERE, KEY) == ("Percent", "Count")
    assert metrics.keys(HERE) == [KEY]
    assert (total("Percent"), total("Count"), total("Bytes"), total(None)) == (100.0, 7.0, 0.0, 107.0)


def test_a_busy_bucket_stays_small_and_its_percentiles_close() -> None:
    generator = random.Random(7)
    values = [generator.lognormvariate(4, 1) for _ in range(50_000)]
    bucket = Bucket()
    for value in values:
        bucket.add(value)

    assert bucket.values is not None
    assert len(bucket.values) < 5_000
    exact = sorted(values)[int(0.95 * len(values))]
    pair = statistic_value([bucket], "p95")
    assert pair is not None
    assert pair[0] == pytest.approx(exact, rel=0.01)
    assert statistic_value([bucket], "Maximum") == (max(values), 50_000)


def test_a_statistic_set_has_no_percentile_unless_all_its_samples_are_equal() -> None:
    mixed, equal = Bucket(), Bucket()
    mixed.add_set(3, 6, 1, 3)
    equal.add_set(3, 6, 2, 2)
    assert statistic_value([mixed], "p50") is None
    assert statistic_value([mixed], "Average") == (2.0, 3)
    assert statistic_value([equal], "p50") == (2.0, 3)


def test_what_no_alarm_can_look_at_is_forgotten() -> None:
    metrics = store(60)
    long_ago = metrics.system_time.wall(metrics.system_time.now() - 30 * 3600)
    metrics.put(HERE, KEY, 1.0, wall=long_ago)
    metrics.put(HERE, KEY, 1.0)
    metrics.forget_old()
    now = int(metrics.system_time.now())
    assert len(metrics.buckets(HERE, KEY, 0, now + 120 - now % 60)) == 1


def test_what_changes_after_alarms_looked_is_late() -> None:
    metrics = store(1)
    first = int(metrics.system_time.at(STARTED))
    metrics.put(HERE, KEY, 1.0, wall=STARTED + 30)
    metrics.look(first + 120)
    assert metrics.late_since(HERE, KEY, 60, 0) == (0, [])
    metrics.put(HERE, KEY, 1.0, wall=STARTED + 121)
    assert metrics.late_since(HERE, KEY, 60, 0) == (0, []), "its minute is not over"
    metrics.put(HERE, KEY, 1.0, wall=STARTED + 119)
    metrics.put_set(HERE, KEY, (1, 1, 1, 1), "Count", wall=STARTED + 30)
    assert metrics.late_since(HERE, KEY, 60, 0) == (2, [first + 60, first])
    assert metrics.late_since(HERE, KEY._replace(unit="Count"), 60, 1) == (2, [first])
    assert metrics.late_since(HERE, KEY, 60, 2) == (2, [])
    assert metrics.late_since(HERE, KEY, 10, 0) == (2, [first + 110, first + 30])
    metrics.put(HERE, KEY, 1.0, wall=STARTED + 119)
    assert metrics.late_since(HERE, KEY, 60, 2) == (3, [first + 60]), "once more"


def test_a_bucket_of_ten_seconds_is_late_before_its_minute_is() -> None:
    metrics = store(1)
    first = int(metrics.system_time.at(STARTED))
    metrics.look(first + 50)
    metrics.put(HERE, KEY, 1.0, wall=STARTED + 25)
    assert metrics.late_since(HERE, KEY, 60, 0) == (0, [])
    assert metrics.late_since(HERE, KEY, 30, 0) == (1, [first + 20])


def test_nothing_is_late_for_a_metric_that_is_not_there() -> None:
    assert store(1).late_since(HERE, KEY, 60, 7) == (7, ())
