"""What a system file says of messages: their contract, and where they can be read without taking them from anybody."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field, model_validator

from tocsin.model.base import Model

TappedAct = Literal["baseline", "fault", "recovery"]
"""The acts in which messages are judged."""


class Tap(Model):
    """A queue of the drills' own that gets a copy of every message of one channel; they read it, and delete from it."""

    queue: str = Field(min_length=1, description="SQS queue that nobody else reads: what is in it is deleted")
    topic: str | None = Field(
        default=None, min_length=1, description="SNS topic that the queue is subscribed to; None: a rule fills it"
    )
    expected: tuple[TappedAct, ...] = Field(
        default=("baseline", "fault", "recovery"),
        description="acts in which messages must come: where none does, nothing is known of them",
    )


class Messages(Model):
    """The contract of a system's messages, and the taps by which it is judged."""

    document: str = Field(description="AsyncAPI 3.0 document")
    taps: dict[str, Tap] = Field(min_length=1, description="channel of the document -> where its messages are copied")

    @model_validator(mode="after")
    def _has_a_queue_for_each(self) -> Messages:
        queue, times = Counter(tap.queue for tap in self.taps.values()).most_common(1)[0]
        if times > 1:
            channels = " and ".join(name for name, tap in self.taps.items() if tap.queue == queue)
            raise ValueError(
                f"expected a queue for each tap, found {queue} for {channels}: nobody could tell whose message it is"
            )
        return self
