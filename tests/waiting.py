"""How tests wait for what comes soon: they look again, with a deadline that costs nothing when all is well."""

from __future__ import annotations

import time
from collections.abc import Callable

SOON_S = 60.0


def eventually(check: Callable[[], bool], seconds: float = SOON_S) -> bool:
    """Whether it is so in the end, at the latest after these real seconds."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
