"""What Lambda does with an asynchronous event after each attempt: try again, and when, or give it up. Pure.

All times are production seconds on one axis, whichever its origin.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

MAX_RETRIES = 2
"""Retries after errors of the function; `MaximumRetryAttempts` may say less."""
MIN_AGE_S = 60
MAX_AGE_S = 21_600
"""Bounds of `MaximumEventAgeInSeconds`; the upper one is the default.

https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html
"""
RETRY_S = 60
"""A retry after the first error of the function comes after this, the one after the second after twice this."""
FIRST_BACKOFF_S = 1
LONGEST_BACKOFF_S = 300
"""An event that could not be handed to the function waits from one to the other, twice as long each time."""


class Result(Enum):
    """How one attempt ended."""

    SUCCEEDED = auto()
    FAILED = auto()
    """the function ran and gave an error, or timed out"""
    REFUSED = auto()
    """the function did not run: throttled (429) or an error of the service (5xx)"""
    SWITCHED_OFF = auto()
    """the function did not run: its reserved concurrency is zero"""


class Condition(StrEnum):
    """Why an event left the queue, as invocation records name it."""

    SUCCESS = "Success"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    EVENT_AGE_EXCEEDED = "EventAgeExceeded"
    ZERO_RESERVED_CONCURRENCY = "ZeroReservedConcurrency"


@dataclass(frozen=True)
class Limits:
    """What the event invoke configuration of a function says."""

    retries: int = MAX_RETRIES
    age_s: float = MAX_AGE_S


@dataclass(frozen=True)
class Waiting:
    """An event in the queue."""

    received_s: float
    runs: int = 0
    """attempts in which the function ran"""
    refusals: int = 0
    """attempts since then in which it did not"""


@dataclass(frozen=True)
class Again:
    """The next attempt."""

    at_s: float
    event: Waiting


@dataclass(frozen=True)
class Over:
    """The end of an event in the queue."""

    at_s: float
    condition: Condition
    runs: int


def after(event: Waiting, result: Result, limits: Limits, now_s: float) -> Again | Over:
    """What follows an attempt that ended at `now_s`.

    A retry after an error of the function is given up as soon as it is certain to come after the maximum age: an event
    whose function fails leaves the queue at once when its maximum age is 60 seconds, as recorded on AWS by LocalStack's
    `test_maxeventage`. An event that could not be handed over stays until it is that old. AWS does not say what it does
    in this case: this loses nothing before its time.
    https://github.com/localstack/localstack/blob/main/tests/aws/services/lambda_/test_lambda_destinations.snapshot.json

    Zero reserved concurrency is the exception: no retry at all.
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    match result:
        case Result.SUCCEEDED:
            return Over(now_s, Condition.SUCCESS, event.runs + 1)
        case Result.SWITCHED_OFF:
            return Over(now_s, Condition.ZERO_RESERVED_CONCURRENCY, event.runs)
        case Result.FAILED:
            return _after_error(replace(event, runs=event.runs + 1, refusals=0), limits, now_s)
        case Result.REFUSED:
            return _after_refusal(event, limits, now_s)


def _after_error(event: Waiting, limits: Limits, now_s: float) -> Again | Over:
    if event.runs > limits.retries:
        return Over(now_s, Condition.RETRIES_EXHAUSTED, event.runs)
    at_s = now_s + RETRY_S * event.runs
    if at_s > event.received_s + limits.age_s:
        return Over(now_s, Condition.EVENT_AGE_EXCEEDED, event.runs)
    return Again(at_s, event)


def _after_refusal(event: Waiting, limits: Limits, now_s: float) -> Again | Over:
    at_s = now_s + min(FIRST_BACKOFF_S * 2.0**event.refusals, LONGEST_BACKOFF_S)
    expires_s = event.received_s + limits.age_s
    if at_s > expires_s:
        return Over(max(now_s, expires_s), Condition.EVENT_AGE_EXCEEDED, event.runs)
    return Again(at_s, replace(event, refusals=event.refusals + 1))
