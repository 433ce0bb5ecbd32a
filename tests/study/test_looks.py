"""A share right at its limit passes the planned looks at most once in twenty times, and passed more often before."""

from __future__ import annotations

import pytest
from tests.study.looks import LIMITS, PER_S, by_the_second, chance_to_pass, each_second, planned, table
from tests.study.page import told

from tocsin.model.looks import LOOKS, LookPlan
from tocsin.model.shares import DOUBT


def test_the_page_holds_the_table_of_these_looks() -> None:
    assert told("looks") == table(), "write it anew: make study"


@pytest.mark.parametrize("limit", LIMITS)
def test_planned_looks_keep_their_promise_and_a_look_each_second_did_not(limit: float) -> None:
    assert 0.042 <= chance_to_pass(planned(limit), limit) <= 0.045
    assert chance_to_pass(each_second(limit, PER_S), limit) > DOUBT


@pytest.mark.parametrize("limit", [*LIMITS, 0.2, 0.3, 0.5])
def test_no_rate_of_arrivals_makes_a_pass_easier(limit: float) -> None:
    one_by_one = chance_to_pass(planned(limit), limit)
    for per_s in (3, 7, 20, 40, 100, 1000):
        assert chance_to_pass(by_the_second(limit, per_s), limit) <= one_by_one
    # Nor does traffic that grows, so that only later numbers are looked at.
    later = LOOKS.model_copy(update={"most": LOOKS.steps})
    numbers = planned(limit, later)
    for first in range(1, LOOKS.steps - LOOKS.most + 1):
        assert chance_to_pass(numbers[first : first + LOOKS.most], limit) <= DOUBT


def test_looks_that_are_each_right_19_times_in_20_are_not_so_together() -> None:
    """The test sees it where the plan is no better than that: twice as often as promised."""
    assert chance_to_pass(planned(0.01, LookPlan(doubt=DOUBT)), 0.01) > 1.9 * DOUBT


def test_the_sum_is_that_of_all_cases() -> None:
    """Of two answers, looked at after each: all four cases by hand."""
    looks = [(1, lambda failed: failed == 0), (2, lambda failed: failed == 1)]
    assert chance_to_pass(looks, 0.3) == pytest.approx(0.7 + 0.3 * 0.7)
