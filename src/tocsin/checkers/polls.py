"""What each poll of the alarms saw, whole: a watcher of many alarms writes only what is news.

A day of polls is some 300,000 of them that say the same. So they are kept as columns: the times of each part, and what
was seen only where it is something else than before.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import pairwise
from operator import itemgetter, sub
from typing import NamedTuple

from tocsin.model.events import AlarmChanged, AlarmSeen, AlarmsPolled, Event
from tocsin.model.system import AlarmState

AlarmEvent = AlarmSeen | AlarmChanged | AlarmsPolled
"""What tells of the state of alarms."""

SETTLING_WALL_S = 1.0
"""Wall seconds after a transition in which a polled state may still be the old one."""

_CODES: dict[AlarmState, int] = {"OK": 0, "ALARM": 1, "INSUFFICIENT_DATA": 2}
_STATES: tuple[AlarmState, ...] = tuple(_CODES)
_REPEATED = re.compile(b"|".join(bytes([code]) + b"+" for code in _CODES.values()))
"""One statement, and all that repeat it."""
_KEPT = 16
"""Alarms of which all statements are kept at once: whoever asks of one asks again, and then of the next."""


def alarm_events(events: Iterable[Event]) -> Iterator[AlarmEvent]:
    """All that tells of the states of alarms, with every poll as if it had told all that it looked at.

    A poll that counts other alarms than were told of before, because a line is lost, vouches only for its own news.
    """
    parts: dict[int, _Known] = {}
    for event in events:
        if isinstance(event, AlarmsPolled) and event.part is not None:
            whole = parts.setdefault(event.part, _Known()).with_news(event)
            yield event.model_copy(update={"states": dict(whole)})
        elif isinstance(event, AlarmEvent):
            yield event


class _Known:
    """What is known of the alarms of one part."""

    def __init__(self) -> None:
        self._states: dict[str, AlarmState] = {}
        self._counts: Counter[AlarmState] = Counter()

    def with_news(self, event: AlarmsPolled) -> Mapping[str, AlarmState]:
        """The states that a poll vouches for, once what is known is brought up to date by it."""
        for alarm in event.missing:
            self._forget(alarm)
        for alarm, state in event.states.items():
            self._forget(alarm)
            self._states[alarm] = state
            self._counts[state] += 1
        same = self._counts - Counter(event.states.values())
        return dict(self._states) if dict(same) == event.same else event.states

    def _forget(self, alarm: str) -> None:
        if (state := self._states.pop(alarm, None)) is not None:
            self._counts[state] -= 1


class _Poll(NamedTuple):
    """What one or more polls saw: states, and which alarms were not evaluated, and why."""

    states: Mapping[str, AlarmState]
    unevaluated: Mapping[str, str]


@dataclass
class _Part:
    """The polls of some alarms in the order of their time."""

    times: array[float] = field(default_factory=lambda: array("d"))
    places: array[int] = field(default_factory=lambda: array("Q"))
    """where in the history each of them stood: of two events of one time the first counts first"""
    starts: list[int] = field(default_factory=list)
    """indices from which on something else was seen"""
    seen: list[_Poll] = field(default_factory=list)

    def add(self, times: Iterable[float], places: Iterable[int], seen: _Poll) -> None:
        """One or more polls that saw the same; the very same object as before means that nothing changed."""
        if not self.seen or self.seen[-1] is not seen:
            self.starts.append(len(self.times))
            self.seen.append(seen)
        self.times.extend(times)
        self.places.extend(places)

    def runs(self, first: int, last: int) -> Iterator[tuple[int, int, _Poll]]:
        """(from, to, what was seen) of the polls from index `first` up to, not including, `last`."""
        for index in range(max(0, bisect_right(self.starts, first) - 1), len(self.starts)):
            start = max(first, self.starts[index])
            end = min(last, self.starts[index + 1] if index + 1 < len(self.starts) else len(self.times))
            if start >= last:
                return
            yield start, end, self.seen[index]

    def polls(self) -> Iterator[tuple[float, int, _Poll]]:
        """(time, place in the history, what was seen) of each."""
        for first, last, seen in self.runs(0, len(self.times)):
            for index in range(first, last):
                yield self.times[index], self.places[index], seen

    def index_after(self, at: float, place: int) -> int:
        """Index of the first poll that comes after an event of another kind."""
        low, high = bisect_left(self.times, at), bisect_right(self.times, at)
        return bisect_right(self.places, place, low, high)

    def knows(self, alarm: str) -> bool:
        """Whether any poll looked at an alarm."""
        return any(alarm in seen.states for seen in self.seen)


@dataclass(frozen=True)
class Said:
    """Every statement about the state of one alarm, in the order of time, in two columns."""

    times: array[float] = field(default_factory=lambda: array("d"))
    codes: bytearray = field(default_factory=bytearray)

    def __bool__(self) -> bool:
        return bool(self.times)

    def state_at(self, at: float) -> AlarmState | None:
        """What was said last up to an instant; None before the first statement."""
        index = bisect_right(self.times, at)
        return _STATES[self.codes[index - 1]] if index else None

    def within(self, after: float, until: float) -> frozenset[AlarmState]:
        """All that was said in (after, until]."""
        return frozenset(_STATES[code] for code in set(self.codes[slice(*self._window(after, until))]))

    def first(self, state: AlarmState, after: float = float("-inf"), until: float = float("inf")) -> float | None:
        """When something first said in (after, until] that the alarm is in a state."""
        index = self.codes.find(_CODES[state], *self._window(after, until))
        return None if index < 0 else self.times[index]

    def first_other(self, state: AlarmState, until: float) -> float | None:
        """When something first said, up to an instant, that the alarm is in another state than this."""
        found = (self.first(other, until=until) for other in _STATES if other != state)
        return min((at for at in found if at is not None), default=None)

    def changes(self) -> Iterator[tuple[float, AlarmState]]:
        """The statements that say something else than the one before."""
        for same in _REPEATED.finditer(self.codes):
            index = same.start()
            yield self.times[index], _STATES[self.codes[index]]

    def _window(self, after: float, until: float) -> tuple[int, int]:
        return bisect_right(self.times, after), bisect_right(self.times, until)


@dataclass
class _Raw:
    """The polls as they were written, before they are in the order of their time."""

    times: array[float] = field(default_factory=lambda: array("d"))
    kinds: array[int] = field(default_factory=lambda: array("I"))
    places: array[int] = field(default_factory=lambda: array("Q"))
    said: list[AlarmsPolled] = field(default_factory=list)
    last: dict[int | None, int] = field(default_factory=dict)

    def add(self, event: AlarmsPolled, place: int) -> None:
        """Keep a poll; one that says what the last one of its part said is kept as its time."""
        kind = self.last.get(event.part)
        if kind is None or not _says_the_same(self.said[kind], event):
            kind = self.last[event.part] = len(self.said)
            self.said.append(event)
        self.times.append(event.at)
        self.kinds.append(kind)
        self.places.append(place)

    def runs(self) -> Iterator[tuple[array[float], array[int], AlarmsPolled]]:
        """(times, places in the history, what was said) of those that follow each other and say the same."""
        times, kinds, places = self._in_order()
        changes = [index for index, (one, other) in enumerate(pairwise(kinds), 1) if one != other]
        for first, last in pairwise([0, *changes, len(kinds)] if kinds else ()):
            yield times[first:last], places[first:last], self.said[kinds[first]]

    def _in_order(self) -> tuple[array[float], array[int], array[int]]:
        if not any(later < earlier for earlier, later in pairwise(self.times)):
            return self.times, self.kinds, self.places
        order = sorted(range(len(self.times)), key=self.times.__getitem__)
        times = array("d", [self.times[index] for index in order])
        kinds, places = (array(of.typecode, [of[index] for index in order]) for of in (self.kinds, self.places))
        return times, kinds, places


def _says_the_same(one: AlarmsPolled, other: AlarmsPolled) -> bool:
    return (
        one.states == other.states
        and one.same == other.same
        and one.missing == other.missing
        and one.not_evaluated == other.not_evaluated
    )


class AlarmRecord:
    """All that a history tells of the states of alarms, by alarm.

    Events may come in any order; what is asked is answered in the order of their time.
    """

    def __init__(self) -> None:
        self._raw = _Raw()
        self._own: dict[str, list[tuple[float, int, AlarmSeen | AlarmChanged]]] = {}
        self._parts: list[_Part] | None = None
        self._recent: dict[str, Said] = {}

    def add(self, event: AlarmEvent, place: int) -> None:
        """Take an event; `place` is its number in the history."""
        if isinstance(event, AlarmsPolled):
            self._raw.add(event, place)
        else:
            self._own.setdefault(event.alarm, []).append((event.at, place, event))

    def said(self, alarm: str) -> Said:
        """Every statement about an alarm's state, by reading, transition or poll."""
        found = self._recent.get(alarm)
        if found is None:
            while len(self._recent) >= _KEPT:
                del self._recent[next(iter(self._recent))]
            found = self._recent[alarm] = self._say(alarm)
        return found

    def looks(self, alarm: str, start: float, end: float) -> array[float]:
        """When somebody looked at an alarm, from `start` to `end`."""
        found = array("d", [at for at, _, event in self._of(alarm) if isinstance(event, AlarmSeen)])
        for part in self._parts_of(alarm):
            for first, last, seen in part.runs(bisect_left(part.times, start), bisect_right(part.times, end)):
                if alarm in seen.states:
                    found.extend(part.times[first:last])
        found = array("d", sorted(found))
        return found[bisect_left(found, start) : bisect_right(found, end)]

    def was_seen(self, alarm: str, until: float) -> bool:
        """Whether somebody looked at an alarm, up to an instant."""
        return bool(self.looks(alarm, float("-inf"), until))

    def longest_gap(self, alarm: str, start: float, end: float) -> float:
        """The longest time (wall seconds) in a window for which nobody looked at an alarm."""
        marks = [start, *self.looks(alarm, start, end), end]
        gaps: Iterator[float] = map(sub, marks[1:], marks)
        return max(gaps)

    def unevaluated(self, alarm: str, start: float, end: float) -> str | None:
        """Why an alarm was first said, from `start` to `end`, not to be evaluated; None where that was not said."""
        told = [
            (at, place, event.not_evaluated)
            for at, place, event in self._of(alarm)
            if isinstance(event, AlarmSeen) and event.not_evaluated and start <= at <= end
        ]
        for part in self._all_parts():
            for first, _, seen in part.runs(bisect_left(part.times, start), bisect_right(part.times, end)):
                if alarm in seen.unevaluated:
                    told.append((part.times[first], part.places[first], seen.unevaluated[alarm]))
                    break
        return min(told)[2] if told else None

    def _of(self, alarm: str) -> list[tuple[float, int, AlarmSeen | AlarmChanged]]:
        return sorted(self._own.get(alarm, ()), key=itemgetter(0, 1))

    def _all_parts(self) -> list[_Part]:
        if self._parts is None:
            self._parts = _parts(self._raw)
        return self._parts

    def _parts_of(self, alarm: str) -> list[_Part]:
        return [part for part in self._all_parts() if part.knows(alarm)]

    def _say(self, alarm: str) -> Said:
        parts = self._parts_of(alarm)
        part = parts[0] if len(parts) == 1 else _merged(parts)
        said, index, changed_at = Said(), 0, float("-inf")
        for at, place, event in self._of(alarm):
            until = part.index_after(at, place)
            _repeat(said, part, alarm, _settled(part, index, until, changed_at), until)
            index = until
            said.times.append(at)
            said.codes.append(_CODES[event.state if isinstance(event, AlarmSeen) else event.after])
            changed_at = at if isinstance(event, AlarmChanged) else changed_at
        last = len(part.times)
        _repeat(said, part, alarm, _settled(part, index, last, changed_at), last)
        return said


def _settled(part: _Part, index: int, until: int, changed_at: float) -> int:
    """The first poll that counts: an earlier one may be older than a transition that was stamped while it travelled."""
    return bisect_right(part.times, SETTLING_WALL_S, index, until, key=lambda at: at - changed_at)


def _repeat(said: Said, part: _Part, alarm: str, index: int, until: int) -> None:
    for first, last, seen in part.runs(index, until):
        if (state := seen.states.get(alarm)) is not None:
            said.times.extend(part.times[first:last])
            said.codes.extend(bytes([_CODES[state]]) * (last - first))


def _parts(raw: _Raw) -> list[_Part]:
    """The polls by the part that they asked for, each with all that it vouches for."""
    parts: dict[int | None, _Part] = {}
    known: dict[int, _Known] = {}
    told: dict[int | None, tuple[AlarmsPolled, _Poll]] = {}
    for times, places, event in raw.runs():
        before = told.get(event.part)
        # What is said a second time changes nothing of what is known.
        if before is None or before[0] is not event:
            states = event.states if event.part is None else known.setdefault(event.part, _Known()).with_news(event)
            told[event.part] = before = event, _Poll(states, event.not_evaluated)
        parts.setdefault(event.part, _Part()).add(times, places, before[1])
    return list(parts.values())


def _merged(parts: Sequence[_Part]) -> _Part:
    """The polls of several parts as if they were one."""
    whole = _Part()
    columns = (part.polls() for part in parts)
    for at, place, seen in merge(*columns, key=itemgetter(0, 1)):
        whole.add((at,), (place,), seen)
    return whole
