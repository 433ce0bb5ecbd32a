"""How many polls of a queue that holds messages bring none."""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.aws.sqs import queue_url
from tocsin.aws.target import aws_errors
from tocsin.parity.model import Key, Measured
from tocsin.parity.throwaway.kinds.messaging import ParityQueue, received
from tocsin.parity.throwaway.workshop import Workshop, figure

SHORT, LONG = "short polls", "long polls"
POLLS = ((Key.EMPTY_POLLS, SHORT), (Key.EMPTY_POLLS, LONG))

_MESSAGES = 3
"""Few, as where one poison message is looked for: a short poll asks some of SQS's servers, and finds nothing on others.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
"""
_SHORT_POLLS, _LONG_POLLS = 40, 10
_WAIT_S = 1
_SETTLED_S = 120.0


def empty_polls(shop: Workshop) -> Iterator[Measured]:
    """Of a queue of our own; what a poll brings is visible again at once."""
    queue = shop.make(ParityQueue(name=shop.name("polls")))
    url = queue_url(shop.ctx.target, queue.name)
    for number in range(_MESSAGES):
        with aws_errors(f"sending to {queue.resource}"):
            shop.aws.client("sqs").send_message(QueueUrl=url, MessageBody=f"{queue.name}: {number}")
    shop.seen(f"{queue.resource} holds what was sent", lambda: received(shop.aws, url, _WAIT_S) or None, _SETTLED_S)
    for about, polls, wait_s in ((SHORT, _SHORT_POLLS, 0), (LONG, _LONG_POLLS, _WAIT_S)):
        share = _share(shop, url, polls, wait_s)
        row = figure(Key.EMPTY_POLLS, about, share, f"{polls} polls of a queue with {_MESSAGES} messages", looks=polls)
        # The pager takes a long poll that brings nothing for an empty queue.
        yield row if about == SHORT else row.model_copy(update={"holds": share == 0})


def _share(shop: Workshop, url: str, polls: int, wait_s: int) -> float:
    empty = 0
    for _ in range(polls):
        shop.budget.spend(shop.ctx.clock.now())
        shop.ctx.clock.wait(0.0)  # whoever asked for the end is heard between two polls
        empty += not received(shop.aws, url, wait_s)
    return empty / polls
