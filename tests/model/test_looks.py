"""A share is looked at at planned numbers of answers, and nowhere else."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin.model.looks import LOOKS, LookPlan
from tocsin.model.shares import Seen, chance_of_fewer


def per_second(many: int, seconds: int, *failed_at: int) -> list[tuple[int, int]]:
    """So many answers a second, one of which failed in each of the seconds that are named."""
    return [(failed_at.count(at), many) for at in range(seconds)]


@pytest.mark.parametrize(
    ("limit", "numbers"),
    [
        (0.005, (781, 1172, 1758, 2636, 3954)),
        (0.01, (390, 585, 878, 1317, 1975)),
        (0.03, (129, 194, 291, 436, 654)),
        (0.1, (38, 57, 86, 129, 193)),
    ],
)
def test_it_is_looked_at_the_least_number_that_could_pass_and_half_as_many_again(
    limit: float, numbers: tuple[int, ...]
) -> None:
    assert LOOKS.numbers(limit)[: LOOKS.most] == numbers
    assert not Seen(0, numbers[0] - 1, LOOKS.doubt).is_within(limit)
    assert LOOKS.numbers(0.0) == ()


def test_what_is_shown_at_a_look_stays_shown() -> None:
    looked = LOOKS.look([*per_second(40, 10), (9, 40)], 0.01)
    assert (looked.seen.count, looked.seen.of, looked.made, looked.is_shown) == (0, 390, 1, True)
    assert looked.coming == ()


def test_nothing_is_looked_at_between_two_numbers() -> None:
    """One failure of 400 is not within 1 %; it would be of 583, and 585 is where it is looked at again."""
    assert Seen(1, 583, LOOKS.doubt).is_within(0.01)
    between = LOOKS.look([*per_second(40, 14, 3), (0, 23)], 0.01)
    assert sum(of for _, of in [*per_second(40, 14, 3), (0, 23)]) == 583
    assert (between.made, between.is_shown, between.coming) == (1, False, (585, 878, 1317, 1975))
    assert between.would_do == 1317, "as large a share is two of 585, three of 878, and four of 1,317, which do"
    assert LOOKS.look(per_second(40, 15, 3), 0.01).is_shown


def test_before_the_first_look_it_is_said_how_many_would_do() -> None:
    looked = LOOKS.look(per_second(20, 5), 0.01)
    assert (looked.made, looked.seen, looked.would_do) == (0, Seen(0, 100, LOOKS.doubt), 390)
    assert LOOKS.look([], 0.01).would_do == 390
    assert LOOKS.look(per_second(20, 5, 1), 0.01).would_do is None, "a share at its limit is never shown"


def test_after_the_last_look_none_is_left() -> None:
    half = LOOKS.look([(1, 100)] * 40, 0.01)
    assert (half.made, half.is_shown, half.coming, half.would_do) == (5, False, (), None)
    assert half.seen == Seen(20, 1975, LOOKS.doubt)


def test_dense_traffic_is_looked_at_by_the_last_number_it_passed() -> None:
    """Three in a hundred are slow where five may be: 3,000 answers a second show that, though a plan begins at 77."""
    assert LOOKS.look([(3, 1000)], 0.05).seen.of == LOOKS.numbers(0.05)[6]
    assert LOOKS.look([(9, 300)] * 4, 0.05).is_shown
    # Never more looks than planned: each second passes another number.
    assert LOOKS.look([(20, 100)] * 20, 0.1).made <= LOOKS.most


@settings(deadline=None, max_examples=60)
@given(
    st.floats(0, 0.15), st.sampled_from([0.03, 0.05, 0.1, 0.3]), st.integers(1, 300), st.booleans(), st.integers(0, 999)
)
def test_seconds_pass_nothing_that_answers_one_by_one_would_not(
    share: float, limit: float, per_s: int, is_steady: bool, seed: int
) -> None:
    """However answers come in seconds: where a look passes, those up to its planned number pass by themselves."""
    draw = random.Random(seed)
    answers = [int(draw.random() < share) for _ in range(1200)]
    blocks, at = list[tuple[int, int]](), 0
    while at < len(answers):
        many = per_s if is_steady else draw.randint(0, 2 * per_s)
        blocks.append((sum(answers[at : at + many]), len(answers[at : at + many])))
        at += many
    looked = LOOKS.look(blocks, limit)
    failed = [0, *accumulate(answers)]
    by_then = [many for many in LOOKS.numbers(limit) if many <= len(answers)]
    # Answers that hang together count as fewer, so that a pass is rarer still.
    assert not looked.is_shown or any(chance_of_fewer(failed[many], many, limit) <= LOOKS.doubt for many in by_then)


def test_a_plan_is_in_the_line_of_a_history_and_back() -> None:
    assert LookPlan.model_validate_json(LOOKS.model_dump_json()) == LOOKS
    for wrong in ({"growth": 1.0}, {"doubt": 0.0}, {"most": 0}, {"steps": 1000}):
        with pytest.raises(ValueError, match="Input should be"):
            LookPlan.model_validate(wrong)
