"""Puts the events of a history in the order of their time, and keeps of each no more than is asked about.

A day of a drill is a million events; as they are read they take some two kilobytes each. Few kinds make nearly all of
them, and are kept small here: of a canary run what it found, without its steps; of a poll its time and what was news
(`tocsin.checkers.polls`); of a second of load everything, equal parts of it once.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import NamedTuple

from tocsin.checkers.polls import AlarmRecord
from tocsin.model.base import Model
from tocsin.model.events import AlarmChanged, AlarmSeen, AlarmsPolled, CanaryRan, Event, LoadSecond, MachineWatched

_AT = attrgetter("at")


class CanaryRun(NamedTuple):
    """What is asked of a canary's run; a tuple, because there are half a million of them in a day."""

    at: float
    canary: str
    ok: bool
    ok_after_retry: bool
    ms: float
    detail: str
    broken: bool
    known_at: float

    @classmethod
    def of(cls, event: CanaryRan) -> CanaryRun:
        """From its event."""
        return cls(
            event.at,
            event.canary,
            event.ok,
            event.ok_after_retry,
            event.ms,
            event.detail,
            event.broken,
            event.known_at,
        )


class Watched(NamedTuple):
    """A stretch of time in which the harness measured whether this machine keeps up."""

    since: float
    until: float
    cpu_pressure: float | None


class Gathering:
    """Takes the events of a history one by one, and gives them back by kind."""

    def __init__(self) -> None:
        self.alarms = AlarmRecord()
        self.first, self.last = float("inf"), float("-inf")
        self._kinds: dict[type[object], list[Event]] = {}
        self._runs: list[CanaryRun] = []
        self._load: list[LoadSecond] = []
        self._watched: list[Watched] = []
        self._lean = _Lean()
        self._count = 0

    def add(self, event: Event) -> None:
        """Take an event."""
        self._count += 1
        match event:
            case CanaryRan():
                self._runs.append(CanaryRun.of(event))
                return
            case AlarmsPolled():
                self.alarms.add(event, self._count)
            case LoadSecond():
                self._load.append(self._lean.second(event))
                return
            case MachineWatched():
                self._watched.append(Watched(event.since, event.at, event.cpu_pressure))
            case _:
                if isinstance(event, AlarmSeen | AlarmChanged):
                    self.alarms.add(event, self._count)
                self._kinds.setdefault(type(event), []).append(event)
        if event.at < self.first:
            self.first = event.at
        if event.at > self.last:
            self.last = event.at

    def kinds(self) -> Mapping[type[object], Sequence[Event]]:
        """Events by their kind, those apart that have a method of their own."""
        return {kind: sorted(events, key=_AT) for kind, events in self._kinds.items()}

    def canary_runs(self) -> Sequence[CanaryRun]:
        """Every run of every canary."""
        self._runs.sort(key=_AT)
        return self._runs

    def load(self) -> Sequence[LoadSecond]:
        """Every second of load."""
        return tuple(sorted(self._load, key=_AT))

    def measured(self) -> Sequence[Watched]:
        """Every stretch in which the harness measured whether this machine keeps up."""
        return sorted(self._watched, key=attrgetter("until"))


def gathered(events: Iterable[Event]) -> Gathering:
    """All events of a history."""
    found = Gathering()
    with _uncollected():
        for event in events:
            found.add(event)
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looks for what refers to itself: no event does, and each look would go through all that were read."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Lean:
    """Lets equal parts of seconds of load be one object: most seconds answer as others did."""

    def __init__(self) -> None:
        self._counts: dict[tuple[tuple[str, int], ...], dict[str, int]] = {}
        self._names: dict[frozenset[str], set[str]] = {}

    def second(self, event: LoadSecond) -> LoadSecond:
        """The same second."""
        histogram = event.histogram
        if histogram is not None:
            self._share(histogram, failed=histogram.failed or _NONE)
        by_name = {name: self._once(counts) for name, counts in event.by_name.items()}
        self._share(event, statuses=self._once(event.statuses), by_name=by_name)
        return event

    def _share(self, model: Model, **parts: object) -> None:
        """Put equal parts in the place of a model's own. It says what it said: that is all that frozen promises."""
        vars(model).update(parts)
        object.__setattr__(model, "__pydantic_fields_set__", self._same(model.model_fields_set))

    def _once(self, counts: dict[str, int]) -> dict[str, int]:
        return self._counts.setdefault(tuple(counts.items()), counts)

    def _same(self, names: set[str]) -> set[str]:
        return self._names.setdefault(frozenset(names), names)


_NONE: dict[int, int] = {}
"""No answer; never written to, as nothing in a frozen model is."""
