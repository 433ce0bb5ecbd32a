"""Which of many alarms are asked for in one call, and which calls are made in one poll."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil


class Parts:
    """Alarms in parts of one call each: some in every poll, the others in turn.

    Those that matter stand first and are asked for in every poll, with as many others as there is room for in the same
    calls. Every other part has its turn within a given number of polls.
    """

    def __init__(self, alarms: Iterable[str], matter: Iterable[str], *, at_once: int, polls: int) -> None:
        """`at_once` alarms fit into a call; within `polls` polls every alarm is asked for."""
        first, every = dict.fromkeys(matter), dict.fromkeys(alarms)
        ordered = (*first, *(name for name in every if name not in first))
        self.names: Sequence[tuple[str, ...]] = [ordered[at : at + at_once] for at in range(0, len(ordered), at_once)]
        """Alarms, by the number of their part."""
        always = min(len(self.names), max(1, ceil(len(first) / at_once)))
        self._always, self._in_turn = list(range(always)), list(range(always, len(self.names)))
        self._a_poll = ceil(len(self._in_turn) / max(1, polls))

    def next(self) -> list[int]:
        """The parts of the next poll."""
        turn, later = self._in_turn[: self._a_poll], self._in_turn[self._a_poll :]
        self._in_turn = [*later, *turn]
        return [*self._always, *turn]

    def all(self) -> list[int]:
        """Every part, for a poll that must not leave one out."""
        return list(range(len(self.names)))
