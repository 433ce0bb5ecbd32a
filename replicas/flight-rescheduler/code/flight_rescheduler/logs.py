"""Structured logs: one JSON object a line, with the fields that every line of an invocation carries."""

from __future__ import annotations

import json
import sys
from typing import Any

_fields: dict[str, Any] = {}


def begin(**fields: Any) -> None:
    """Start an invocation: `fields` are on each of its lines."""
    _fields.clear()
    _fields.update(fields)


def info(event: str, **details: Any) -> None:
    """One line about something that went as it should."""
    _write("INFO", event, details)


def error(event: str, **details: Any) -> None:
    """One line about something that did not."""
    _write("ERROR", event, details)


def _write(level: str, event: str, details: dict[str, Any]) -> None:
    line = json.dumps({"level": level, "event": event, **_fields, **details}, default=str)
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
