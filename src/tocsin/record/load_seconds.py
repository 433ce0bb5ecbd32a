"""What happened to the arrivals of every second of a load, in one process and put together from several.

Nothing here knows of Locust, and importing it does nothing: `tocsin.load` fills the tallies and carries them.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

# A wall clock that cannot jump while a load runs: latencies and keys come from the same source.
_EPOCH = time.time() - time.perf_counter()


def now() -> float:
    """Wall seconds since 1970, by a clock that never jumps."""
    return _EPOCH + time.perf_counter()


@dataclass
class Tally:
    """What happened to the arrivals that were due in one second."""

    offered: int = 0
    sent: int = 0
    dropped: int = 0
    pending: int = 0
    lag_ms: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    failed_ms: list[float] = field(default_factory=list)
    """those of the latencies that 5xx, or no answer, took"""
    by_name: dict[str, Counter[str]] = field(default_factory=dict)

    def answered(self, name: str, status: str, latency_ms: float) -> None:
        """Count one answer of an operation; `error` stands for none."""
        self.by_name.setdefault(name, Counter())[status] += 1
        self.latencies_ms.append(latency_ms)
        if status == "error" or status.startswith("5"):
            self.failed_ms.append(latency_ms)

    def add(self, other: Tally) -> None:
        """Take in the same second as seen by another process."""
        self.offered += other.offered
        self.sent += other.sent
        self.dropped += other.dropped
        self.lag_ms = max(self.lag_ms, other.lag_ms)
        self.latencies_ms += other.latencies_ms
        self.failed_ms += other.failed_ms
        for name, statuses in other.by_name.items():
            self.by_name.setdefault(name, Counter()).update(statuses)

    def as_second(self, at: int) -> dict[str, Any]:
        """The fields of a `LoadSecond`."""
        statuses: Counter[str] = Counter()
        for counts in self.by_name.values():
            statuses.update(counts)
        return {
            "at": float(at),
            "offered": self.offered,
            "sent": self.sent,
            "dropped": self.dropped,
            "statuses": statuses,
            "latency_ms": _summary(self.latencies_ms),
            "lag_ms": round(self.lag_ms, 2),
            "by_name": self.by_name,
            "histogram": {
                "good": _buckets(self.latencies_ms) - _buckets(self.failed_ms),
                "failed": _buckets(self.failed_ms),
            },
        }

    def to_wire(self) -> dict[str, Any]:
        """As plain values, for Locust's messages."""
        counts = {name: dict(statuses) for name, statuses in self.by_name.items()}
        return {**vars(self), "by_name": counts}

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> Tally:
        """The inverse of `to_wire`."""
        counts = {name: Counter(statuses) for name, statuses in data["by_name"].items()}
        return cls(**{**data, "by_name": counts})


def _buckets(latencies_ms: list[float]) -> Counter[int]:
    """Latencies counted in the buckets of `tocsin.model.histogram`; nothing takes less than a millionth of a second."""
    return Counter(math.ceil(32 * math.log2(max(latency, 1e-3))) - 1 for latency in latencies_ms)


def _summary(latencies_ms: list[float]) -> dict[str, float]:
    if not latencies_ms:
        return {}
    ordered = sorted(latencies_ms)

    def rank(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

    return {
        "p50": rank(0.50),
        "p95": rank(0.95),
        "p99": rank(0.99),
        "max": round(ordered[-1], 2),
        "sum": round(sum(ordered), 2),
    }


class Seconds:
    """The tallies of one process that still wait for arrivals or answers."""

    def __init__(self) -> None:
        self._open: dict[int, Tally] = {}
        self._next_due: dict[int, float] = {}
        self._next: int | None = None
        self._end: int | None = None

    def begin(self, second: int) -> None:
        """The load starts with this whole second: from here on every second is reported, also an empty one."""
        self._open.clear()
        self._next_due.clear()
        self._next, self._end = second, None

    def end(self) -> None:
        """The load ends now. The second that this cuts through is left out: it would look like missing offers."""
        self._end = int(now())

    def expect(self, user: int, due: float) -> None:
        """The next arrival of a user: no second from that of `due` on is over before the user was there."""
        self._next_due[user] = due

    def of(self, due: float) -> Tally:
        """The tally of the second in which an arrival was due."""
        return self._open.setdefault(int(due), Tally())

    def take(self) -> dict[int, Tally]:
        """The seconds that are over and whose arrivals all ended; each is handed out once.

        A second whose answers are late stays here until the last of them came or timed out, or the load ended.
        """
        if self._next is None:
            return {}
        over = self._end if self._end is not None else int(min([now(), *self._next_due.values()]))
        for second in range(self._next, over):
            self._open.setdefault(second, Tally())
        self._next = max(self._next, over)
        ended = self._end is not None
        done = [at for at, tally in self._open.items() if at < over and (ended or tally.pending == 0)]
        return {at: self._open.pop(at) for at in sorted(done)}


class Output:
    """The JSON lines for whoever started the load; the master puts the seconds of its workers together."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", buffering=1) if descriptor >= 0 else None
        self._parts: dict[int, dict[str, Tally]] = {}
        self._at_the_end: set[str] | None = None

    def broken(self, reason: str) -> None:
        """The load file itself is at fault."""
        self._write({"broken": reason})

    def seconds(self, tallies: dict[int, Tally]) -> None:
        """Finished seconds of all processes together."""
        for second, tally in tallies.items():
            self._write({"second": tally.as_second(second)})

    def collect(self, worker: str, tallies: dict[int, Tally], workers: set[str]) -> None:
        """Take the finished seconds of one worker; write those that every worker has reported."""
        for second, tally in tallies.items():
            self._parts.setdefault(second, {})[worker] = tally
        awaited = workers if self._at_the_end is None else self._at_the_end
        for second in sorted(self._parts):
            if awaited <= self._parts[second].keys():
                self._write_parts(second)

    def ends(self, workers: set[str]) -> None:
        """The end begins with these workers. They leave one by one, each in a second of its own.

        So a second that not all of them report is the one that the end cuts through, or a later one. It is left out,
        as in a single process: half of the offers would look like missing ones.
        """
        self._at_the_end = workers

    def _write_parts(self, second: int) -> None:
        whole = Tally()
        for part in self._parts.pop(second).values():
            whole.add(part)
        self.seconds({second: whole})

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
