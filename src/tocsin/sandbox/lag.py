"""How late the daemon's own timer is. Its one loop answers every request: what is late here is late for everybody."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

_EVERY_S = 0.05
_TOLD_FROM_S = 0.1
"""Less is what one long request takes of the loop."""
_KEPT = 2000


class LagMeter:
    """Sleeps for a moment, again and again, and remembers when it woke late."""

    def __init__(self) -> None:
        self._late: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = time.monotonic() + _EVERY_S
            await asyncio.sleep(_EVERY_S)
            late_s = time.monotonic() - due
            if late_s >= _TOLD_FROM_S:
                self._late.append((time.time() - late_s, late_s))

    async def door(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """When the timer was due and by how many seconds it was late, of all that was due from `since` on."""
        since = float(request.get("since", 0.0))
        return {"late": [[due, late_s] for due, late_s in self._late if due >= since]}
