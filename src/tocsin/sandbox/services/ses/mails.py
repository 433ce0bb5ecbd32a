"""A mail as both APIs of SES ask for it, why it is refused, and what becomes of it. Pure.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
https://docs.aws.amazon.com/ses/latest/APIReference/API_SendEmail.html
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.message import Message
from email.policy import default
from email.utils import getaddresses, parseaddr
from enum import Enum, StrEnum
from typing import Any

MOST_RECIPIENTS = 50
"""Of one message: To, CC and BCC together."""

_SIMULATOR = "simulator.amazonses.com"
_VIRUS = "EICAR-STANDARD" + "-ANTIVIRUS-TEST-FILE"
"""What SES takes for a virus, in two parts: scanners look into this file, too."""


class Refusal(Enum):
    """Why a mail is not accepted: error code of v2, its status, error code of v1."""

    INVALID = ("BadRequestException", 400, "InvalidParameterValue")
    NO_CONFIGURATION_SET = ("NotFoundException", 404, "ConfigurationSetDoesNotExist")
    PAUSED = ("SendingPausedException", 400, "AccountSendingPausedException")
    CONFIGURATION_SET_PAUSED = ("SendingPausedException", 400, "ConfigurationSetSendingPausedException")
    REJECTED = ("MessageRejected", 400, "MessageRejected")


class MailError(Exception):
    """A mail is not accepted."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


class Event(StrEnum):
    """What becomes of a mail, as the metrics of `AWS/SES` are named.

    https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-cloudwatch.html
    """

    SEND = "Send"
    REJECT = "Reject"
    DELIVERY = "Delivery"
    BOUNCE = "Bounce"
    COMPLAINT = "Complaint"


_SIMULATED: Mapping[str, tuple[Event, ...]] = {
    "bounce": (Event.BOUNCE,),
    "suppressionlist": (Event.BOUNCE,),
    "complaint": (Event.DELIVERY, Event.COMPLAINT),
}


@dataclass(frozen=True)
class Mail:
    """What somebody wants to be sent."""

    source: str
    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    html: str = ""
    configuration_set: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    infected: bool = False
    """Whether it holds the test file of EICAR, in its text or in an attachment."""

    @property
    def recipients(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.to, *self.cc, *self.bcc)

    def becomes(self) -> Mapping[str, tuple[Event, ...]]:
        """Recipient -> what becomes of the mail there, after it was accepted."""
        return {one: (Event.REJECT,) if self.infected else outcome(one) for one in self.recipients}

    def check(self) -> None:
        """Raises MailError: it has no sender, no recipient, too many, or an address that is none."""
        if not self.recipients or len(self.recipients) > MOST_RECIPIENTS:
            found = len(self.recipients)
            raise MailError(Refusal.INVALID, f"Recipient count must be from 1 to {MOST_RECIPIENTS}, found {found}.")
        for address in (self.source, *self.recipients):
            if not address.isascii() or not all(parseaddr(address)[1].rpartition("@")):
                raise MailError(Refusal.INVALID, "Missing final '@domain'")


def outcome(recipient: str) -> tuple[Event, ...]:
    """What becomes of a mail to an address: only those of the mailbox simulator do anything but take it.

    https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html#send-email-simulator
    """
    local, _, domain = parseaddr(recipient)[1].lower().partition("@")
    simulated = _SIMULATED.get(local.split("+")[0]) if domain == _SIMULATOR else None
    return simulated or (Event.DELIVERY,)


def asked_by_v2(request: Mapping[str, Any]) -> Mail:
    """The mail that a `SendEmail` of SES v2 asks for. Raises MailError."""
    content, destination = request.get("Content") or {}, request.get("Destination") or {}
    kinds = [kind for kind in ("Simple", "Raw", "Template") if content.get(kind)]
    if len(kinds) != 1:
        raise MailError(Refusal.INVALID, f"Content must be one of Simple, Raw and Template, found {kinds}.")
    if kinds == ["Template"]:
        raise MailError(Refusal.INVALID, "Content.Template: the sandbox renders no templates, it sends Simple and Raw.")
    to, cc, bcc = (tuple(destination.get(f"{part}Addresses") or ()) for part in ("To", "Cc", "Bcc"))
    mail = Mail(
        *(request.get("FromEmailAddress") or "", to, cc, bcc),
        configuration_set=request.get("ConfigurationSetName") or "",
        tags={tag["Name"]: tag["Value"] for tag in request.get("EmailTags") or ()},
    )
    if kinds == ["Raw"]:
        return _with_mime(mail, content["Raw"].get("Data") or "")
    body = content["Simple"].get("Body") or {}
    text, html = ((body.get(part) or {}).get("Data") or "" for part in ("Text", "Html"))
    return _with_content(mail, (content["Simple"].get("Subject") or {}).get("Data") or "", text, html)


def asked_by_v1(request: Mapping[str, str]) -> Mail:
    """The mail that a `SendEmail` or `SendRawEmail` of SES v1 asks for. Raises MailError."""
    raw = request.get("Action") == "SendRawEmail"
    mail = Mail(
        request.get("Source", ""),
        _members(request, "Destinations" if raw else "Destination.ToAddresses"),
        _members(request, "Destination.CcAddresses"),
        _members(request, "Destination.BccAddresses"),
        configuration_set=request.get("ConfigurationSetName", ""),
        tags=dict(zip(_members(request, "Tags", ".Name"), _members(request, "Tags", ".Value"), strict=False)),
    )
    if raw:
        return _with_mime(mail, request.get("RawMessage.Data", ""))
    text, html = (request.get(f"Message.Body.{part}.Data", "") for part in ("Text", "Html"))
    return _with_content(mail, request.get("Message.Subject.Data", ""), text, html)


def _with_content(mail: Mail, subject: str, text: str, html: str) -> Mail:
    infected = any(_VIRUS in one for one in (subject, text, html))
    return replace(mail, subject=subject, text=text, html=html, infected=infected)


def _members(request: Mapping[str, str], name: str, of: str = "") -> tuple[str, ...]:
    found: list[str] = []
    while value := request.get(f"{name}.member.{len(found) + 1}{of}"):
        found.append(value)
    return tuple(found)


def _with_mime(mail: Mail, data: str) -> Mail:
    """A message in MIME; who sends it to whom it says itself, where the request does not."""
    try:
        message = message_from_bytes(base64.b64decode(data, validate=True), policy=default)
    except (binascii.Error, ValueError):
        raise MailError(Refusal.INVALID, "The raw message is not base64.") from None
    if not mail.recipients:
        to, cc, bcc = (_addresses(message, part) for part in ("To", "Cc", "Bcc"))
        mail = replace(mail, to=to, cc=cc, bcc=bcc)
    parts = {part.get_content_type(): part for part in reversed(list(message.walk())) if not part.is_multipart()}
    return replace(
        mail,
        source=mail.source or str(message.get("From", "")),
        subject=str(message.get("Subject", "")),
        text=_text(parts.get("text/plain")),
        html=_text(parts.get("text/html")),
        infected=any(_VIRUS.encode() in content for content in _contents(message)),
    )


def _addresses(message: Message, header: str) -> tuple[str, ...]:
    found = getaddresses([str(one) for one in message.get_all(header, [])])
    return tuple(address for _, address in found if address)


def _text(part: Message | None) -> str:
    if part is None:
        return ""
    content = part.get_payload(decode=True)
    return content.decode(part.get_content_charset("utf-8"), "replace") if isinstance(content, bytes) else ""


def _contents(message: Message) -> Iterator[bytes]:
    for part in message.walk():
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            yield content
