"""What Lambda sends about an asynchronous event that has left its queue: invocation records and dead letters. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tocsin.sandbox.services.awslambda.asynchronous_queue import Condition

_MESSAGE_BYTES = 1024
_THROTTLED = (429, "Rate Exceeded.")


@dataclass(frozen=True)
class Response:
    """What the function gave when it ran."""

    version: str
    """that ran: `$LATEST` or a number"""
    payload: Any
    """its result, or its error"""
    failed: bool


@dataclass(frozen=True)
class Ended:
    """An event that has left the queue."""

    request_id: str
    function_arn: str
    """as it was invoked"""
    payload: Any
    condition: Condition
    runs: int
    response: Response | None
    """of the last run; None when it never ran"""


def invocation_record(event: Ended, wall: float) -> dict[str, Any]:
    """The JSON document for a destination; `wall` (epoch seconds) is when it is sent.

    AWS shows a record of an event that ran. One that never ran has neither `responseContext` nor `responsePayload`
    here.
    """
    record: dict[str, Any] = {
        "version": "1.0",
        "timestamp": _stamp(wall),
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": qualified(event.function_arn),
            "condition": event.condition.value,
            "approximateInvokeCount": event.runs,
        },
        "requestPayload": event.payload,
    }
    if event.response is None:
        return record
    context: dict[str, Any] = {"statusCode": 200, "executedVersion": event.response.version}
    if event.response.failed:
        context["functionError"] = "Unhandled"
    return record | {"responseContext": context, "responsePayload": event.response.payload}


def dead_letter_attributes(event: Ended) -> dict[str, dict[str, str]]:
    """The message attributes of a dead letter, whose body is the event as it was sent.

    `ErrorCode` is the HTTP status of the last attempt: 200 for a function that ran and failed. An event that never ran
    was throttled.
    """
    code, message = _THROTTLED if event.response is None else (200, _message(event.response.payload))
    return {
        "RequestID": {"DataType": "String", "StringValue": event.request_id},
        "ErrorCode": {"DataType": "Number", "StringValue": str(code)},
        "ErrorMessage": {"DataType": "String", "StringValue": message},
    }


def object_key(event: Ended, wall: float, number: str) -> str:
    """Where the record lies in a bucket that is a destination; `number` is a UUID of its own."""
    at = time.gmtime(wall)
    name = event.function_arn.split(":")[6]
    return f"aws/lambda/async/{name}/{time.strftime('%Y/%m/%d/%Y-%m-%dT%H.%M.%S', at)}-{number}"


def qualified(arn: str) -> str:
    """The ARN of a function with the qualifier that stands for none."""
    return arn if arn.count(":") > 6 else f"{arn}:$LATEST"


def _message(payload: Any) -> str:
    """The first KiB of an error message. SQS takes no empty attribute."""
    found = payload.get("errorMessage") if isinstance(payload, dict) else payload
    return str(found or "Unhandled").encode()[:_MESSAGE_BYTES].decode(errors="ignore")


def _stamp(wall: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall))
    return f"{whole}.{int(wall * 1000) % 1000:03d}Z"
