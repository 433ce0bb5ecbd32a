"""What the attributes of topics and subscriptions say about deliveries: retries, dead letters, endpoints. Pure.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
https://docs.aws.amazon.com/sns/latest/dg/sns-configure-dead-letter-queue.html
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from tocsin.sandbox.doors import LOOPBACK
from tocsin.sandbox.services.sns.filters import ATTRIBUTES, BODY

LONGEST_S = 3600
"""All waits of one policy together, a hard limit of AWS."""
CONTENT_TYPE = "text/plain; charset=UTF-8"

_TAKEN = frozenset({"http", "sqs", "lambda", "email", "email-json"})


class PolicyError(ValueError):
    """An attribute says what AWS, or the sandbox, does not take."""


class Backoff(StrEnum):
    """How waits grow from the shortest to the longest."""

    LINEAR = "linear"
    ARITHMETIC = "arithmetic"
    GEOMETRIC = "geometric"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True)
class RetryPolicy:
    """A `healthyRetryPolicy`; waits are production seconds."""

    min_s: int = 20
    max_s: int = 20
    retries: int = 3
    at_once: int = 0
    at_min: int = 0
    at_max: int = 0
    backoff: Backoff = Backoff.LINEAR

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> RetryPolicy:
        """As it is written; what it leaves out is AWS's default.

        Raises:
            PolicyError: names what is out of its limits.
        """
        _only(said, _RETRY_KEYS, "healthyRetryPolicy")
        longest_s = _number(said, "maxDelayTarget", 1, LONGEST_S, 20)
        try:
            backoff = Backoff(said.get("backoffFunction") or Backoff.LINEAR)
        except ValueError:
            raise PolicyError(f"healthyRetryPolicy.backoffFunction must be one of {', '.join(Backoff)}") from None
        policy = cls(
            min_s=_number(said, "minDelayTarget", 1, longest_s, min(20, longest_s)),
            max_s=longest_s,
            retries=_number(said, "numRetries", 0, 100, 3),
            at_once=_number(said, "numNoDelayRetries", 0, 100, 0),
            at_min=_number(said, "numMinDelayRetries", 0, 100, 0),
            at_max=_number(said, "numMaxDelayRetries", 0, 100, 0),
            backoff=backoff,
        )
        if policy.at_once + policy.at_min + policy.at_max > policy.retries:
            raise PolicyError("healthyRetryPolicy.numRetries must not be less than the retries of its phases")
        if sum(policy.waits()) > LONGEST_S:
            raise PolicyError(f"healthyRetryPolicy must not retry for longer than {LONGEST_S} seconds")
        return policy

    def waits(self) -> tuple[float, ...]:
        """The wait before each retry, phase by phase; AWS shortens them by chance, and does not say how."""
        growing = self.retries - self.at_once - self.at_min - self.at_max
        return (
            *(0.0,) * self.at_once,
            *(float(self.min_s),) * self.at_min,
            *(self._growing(index, growing) for index in range(growing)),
            *(float(self.max_s),) * self.at_max,
        )

    def _growing(self, index: int, number: int) -> float:
        """AWS draws its four functions and gives no formulas."""
        if number == 1:
            return float(self.min_s)
        part = index / (number - 1)
        if self.backoff is Backoff.GEOMETRIC:
            return float(self.min_s * math.pow(self.max_s / self.min_s, part))
        if self.backoff is Backoff.ARITHMETIC:
            part = index * (index + 1) / (number * (number - 1))
        elif self.backoff is Backoff.EXPONENTIAL:
            part = (math.pow(2, index) - 1) / (math.pow(2, number - 1) - 1)
        return self.min_s + (self.max_s - self.min_s) * part

    @property
    def json(self) -> dict[str, Any]:
        """As `EffectiveDeliveryPolicy` has it."""
        names = (self.min_s, self.max_s, self.retries, self.at_once, self.at_min, self.at_max, self.backoff.value)
        return dict(zip(_RETRY_KEYS, names, strict=True))


_RETRY_KEYS = (
    *("minDelayTarget", "maxDelayTarget", "numRetries", "numNoDelayRetries", "numMinDelayRetries"),
    *("numMaxDelayRetries", "backoffFunction"),
)


@dataclass(frozen=True)
class DeliveryPolicy:
    """How one subscription over HTTP is delivered to."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    content_type: str = CONTENT_TYPE

    @property
    def json(self) -> str:
        """As `EffectiveDeliveryPolicy` of a subscription."""
        request = {"headerContentType": self.content_type}
        return json.dumps({"healthyRetryPolicy": self.retry.json, "requestPolicy": request})


def subscription_policy(text: str) -> DeliveryPolicy:
    """The `DeliveryPolicy` of a subscription. Raises PolicyError."""
    said = _object(text, "DeliveryPolicy")
    _only(said, ("healthyRetryPolicy", "sicklyRetryPolicy", "throttlePolicy", "requestPolicy", "guaranteed"), "it")
    _refuse(said, "sicklyRetryPolicy", "throttlePolicy", "guaranteed")
    return DeliveryPolicy(RetryPolicy.of(said.get("healthyRetryPolicy") or {}), _content_type(said, "requestPolicy"))


def topic_policy(text: str) -> tuple[DeliveryPolicy, bool]:
    """The `DeliveryPolicy` of a topic, and whether it overrides those of its subscriptions. Raises PolicyError."""
    said = _object(text, "DeliveryPolicy").get("http") or {}
    names = ("HealthyRetryPolicy", "SicklyRetryPolicy", "ThrottlePolicy", "RequestPolicy")
    _only(said, (*(f"default{name}" for name in names), "disableSubscriptionOverrides"), "http")
    _refuse(said, "defaultSicklyRetryPolicy", "defaultThrottlePolicy")
    policy = DeliveryPolicy(
        RetryPolicy.of(said.get("defaultHealthyRetryPolicy") or {}), _content_type(said, "defaultRequestPolicy")
    )
    return policy, said.get("disableSubscriptionOverrides") is True


def effective(topic: str | None, subscription: str | None) -> DeliveryPolicy:
    """The policy that holds for a subscription; AWS's default where a template let one through that is none."""
    policy, overrides = DeliveryPolicy(), False
    try:
        if topic:
            policy, overrides = topic_policy(topic)
        return subscription_policy(subscription) if subscription and not overrides else policy
    except PolicyError:
        return policy


def dead_letter_queue(text: str, topic_arn: str) -> str:
    """ARN of the queue that a `RedrivePolicy` names: of the topic's account and region, and of its type.

    Raises:
        PolicyError: it names none that may be it.
    """
    said = _object(text, "RedrivePolicy")
    _only(said, ("deadLetterTargetArn",), "RedrivePolicy")
    arn = said.get("deadLetterTargetArn")
    parts = str(arn).split(":")
    if len(parts) != 6 or parts[2] != "sqs":
        raise PolicyError(f"RedrivePolicy: deadLetterTargetArn must be the ARN of a queue, found {arn!r}")
    if parts[3:5] != topic_arn.split(":")[3:5]:
        raise PolicyError(f"RedrivePolicy: {arn} must be in the account and region of the topic {topic_arn}")
    if parts[5].endswith(".fifo") != topic_arn.endswith(".fifo"):
        raise PolicyError(f"RedrivePolicy: {arn} must be a FIFO queue exactly when {topic_arn} is a FIFO topic")
    return str(arn)


def check_endpoint(protocol: str, endpoint: str) -> None:
    """Raises PolicyError: the sandbox does not deliver there, and says what it does instead."""
    if protocol == "https":
        raise PolicyError(
            "Protocol: the sandbox has no certificate that SNS would trust; subscribe an http endpoint on loopback"
        )
    if protocol not in _TAKEN:
        raise PolicyError(f"Protocol: the sandbox delivers to {', '.join(sorted(_TAKEN))}, not to {protocol}")
    if protocol == "http" and not is_loopback(endpoint):
        raise PolicyError(f"Endpoint: the sandbox delivers to http endpoints on loopback only, not to {endpoint}")


def is_loopback(endpoint: str) -> bool:
    """Whether an http URL leads to this machine, whatever names resolve to."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        return False
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return parts.scheme == "http" and host in LOOPBACK and port != 0


def check_attribute(name: str, value: str, protocol: str, topic_arn: str) -> None:
    """Whether a subscription may have an attribute; an empty value takes it away. Raises PolicyError."""
    if name == "FilterPolicyScope" and value not in (ATTRIBUTES, BODY):
        raise PolicyError(f"FilterPolicyScope must be {ATTRIBUTES} or {BODY}, found {value!r}")
    if name == "RawMessageDelivery" and value not in ("true", "false"):
        raise PolicyError(f"RawMessageDelivery must be true or false, found {value!r}")
    if not value:
        return
    if name == "FilterPolicy":
        _object(value, name)
    elif name == "RedrivePolicy":
        dead_letter_queue(value, topic_arn)
    elif name == "DeliveryPolicy":
        if protocol != "http":
            raise PolicyError(f"DeliveryPolicy: only http and https have one, not {protocol}")
        subscription_policy(value)
    elif name == "SubscriptionRoleArn":
        raise PolicyError("SubscriptionRoleArn: it is for Firehose, to which the sandbox does not deliver")


def _object(text: str, name: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        raise PolicyError(f"{name}: failed to parse JSON") from None
    if not isinstance(found, dict):
        raise PolicyError(f"{name}: expected a JSON object")
    return found


def _only(said: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(said, Mapping):
        raise PolicyError(f"{where}: expected a JSON object")
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise PolicyError(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(known)}")


def _refuse(said: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if said.get(name):
            raise PolicyError(f"{name}: the sandbox neither throttles deliveries nor knows sickly endpoints")


def _content_type(said: Mapping[str, Any], name: str) -> str:
    policy = said.get(name) or {}
    _only(policy, ("headerContentType",), name)
    return str(policy.get("headerContentType") or CONTENT_TYPE)


def _number(said: Mapping[str, Any], name: str, least: int, most: int, default: int) -> int:
    value = said.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise PolicyError(f"healthyRetryPolicy.{name} must be from {least} to {most}, found {value!r}")
    return value
