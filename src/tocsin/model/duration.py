"""Durations and shares as people write them: `11m`, `1h30m`, `500ms`, `5 %`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:ms|s|m|h|d)\s*)+")


_LONGEST_S = 366 * 86400.0
_IN_DAYS_FROM_S = 48 * 3600
"""From here on nobody counts hours any more."""


def parse_duration(value: Any) -> float:
    """Seconds of production time.

    Raises:
        ValueError: the text is not a duration such as `11m` or `1h30m`, or one longer than a year.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"expected a duration with its unit, found {value!r}. Did you mean '{value:g}s'?")
    text = str(value).strip() if isinstance(value, str) else ""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"expected a duration such as '11m', '90s' or '1h30m', found {value!r}")
    seconds = sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))
    if seconds > _LONGEST_S:
        raise ValueError(f"expected a duration of at most a year, found {value!r}")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration, to a tenth of a second: `2m05s`, `0.4s`, from two days on `3d12h`."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    days, rest = divmod(whole, 86400) if whole >= _IN_DAYS_FROM_S else (0, whole)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    parts = ((days, "d"), (hours, "h"), (minutes, "m"))
    return "".join(f"{amount}{unit}" for amount, unit in parts if amount) + (f"{secs:02d}s" if secs else "")


def parse_share(value: Any) -> float:
    """A share between 0 and 1, written as `5%` or `0.05`.

    Raises:
        ValueError: not a number, or outside 0 % to 100 %.
    """
    text = str(value).strip()
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError(f"expected a share such as '5%' or 0.05, found {value!r}") from None
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share between 0% and 100%, found {value!r}")
    return share


def _duration_or_seconds(value: Any, info: ValidationInfo) -> float:
    # A model dumped to JSON carries seconds as a number; people always write a unit.
    written = bool((info.context or {}).get("written"))
    if not written and isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value <= _LONGEST_S:
            raise ValueError(f"expected a duration such as '11m', of at most a year, found {value!r}")
        return float(value)
    return parse_duration(value)


Duration = Annotated[
    float,
    BeforeValidator(_duration_or_seconds),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(\d+(\.\d+)?\s*(ms|s|m|h|d)\s*)+$",
            "examples": ["11m", "90s", "1h30m"],
        }
    ),
]
"""Seconds of production time; in files a text with units."""

Share = Annotated[
    float,
    BeforeValidator(parse_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$"},
                {"type": "number", "minimum": 0, "maximum": 1},
            ]
        }
    ),
]
"""A share between 0 and 1; in files `5%` or `0.05`."""
