"""How many batches of a queue an event source mapping reads at a time.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

_AT_FIRST = 5
""" "Five batches at a time with five concurrent invocations", of a standard queue. It is not raised here."""
_AT_LEAST = 2
"""However much is throttled. AWS says of low traffic that it is "as few as 2", of throttles no figure."""


def most_batches(mapping: Mapping[str, Any], queue: Mapping[str, Any]) -> int:
    """As many as a mapping reads when nothing is throttled; of a FIFO queue one, so that the order is kept.

    Args:
        mapping: `ScalingConfig` as in the API
        queue: `is_fifo`
    """
    if queue.get("is_fifo"):
        return 1
    return int((mapping.get("ScalingConfig") or {}).get("MaximumConcurrency") or _AT_FIRST)


class BatchesAtOnce:
    """What throttles have left of it, by mapping. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reduced: dict[str, int] = {}

    def of(self, mapping: str, most: int) -> int:
        """How many now, of at most so many."""
        return min(most, self._reduced.get(mapping, most))

    def throttled(self, mapping: str, most: int) -> None:
        """One fewer: "Lambda gradually backs off retries by reducing the amount of concurrency allocated".

        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-backoff-strategy
        """
        with self._lock:
            self._reduced[mapping] = max(min(_AT_LEAST, most), self.of(mapping, most) - 1)

    def ran(self, mapping: str, most: int) -> None:
        """One more, until it is what it was."""
        with self._lock:
            more = self.of(mapping, most) + 1
            if more < most:
                self._reduced[mapping] = more
            else:
                self._reduced.pop(mapping, None)
