"""Delivering one thing to one target: attempts, waits between them, and the end."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

from tocsin.sandbox.clock import Clock
from tocsin.sandbox.services.events.deadletters import DeliveryError, Failure
from tocsin.sandbox.services.events.retries import RetryPolicy


class Parcel(Protocol):
    """What is to be delivered."""

    @property
    def policy(self) -> RetryPolicy:
        """How often and how long it is tried."""

    @property
    def taken_in(self) -> float:
        """Wall-clock epoch seconds from which its age counts."""

    async def attempt(self, number: int) -> None:
        """Try to hand it over; `number` is 1 for the first attempt.

        Raises:
            DeliveryError: the target did not take it.
        """

    def gave_up(self, failure: Failure) -> None:
        """It will not be delivered."""


async def deliver(parcel: Parcel, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
    """Hand a parcel over, with the retries of its policy in production time, or give it up.

    Nothing is awaited before the first attempt: what is given in order is tried in order.
    """
    retries = 0
    while True:
        try:
            await parcel.attempt(retries + 1)
        except DeliveryError as error:
            if not error.retriable:
                parcel.gave_up(Failure(error.code, str(error), retries, None))
                return
            follows = parcel.policy.after(retries, clock.production(time.time() - parcel.taken_in), jitter)
            await asyncio.sleep(clock.wall(follows.wait_s))
            if follows.exhausted is not None:
                parcel.gave_up(Failure(error.code, str(error), retries, follows.exhausted))
                return
            retries += 1
        else:
            return
