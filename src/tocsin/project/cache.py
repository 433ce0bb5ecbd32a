"""Where a user's machine keeps what takes long to make or to fetch, and is the same for every checkout."""

from __future__ import annotations

import os
from pathlib import Path


def user_cache() -> Path | None:
    """Tocsin's part of the user's cache; None for a user without a home, since what anybody can write is no place."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(base or Path.home() / ".cache") / "tocsin"
    except RuntimeError:  # neither HOME nor a name
        return None
