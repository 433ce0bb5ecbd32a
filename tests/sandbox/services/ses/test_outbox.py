"""What is kept of accepted mails, and what is counted of them."""

from __future__ import annotations

from tocsin.sandbox.services.ses.mails import Event, Mail
from tocsin.sandbox.services.ses.outbox import Outbox, Sent, count_events

SCOPE = ("123456789012", "eu-west-1")
BOUNCE = "bounce@simulator.amazonses.com"


def sent(at: float, *to: str) -> Sent:
    return Sent(f"m-{at}", at, Mail("a@example.com", to or ("b@example.com",)))


def test_mails_are_those_of_their_account_and_region_from_a_time_on() -> None:
    outbox = Outbox()
    for at in (1.0, 2.0, 3.0):
        outbox.put(SCOPE, sent(at))
    outbox.put((SCOPE[0], "eu-west-2"), sent(9.0))
    assert [one.at for one in outbox.mails(SCOPE)] == [1.0, 2.0, 3.0]
    assert [one.at for one in outbox.mails(SCOPE, since=2.0)] == [2.0, 3.0]
    assert outbox.mails(("210987654321", "eu-west-1")) == []


def test_the_oldest_mails_are_forgotten() -> None:
    outbox = Outbox()
    for at in range(10_001):
        outbox.put(SCOPE, sent(float(at)))
    assert (len(outbox.mails(SCOPE)), outbox.mails(SCOPE)[0].at) == (10_000, 1.0)


def test_every_recipient_counts() -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas.html"""
    counted = count_events(sent(0.0, "b@example.com", BOUNCE, "complaint@simulator.amazonses.com").mail.becomes())
    assert counted == {Event.SEND: 3, Event.DELIVERY: 2, Event.BOUNCE: 1, Event.COMPLAINT: 1}


def test_statistics_are_by_bucket() -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference/API_SendDataPoint.html"""
    outbox = Outbox()
    outbox.put(SCOPE, sent(10.0))
    outbox.put(SCOPE, sent(19.0, BOUNCE, "b@example.com"))
    outbox.put(SCOPE, sent(20.0))
    first, second = outbox.statistics(SCOPE, 10.0)
    assert first == {"Timestamp": 10.0, "DeliveryAttempts": 3, "Bounces": 1, "Complaints": 0, "Rejects": 0}
    assert (second["Timestamp"], second["DeliveryAttempts"]) == (20.0, 1)
