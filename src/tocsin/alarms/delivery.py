"""The way of an alarm's message to people: who sent it, and does a subscription let it through? Pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.model.events import TopicPath
from tocsin.model.system import AlarmState

ACTIONS: Mapping[AlarmState, str] = {
    "ALARM": "AlarmActions",
    "OK": "OKActions",
    "INSUFFICIENT_DATA": "InsufficientDataActions",
}
"""State -> field of an alarm's definition that says whom it tells then."""


@dataclass(frozen=True)
class Page:
    """What a message of the notification queue says."""

    alarm_name: str = ""
    alarm_arn: str = ""
    state: AlarmState | None = None
    topic: str | None = None
    """None where the envelope of SNS is left away (raw message delivery)."""

    def stranger_to(self, described: Mapping[str, Any]) -> str | None:
        """Why it is not from the alarm that DescribeAlarms describes, although it names it; None: it is.

        An alarm of another account or region may have the same name; only the ARN tells them apart.
        """
        arn = described.get("AlarmArn")
        if arn != self.alarm_arn:
            return f"it is of {self.alarm_arn or 'an alarm without an ARN'}, not of {arn}"
        assert self.state is not None
        topics = described.get(ACTIONS[self.state]) or ()
        if self.topic is not None and self.topic not in topics:
            return f"it came by {self.topic}, which is none of its {ACTIONS[self.state]}"
        return None


def parse_page(body: str) -> Page:
    """Read a message, with or without the SNS envelope around it; an empty one when it is no alarm's."""
    try:
        outer = json.loads(body)
        enveloped = isinstance(outer, dict) and "Message" in outer
        inner = json.loads(outer["Message"]) if enveloped else outer
    except (ValueError, TypeError):
        return Page()
    if not isinstance(inner, dict) or inner.get("NewStateValue") not in ACTIONS:
        return Page()
    return Page(
        alarm_name=str(inner.get("AlarmName", "")),
        alarm_arn=str(inner.get("AlarmArn", "")),
        state=inner["NewStateValue"],
        topic=str(outer.get("TopicArn", "")) if enveloped else None,
    )


@dataclass(frozen=True)
class Obstacle:
    """What is in the way of an alarm's message, in words. Not `certain`: it may be."""

    words: str
    certain: bool = True


def obstacle(path: TopicPath, alarm_name: str, queue: str, state: AlarmState = "ALARM") -> Obstacle | None:
    """What is wrong, or not known, on the way from the topic to the queue; None when it is whole."""
    name = path.topic.rpartition(":")[2]
    if path.subscribed is None:
        return Obstacle(f"whether {queue} is subscribed to {name} is unknown ({path.detail})", certain=False)
    if not path.subscribed:
        return Obstacle(f"{queue} is not subscribed to {name}{f' ({path.detail})' if path.detail else ''}")
    if path.confirmed is None:
        return Obstacle(f"the filter policy of {queue} at {name} is unknown ({path.detail})", certain=False)
    if not path.confirmed:
        return Obstacle(f"the subscription of {queue} to {name} is not confirmed")
    through = passes(path.filter_policy, path.filter_scope, alarm_name, state)
    if through:
        return None
    dropped = through is False
    policy = f"the filter policy of {queue} at {name} on {path.filter_scope}"
    return Obstacle(f"{policy} {'drops it' if dropped else 'may drop it'}: {path.filter_policy}", certain=dropped)


def passes(filter_policy: str | None, scope: str, alarm_name: str, state: AlarmState = "ALARM") -> bool | None:
    """Whether the message that tells of `alarm_name` being in `state` gets through; None where that cannot be told.

    CloudWatch sends no message attributes, so a policy on those lets nothing through. Of the message's body only the
    name and the state are known beforehand.
    https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html
    """
    policy = _parse(filter_policy)
    if policy is None:
        return None
    if not policy:
        return True
    if scope == "MessageAttributes":
        return False
    known = {"AlarmName": alarm_name, "NewStateValue": state}
    answers = [_any(rules, known[key]) if key in known else None for key, rules in policy.items()]
    if False in answers:
        return False
    return None if None in answers else True


def _parse(filter_policy: str | None) -> Mapping[str, Any] | None:
    if not filter_policy:
        return {}
    try:
        policy = json.loads(filter_policy)
    except ValueError:
        return None
    return policy if isinstance(policy, dict) else None


def _any(rules: Any, value: str) -> bool | None:
    """Rules of one key are alternatives."""
    if not isinstance(rules, list):
        return None
    answers = [_rule(rule, value) for rule in rules]
    if True in answers:
        return True
    return None if None in answers else False


def _rule(rule: Any, value: str) -> bool | None:
    match rule:
        case str():
            return rule == value
        case {"prefix": str() as start}:
            return value.startswith(start)
        case {"suffix": str() as end}:
            return value.endswith(end)
        case {"equals-ignore-case": str() as text}:
            return value.lower() == text.lower()
        case {"anything-but": str() as text}:
            return value != text
        case {"anything-but": [*texts]} if all(isinstance(text, str) for text in texts):
            return value not in texts
        case {"exists": bool() as wanted}:
            return wanted
        case _:
            return None
