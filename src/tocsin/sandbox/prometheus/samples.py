"""What a Prometheus keeps: for each series its samples, by system second, and where it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock

from tocsin.alarms.exposition import Labels, series

STALE = "stale"
"""A series ended here: its target is gone, or does not export it any more."""
Value = float | str | None
"""A sample, STALE, or None where there is none."""


class Samples:
    """Series with their samples. They may be scraped in one thread and evaluated in another."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._values: dict[Labels, dict[int, Value]] = {}
        self._of_target: dict[tuple[str, str], set[Labels]] = {}

    def scraped(self, job: str, address: str, at_s: int, found: Mapping[Labels, float]) -> None:
        """A scrape that succeeded. A series that is not exported any more ends."""
        self._take(job, address, at_s, {**found, _up(job, address): 1.0})

    def failed(self, job: str, address: str, at_s: int) -> None:
        """A scrape that failed: every series of the target ends, and `up` is 0."""
        self._take(job, address, at_s, {_up(job, address): 0.0})

    def gone(self, targets: set[tuple[str, str]], at_s: int) -> None:
        """Targets that discovery does not name any more: everything of theirs ends, `up` too."""
        with self._lock:
            for target in targets & self._of_target.keys():
                for labels in self._of_target.pop(target):
                    self._add(labels, at_s, STALE)

    def add(self, labels: Labels, at_s: int, value: Value) -> None:
        """One sample. Of two at one time the first counts, as in Prometheus."""
        with self._lock:
            self._add(labels, at_s, value)

    @property
    def targets(self) -> set[tuple[str, str]]:
        """Job and address of every target with series."""
        return set(self._of_target)

    def since(self, starts: Callable[[str], float | None], last: int) -> dict[Labels, dict[int, Value]]:
        """Samples until `last`, from where each metric's begin to count; None: the metric is not wanted."""
        with self._lock:
            wanted = {labels: starts(dict(labels)["__name__"]) for labels in self._values}
            cut = {
                labels: {at: value for at, value in self._values[labels].items() if start <= at <= last}
                for labels, start in wanted.items()
                if start is not None
            }
        return {labels: values for labels, values in cut.items() if values}

    def forget(self, starts: Callable[[str], float | None]) -> None:
        """Drop what lies before the start of its metric: no evaluation needs it any more."""
        with self._lock:
            for labels, values in list(self._values.items()):
                start = starts(dict(labels)["__name__"])
                for old in [at for at in values if start is None or at < start]:
                    del values[old]
                if not values:
                    del self._values[labels]

    def _take(self, job: str, address: str, at_s: int, found: Mapping[Labels, float]) -> None:
        with self._lock:
            for labels in self._of_target.get((job, address), set()) - found.keys():
                self._add(labels, at_s, STALE)
            for labels, value in found.items():
                self._add(labels, at_s, value)
            self._of_target[job, address] = set(found)

    def _add(self, labels: Labels, at_s: int, value: Value) -> None:
        self._values.setdefault(labels, {}).setdefault(at_s, value)


def _up(job: str, address: str) -> Labels:
    return series({"__name__": "up", "job": job, "instance": address})
