"""A share above its limit passes at most once in twenty times, and the page of the study says what the judge does."""

from __future__ import annotations

from itertools import takewhile

import pytest
from tests.study.answers import ANSWERS, LIMITS, SHARES, chances, tables
from tests.study.page import told

from tocsin.model.shares import DOUBT, Seen, chance_of_fewer, chance_of_more
from tocsin.model.verdict import Outcome


def test_the_page_holds_the_tables_of_this_judge() -> None:
    assert told("answers") == tables(), "write them anew: make study"


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("answers", ANSWERS)
def test_the_judge_is_fooled_once_in_twenty_times_at_most(answers: int, limit: float) -> None:
    for share in SHARES:
        found = chances(answers, share, limit)
        assert sum(found.values()) == pytest.approx(1.0, abs=1e-6)
        if share > limit:
            assert found[Outcome.PASS] <= DOUBT, (share, found)
        else:
            assert found[Outcome.FAIL] <= DOUBT, (share, found)


@pytest.mark.parametrize("answers", [*range(1, 130, 3), 299, 300, 1000, 2994, 2995, 10_000])
def test_the_bound_holds_for_every_number_of_answers_and_worst_share(answers: int) -> None:
    """The worst true share is the one just above the limit; what passes there is every count up to some largest one."""
    for limit in (0.0005, 0.001, 0.01, 0.05, 0.1, 0.3):
        within = (Seen(count, answers).is_within(limit) for count in range(answers + 1))
        passing = sum(1 for _ in takewhile(bool, within))
        assert not any(Seen(count, answers).is_within(limit) for count in range(passing, min(answers, passing + 40)))
        chance = chance_of_fewer(passing - 1, answers, limit)
        assert chance <= DOUBT
        # Nor is more held back than has to be: one count more would be fooled too often.
        assert chance_of_fewer(passing, answers, limit) > DOUBT


@pytest.mark.parametrize("answers", [1, 20, 59, 300, 2995])
def test_nor_does_a_share_at_its_limit_fail_more_often(answers: int) -> None:
    for limit in (0.001, 0.01, 0.05, 0.3):
        first = next((count for count in range(answers + 1) if Seen(count, answers).is_above(limit)), answers + 1)
        assert chance_of_more(first, answers, limit) <= DOUBT
