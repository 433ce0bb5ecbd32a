"""Whether callers get what they got before: chance is not taken for an outage, nor an outage for chance."""

from __future__ import annotations

import random
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.events import LoadSecond
from tocsin.model.histogram import Histogram
from tocsin.model.shares import chance_of_more
from tocsin.model.system import Objectives
from tocsin.model.traffic import (
    ENOUGH_ANSWERS,
    Healthy,
    _chance_of_both,
    latencies_of,
    latency_of,
    usual_latency,
    window,
    window_ends,
)

OBJECTIVES = Objectives.model_validate({"max_error_share": "1%", "p95_ms": 1000})
FAST = {"p50": 20.0, "p95": 60.0, "p99": 80.0, "max": 90.0}
SLOW = {"p50": 4100.0, "p95": 4900.0, "p99": 5000.0, "max": 5000.0}


def second(at: int, statuses: dict[str, int], latency_ms: dict[str, float] | None = None) -> LoadSecond:
    """One second of one operation."""
    answers = sum(statuses.values())
    return LoadSecond(
        at=at,
        offered=answers,
        sent=answers,
        dropped=0,
        statuses=statuses,
        latency_ms=(latency_ms or FAST) if answers else {},
        lag_ms=1.0,
        by_name={"GET /parcels": statuses},
    )


def good(at: int, many: int = 20) -> LoadSecond:
    return second(at, {"200": many})


HEALTHY = Healthy.of(OBJECTIVES, [good(at) for at in range(3)])


@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.01, 0.9))
def test_the_tail_of_the_binomial(count: int, more: int, share: float) -> None:
    total = count + more
    exact = sum(comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(count, total + 1))
    assert chance_of_more(count, total, share) == pytest.approx(exact)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_fishers_exact_test(count: int, rest: int, other: int, other_rest: int) -> None:
    total, marked, everything = count + rest, count + other, count + rest + other + other_rest
    ways = (comb(marked, k) * comb(everything - marked, total - k) for k in range(count, min(total, marked) + 1))
    assert _chance_of_both(count, total, other, other + other_rest) == pytest.approx(
        sum(ways) / comb(everything, total)
    )


def test_a_mix_that_is_as_before_is_not_complained_of() -> None:
    """A quarter of the answers is 404, in every act: a thousand drills, a handful of seconds each."""
    draw = random.Random(7)

    def mixed(at: int) -> LoadSecond:
        found = sum(draw.random() < 0.75 for _ in range(20))
        return second(at, {"200": found, "404": 20 - found})

    drills = [([mixed(at) for at in range(3)], [mixed(at) for at in range(5)]) for _ in range(1000)]
    told = [Healthy.of(OBJECTIVES, before).complaint(after) for before, after in drills]
    assert len([one for one in told if one]) <= 2


@pytest.mark.parametrize("status", ["302", "401", "403", "404", "429"])
@pytest.mark.parametrize("seconds", [1, 5])
def test_an_answer_that_nobody_got_before_is_complained_of(status: str, seconds: int) -> None:
    told = HEALTHY.complaint([second(at, {status: 20}) for at in range(seconds)])
    assert told == f"100.0% of {20 * seconds} answers were {status}, before the fault 0.0%"


def test_it_is_well_from_the_first_good_second_on() -> None:
    bad = [second(at, {"503": 20}) for at in range(4)]
    assert HEALTHY.well_from([*bad, *(good(at) for at in range(4, 9))], 60) == 4
    assert HEALTHY.well_from([good(0)], 60) == 0
    assert HEALTHY.well_from(bad, 60) is None
    assert HEALTHY.well_from([], 60) is None


def test_few_answers_at_the_end_do_not_make_a_bad_operation_well() -> None:
    """Of two answers chance explains everything: so what was bad has to be seen to be better."""
    seconds = [
        second(at, {"200": 18}).model_copy(
            update={"by_name": {"GET /parcels": {"200": 18}, "POST /parcels": {"403": 4}}, "statuses": {"200": 22}}
        )
        for at in range(6)
    ]
    before = [
        one.model_copy(update={"by_name": {"GET /parcels": {"200": 18}, "POST /parcels": {"201": 4}}})
        for one in seconds
    ]
    assert Healthy.of(OBJECTIVES, before).well_from(seconds, 60) is None
    assert Healthy.of(OBJECTIVES, before).well_from(before, 60) == 0


def test_slow_answers_are_no_healthy_ones() -> None:
    slow = [second(at, {"200": 20}, SLOW) for at in range(3)]
    assert HEALTHY.complaint(slow) == "p95 was 4900 ms, at most 1000 ms is healthy"
    assert HEALTHY.well_from([*slow, *(good(at) for at in range(3, 8))], 60) == 3
    # One slow answer makes one second's p95, and nothing else.
    stray = second(5, {"200": 20}, FAST | {"p95": 4900.0, "p99": 4900.0, "max": 4900.0})
    assert HEALTHY.well_from([good(0), good(1), good(2), stray, good(4)], 60) == 0


def test_the_usual_latency_is_that_of_most_answers() -> None:
    few_slow = [second(0, {"200": 2}, SLOW), *(good(at) for at in (1, 2))]
    assert usual_latency(few_slow, "p95") == 60.0
    assert usual_latency([], "p95") is None


@pytest.mark.parametrize(("scale", "many", "seconds"), [(60, 20, 1), (60, 7, 3), (240, 20, 1), (1, 20, 60)])
def test_a_window_is_a_minute_and_enough_answers(scale: float, many: int, seconds: int) -> None:
    found = window([good(at, many) for at in range(100)], scale)
    assert found is not None
    assert len(found) == seconds
    assert window([good(0, ENOUGH_ANSWERS - 1)], scale) is None


@given(st.lists(st.integers(0, 30), max_size=30), st.sampled_from([1.0, 7.0, 13.0, 60.0, 240.0]))
def test_all_windows_at_once_are_those_that_are_looked_for_one_by_one(answers: list[int], scale: float) -> None:
    seconds = [good(at, many) for at, many in enumerate(answers)]
    one_by_one = [window(seconds[at:], scale) for at in range(len(seconds))]
    ends = [None if found is None else at + len(found) for at, found in enumerate(one_by_one)]
    assert window_ends(seconds, scale) == ends


def test_a_second_that_left_the_window_counts_no_more() -> None:
    """A minute of refusals at scale 10 is six windows long, and the minute after it is well."""
    refused = [second(at, {"403": 20}) for at in range(6)]
    seconds = [*refused, *(good(at) for at in range(6, 20))]
    healthy = Healthy.of(OBJECTIVES, [good(at) for at in range(30)])
    assert healthy.well_from(seconds, 10) == 6
    assert healthy.is_broken(seconds[:7])
    assert not healthy.is_broken(seconds[6:])
    assert not healthy.is_broken([])


@given(st.lists(st.dictionaries(st.integers(0, 400), st.integers(1, 50), max_size=6), max_size=8))
def test_several_quantiles_at_once_are_each_of_them(buckets: list[dict[int, int]]) -> None:
    seconds = [
        second(at, {"200": sum(good.values())} if good else {}).model_copy(update={"histogram": Histogram(good=good)})
        for at, good in enumerate(buckets)
    ]
    names = ("p50", "p95", "p99")
    each = {name: value for name in names if (value := latency_of(seconds, name)) is not None}
    assert latencies_of(seconds, names) == each
    assert bool(each) == any(buckets)
