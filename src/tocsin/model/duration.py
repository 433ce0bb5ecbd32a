"""Durations and shares as people write them: `11m`, `1h30m`, `500ms`, `5 %`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:ms|s|m|h)\s*)+")


def parse_duration(value: Any) -> float:
    """Seconds of production time.

    Raises:
        ValueError: the text is not a positive duration such as `11m` or `1h30m`.
    """
    text = str(value).strip()
    if not isinstance(value, str) or not _WHOLE.fullmatch(text):
        raise ValueError(f"expected a duration such as '11m', '90s' or '1h30m', found {value!r}")
    return sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration, to a tenth of a second: `2m05s`, `11m`, `0.4s`."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds < 60:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "") + (f"{secs:02d}s" if secs else "")
    return text or "0s"


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


def _duration_or_seconds(value: Any) -> float:
    # A model dumped to JSON carries seconds as a number; people always write a unit.
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < 0:
            raise ValueError(f"expected a duration such as '11m', found {value!r}")
        return float(value)
    return parse_duration(value)


Duration = Annotated[
    float,
    BeforeValidator(_duration_or_seconds),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(\d+(\.\d+)?\s*(ms|s|m|h)\s*)+$",
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
