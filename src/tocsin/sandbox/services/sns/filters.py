"""Filter policies of subscriptions: which one is in effect, and why a message was rejected. Pure.

"Additions or changes to a subscription filter policy require up to 15 minutes to fully take effect":
https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html

The longest of these is what a drill must stand: here each change takes effect after exactly 15 minutes, and until then
the policy before it decides. The API shows the new one at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

TAKES_EFFECT_S = 900
"""Production seconds."""

ATTRIBUTES = "MessageAttributes"
BODY = "MessageBody"


@dataclass(frozen=True)
class Filter:
    """What decides which messages a subscription gets."""

    policy: str = ""
    """JSON; empty: all of them"""
    scope: str = ATTRIBUTES

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Filter:
        """As the attributes of a subscription say."""
        return cls(attributes.get("FilterPolicy") or "", attributes.get("FilterPolicyScope") or ATTRIBUTES)

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of a subscription that say so."""
        return {"FilterPolicy": self.policy, "FilterPolicyScope": self.scope}


class Filters:
    """The filters of all subscriptions that changed and still hold. Times are system seconds."""

    def __init__(self) -> None:
        self._held: dict[str, list[tuple[float, Filter]]] = {}

    def changed(self, subscription: str, before: Filter, now_s: float) -> None:
        """A subscription has another filter from now on; `before` holds for a while."""
        still = [one for one in self._held.get(subscription, []) if one[0] > now_s]
        self._held[subscription] = [*still, (now_s + TAKES_EFFECT_S, before)]

    def in_effect(self, subscription: str, present: Filter, now_s: float) -> Filter:
        """The filter that decides; `present` is the one that the API shows."""
        held = self._held.get(subscription, [])
        found = next((before for until_s, before in held if until_s > now_s), None)
        if found is None:
            self._held.pop(subscription, None)
        return present if found is None else found


class Rejected(StrEnum):
    """The metric that says why a filter rejected a message, beside the one that counts them all.

    https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html
    """

    ATTRIBUTES = "NumberOfNotificationsFilteredOut-MessageAttributes"
    NO_ATTRIBUTES = "NumberOfNotificationsFilteredOut-NoMessageAttributes"
    INVALID_ATTRIBUTES = "NumberOfNotificationsFilteredOut-InvalidAttributes"
    BODY = "NumberOfNotificationsFilteredOut-MessageBody"
    INVALID_BODY = "NumberOfNotificationsFilteredOut-InvalidMessageBody"


def why_rejected(scope: str, attributes: Mapping[str, Any], message: str) -> Rejected:
    """Why a message that does not match is rejected; `attributes` are those of the message."""
    if scope == BODY:
        return Rejected.BODY if isinstance(_parsed(message), dict) else Rejected.INVALID_BODY
    if not attributes:
        return Rejected.NO_ATTRIBUTES
    arrays = (one.get("StringValue") for one in attributes.values() if one.get("DataType") == "String.Array")
    broken = any(not isinstance(_parsed(text), list) for text in arrays)
    return Rejected.INVALID_ATTRIBUTES if broken else Rejected.ATTRIBUTES


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return None
