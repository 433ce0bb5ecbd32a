"""Whether what alarms tell can travel: CloudWatch may publish to the topic, and SNS may write to the queue.

On each stretch a policy decides, and where there is encryption the policy of the key, too. What is missing there is
told nobody but in the history of an alarm that has rung already.
https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html
https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tocsin.aws.sqs import queue_attributes, queue_url
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import TargetError

_SNS = "sns.amazonaws.com"
_CLOUDWATCH = "cloudwatch.amazonaws.com"
_OWN_KEYS = ("alias/aws/sqs", "aws/sqs", "alias/aws/sns", "aws/sns")
_KEY_ACTIONS = ("kms:GenerateDataKey", "kms:Decrypt")
"""The same on both stretches.
https://docs.aws.amazon.com/sns/latest/dg/sns-enable-encryption-for-topic-sqs-queue-subscriptions.html
"""
_BOTH_ACTIONS = "kms:GenerateDataKey* and kms:Decrypt"
_ALIKE = ("ArnEquals", "ArnLike", "StringEquals", "StringLike")
_OF_ACCOUNT = ("aws:sourceaccount", "aws:sourceowner")
"""The second stands in the policy that SNS gives to each new topic.
https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
"""


@dataclass(frozen=True)
class Hindrance:
    """Why a notification may not arrive; `certain` where there is no doubt."""

    words: str
    mend: str
    certain: bool


@dataclass(frozen=True)
class _Sender:
    """A service of AWS that acts for a resource; None for the resource where conditions on it cannot be judged."""

    service: str
    source: str | None


def hindrances(target: Target, queue: str, topics: Iterable[str]) -> Iterator[Hindrance]:
    """What keeps SNS from putting messages of these topics (ARNs) into the target's queue of that name.

    Raises:
        NotFound: there is no such queue.
        TargetError: the account did not say.
    """
    read = queue_attributes(target, queue_url(target, queue), "QueueArn", "Policy", "KmsMasterKeyId")
    statements = statements_of(read.get("Policy", ""))
    for topic in topics:
        sender, place = _Sender(_SNS, topic), f"the queue {queue}"
        yield from _by_policy(statements, "sqs:SendMessage", read["QueueArn"], sender, place)
    if "KmsMasterKeyId" in read:
        yield from _by_key(target, read["KmsMasterKeyId"], f"the queue {queue}", [_Sender(_SNS, None)])


def topic_hindrances(target: Target, topic: str, alarms: Iterable[str]) -> Iterator[Hindrance]:
    """What keeps CloudWatch from publishing to a topic (ARN) for these alarms (ARNs). Never raises.

    A topic that is not there is none of this question.
    """
    place = f"the topic {topic.rsplit(':', 1)[-1]}"
    try:
        with aws_errors(f"reading the policy of {topic}"):
            read = target.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    except TargetError as error:
        yield Hindrance(
            f"whether {_CLOUDWATCH} may publish to {place} cannot be told: {error}",
            "Allow sns:GetTopicAttributes, or ask whoever may look.",
            certain=False,
        )
        return
    senders = [_Sender(_CLOUDWATCH, alarm) for alarm in alarms]
    statements = statements_of(read.get("Policy", ""))
    for sender in senders:
        yield from _by_policy(statements, "sns:Publish", topic, sender, place)
    if read.get("KmsMasterKeyId"):
        yield from _by_key(target, read["KmsMasterKeyId"], place, senders)


def _by_policy(
    statements: list[Mapping[str, Any]], action: str, resource: str, sender: _Sender, place: str
) -> Iterator[Hindrance]:
    allowed = _allows(statements, action, resource, sender)
    mend = f"Allow {sender.service} {action} in the policy of {place}."
    what = f"{sender.service} {action} for {sender.source}"
    if allowed is False:
        yield Hindrance(f"the policy of {place} does not allow {what}", mend, certain=True)
    elif allowed is None:
        words = f"whether the policy of {place} allows {what} depends on what is not known"
        yield Hindrance(words, mend, certain=False)


def _by_key(target: Target, key: str, place: str, senders: Iterable[_Sender]) -> Iterator[Hindrance]:
    senders = list(senders)
    if key.endswith(_OWN_KEYS):
        for service in dict.fromkeys(sender.service for sender in senders):
            yield Hindrance(
                f"{place} is encrypted with {key}, whose policy nobody can change: {service} may not use it",
                f"Encrypt {place} with a key of your own whose policy allows {service} {_BOTH_ACTIONS}.",
                certain=True,
            )
        return
    try:
        with aws_errors(f"reading the policy of the key {key}"):
            # An alias has no policy of its own, and GetKeyPolicy takes none.
            described = target.client("kms").describe_key(KeyId=key)["KeyMetadata"]
            found = target.client("kms").get_key_policy(KeyId=described["Arn"], PolicyName="default")["Policy"]
    except TargetError as error:
        words = f"whether {senders[0].service} may use the key of {place} cannot be told: {error}"
        yield Hindrance(words, "Allow kms:DescribeKey and kms:GetKeyPolicy, or ask whoever may look.", certain=False)
        return
    if described.get("KeyState", "Enabled") != "Enabled":
        words = f"the key of {place} is {described['KeyState']}"
        yield Hindrance(words, "Enable the key, or encrypt with another.", certain=True)
    statements = statements_of(found)
    for sender in senders:
        for action in _KEY_ACTIONS:
            allowed = _allows(statements, action, described["Arn"], sender)
            yield from _of_key(allowed, action, sender, place)


def _of_key(allowed: bool | None, action: str, sender: _Sender, place: str) -> Iterator[Hindrance]:
    mend = f"Allow {sender.service} {_BOTH_ACTIONS} in the policy of the key of {place}."
    if allowed is False:
        words = f"the policy of the key of {place} does not allow {sender.service} {action}"
        yield Hindrance(words, mend, certain=True)
    elif allowed is None:
        words = f"whether the key of {place} allows {sender.service} {action} depends on what is not known"
        yield Hindrance(words, mend, certain=False)


def statements_of(policy: str) -> list[Mapping[str, Any]]:
    """The statements of a policy, as text; of none, none."""
    found = json.loads(policy).get("Statement", []) if policy else []
    return [found] if isinstance(found, dict) else list(found)


def _allows(statements: Iterable[Mapping[str, Any]], action: str, resource: str, sender: _Sender) -> bool | None:
    """Whether a service may; None where a condition decides of which nothing is known here. A Deny goes before."""
    matching = [
        (one["Effect"], _holds(one, sender.source)) for one in statements if _is_about(one, action, resource, sender)
    ]
    of = {effect: [holds for found, holds in matching if found == effect] for effect in ("Deny", "Allow")}
    if True in of["Deny"]:
        return False
    if True in of["Allow"] and None not in of["Deny"]:
        return True
    return None if None in of["Allow"] or (True in of["Allow"] and None in of["Deny"]) else False


def _is_about(statement: Mapping[str, Any], action: str, resource: str, sender: _Sender) -> bool:
    return (
        _names(statement.get("Principal"), sender.service)
        and any(fnmatchcase(action.lower(), one.lower()) for one in _listed(statement.get("Action", ())))
        and any(fnmatchcase(resource, one) for one in _listed(statement.get("Resource", "*")))
    )


def _names(principal: Any, service: str) -> bool:
    if isinstance(principal, Mapping):
        return service in _listed(principal.get("Service", ())) or "*" in _listed(principal.get("AWS", ()))
    return bool(principal == "*")


def _holds(statement: Mapping[str, Any], source: str | None) -> bool | None:
    """Whether the conditions hold for what the source sends; without a source nobody knows."""
    told: list[bool | None] = []
    for operator, tests in statement.get("Condition", {}).items():
        for name, wanted in tests.items():
            told.append(_test(operator, name.lower(), _listed(wanted), source))
    return False if False in told else None if None in told else True


def _test(operator: str, name: str, wanted: list[str], source: str | None) -> bool | None:
    if source is None or operator not in _ALIKE:
        return None
    if name == "aws:sourcearn":
        return any(fnmatchcase(source, one) for one in wanted)
    if name in _OF_ACCOUNT:
        return source.split(":")[4] in wanted
    return None


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(one) for one in value]
