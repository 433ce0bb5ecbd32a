"""Whether a schedule really fires, and how late."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tocsin.aws.sqs import queue_url
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway.kinds.messaging import ParityQueue, received
from tocsin.parity.throwaway.kinds.role import ParityRole
from tocsin.parity.throwaway.kinds.schedule import MESSAGE, RETRIED_FOR_S, ParitySchedule
from tocsin.parity.throwaway.workshop import Workshop, figure

FIRED = "a one-time schedule that sends to a queue"
SCHEDULES = ((Key.SCHEDULE, FIRED),)

_AHEAD_S = 180.0
"""Longer than it may take until Scheduler knows the role."""
_LONG_POLL_S = 1


def fires(shop: Workshop) -> Iterator[Measured]:
    """One schedule, under a role that may send to our queue."""
    queue = shop.make(ParityQueue(name=shop.name("fired")))
    queue_arn = queue.arns(shop.aws)[0]
    role = shop.make(
        ParityRole(name=shop.name("fires"), trusted="scheduler.amazonaws.com", action="sqs:SendMessage", on=queue_arn)
    )
    # A schedule is told its time in whole seconds.
    at = math.ceil(shop.ctx.clock.now() + shop.ctx.wall(_AHEAD_S))
    shop.make(ParitySchedule(name=shop.name("fires"), at=at, queue=queue_arn, role=role.arns(shop.aws)[0]))
    url = queue_url(shop.ctx.target, queue.name)
    ahead_s = shop.ctx.production(max(0.0, at - shop.ctx.clock.now()))
    message = shop.seen("the schedule has fired", lambda: _message(shop, url), ahead_s + RETRIED_FOR_S)
    fired_at = float(message["Attributes"]["SentTimestamp"]) / 1000
    yield figure(Key.SCHEDULE, FIRED, shop.between(at, fired_at), "Scheduler's clock against that of SQS")


def _message(shop: Workshop, url: str) -> Mapping[str, Any] | None:
    return next((message for message in received(shop.aws, url, _LONG_POLL_S) if message["Body"] == MESSAGE), None)
