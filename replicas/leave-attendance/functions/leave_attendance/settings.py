"""The function's environment variables."""

from __future__ import annotations

import os

from .errors import ConfigurationError


def setting(name: str) -> str:
    """The value of a variable. Raises ConfigurationError when it is missing or empty."""
    value = os.environ.get(name, "")
    if not value:
        raise ConfigurationError(f"{name} not set")
    return value


def enabled(name: str) -> bool:
    """Whether a feature flag is on."""
    return os.environ.get(name, "false").lower() == "true"
