"""How long a delivery that failed is tried again. Pure.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html says 24 hours and 185 times by
default, with exponential back-off and jitter. The steps of the back-off are not published: here they double from one
second up to ten minutes, of which at least one half is always waited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_ATTEMPTS = 185
MIN_AGE_S = 60
MAX_AGE_S = 86_400

_FIRST_S = 1.0
_LONGEST_S = 600.0


class Exhausted(StrEnum):
    """Why nobody tries again: the attribute `EXHAUSTED_RETRY_CONDITION` of a dead letter."""

    ATTEMPTS = "MaximumRetryAttempts"
    AGE = "MaximumEventAgeInSeconds"


@dataclass(frozen=True)
class Next:
    """What follows a failed attempt."""

    wait_s: float
    """Production seconds to wait."""
    exhausted: Exhausted | None = None
    """Set when nothing is tried after that wait, but the event given up."""


@dataclass(frozen=True)
class RetryPolicy:
    """The `RetryPolicy` of a target.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_RetryPolicy.html
    """

    attempts: int = MAX_ATTEMPTS
    """Attempts after the first one."""
    age_s: int = MAX_AGE_S
    """Production seconds after the event was taken in."""

    @classmethod
    def of(cls, target: Mapping[str, Any]) -> RetryPolicy:
        """The policy of a target as the API has it; what it leaves out is AWS's default.

        Raises:
            ValueError: a number outside of what the API allows.
        """
        policy = target.get("RetryPolicy") or {}
        return cls(
            _within(policy, "MaximumRetryAttempts", 0, MAX_ATTEMPTS, MAX_ATTEMPTS),
            _within(policy, "MaximumEventAgeInSeconds", MIN_AGE_S, MAX_AGE_S, MAX_AGE_S),
        )

    @classmethod
    def kept(cls, target: Mapping[str, Any]) -> RetryPolicy:
        """The policy of a target that is stored: AWS's default where CloudFormation let one through that is none."""
        try:
            return cls.of(target)
        except ValueError:
            return cls()

    def after(self, retries: int, age_s: float, jitter: Callable[[], float]) -> Next:
        """What follows a failure: `retries` were made so far, the event is `age_s` production seconds old.

        `jitter` returns a number from 0 to 1.
        """
        if retries >= self.attempts:
            return Next(0.0, Exhausted.ATTEMPTS)
        wait_s = min(_FIRST_S * 2.0 ** min(retries, 30), _LONGEST_S) * (0.5 + jitter() / 2)
        if age_s + wait_s > self.age_s:
            return Next(max(self.age_s - age_s, 0.0), Exhausted.AGE)
        return Next(wait_s)


def _within(policy: Mapping[str, Any], name: str, least: int, most: int, default: int) -> int:
    value = policy.get(name, default)
    if isinstance(value, str) and value.isdigit():
        value = int(value)  # CloudFormation takes numbers as text, too
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"Parameter {name} is not valid. Reason: expected {least} to {most}, found {value!r}.")
    return value
