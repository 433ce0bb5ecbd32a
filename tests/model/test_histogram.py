"""Latencies in buckets: quantiles of a longer time are those of all its answers."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from pydantic import ValidationError
from tests.checkers.histories import bucket_of
from tests.model.test_traffic import FAST, OBJECTIVES, second

from tocsin.model.events import LoadSecond
from tocsin.model.histogram import Histogram, merged, quantile, slower, without_slow
from tocsin.model.looks import LOOKS
from tocsin.model.traffic import Healthy, latency_of, usual_latency


def filled(at: int, latencies_ms: list[float], **told: float) -> LoadSecond:
    """A second whose answers took so long; `told` are the quantiles that it tells of itself."""
    one = second(at, {"200": len(latencies_ms)}, FAST | told)
    return one.model_copy(update={"histogram": Histogram(good=Counter(map(bucket_of, latencies_ms)))})


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99, 1.0])
def test_a_quantile_of_all_answers_is_within_one_per_cent(share: float) -> None:
    draw = random.Random(5)
    latencies = [draw.lognormvariate(3.5, 0.7) for _ in range(2000)]
    seconds = [filled(at, latencies[at::40]) for at in range(40)]
    exact = sorted(latencies)[int(share * len(latencies)) - 1]
    found = quantile(merged(one.histogram for one in seconds if one.histogram), share)
    assert found == pytest.approx(exact, rel=0.012)
    assert latency_of(seconds, f"p{share * 100:g}") == found


def test_the_mean_of_quantiles_is_another_figure() -> None:
    """One second in ten is slow: the mean of ten p95 is a tenth of its figure, and no answer took that long."""
    seconds = [filled(at, [20.0] * 20, p95=20.0) for at in range(9)] + [filled(9, [1000.0] * 20, p95=1000.0)]
    assert latency_of(seconds, "p95") == pytest.approx(1000, rel=0.012)
    older = [one.model_copy(update={"histogram": None}) for one in seconds]
    assert latency_of(older, "p95") == pytest.approx(118)
    assert usual_latency(older, "p95") == 20.0
    # One second without a histogram makes it an older history.
    assert latency_of([*seconds[1:], older[0]], "p95") == pytest.approx(118)


def test_slow_answers_are_counted_and_the_cut_bucket_may_be_either() -> None:
    buckets = Counter({bucket_of(100.0): 3, bucket_of(500.0): 2, bucket_of(900.0): 1})
    assert slower(buckets, 200.0) == (3, 3)
    assert slower(buckets, 500.0) == (1, 3)
    assert without_slow(buckets, 500.0) == {bucket_of(100.0): 3, bucket_of(500.0): 2}
    assert without_slow(buckets, 200.0) == {bucket_of(100.0): 3}
    assert quantile(Counter(), 0.95) is None


def test_a_few_slow_answers_of_many_are_no_slow_system() -> None:
    """Two of twenty answers of one second are slow, a hundredth of all that follow."""
    good = [filled(at, [20.0] * 20) for at in range(12)]
    stray = filled(4, [20.0] * 18 + [4900.0] * 2, p95=4900.0)
    seconds = [*good[:4], stray, *good[5:]]
    healthy = Healthy.of(OBJECTIVES, good)
    assert healthy.complaint(seconds) is None
    assert healthy.well_from(seconds, 60) == 0
    slow = [filled(at, [20.0] * 16 + [4900.0] * 4) for at in range(6)]
    assert healthy.complaint(slow) == "p95 was 4924 ms, at most 1000 ms is healthy"
    assert healthy.well_from([*slow, *good[6:]], 60) == 6


def failing(at: int, wrong: int) -> LoadSecond:
    """A second of twenty answers of which so many failed."""
    return filled(at, [20.0] * 20).model_copy(update={"statuses": {"200": 20 - wrong, "503": wrong}})


def test_a_bad_time_is_left_out_only_where_it_is_over_beyond_doubt() -> None:
    healthy = Healthy.of(OBJECTIVES, [failing(at, 0) for at in range(12)])
    few = [0, 1, 0, 2, 1, 0, 1, 0]
    # Five of 160 is above 1 %, and the clean end is what chance gives now and then.
    assert healthy.well_from([failing(at, wrong) for at, wrong in enumerate(few)], 60) is None
    # Half a minute later the same five are a bad time that is over.
    over = [failing(at, wrong) for at, wrong in enumerate(few + [0] * 30)]
    assert healthy.well_from(over, 60) in range(7)
    # Three in a hundred to the end: no lucky minute makes it well.
    draw = random.Random(11)
    for _ in range(100):
        for_good = [failing(at, sum(draw.random() < 0.03 for _ in range(20))) for at in range(40)]
        served = healthy.served(for_good, 60, LOOKS)
        assert served.well is None or not all(one.is_shown for one in served.looked)


def test_a_healthy_system_is_well_in_a_thousand_drills() -> None:
    """One answer in a thousand fails, one in a hundred may."""
    draw = random.Random(12)
    healthy = Healthy.of(OBJECTIVES, [failing(at, 0) for at in range(12)])
    drills = ([failing(at, sum(draw.random() < 0.001 for _ in range(20))) for at in range(9)] for _ in range(1000))
    assert sum(healthy.well_from(seconds, 60) is None for seconds in drills) <= 10


def test_a_histogram_is_in_the_line_of_a_history_and_back() -> None:
    one = filled(0, [0.4, 20.0, 20.1])
    assert LoadSecond.model_validate_json(one.model_dump_json()) == one
    assert LoadSecond.model_validate_json(second(0, {"200": 1}).model_dump_json()).histogram is None
    with pytest.raises(ValidationError):
        Histogram(good={100_000: 1})
