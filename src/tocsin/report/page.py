"""`report.html` and `index.html`: one self-contained file each, readable without JavaScript or a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import (
    Act,
    ContractFailure,
    ContractRan,
    Event,
    GuardChecked,
    HistoryBroken,
    WorkCounted,
)
from tocsin.model.traffic import count_statuses, error_share
from tocsin.model.verdict import Detection, Judgement, RunVerdict, Verdict
from tocsin.report import words
from tocsin.report.axis import Axis
from tocsin.report.lanes import (
    Lane,
    acts_lane,
    alarm_lanes,
    canary_lanes,
    contract_lane,
    fault_lane,
    segments,
)
from tocsin.report.shapes import box, drawing, path
from tocsin.report.traffic import Bin, bins, traffic_lanes
from tocsin.shown import for_html, for_terminal

STAGES = ("effective", "breached", "alarm", "notified")
MAX_FAILURES = 200
"""Contract failures shown; `history.jsonl` holds all of them."""


@dataclass(frozen=True)
class Group:
    """Lanes under one heading."""

    title: str
    lanes: tuple[Lane, ...]


@dataclass(frozen=True)
class Fact:
    """One figure of the first screen."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Band:
    """Where something lies on the axis, in per cent."""

    x: float
    width: float


@dataclass(frozen=True)
class StageBar:
    """One stage of time to detect, as a part of the longest bar."""

    name: str
    text: str
    x: float
    width: float


@dataclass(frozen=True)
class DetectionRow:
    """Time to detect of one alarm: cells of a table and pieces of a bar."""

    alarm: str
    cells: tuple[tuple[str, str], ...]
    bars: tuple[StageBar, ...]
    due: float
    in_time: bool


@dataclass(frozen=True)
class DrillCard:
    """One drill of the overview."""

    verdict: Verdict
    headline: str
    sentence: str
    tone: str
    facts: tuple[Fact, ...]
    picture: Markup | None


def drill_page(events: Iterable[Event] | Timeline, verdict: Verdict) -> str:
    """The report of one drill, as HTML."""
    timeline = Timeline.of(events)
    axis = Axis.of(timeline)
    columns = bins(timeline)
    contracts = timeline.of_kind(ContractRan)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            verdict=verdict,
            started=timeline.started,
            headline=words.headline(verdict),
            sentence=words.count_sentence(verdict),
            troubles=words.troubles(verdict),
            tone=words.tone(verdict),
            facts=_facts(timeline, verdict),
            groups=_groups(timeline, axis, verdict, columns),
            ticks=list(axis.ticks()),
            fault=_fault_band(timeline, axis),
            zero=axis.x(axis.zero) if timeline.accepted is not None else None,
            judgements=words.by_severity(verdict),
            detections=[_detection_row(found) for found in verdict.detections],
            contracts=contracts,
            failures=_failures(contracts),
            guards=timeline.of_kind(GuardChecked),
            counts=timeline.of_kind(WorkCounted),
            environment=_surroundings(timeline, verdict),
            probe=_probe(timeline, axis, columns),
        )
    )


def run_page(run: RunVerdict, histories: Mapping[str, Iterable[Event] | Timeline]) -> str:
    """The overview of a run, as HTML."""
    cards = [_card(drill, histories.get(drill.experiment)) for drill in run.drills]
    tone = "pass" if run.exit_code == 0 else "fail" if run.exit_code in (1, 5) else "unknown"
    return (
        _environment()
        .get_template("index.html.j2")
        .render(
            run=run,
            headline=words.run_headline(run),
            sentence=words.run_sentence(run),
            tone=tone,
            cards=cards,
            started=_clock(run.started_at),
            took=format_duration(run.ended_at - run.started_at),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tocsin.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Before it is escaped; what is markup already was made of such texts.
        finalize=lambda value: for_terminal(value) if type(value) is str else value,
    )
    environment.filters["duration"] = words.or_dash
    environment.filters["measured"] = _measured
    environment.filters["prose"] = _prose
    return environment


def _groups(timeline: Timeline, axis: Axis, verdict: Verdict, columns: Sequence[Bin]) -> list[Group]:
    plan = [acts_lane(timeline, axis), fault_lane(timeline, axis)]
    contract = contract_lane(timeline, axis)
    groups = [
        Group("Plan", tuple(lane for lane in plan if lane is not None)),
        Group("Alarms", tuple(alarm_lanes(timeline, axis, verdict))),
        Group("Traffic", tuple(traffic_lanes(timeline, axis, columns))),
        Group("Canaries", tuple(canary_lanes(timeline, axis))),
        Group("Contract", (contract,) if contract else ()),
    ]
    return [group for group in groups if group.lanes]


def _facts(timeline: Timeline, verdict: Verdict) -> tuple[Fact, ...]:
    if timeline.requested is None:
        return ()
    facts = [
        Fact("Fault in place", _held(timeline), "accepted to verified undo"),
        Fact("First alarm", words.detection_time(verdict), "after the injection"),
        Fact("Rolled back in", words.or_dash(verdict.time_to_roll_back_s), "undo to read back"),
        Fact("Recovered in", words.or_dash(verdict.time_to_recover_s), "undo to all as before"),
    ]
    statuses = count_statuses(timeline.fault_load)
    if statuses.total():
        facts.append(Fact("Failed answers", f"{error_share(statuses):.1%}", "while the fault was in place"))
    return tuple(facts)


def _held(timeline: Timeline) -> str:
    if timeline.accepted is None:
        return words.DASH
    end = timeline.verified if timeline.verified is not None else timeline.end
    return format_duration(timeline.production(end - timeline.accepted))


def _fault_band(timeline: Timeline, axis: Axis) -> Band | None:
    if timeline.accepted is None:
        return None
    end = timeline.verified if timeline.verified is not None else timeline.end
    return Band(axis.x(timeline.accepted), axis.width(timeline.accepted, end))


def _detection_row(found: Detection) -> DetectionRow:
    times = {name: words.since_accepted(found, getattr(found, f"{name}_s")) for name in STAGES}
    longest = 1.04 * max(found.within_s, *(seconds for seconds in times.values() if seconds is not None), 1.0)
    bars: list[StageBar] = []
    start = 0.0
    for name, seconds in times.items():
        if seconds is not None:
            x, width = 100 * start / longest, 100 * max(0.0, seconds - start) / longest
            bars.append(StageBar(name, format_duration(seconds), round(x, 2), round(width, 2)))
            start = max(start, seconds)
    cells = (
        ("request took", words.or_dash(found.accepted_s)),
        *((name, words.or_dash(seconds)) for name, seconds in times.items()),
        ("allowed", format_duration(found.within_s)),
        ("estimate for AWS", words.estimate(found)),
        ("clear after undo", words.or_dash(found.cleared_s)),
    )
    alarm_s = times["alarm"]
    in_time = alarm_s is not None and alarm_s <= found.within_s
    return DetectionRow(found.alarm, cells, tuple(bars), round(100 * found.within_s / longest, 2), in_time)


def _failures(runs: Sequence[ContractRan]) -> list[tuple[Act, ContractFailure]]:
    return [(run.act, failure) for run in runs for failure in run.failures][:MAX_FAILURES]


def _surroundings(timeline: Timeline, verdict: Verdict) -> list[tuple[str, str]]:
    started = timeline.started
    wall = verdict.ended_at - verdict.started_at
    account = " ".join(part for part in (started.account, started.region) if part)
    speed = "1, real time" if started.scale == 1 else f"{started.scale:g} production seconds in each wall second"
    speed += f"; {started.scale_because}" if started.scale_because else ""
    return [
        ("Experiment", verdict.path),
        ("System", f"{started.system.title} ({verdict.system})"),
        ("Target", f"{verdict.target} {account}".strip()),
        ("Time scale", speed),
        ("Began", _clock(verdict.started_at)),
        ("Took", f"{format_duration(wall * verdict.scale)} production time, {format_duration(wall)} wall time"),
        ("Seed", str(started.seed)),
        ("Tocsin", started.version),
        ("History", _history(timeline)),
        ("Commit", started.commit or "not known"),
        ("Drill", verdict.drill),
    ]


def _history(timeline: Timeline) -> str:
    broken = timeline.of_kind(HistoryBroken)
    if broken:
        return broken[0].detail
    if timeline.started.linked:
        return "whole: each line carries the hash of the one before"
    return "by an older version, whose lines carry no hashes: a change would not show"


def _probe(timeline: Timeline, axis: Axis, columns: Sequence[Bin]) -> dict[str, object]:
    """What the pointer reads off the picture: an enhancement, and nothing that is not drawn as well."""
    return {
        "start": axis.start - axis.zero,
        "end": axis.end - axis.zero,
        "scale": axis.scale,
        "acts": [
            [act.value, round(span.start - axis.zero, 2), round(span.end - axis.zero, 2)]
            for act, span in timeline.acts.items()
        ],
        "bins": [
            [
                round(column.at - axis.zero, 2),
                round(column.rate, 1),
                round(100 * sum(column.share(name) for name in ("degraded", "server", "noanswer"))),
                round(column.latency_ms.get("p95", 0)),
            ]
            for column in columns
        ],
    }


def _card(verdict: Verdict, events: Iterable[Event] | Timeline | None) -> DrillCard:
    facts = (
        Fact("First alarm", words.detection_time(verdict)),
        Fact("Rolled back in", words.or_dash(verdict.time_to_roll_back_s)),
        Fact("Recovered in", words.or_dash(verdict.time_to_recover_s)),
    )
    return DrillCard(
        verdict=verdict,
        headline=words.headline(verdict),
        sentence=words.sentence(verdict),
        tone=words.tone(verdict),
        facts=facts,
        picture=None if events is None else _small_picture(events),
    )


def _small_picture(events: Iterable[Event] | Timeline) -> Markup:
    """The fault and the alarms of one drill, each a thin line."""
    timeline = Timeline.of(events)
    axis = Axis.of(timeline)
    alarms = [*timeline.expect.alarms, *(a for a in timeline.system.alarms if a not in timeline.expect.alarms)]
    band = _fault_band(timeline, axis)
    height = 10 * max(1, len(alarms))
    parts = [box("fault-shade", band.x, band.width, 0, height)] if band else []
    for index, alarm in enumerate(alarms):
        y = 10 * index + 5
        for start, end, state in segments(timeline, alarm):
            css = {"ALARM": "small-ringing", "OK": "calm"}.get(state, "nodata")
            parts.append(path(css, f"M{axis.x(start) * 10:g} {y}H{axis.x(end) * 10:g}"))
    return drawing(height, f"Alarms during the drill: {', '.join(alarms)}", parts)


def _measured(judgement: Judgement) -> str:
    return " · ".join(words.figure(name, value) for name, value in judgement.measured.items())


def _prose(text: str) -> Markup:
    """Words between backticks as code; everything else is escaped."""
    pieces = [for_html(piece) for piece in text.split("`")]
    if len(pieces) % 2 == 0:
        return for_html(text)
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(p) if i % 2 else p for i, p in enumerate(pieces))


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
