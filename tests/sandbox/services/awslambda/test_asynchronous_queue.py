"""What happens to an asynchronous event, told by what its attempts give."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise, repeat

import pytest

from tocsin.sandbox.services.awslambda.asynchronous_queue import (
    MAX_AGE_S,
    Again,
    Condition,
    Limits,
    Over,
    Result,
    Waiting,
    after,
)

RECEIVED_S = 1000.0


def live(results: Iterable[Result], limits: Limits = Limits(), *, lasting_s: float = 0) -> tuple[list[float], Over]:  # noqa: B008
    """The ages of an event at its attempts, and its end (with its age there); each attempt lasts `lasting_s`."""
    event, now_s, ages = Waiting(RECEIVED_S), RECEIVED_S, []
    for result in results:
        ages.append(now_s - RECEIVED_S)
        now_s += lasting_s
        step = after(event, result, limits, now_s)
        if isinstance(step, Over):
            return ages, Over(step.at_s - RECEIVED_S, step.condition, step.runs)
        assert isinstance(step, Again)
        event, now_s = step.event, step.at_s
    raise AssertionError(f"still in the queue after {len(ages)} attempts")


def test_a_success_is_the_end() -> None:
    assert live([Result.SUCCEEDED]) == ([0], Over(0, Condition.SUCCESS, 1))


def test_an_error_is_retried_after_one_minute_and_after_two_more() -> None:
    assert live(repeat(Result.FAILED)) == ([0, 60, 180], Over(180, Condition.RETRIES_EXHAUSTED, 3))
    assert live([Result.FAILED, Result.FAILED, Result.SUCCEEDED]) == ([0, 60, 180], Over(180, Condition.SUCCESS, 3))


def test_the_waits_begin_when_an_attempt_has_ended() -> None:
    ages, over = live(repeat(Result.FAILED), lasting_s=5)
    assert (ages, over.at_s) == ([0, 65, 190], 195)


@pytest.mark.parametrize(("retries", "ages"), [(0, [0]), (1, [0, 60]), (2, [0, 60, 180])])
def test_the_configuration_limits_the_retries(retries: int, ages: list[float]) -> None:
    found, over = live(repeat(Result.FAILED), Limits(retries=retries))
    assert (found, over.condition, over.runs) == (ages, Condition.RETRIES_EXHAUSTED, retries + 1)


@pytest.mark.parametrize(("age_s", "ages"), [(60, [0]), (61, [0, 61]), (181, [0, 61])])
def test_a_retry_that_would_come_too_late_is_not_waited_for(age_s: float, ages: list[float]) -> None:
    """As recorded on AWS: with 60 seconds the record says one attempt, and comes before they are over."""
    found, over = live(repeat(Result.FAILED), Limits(age_s=age_s), lasting_s=1)
    assert (found, over.condition, over.runs) == (ages, Condition.EVENT_AGE_EXCEEDED, len(ages))
    assert over.at_s == ages[-1] + 1


def test_a_throttled_event_is_tried_again_and_again_for_six_hours() -> None:
    ages, over = live(repeat(Result.REFUSED))
    waits = [later - earlier for earlier, later in pairwise(ages)]
    assert waits[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert set(waits[10:]) == {300}
    assert over == Over(MAX_AGE_S, Condition.EVENT_AGE_EXCEEDED, 0)
    assert over.at_s - ages[-1] < 300


def test_a_throttle_is_no_attempt() -> None:
    results = [Result.REFUSED] * 5 + [Result.FAILED, Result.REFUSED, Result.FAILED, Result.REFUSED, Result.FAILED]
    ages, over = live(results)
    assert over == Over(ages[-1], Condition.RETRIES_EXHAUSTED, 3)
    # After a run the waits begin with the shortest again.
    assert [later - earlier for earlier, later in pairwise(ages[5:])] == [60, 1, 120, 1]


def test_a_throttled_event_stays_until_it_is_too_old_and_no_longer() -> None:
    ages, over = live(repeat(Result.REFUSED), Limits(age_s=60))
    assert (ages, over) == ([0, 1, 3, 7, 15, 31], Over(60, Condition.EVENT_AGE_EXCEEDED, 0))


def test_an_attempt_that_ends_too_late_is_the_last() -> None:
    assert live(repeat(Result.REFUSED), Limits(age_s=60), lasting_s=90)[1].at_s == 90


def test_zero_reserved_concurrency_is_no_throttle() -> None:
    assert live([Result.SWITCHED_OFF]) == ([0], Over(0, Condition.ZERO_RESERVED_CONCURRENCY, 0))
    ages, over = live([Result.FAILED, Result.SWITCHED_OFF])
    assert (ages, over) == ([0, 60], Over(60, Condition.ZERO_RESERVED_CONCURRENCY, 1))
