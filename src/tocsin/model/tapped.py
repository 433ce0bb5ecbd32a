"""What a history tells of messages: which were tapped in each act, and which of them broke their contract.

No value of a message is told: on an account they are those of people. What is wrong is said by its place and its kind.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tocsin.model.base import Model
from tocsin.model.moments import Act, Count, Time


class TapsOpened(Model):
    """From here on messages are tapped: what was in the queues before is thrown away."""

    kind: Literal["taps_opened"] = "taps_opened"
    at: Time
    channels: dict[str, tuple[str, ...]] = Field(description="tapped channel -> the messages that are documented")
    untapped: tuple[str, ...] = Field(default=(), description="documented channels that nobody taps")


class MessageFailure(Model):
    """One way in which messages of a channel are not as documented."""

    message: str = Field(description="the documented message that they are, or are nearest to")
    part: Literal["payload", "headers"]
    pointer: str = Field(description="JSON pointer to what is wrong; empty for the whole part")
    complaint: str = Field(description="how it breaks the schema, in words")
    found: str = Field(description="the kind and the size of what was there, never the value")
    count: Count = 1


class MessagesTapped(Model):
    """The messages of one channel that were read together and were sent in one act."""

    kind: Literal["messages_tapped"] = "messages_tapped"
    at: Time = Field(description="when they were read")
    act: Act = Field(description="in which they were sent")
    channel: str
    kept: dict[str, Count] = Field(default_factory=dict, description="documented message -> how many are as it says")
    broken: Count = Field(default=0, description="how many are as none of the documented messages says")
    failures: tuple[MessageFailure, ...] = Field(default=(), description="at most ten kinds of failure")

    @property
    def messages(self) -> int:
        """How many were read."""
        return sum(self.kept.values()) + self.broken
