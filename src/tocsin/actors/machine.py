"""Does this machine keep up? The harness measures its own timers, and asks an emulator beside it for those of its own.

A timer that fires late was late because nothing could run: the processor was taken, or the process was stopped. Whoever
works may wait where whoever sleeps is woken in time: that tells the pressure on the processors.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Literal

from tocsin.actors.base import ThreadActor
from tocsin.actors.context import RunContext
from tocsin.actors.processors import own_pressure, waited_us
from tocsin.aws.doors import ask_door
from tocsin.errors import Refused
from tocsin.model.duration import format_duration
from tocsin.model.events import MachineLagged, MachineWatched

Late = tuple[float, float]
"""When a timer was due (wall clock), and how many seconds later it fired."""

_EVERY_S = 0.05
_TOLD_FROM_S = 0.2
"""Less than that is the ordinary noise of a process with many threads."""
_ONE_STRETCH_S = 1.0
"""Late timers no further apart than this are told as one stretch."""
HOPELESS_PRODUCTION_S = 60.0
"""Production seconds by which timers may be late before the fault: an evaluation of an alarm, which would be missed."""
HOPELESS_WALL_S = 1.0
"""Wall seconds for which they may be late on every clock."""
_SUMMARY_PRODUCTION_S = 60.0
_SUMMARY_WALL_S = 5.0
_ANSWER_WITHIN_S = 1.0


class MachineActor(ThreadActor):
    """Sleeps for a moment, again and again; records when it woke late, and now and then that it is awake."""

    def __init__(self, ctx: RunContext) -> None:
        super().__init__("machine", ctx.history)
        self._ctx = ctx
        self._every = max(ctx.wall(_SUMMARY_PRODUCTION_S), _SUMMARY_WALL_S)
        self._emulator = (
            Emulator(ctx.target.endpoint_url, ctx.target.door_token or "") if ctx.target.endpoint_url else None
        )
        self._late: list[Late] = []
        self._worst_s = 0.0
        self._telling = threading.Lock()
        self._since = ctx.now()
        self._pressure = own_pressure()
        self._waited = waited_us(self._pressure)

    @property
    def ticks(self) -> int:
        """How many timers fired since the last summary."""
        return len(self._late)

    def run(self) -> None:
        """Measure until stopped; what was seen last is told by `stop`."""
        told = time.monotonic()
        while True:
            due = time.monotonic() + _EVERY_S
            if self._stopping.wait(_EVERY_S):
                return
            late_s = time.monotonic() - due
            self._late.append((time.time() - late_s, late_s))
            if time.monotonic() - told >= self._every:
                self._tell()
                told = time.monotonic()

    def stop(self) -> None:
        """End, and tell what was seen since the last time."""
        running = self._thread.ident is not None and not self._stopping.is_set()
        super().stop()
        if running:
            self._tell()

    def check(self) -> str:
        """Whether this machine has kept up so far.

        Raises:
            Refused: it has not, so that the drill would only measure the machine.
        """
        self._tell()
        longest = max(self._ctx.wall(HOPELESS_PRODUCTION_S), HOPELESS_WALL_S)
        if self._worst_s >= longest:
            raise Refused(
                "machine",
                f"expected a machine that keeps up, found timers {self._worst_s:.1f} s late in the baseline, "
                f"{format_duration(self._worst_s * self._ctx.scale)} of production time: a fault would only show how "
                "busy it is. Let it do less, or run with a lower --time-scale.",
            )
        return f"timers at most {self._worst_s:.2f} s late"

    def _tell(self) -> None:
        """Record the stretches in which timers were late, and the summary that nothing else was seen."""
        with self._telling:  # the drill asks too
            self._record()

    def _record(self) -> None:
        late, self._late = self._late, []
        theirs = None if self._emulator is None else self._emulator.late()
        for stretch in (*stretches("harness", late), *stretches("target", theirs or ())):
            self._history.record(stretch)
        self._worst_s = max(self._worst_s, _longest(late), _longest(theirs or ()))
        since, now = self._since, self._ctx.now()
        before, waited = self._waited, waited_us(self._pressure)
        pressure = None if before is None or waited is None else (waited - before) / 1e6 / max(now - since, _EVERY_S)
        self._history.record(
            MachineWatched(
                at=now,
                since=since,
                ticks=len(late),
                longest_s=_longest(late),
                target_longest_s=None if theirs is None else _longest(theirs),
                cpu_pressure=None if pressure is None else round(min(1.0, pressure), 3),
            )
        )
        self._since, self._waited = now, waited


class Emulator:
    """An emulator of AWS on this machine, which may tell of its own timers."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url, self._token = url, token
        self._since = time.time()
        self._tells = False

    def late(self) -> list[Late] | None:
        """When its timers were late since it was last asked; None where it does not say.

        One that has told before and does not answer within a second is late by as much.
        """
        asked = time.time()
        try:
            answer = ask_door(self._url, self._token, "lag", {"since": self._since}, _ANSWER_WITHIN_S)
            told = [(float(due), float(late_s)) for due, late_s in answer["late"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            timed_out = isinstance(getattr(error, "reason", error), TimeoutError)
            return [(asked, time.time() - asked)] if timed_out and self._tells else None
        self._since, self._tells = asked, True
        return told


def stretches(who: Literal["harness", "target"], late: Iterable[Late]) -> Iterator[MachineLagged]:
    """Late timers as stretches of time: from when the first was due to when the last had fired."""
    ordered = sorted(one for one in late if one[1] >= _TOLD_FROM_S)
    begins = [0, *(i for i, (one, other) in enumerate(pairwise(ordered), 1) if other[0] - sum(one) > _ONE_STRETCH_S)]
    for start, end in pairwise([*begins, len(ordered)] if ordered else []):
        found = ordered[start:end]
        yield MachineLagged(
            at=found[0][0], until=max(due + late_s for due, late_s in found), who=who, longest_s=_longest(found)
        )


def _longest(late: Iterable[Late]) -> float:
    return round(max((late_s for _, late_s in late), default=0.0), 3)
