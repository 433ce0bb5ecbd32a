"""What IAM has refused in a sandbox: who, what, on what, and how often."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_logger = logging.getLogger("tocsin.sandbox")


@dataclass(frozen=True)
class Refused:
    """One kind of call that was refused."""

    principal: str
    """its ARN; of a role that services act in, with the name of the session"""
    action: str
    resource: str
    explicit: bool
    """whether a statement denies it; otherwise none allows it"""
    message: str
    """what the caller is told"""


class Refusals:
    """Counts, and tells the log of each kind once, and `tell` of each; keys and contents of requests are not in it."""

    def __init__(self, tell: Callable[[Refused], None]) -> None:
        self._tell = tell
        self._counts: dict[Refused, int] = {}
        self._lock = threading.Lock()

    def note(self, refused: Refused) -> None:
        """Count one; requests are answered in several threads."""
        with self._lock:
            self._counts[refused] = self._counts.get(refused, 0) + 1
            first = self._counts[refused] == 1
        self._tell(refused)
        if first:
            why = "a statement denies it" if refused.explicit else "no statement allows it"
            _logger.warning("IAM refused %s: %s on %s; %s", refused.principal, refused.action, refused.resource, why)

    def told(self) -> list[Mapping[str, Any]]:
        """All of them, as the door `refusals` answers."""
        with self._lock:
            found = list(self._counts.items())
        return [
            {
                "principal": one.principal,
                "action": one.action,
                "resource": one.resource,
                "explicit": one.explicit,
                "count": count,
            }
            for one, count in found
        ]
