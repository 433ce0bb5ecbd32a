"""The one time axis that everything in a report is drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil

from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration

STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
MINUS = "\u2212"
"""As wide as a plus, so that labels line up."""
MAX_TICKS = 7
"""As many labels as fit side by side on a phone."""


@dataclass(frozen=True)
class Tick:
    """A labelled instant."""

    x: float
    production: str
    wall: str


@dataclass(frozen=True)
class Axis:
    """Wall-clock instants as per cent of the width; labels count production time from `zero`."""

    start: float
    end: float
    zero: float
    scale: float

    @classmethod
    def of(cls, timeline: Timeline) -> Axis:
        """From the first to the last event; zero is the accepted injection, or the start without one."""
        zero = timeline.accepted if timeline.accepted is not None else timeline.start
        end = max(timeline.end, timeline.start + 0.1)
        return cls(start=timeline.start, end=end, zero=zero, scale=timeline.scale)

    def x(self, at: float) -> float:
        """Per cent of the width, kept inside the picture."""
        share = (at - self.start) / (self.end - self.start)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def width(self, start: float, end: float) -> float:
        """Per cent of the width between two instants."""
        return round(self.x(end) - self.x(start), 3)

    def inside(self, at: float) -> bool:
        """Whether an instant can be drawn at all."""
        return self.start <= at <= self.end

    def since_zero(self, at: float) -> str:
        """Signed production time: `+6m12s`."""
        seconds = (at - self.zero) * self.scale
        return "0" if abs(seconds) < 0.05 else f"{'+' if seconds > 0 else MINUS}{format_duration(abs(seconds))}"

    def wall_label(self, at: float) -> str:
        """Wall time: seconds from zero where time is scaled, else the clock (UTC)."""
        if self.scale == 1:
            return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
        seconds = at - self.zero
        return f"{MINUS if seconds < 0 else ''}{abs(seconds):.3g} s"

    def ticks(self) -> Iterator[Tick]:
        """A handful of round production times."""
        length_s = (self.end - self.start) * self.scale
        days = STEPS_S[-1] * ceil(length_s / STEPS_S[-1] / MAX_TICKS)
        step = next((step for step in STEPS_S if length_s / step <= MAX_TICKS), days)
        first = -int((self.zero - self.start) * self.scale // step)
        last = int((self.end - self.zero) * self.scale // step)
        for count in range(first, last + 1):
            at = self.zero + count * step / self.scale
            yield Tick(self.x(at), self.since_zero(at), self.wall_label(at))
