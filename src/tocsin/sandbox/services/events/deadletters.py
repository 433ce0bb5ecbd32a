"""What reaches a dead-letter queue: the event as the target would have got it from the bus, and why it is there. Pure.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tocsin.sandbox.services.events.retries import Exhausted

Attributes = dict[str, dict[str, str]]
"""Message attributes of SQS: name -> `DataType` and `StringValue`."""


class ErrorCode(StrEnum):
    """The codes of `ERROR_CODE` that the sandbox has a cause for; AWS has more."""

    NO_PERMISSIONS = "NO_PERMISSIONS"
    NO_RESOURCE = "NO_RESOURCE"
    FAILED_TO_ASSUME_ROLE = "FAILED_TO_ASSUME_ROLE"
    INVALID_JSON = "INVALID_JSON"
    INVALID_PARAMETER = "INVALID_PARAMETER"
    ERROR_FROM_TARGET = "ERROR_FROM_TARGET"
    THROTTLING = "THROTTLING"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    CONNECTION_FAILURE = "CONNECTION_FAILURE"
    TIMEOUT = "TIMEOUT"


_PASSING = frozenset({ErrorCode.THROTTLING, ErrorCode.INTERNAL_ERROR, ErrorCode.CONNECTION_FAILURE, ErrorCode.TIMEOUT})
"""The others need somebody to act: AWS sends them to the dead-letter queue without another attempt."""


class DeliveryError(Exception):
    """A target did not take an event."""

    def __init__(self, code: str, message: str, *, retriable: bool | None = None) -> None:
        """`code` is one of `ErrorCode`, or that of the API which refused; `retriable` follows from it by default."""
        super().__init__(message)
        self.code = code
        self.retriable = code in _PASSING if retriable is None else retriable
        """Whether another attempt makes sense."""


@dataclass(frozen=True)
class Failure:
    """A delivery that was given up."""

    code: str
    message: str
    retries: int
    """Attempts after the first one."""
    exhausted: Exhausted | None
    """None when the error is one that is never tried again."""


def attributes(failure: Failure, **names: str) -> Attributes:
    """Message attributes of a dead letter; `names` are those that say of what (`RULE_ARN`, `TARGET_ARN`, ...)."""
    values: Mapping[str, str | None] = {
        **names,
        "ERROR_CODE": failure.code,
        "ERROR_MESSAGE": failure.message,
        "EXHAUSTED_RETRY_CONDITION": failure.exhausted,
        "RETRY_ATTEMPTS": str(failure.retries),
    }
    return {
        name: {"DataType": "String", "StringValue": str(value)} for name, value in values.items() if value is not None
    }
