"""What was accepted, for whoever counts mails, and for SES's own statistics. Pure: times are arguments."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.services.ses.mails import Event, Mail

_KEPT = 10_000
"""Mails of one account and region; the oldest go first."""


@dataclass(frozen=True)
class Sent:
    """A mail that was accepted."""

    message_id: str
    at: float
    """wall-clock epoch seconds"""
    mail: Mail

    @property
    def json(self) -> dict[str, Any]:
        """As the door tells it."""
        mail = self.mail
        return {
            "message_id": self.message_id,
            "at": self.at,
            "source": mail.source,
            "to": list(mail.to),
            "cc": list(mail.cc),
            "bcc": list(mail.bcc),
            "subject": mail.subject,
            "text": mail.text,
            "html": mail.html,
            "configuration_set": mail.configuration_set,
            "tags": dict(mail.tags),
            "events": {one: [str(event) for event in events] for one, events in mail.becomes().items()},
        }


@dataclass
class Outbox:
    """The mails of all accounts and regions of one sandbox."""

    _sent: dict[Scope, deque[Sent]] = field(default_factory=dict)

    def put(self, scope: Scope, sent: Sent) -> None:
        """Keep a mail."""
        self._sent.setdefault(scope, deque(maxlen=_KEPT)).append(sent)

    def mails(self, scope: Scope, since: float = 0.0) -> Sequence[Sent]:
        """Those accepted from `since` (wall-clock epoch seconds) on, oldest first."""
        return [one for one in self._sent.get(scope, ()) if one.at >= since]

    def statistics(self, scope: Scope, bucket_s: float) -> list[dict[str, float]]:
        """`SendDataPoints` of GetSendStatistics, in buckets of so many wall seconds.

        https://docs.aws.amazon.com/ses/latest/APIReference/API_SendDataPoint.html
        """
        counted: dict[float, Counter[Event]] = {}
        for one in self.mails(scope):
            events = counted.setdefault(one.at - one.at % bucket_s, Counter())
            events.update(count_events(one.mail.becomes()))
        return [
            {
                "Timestamp": start,
                "DeliveryAttempts": events[Event.SEND],
                "Bounces": events[Event.BOUNCE],
                "Complaints": events[Event.COMPLAINT],
                "Rejects": events[Event.REJECT],
            }
            for start, events in sorted(counted.items())
        ]


def count_events(becomes: Mapping[str, Iterable[Event]]) -> Counter[Event]:
    """How often what happened to one mail: each recipient counts, as for the quotas of SES.

    https://docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas.html
    """
    found = Counter(event for events in becomes.values() for event in events)
    found[Event.SEND] = len(becomes)
    return found
