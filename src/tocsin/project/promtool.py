"""Where this machine has Prometheus' `promtool`."""

from __future__ import annotations

import shutil
from pathlib import Path

from tocsin.project.cache import user_cache


def promtool_at_hand() -> Path | None:
    """`promtool` from the PATH or from the user's cache; None where it would have to be fetched first."""
    found = shutil.which("promtool")
    if found is not None:
        return Path(found)
    cache = promtool_cache()
    return cached_promtool(cache) if cache is not None and cached_promtool(cache).exists() else None


def what_is_fetched() -> str | None:
    """What a sandbox downloads when it needs `promtool` now, to be said before; None where nothing is."""
    cache = promtool_cache()
    if promtool_at_hand() is not None or cache is None:
        return None
    return (
        "no promtool on the PATH: downloading Debian's package `prometheus` with apt-get and unpacking it into "
        f"{cache}, once; nothing is installed"
    )


def cached_promtool(cache: Path) -> Path:
    """Where in our cache it is."""
    return cache / "usr" / "bin" / "promtool"


def promtool_cache() -> Path | None:
    """Where a program of ours is kept; None for a user without a home."""
    cache = user_cache()
    return None if cache is None else cache / "prometheus"
