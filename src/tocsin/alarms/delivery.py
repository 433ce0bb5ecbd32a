"""Does an SNS subscription let the message of an alarm through? Pure functions over its filter policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def passes(filter_policy: str | None, scope: str, alarm_name: str) -> bool | None:
    """Whether the message that tells of `alarm_name` being in ALARM gets through; None where that cannot be told.

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
    known = {"AlarmName": alarm_name, "NewStateValue": "ALARM"}
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
