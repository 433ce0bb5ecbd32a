"""Load as pictures: latency, answers a second by class, share of errors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from tocsin.checkers.timeline import Timeline
from tocsin.model.events import LoadSecond
from tocsin.model.traffic import count_statuses, error_share, has_histograms, latencies_of, latency_of
from tocsin.report.axis import Axis
from tocsin.report.lanes import Lane
from tocsin.report.shapes import drawing, number, path
from tocsin.report.words import DASH

MAX_BINS = 400
"""Columns at most: more than a screen can show makes a file large and no clearer."""
LATENCY_HEIGHT = 112
RATE_HEIGHT = 92
SHARE_HEIGHT = 56
CLASSES = (
    ("served", "2xx, 3xx"),
    ("client", "4xx"),
    ("degraded", "documented 5xx"),
    ("server", "other 5xx"),
    ("noanswer", "no answer"),
)
ERRORS = ("degraded", "server", "noanswer")


@dataclass(frozen=True)
class Bin:
    """A stretch of load of one or more seconds."""

    at: float
    seconds: int
    offered: float
    rates: dict[str, float]
    latency_ms: dict[str, float]
    p95_ms: tuple[float, float] | None = None
    """of its fastest and of its slowest second, where it has several"""
    shares: tuple[float, float] | None = None
    """of failed answers, in its best and in its worst second, where it has several"""

    @property
    def end(self) -> float:
        """Where it ends."""
        return self.at + self.seconds

    @property
    def rate(self) -> float:
        """Answers a second."""
        return sum(self.rates.values())

    def share(self, name: str) -> float:
        """Share of a class of all answers."""
        return self.rates.get(name, 0.0) / self.rate if self.rate else 0.0


def bins(timeline: Timeline) -> list[Bin]:
    """Seconds of load, several of them together when there are more than a picture can show."""
    seconds = timeline.load
    if not seconds:
        return []
    length = max(1, math.ceil((seconds[-1].at + 1 - seconds[0].at) / MAX_BINS))
    documented = _documented(timeline)
    first = seconds[0].at
    return [
        _bin(first + index * length, length, list(group), documented)
        for index, group in groupby(seconds, key=lambda second: int((second.at - first) // length))
    ]


def traffic_lanes(timeline: Timeline, axis: Axis, columns: Sequence[Bin]) -> Iterator[Lane]:
    """Three pictures on the common axis; none without load."""
    if not columns:
        return
    yield _latency_lane(timeline, axis, columns)
    yield _rate_lane(timeline, axis, columns)
    yield _share_lane(timeline, axis, columns)


def _documented(timeline: Timeline) -> frozenset[str]:
    degraded = timeline.expect.degraded
    return frozenset(str(status) for status in degraded.status) if degraded else frozenset()


def _bin(at: float, length: int, seconds: list[LoadSecond], documented: frozenset[str]) -> Bin:
    counts: Counter[str] = Counter()
    for status, count in count_statuses(seconds).items():
        counts[_class(status, documented)] += count
    return Bin(
        at=at,
        seconds=length,
        offered=sum(second.offered for second in seconds) / length,
        rates={name: count / length for name, count in counts.items()},
        latency_ms=_quantiles(seconds),
        p95_ms=_extremes(second.latency_ms["p95"] for second in seconds if "p95" in second.latency_ms),
        shares=_extremes(second.failed / second.answered for second in seconds if second.answered),
    )


def _extremes(values: Iterable[float]) -> tuple[float, float] | None:
    """The lowest and the highest of several values: a second that was unlike the others is not lost in a column."""
    found = list(values)
    return (min(found), max(found)) if len(found) > 1 else None


def _quantiles(seconds: Sequence[LoadSecond]) -> dict[str, float]:
    """Those of a second as they were recorded; of several together, or the highest where those are unknown."""
    measured = [second.latency_ms for second in seconds if second.statuses and second.latency_ms]
    highest = {
        name: max(values)
        for name in ("p50", "p95", "p99")
        if (values := [known[name] for known in measured if name in known])
    }
    joined = len(measured) > 1 and has_histograms(seconds)
    return latencies_of(seconds, highest) if joined else highest


def _class(status: str, documented: frozenset[str]) -> str:
    if status == "error":
        return "noanswer"
    if status in documented:
        return "degraded"
    return {"4": "client", "5": "server"}.get(status[:1], "served")


def _latency_lane(timeline: Timeline, axis: Axis, columns: Sequence[Bin]) -> Lane:
    known = ((*column.latency_ms.values(), *(column.p95_ms or ())) for column in columns)
    measured = [value for values in known for value in values if value > 0]
    low = 10 ** math.floor(math.log10(min(measured, default=10)))
    high = 10 ** math.ceil(math.log10(max(max(measured, default=100), low * 10) * 1.001))
    span = math.log10(high / low)

    def y(value: float) -> float:
        share = math.log10(max(value, low) / low) / span
        return LATENCY_HEIGHT - 4 - share * (LATENCY_HEIGHT - 10)

    parts, marks = [], []
    step = low
    while step <= high:
        parts.append(path("grid", f"M0 {number(y(step))}H1000"))
        marks.append(_level(y(step), _ms(step)))
        step *= 10
    limit = timeline.system.objectives.p95_ms
    if low <= limit <= high:
        parts.append(path("objective", f"M0 {number(y(limit))}H1000", f"objective: p95 at most {limit:g} ms"))
    parts += _reach(axis, columns, y, lambda column: column.p95_ms)
    parts += [path(name, _line(axis, columns, name, y)) for name in ("p50", "p99", "p95")]
    figures = _by_act(timeline, lambda seconds: _latency_figure(seconds)) + _rule(columns)
    if not has_histograms(timeline.load):
        figures += " (means of each second's)"
    label = f"Latency from the intended start, logarithmic; p95 {figures}"
    legend = (("p50", "p50"), ("p95", "p95"), ("p99", "p99"), ("objective", "objective"))
    return Lane(
        "Latency",
        drawing(LATENCY_HEIGHT, label, parts) + Markup("").join(marks),
        note=f"p95 {figures}",
        css="chart",
        legend=legend,
    )


def _rate_lane(timeline: Timeline, axis: Axis, columns: Sequence[Bin]) -> Lane:
    top = _nice(max(max(column.offered, column.rate) for column in columns))

    def y(value: float) -> float:
        return RATE_HEIGHT - value / top * (RATE_HEIGHT - 8)

    parts = [path("grid", f"M0 {number(y(level))}H1000") for level in (top / 2, top)]
    parts += _stack(axis, columns, [name for name, _ in CLASSES], y, lambda column, name: column.rates.get(name, 0))
    parts.append(path("offered", _steps(axis, columns, lambda column: y(column.offered))))
    present = {name for column in columns for name, rate in column.rates.items() if rate}
    legend = tuple((name, words) for name, words in CLASSES if name in present)
    offered = sum(column.offered for column in columns) / len(columns)
    achieved = sum(column.rate for column in columns) / len(columns)
    note = f"{offered:.1f}/s offered, {achieved:.1f}/s answered"
    marks = [_level(y(level), f"{level:g}/s") for level in (top / 2, top)]
    return Lane(
        "Answers by class",
        drawing(RATE_HEIGHT, f"Answers a second by class: {note}", parts) + Markup("").join(marks),
        note=note,
        css="chart",
        legend=(("offered", "offered"), *legend),
    )


def _share_lane(timeline: Timeline, axis: Axis, columns: Sequence[Bin]) -> Lane:
    def y(value: float) -> float:
        return SHARE_HEIGHT - value * (SHARE_HEIGHT - 8)

    parts = [path("grid", f"M0 {number(y(level))}H1000") for level in (0.5, 1.0)]
    parts += _stack(axis, columns, ERRORS, y, lambda column, name: column.share(name))
    parts += _reach(axis, columns, y, lambda column: column.shares)
    figures = _by_act(timeline, lambda seconds: f"{error_share(count_statuses(seconds)):.1%}") + _rule(columns)
    marks = [_level(y(level), f"{level:.0%}") for level in (0.5, 1.0)]
    return Lane(
        "Error share",
        drawing(SHARE_HEIGHT, f"Share of answers that failed: {figures}", parts) + Markup("").join(marks),
        note=figures,
        css="chart",
    )


def _reach(
    axis: Axis,
    columns: Sequence[Bin],
    y: Callable[[float], float],
    extremes: Callable[[Bin], tuple[float, float] | None],
) -> Iterator[Markup]:
    """A thin line in each column of several seconds, from its best one to its worst."""
    commands = ""
    for column in columns:
        found = extremes(column)
        if found is not None:
            x = number(axis.x(column.at + column.seconds / 2) * 10)
            commands += f"M{x} {number(y(found[0]))}V{number(y(found[1]))}"
    if commands:
        yield path("reach", commands)


def _rule(columns: Sequence[Bin]) -> str:
    """How seconds were put together, where they were."""
    length = columns[0].seconds
    return f"; a column is {length} s, a thin line reaches from its best to its worst second" if length > 1 else ""


def _line(axis: Axis, columns: Sequence[Bin], quantile: str, y: Callable[[float], float]) -> str:
    """A broken line: pieces end where seconds are missing."""
    commands = ""
    before: Bin | None = None
    for column in columns:
        if quantile not in column.latency_ms:
            before = None
            continue
        joined = before is not None and column.at - before.end < 1.5 * column.seconds
        x = axis.x(column.at + column.seconds / 2) * 10
        commands += f"{'L' if joined else 'M'}{number(x)} {number(y(column.latency_ms[quantile]))}"
        before = column
    return commands


def _steps(axis: Axis, columns: Sequence[Bin], y: Callable[[Bin], float]) -> str:
    commands = ""
    before: Bin | None = None
    for column in columns:
        joined = before is not None and column.at - before.end < 0.5
        level = number(y(column))
        start, end = number(axis.x(column.at) * 10), number(axis.x(column.end) * 10)
        commands += f"{f'V{level}' if joined else f'M{start} {level}'}H{end}"
        before = column
    return commands


def _stack(
    axis: Axis,
    columns: Sequence[Bin],
    names: Sequence[str],
    y: Callable[[float], float],
    value: Callable[[Bin, str], float],
) -> Iterator[Markup]:
    floors = [0.0] * len(columns)
    for name in names:
        commands = ""
        for index, column in enumerate(columns):
            height = value(column, name)
            if height <= 0:
                continue
            bottom, top = y(floors[index]), y(floors[index] + height)
            start, end = axis.x(column.at) * 10, axis.x(column.end) * 10
            gap = min(1.2, (end - start) * 0.12)
            commands += f"M{number(start)} {number(bottom)}V{number(top)}H{number(end - gap)}V{number(bottom)}Z"
            floors[index] += height
        if commands:
            yield path(f"area {name}", commands)


def _level(y: float, text: str) -> Markup:
    return Markup('<span class="level" style="top:{:g}px">{}</span>').format(round(y, 1), text)


def _by_act(timeline: Timeline, figure: Callable[[Sequence[LoadSecond]], str]) -> str:
    acts = (
        ("before", timeline.baseline_load),
        ("during", timeline.fault_load),
        ("after", timeline.recovery_load),
    )
    return ", ".join(f"{figure(seconds)} {name}" for name, seconds in acts if seconds)


def _latency_figure(seconds: Sequence[LoadSecond]) -> str:
    value = latency_of(seconds, "p95")
    return DASH if value is None else _ms(value)


def _ms(value: float) -> str:
    return f"{value / 1000:.3g} s" if value >= 1000 else f"{value:.3g} ms"


def _nice(value: float) -> float:
    """The next round number."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * factor for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if unit * factor >= value)
