"""The environment variables of functions and server."""

from __future__ import annotations

import os


class ConfigurationError(Exception):
    """A variable is missing, or cannot be used."""


def setting(name: str, default: str | None = None) -> str:
    """The value of a variable. Raises ConfigurationError when it is missing or empty and has no default."""
    value = os.environ.get(name) or default
    if not value:
        raise ConfigurationError(f"{name} not set")
    return value


def number(name: str, default: str) -> float:
    """A variable that is a number. Raises ConfigurationError."""
    value = setting(name, default)
    try:
        return float(value)
    except ValueError:
        raise ConfigurationError(f"{name}: expected a number, found {value!r}") from None
