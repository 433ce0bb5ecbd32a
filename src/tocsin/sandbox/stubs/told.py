"""Who is told of alarms: what SNS posts to them, and what they keep of it.

A subscriber over HTTP confirms by a visit to `SubscribeURL`, and then gets each notification as a POST with the type in
a header. A text that is the JSON of an alarm's change is told as such. Signatures are not looked at: those of the
sandbox are none.

https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html
https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, Field, ValidationError
from starlette.requests import Request

from tocsin.sandbox.doors import LOOPBACK

KEPT = 1000
_TYPE = "x-amz-sns-message-type"
_RAW = "x-amz-sns-rawdelivery"
_VISIT_WITHIN_S = 5.0


class NotTakenError(Exception):
    """What was posted is not for this subscriber."""


@dataclass(frozen=True)
class Told:
    """One thing that somebody was told. Nothing of the request that may be secret is in it: no URL, no key."""

    at: float
    """wall-clock epoch seconds"""
    text: str
    alarm: str | None = None
    """name of the alarm; of an event of PagerDuty its key"""
    state: str | None = None
    """the alarm's new state; of an event of PagerDuty its action"""
    topic: str | None = None
    """ARN; None for who was told without SNS"""
    message_id: str | None = None
    """of SNS: the same at each attempt"""


class Kept:
    """What one third party was told, the oldest dropped first."""

    def __init__(self) -> None:
        self._told: deque[Told] = deque(maxlen=KEPT)

    def add(
        self,
        text: str,
        *,
        alarm: str | None = None,
        state: str | None = None,
        topic: str | None = None,
        message_id: str | None = None,
    ) -> None:
        """Keep it, with the time of now."""
        self._told.append(Told(time.time(), text, alarm, state, topic, message_id))

    def documents(self) -> Sequence[Mapping[str, object]]:
        """All of it, oldest first."""
        return [asdict(one) for one in self._told]


class Notification(BaseModel):
    """A notification of SNS; more is in it."""

    message_id: str = Field(alias="MessageId")
    topic: str = Field(alias="TopicArn")
    text: str = Field(alias="Message")


class AlarmChanged(BaseModel):
    """What CloudWatch publishes of an alarm; more is in it."""

    name: str = Field(alias="AlarmName")
    state: str = Field(alias="NewStateValue")
    reason: str = Field(default="", alias="NewStateReason")

    @property
    def text(self) -> str:
        """In one line."""
        return f"{self.state}: {self.name}: {self.reason}"


async def posted(request: Request) -> Notification | None:
    """The notification that SNS posts; None where it asked to confirm, which is done, or told the end.

    Raises:
        NotTakenError: it is no message of SNS, a raw one, or one whose `SubscribeURL` leads away from this machine.
    """
    kind, body = request.headers.get(_TYPE), await request.body()
    if request.headers.get(_RAW) == "true":
        raise NotTakenError("expected a subscription without RawMessageDelivery, found a raw message")
    if kind == "SubscriptionConfirmation":
        await _confirm(body)
        return None
    if kind == "UnsubscribeConfirmation":
        return None
    if kind != "Notification":
        raise NotTakenError(f"expected a message of SNS, found none in {_TYPE}")
    try:
        return Notification.model_validate_json(body)
    except ValidationError as cause:
        raise NotTakenError(f"expected a notification of SNS, found {cause.errors()[0]['msg']}") from None


def alarm_of(text: str) -> AlarmChanged | None:
    """The change of an alarm that a notification is about; None where it is about something else."""
    try:
        return AlarmChanged.model_validate_json(text)
    except ValidationError:
        return None


async def _confirm(body: bytes) -> None:
    """Visit `SubscribeURL`, as it is said, where that is on this machine. Raises NotTakenError."""
    try:
        url = str(json.loads(body)["SubscribeURL"])
    except (ValueError, KeyError, TypeError):
        raise NotTakenError("expected a SubscribeURL, found none") from None
    if not _is_here(url):
        raise NotTakenError("expected a SubscribeURL on this machine, found another, which was not visited")
    try:
        async with httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=_VISIT_WITHIN_S) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        raise NotTakenError(f"expected the SubscribeURL to answer, found {error!r}") from None
    if not answer.is_success:
        raise NotTakenError(f"expected the SubscribeURL to confirm, found {answer.status_code}")


def _is_here(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return parts.scheme == "http" and host in LOOPBACK
