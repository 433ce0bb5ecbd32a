"""Exact intervals, against values that others worked out."""

from __future__ import annotations

import random
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.model.shares import Seen, chance_of_fewer, chance_of_more, percent, without_any


@pytest.mark.parametrize(
    ("count", "of", "at_least", "at_most"),
    [
        # One-sided 95 %: the ends of the two-sided interval of 90 %, as of scipy.stats.beta.ppf(0.05, k, n - k + 1)
        # and beta.ppf(0.95, k + 1, n - k).
        (0, 10, 0.0, 0.258866),
        (1, 10, 0.005116, 0.394163),
        (5, 10, 0.222441, 0.777559),
        (10, 10, 0.741134, 1.0),
        (0, 80, 0.0, 0.036754),
        (3, 100, 0.008226, 0.075711),
        (2, 300, 0.001186, 0.020836),
        (50, 1000, 0.039164, 0.062863),
        (7, 2995, 0.001097, 0.004386),
    ],
)
def test_bounds_of_clopper_and_pearson(count: int, of: int, at_least: float, at_most: float) -> None:
    seen = Seen(count, of)
    assert seen.at_least == pytest.approx(at_least, abs=2e-6)
    assert seen.at_most == pytest.approx(at_most, abs=2e-6)


@pytest.mark.parametrize(("limit", "needed"), [(0.01, 299), (0.001, 2995), (0.05, 59), (0.1, 29), (0.0, None)])
def test_so_many_answers_without_an_error_are_needed(limit: float, needed: int | None) -> None:
    assert without_any(limit) == needed


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.001, 0.999))
def test_tails_of_the_binomial_distribution(count: int, more: int, share: float) -> None:
    of = count + more
    terms = [comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(of + 1)]
    assert chance_of_more(count, of, share) == pytest.approx(sum(terms[count:]), abs=1e-12)
    assert chance_of_fewer(count, of, share) == pytest.approx(sum(terms[: count + 1]), abs=1e-12)


def test_a_share_that_nobody_has_and_one_that_all_have() -> None:
    assert (chance_of_more(0, 5, 0.0), chance_of_more(1, 5, 0.0), chance_of_more(5, 5, 1.0)) == (1.0, 0.0, 1.0)
    assert (chance_of_fewer(0, 5, 0.0), chance_of_fewer(4, 5, 1.0), chance_of_fewer(5, 5, 1.0)) == (1.0, 0.0, 1.0)
    assert Seen(0, 0).at_most == 1.0
    assert not Seen(0, 0).is_within(0.5)
    assert Seen(9, 9).is_within(1.0)


@given(st.integers(0, 5), st.integers(6, 400), st.floats(0.001, 0.5))
def test_what_is_said_to_do_does_and_less_does_not(count: int, of: int, limit: float) -> None:
    needed = Seen(count, of).needed(limit)
    if needed is None:
        assert count / of > limit / 2
        return
    grown = Seen(-(-count * needed // of), needed)
    assert grown.is_within(limit)


def test_answers_that_fail_together_are_worth_fewer() -> None:
    draw = random.Random(3)
    alone = [(sum(draw.random() < 0.04 for _ in range(20)), 20) for _ in range(200)]
    together = [(20, 20) if at % 25 == 0 else (0, 20) for at in range(200)]
    assert Seen.of_blocks(alone).of > 2500
    assert Seen.of_blocks(together).of < 800
    assert Seen.of_blocks(together).share == pytest.approx(0.04, abs=0.005)
    # Of less than ten blocks nobody can tell.
    assert Seen.of_blocks(together[:49]) == Seen(40, 980)


@pytest.mark.parametrize(("share", "told"), [(0.001, "0.1 %"), (0.0346, "3.5 %"), (0.4, "40 %"), (1.0, "100 %")])
def test_a_share_in_words(share: float, told: str) -> None:
    assert percent(share) == told
