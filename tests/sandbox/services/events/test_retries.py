"""The retry policy of a target, and delivering by it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import pytest

from tocsin.sandbox.clock import Clock
from tocsin.sandbox.services.events.deadletters import DeliveryError, ErrorCode, Failure, attributes
from tocsin.sandbox.services.events.delivery import deliver
from tocsin.sandbox.services.events.retries import Exhausted, Next, RetryPolicy


def waits(policy: RetryPolicy, jitter: float = 1.0) -> list[float]:
    """The waits of a delivery that always fails at once."""
    found: list[float] = []
    while (follows := policy.after(len(found), sum(found), lambda: jitter)).exhausted is None:
        found.append(follows.wait_s)
    return found


def test_without_a_policy_it_is_tried_for_a_day_and_185_times() -> None:
    assert RetryPolicy.of({}) == RetryPolicy(185, 86_400)
    assert sum(waits(RetryPolicy.of({}))) <= 86_400
    assert len(waits(RetryPolicy.of({}), jitter=0.0)) == 185


def test_the_waits_double_up_to_ten_minutes_and_jitter_takes_up_to_half_of_each() -> None:
    assert waits(RetryPolicy(12, 86_400))[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waits(RetryPolicy(12, 86_400))[-2:] == [600.0, 600.0]
    assert waits(RetryPolicy(3, 86_400), jitter=0.0) == [0.5, 1.0, 2.0]


def test_no_retry_is_a_policy_too() -> None:
    assert RetryPolicy.of({"RetryPolicy": {"MaximumRetryAttempts": 0}}).after(0, 0.0, lambda: 0.0) == Next(
        0.0, Exhausted.ATTEMPTS
    )


def test_an_event_is_given_up_when_its_age_is_reached_and_not_before() -> None:
    policy = RetryPolicy.of({"RetryPolicy": {"MaximumEventAgeInSeconds": 60}})
    assert policy.after(5, 45.0, lambda: 1.0) == Next(15.0, Exhausted.AGE)
    assert policy.after(5, 20.0, lambda: 1.0) == Next(32.0)


@pytest.mark.parametrize(
    "policy",
    [
        {"MaximumRetryAttempts": 186},
        {"MaximumRetryAttempts": -1},
        {"MaximumEventAgeInSeconds": 59},
        {"MaximumEventAgeInSeconds": 86_401},
        {"MaximumRetryAttempts": "three"},
        {"MaximumRetryAttempts": True},
    ],
)
def test_a_policy_outside_of_what_the_api_allows_is_refused_by_name(policy: dict[str, object]) -> None:
    (name,) = policy
    with pytest.raises(ValueError, match=f"Parameter {name} is not valid"):
        RetryPolicy.of({"RetryPolicy": policy})


def test_what_is_stored_may_have_come_from_a_template() -> None:
    assert RetryPolicy.kept({"RetryPolicy": {"MaximumRetryAttempts": "3"}}) == RetryPolicy(3, 86_400)
    assert RetryPolicy.kept({"RetryPolicy": {"MaximumRetryAttempts": 999}}) == RetryPolicy()


@dataclass
class Parcel:
    """Fails as often as it is told to."""

    failures: list[ErrorCode]
    # So old that no machine stands still for that long: an hour is over half a second on the wall here.
    policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(3, 10**9))
    taken_in: float = field(default_factory=time.time)
    attempts: list[int] = field(default_factory=list)
    ended: Failure | None = None

    async def attempt(self, number: int) -> None:
        self.attempts.append(number)
        if self.failures:
            raise DeliveryError(self.failures.pop(0), "not now")

    def gave_up(self, failure: Failure) -> None:
        self.ended = failure


def delivered(parcel: Parcel) -> Parcel:
    asyncio.run(deliver(parcel, Clock(6000.0)))
    return parcel


def test_what_is_taken_at_once_is_tried_once() -> None:
    parcel = delivered(Parcel([]))
    assert (parcel.attempts, parcel.ended) == ([1], None)


def test_an_error_that_passes_is_tried_again() -> None:
    parcel = delivered(Parcel([ErrorCode.THROTTLING, ErrorCode.INTERNAL_ERROR]))
    assert (parcel.attempts, parcel.ended) == ([1, 2, 3], None)


def test_an_error_that_somebody_must_mend_is_not_tried_again() -> None:
    parcel = delivered(Parcel([ErrorCode.NO_PERMISSIONS] * 9))
    assert parcel.attempts == [1]
    assert parcel.ended == Failure(ErrorCode.NO_PERMISSIONS, "not now", 0, None)


def test_when_all_attempts_are_used_the_dead_letter_says_so() -> None:
    parcel = delivered(Parcel([ErrorCode.THROTTLING] * 9))
    assert parcel.attempts == [1, 2, 3, 4]
    assert parcel.ended == Failure(ErrorCode.THROTTLING, "not now", 3, Exhausted.ATTEMPTS)


def test_the_age_counts_from_when_the_event_was_taken_in() -> None:
    parcel = delivered(Parcel([ErrorCode.THROTTLING] * 9, RetryPolicy(185, 60), taken_in=time.time() - 1.0))
    assert parcel.attempts == [1]
    assert parcel.ended == Failure(ErrorCode.THROTTLING, "not now", 0, Exhausted.AGE)


def test_attributes_of_a_dead_letter() -> None:
    never = attributes(Failure(ErrorCode.NO_RESOURCE, "gone", 0, None), RULE_ARN="r", TARGET_ARN="t")
    assert {name: value["StringValue"] for name, value in never.items()} == {
        "RULE_ARN": "r",
        "TARGET_ARN": "t",
        "ERROR_CODE": "NO_RESOURCE",
        "ERROR_MESSAGE": "gone",
        "RETRY_ATTEMPTS": "0",
    }
    tried = attributes(Failure(ErrorCode.THROTTLING, "busy", 2, Exhausted.AGE))
    assert tried["EXHAUSTED_RETRY_CONDITION"] == {"DataType": "String", "StringValue": "MaximumEventAgeInSeconds"}
    assert tried["RETRY_ATTEMPTS"]["StringValue"] == "2"
