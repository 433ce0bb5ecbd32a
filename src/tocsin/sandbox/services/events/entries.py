"""Whether PutEvents takes an entry in. Pure.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_ENTRIES = 10
MAX_BYTES = 1024 * 1024
"""Of all entries of a request: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevent-size.html"""

_TIME_BYTES = 14
_REQUIRED = ("Source", "DetailType", "Detail")


@dataclass(frozen=True)
class EntryError:
    """Why an entry was not taken in."""

    code: str
    message: str


def request_problem(request: Mapping[str, Any]) -> str | None:
    """Why a whole request is refused; None when it is not."""
    entries: Sequence[Mapping[str, Any]] = request.get("Entries") or ()
    if request.get("EndpointId"):
        return "The sandbox has no global endpoints: leave EndpointId out."
    if not 1 <= len(entries) <= MAX_ENTRIES:
        bound = f"less than or equal to {MAX_ENTRIES}" if entries else "greater than or equal to 1"
        return (
            f"1 validation error detected: Value '{len(entries)}' at 'entries' failed to satisfy constraint: "
            f"Member must have length {bound}"
        )
    if sum(size(entry) for entry in entries) > MAX_BYTES:
        return "Total size of the entries in the request is over the limit."
    return None


def size(entry: Mapping[str, Any]) -> int:
    """Bytes that an entry counts."""
    texts = [entry.get(name) or "" for name in _REQUIRED] + list(entry.get("Resources") or ())
    return sum(len(text.encode()) for text in texts) + (_TIME_BYTES if entry.get("Time") is not None else 0)


def entry_error(entry: Mapping[str, Any], *, of_aws: bool = False) -> EntryError | None:
    """Why an entry is not taken in; None when it is. `of_aws`: it comes from an AWS service."""
    missing = next((name for name in _REQUIRED if not entry.get(name)), None)
    if missing is not None:
        return EntryError(
            "InvalidArgument", f"Parameter {missing} is not valid. Reason: {missing} is a required argument."
        )
    if not of_aws and entry["Source"].startswith("aws."):
        return EntryError("NotAuthorizedForSourceException", "Not authorized for the source.")
    try:
        detail = json.loads(entry["Detail"])
    except (ValueError, RecursionError):
        detail = None
    return None if isinstance(detail, dict) else EntryError("MalformedDetail", "Detail is malformed.")
