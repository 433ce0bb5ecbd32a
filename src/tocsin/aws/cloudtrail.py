"""Calls that IAM refused, as CloudTrail tells them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tocsin.aws.pages import listed
from tocsin.aws.target import Aws, aws_errors

PERMISSION = "cloudtrail:LookupEvents"
_REFUSED = ("AccessDenied", "AuthorizationError", "UnauthorizedOperation")
_EXPLICIT = "with an explicit deny"


def explicitly_denied(aws: Aws, actions: Iterable[str], since: float) -> Iterator[Mapping[str, Any]]:
    """Calls of these IAM actions that a Deny statement refused since then (epoch seconds), newest first.

    An action with a wildcard stands for every call to its service. On AWS only management events are told, some
    minutes late: SendMessage, GetObject and GetItem are data events, and never told here.
    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/view-cloudtrail-events.html

    Raises:
        TargetError: CloudTrail cannot be asked.
    """
    for attribute in sorted({_attribute(action) for action in actions}):
        with aws_errors("looking for refused calls"):
            found = listed(
                aws.client("cloudtrail"),
                "lookup_events",
                "Events",
                LookupAttributes=[{"AttributeKey": attribute[0], "AttributeValue": attribute[1]}],
                StartTime=datetime.fromtimestamp(since, UTC),
            )
            events = [json.loads(one["CloudTrailEvent"]) for one in found]
        yield from (event for event in events if _denied(event))


def role_of(event: Mapping[str, Any]) -> str:
    """ARN of the role whose session made a call; empty for another caller."""
    session = event.get("userIdentity", {}).get("sessionContext", {})
    return str(session.get("sessionIssuer", {}).get("arn", ""))


def resources_of(event: Mapping[str, Any]) -> list[str]:
    """ARNs of what a call was about."""
    return [str(one.get("ARN", "")) for one in event.get("resources") or ()]


def _attribute(action: str) -> tuple[str, str]:
    service, _, name = action.partition(":")
    if "*" in name or "?" in name:
        return "EventSource", f"{service}.amazonaws.com"
    return "EventName", name


def _denied(event: Mapping[str, Any]) -> bool:
    code, message = str(event.get("errorCode", "")), str(event.get("errorMessage", ""))
    return any(mark in code for mark in _REFUSED) and _EXPLICIT in message
