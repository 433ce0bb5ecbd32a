"""What both APIs of SES ask for, and what becomes of it."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from typing import Any

import pytest

from tocsin.sandbox.services.ses.mails import Event, Mail, MailError, Refusal, asked_by_v1, asked_by_v2, outcome

VIRUS = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + "EICAR-STANDARD" + "-ANTIVIRUS-TEST-FILE" + "!$H+H*"


def simple(**more: Any) -> dict[str, Any]:
    return {
        "FromEmailAddress": "a@example.com",
        "Destination": {"ToAddresses": ["b@example.com"]},
        "Content": {"Simple": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}, "Html": {"Data": "<p>"}}}},
        **more,
    }


def mime(**headers: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {"From": "A <a@example.com>", "To": "B <b@example.com>", "Subject": "s", **headers}.items():
        message[name] = value
    message.set_content("t")
    return message


def raw(message: EmailMessage, **more: Any) -> dict[str, Any]:
    return {"Content": {"Raw": {"Data": base64.b64encode(message.as_bytes()).decode()}}, **more}


def refusal(mail: Mail) -> Refusal:
    with pytest.raises(MailError) as caught:
        mail.check()
    return caught.value.refusal


def test_a_simple_mail_of_v2() -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html"""
    tags = [{"Name": "kind", "Value": "test"}]
    mail = asked_by_v2(simple(ConfigurationSetName="c", EmailTags=tags))
    expected = Mail("a@example.com", ("b@example.com",), subject="s", text="t", html="<p>")
    assert mail == Mail(**{**vars(expected), "configuration_set": "c", "tags": {"kind": "test"}})


def test_a_raw_mail_says_itself_who_sends_it_to_whom() -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_RawMessage.html"""
    mail = asked_by_v2(raw(mime(Cc="c@example.com, d@example.com")))
    assert (mail.to, mail.cc, mail.bcc) == (("b@example.com",), ("c@example.com", "d@example.com"), ())
    assert (mail.source, mail.subject, mail.text.strip()) == ("A <a@example.com>", "s", "t")


def test_the_request_says_more_than_the_raw_mail() -> None:
    destination = {"ToAddresses": ["e@example.com"]}
    mail = asked_by_v2(raw(mime(), FromEmailAddress="f@example.com", Destination=destination))
    assert (mail.source, mail.recipients) == ("f@example.com", ("e@example.com",))


def test_a_raw_mail_in_html_and_text() -> None:
    message = mime()
    message.add_alternative("<p>h</p>", subtype="html")
    mail = asked_by_v2(raw(message))
    assert (mail.text.strip(), mail.html.strip()) == ("t", "<p>h</p>")


def test_a_mail_of_v1() -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference/API_SendEmail.html"""
    request = {
        "Action": "SendEmail",
        "Source": "a@example.com",
        "Destination.ToAddresses.member.1": "b@example.com",
        "Destination.ToAddresses.member.2": "c@example.com",
        "Destination.BccAddresses.member.1": "d@example.com",
        "Message.Subject.Data": "s",
        "Message.Body.Text.Data": "t",
        "Tags.member.1.Name": "kind",
        "Tags.member.1.Value": "test",
    }
    mail = asked_by_v1(request)
    assert mail.recipients == ("b@example.com", "c@example.com", "d@example.com")
    assert (mail.source, mail.subject, mail.text, mail.tags) == ("a@example.com", "s", "t", {"kind": "test"})


def test_a_raw_mail_of_v1() -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference/API_SendRawEmail.html"""
    data = base64.b64encode(mime().as_bytes()).decode()
    request = {"Action": "SendRawEmail", "RawMessage.Data": data}
    assert asked_by_v1(request).recipients == ("b@example.com",)
    assert asked_by_v1({**request, "Destinations.member.1": "z@example.com"}).recipients == ("z@example.com",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "one of Simple, Raw and Template"),
        ({"Simple": {"Subject": {"Data": "s"}}, "Raw": {"Data": "eA=="}}, "one of Simple, Raw and Template"),
        ({"Template": {"TemplateName": "t"}}, "the sandbox renders no templates"),
        ({"Raw": {"Data": "no base64"}}, "not base64"),
    ],
)
def test_content_that_cannot_be_sent_is_refused_by_name(content: dict[str, Any], said: str) -> None:
    with pytest.raises(MailError, match=said) as caught:
        asked_by_v2(simple(Content=content))
    assert caught.value.refusal is Refusal.INVALID


def test_there_are_one_to_fifty_recipients() -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/quotas.html"""
    address = ("b@example.com",)
    assert refusal(Mail("a@example.com", ())) is Refusal.INVALID
    assert refusal(Mail("a@example.com", address * 26, cc=address * 25)) is Refusal.INVALID
    Mail("a@example.com", address * 25, bcc=address * 25).check()


@pytest.mark.parametrize("address", ["nobody", "@example.com", "a@", "ä@example.com", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    assert refusal(Mail("a@example.com", (address,))) is Refusal.INVALID
    assert refusal(Mail(address, ("b@example.com",))) is Refusal.INVALID


@pytest.mark.parametrize(
    ("recipient", "events"),
    [
        ("success@simulator.amazonses.com", (Event.DELIVERY,)),
        ("ooto@simulator.amazonses.com", (Event.DELIVERY,)),
        ("bounce@simulator.amazonses.com", (Event.BOUNCE,)),
        ("Bounce+label@Simulator.amazonses.com", (Event.BOUNCE,)),
        ("A <bounce@simulator.amazonses.com>", (Event.BOUNCE,)),
        ("suppressionlist@simulator.amazonses.com", (Event.BOUNCE,)),
        ("complaint@simulator.amazonses.com", (Event.DELIVERY, Event.COMPLAINT)),
        ("bounce@example.com", (Event.DELIVERY,)),
    ],
)
def test_the_mailbox_simulator(recipient: str, events: tuple[Event, ...]) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html#send-email-simulator"""
    assert outcome(recipient) == events


def test_a_virus_is_rejected_for_every_recipient_wherever_it_is() -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html#send-email-simulator"""
    message = mime()
    message.add_attachment(VIRUS.encode(), maintype="text", subtype="plain", filename="sample.txt")
    for mail in (
        asked_by_v2(raw(message)),
        asked_by_v2(simple(Content={"Simple": {"Body": {"Text": {"Data": VIRUS}}}})),
        asked_by_v1({"Action": "SendEmail", "Source": "a@b.c", "Message.Subject.Data": VIRUS}),
    ):
        assert mail.infected
        assert set(mail.becomes().values()) <= {(Event.REJECT,)}
    assert not asked_by_v2(raw(mime())).infected
