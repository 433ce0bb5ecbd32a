"""The table for people: as Markdown, and in a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tocsin.coverage.table import Coverage, Role, Row, Seen, State
from tocsin.model.duration import format_duration
from tocsin.shown import for_markdown, for_markdown_code

_HEADINGS = {"alarm": "Alarms", "procedure": "Procedures", "check": "Checks", "figure": "Figures"}
_ROLES: dict[Role, str] = {
    "rings": "rings in",
    "silent": "silent in",
    "blind": "blind in",
    "covers": "",
    "canary": "canary",
    "judged": "every drill:",
}
_STYLE = {
    State.PROVEN: "green",
    State.RANG: "yellow",
    State.CHANGED: "yellow",
    State.NOT_DRILLED: "dim",
    State.UNKNOWN: "yellow",
    State.FAILED: "bold red",
    State.UNTESTED: "yellow",
    State.WRONG: "magenta",
    State.OPEN: "bold red",
}
_COUNTED = {
    State.FAILED: "failed",
    State.RANG: "rang only",
    State.CHANGED: "changed since they were proven",
    State.UNKNOWN: "unknown",
    State.UNTESTED: "untested with a reason",
    State.WRONG: "wrong in the runbook",
    State.OPEN: "neither covered nor explained",
}
WIDTH = 140
"""Columns where there is no terminal that knows better."""


def summary(coverage: Coverage) -> str:
    """One line: how many are proven, how many are not, and why."""
    counts = coverage.counts
    waiting = counts[State.NOT_DRILLED]
    if coverage.drilled:
        parts = [f"{counts[State.PROVEN]} of {counts.total()} promises proven"]
        parts += [f"{waiting} not yet drilled"] if waiting else []
    else:
        parts = [f"{waiting} of {counts.total()} promises have a drill or a canary"]
    parts += [f"{counts[state]} {words}" for state, words in _COUNTED.items() if counts[state]]
    return ", ".join(parts)


def as_json(coverages: Sequence[Coverage]) -> str:
    """The whole table for programs: `systems`, a list."""
    return json.dumps({"systems": [coverage.model_dump(mode="json") for coverage in coverages]}, indent=2)


def markdown(coverages: Sequence[Coverage]) -> str:
    """A document with a section a system."""
    return "\n".join(line for line in _document(coverages))


def _document(coverages: Sequence[Coverage]) -> Iterator[str]:
    yield "# Coverage"
    yield ""
    yield "Which promise of each runbook is proven by which drill, and which by none, as `tocsin coverage` tells it."
    if not any(coverage.drilled for coverage in coverages):
        yield "What is covered has a drill or a canary; whether it was proven, the command tells where drills have run."
    for coverage in coverages:
        yield from ("", f"## {_line(coverage.title)}", "")
        yield f"{_line(coverage.runbook or coverage.system)}: {summary(coverage)}."
        for kind, heading in _HEADINGS.items():
            rows = [row for row in coverage.rows if row.kind == kind]
            if rows:
                yield from ("", f"### {heading}", "", *_table(rows, drilled=coverage.drilled))
        if coverage.gaps:
            yield from ("", "### Nobody is told", "")
            yield from (
                f"- {for_markdown_code(gap.experiment)}: {_line(gap.says)}{_gap_seen(gap.seen)}"
                for gap in coverage.gaps
            )


def _table(rows: Sequence[Row], *, drilled: bool) -> Iterator[str]:
    heads = ("state", "promise", "runbook", "shown by", *(("last drill",) if drilled else ()))
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        cells = [
            _state(row, drilled=drilled),
            f"{_line(row.title)} ({for_markdown_code(row.id)})",
            _line(row.runbook or "not in it"),
            _how(row),
        ]
        cells += [_last(row)] if drilled else []
        yield f"| {' | '.join(cells)} |"


def _state(row: Row, *, drilled: bool) -> str:
    return row.state.value if drilled or row.state is not State.NOT_DRILLED else "covered"


def _how(row: Row) -> str:
    told = (_line(row.why or ""), _witnesses(row, code="`"), _line(row.note or ""))
    return "<br>".join(part for part in told if part)


def _witnesses(row: Row, code: str = "") -> str:
    by_role: dict[Role, list[str]] = {role: [] for role in _ROLES}
    for witness in row.witnesses:
        by_role[witness.role].append(f"{code}{witness.name}{code}")
    return "; ".join(f"{_ROLES[role]} {', '.join(names)}".strip() for role, names in by_role.items() if names)


def _last(row: Row) -> str:
    if row.last is not None:
        return _told(row.last)
    return State.NOT_DRILLED.value if row.witnesses else ""


def _told(seen: Seen) -> str:
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seen.at))
    rang = "" if seen.rang_s is None else f", rang after {format_duration(round(seen.rang_s))}"
    why = "" if seen.reason is None else f", {seen.reason.value.replace('_', ' ')}"
    more = [*seen.not_shown, *(["the drill failed otherwise"] if seen.drill_failed else [])]
    more += [] if seen.changed == () else [_changed(seen.changed)]
    return "; ".join([f"{seen.outcome.value}{why}: {seen.experiment} on {seen.target}, {at}{rang}", *more])


def _changed(changed: tuple[str, ...] | None) -> str:
    if changed is None:
        return "by an older version, which did not record of what"
    return f"changed since: {', '.join(changed)}"


def _gap_seen(seen: Seen | None) -> str:
    return "" if seen is None else f" ({_told(seen)})"


def _line(text: str) -> str:
    return for_markdown(text)


def show(coverage: Coverage, console: Console) -> None:
    """Print one system as a table, with its summary as the last line."""
    console.print(Text(f"{coverage.title}: {coverage.runbook or coverage.system}", style="bold"))
    widest = max((len(row.id) for row in coverage.rows), default=0)
    for kind, heading in _HEADINGS.items():
        rows = [row for row in coverage.rows if row.kind == kind]
        if rows:
            console.print()
            console.print(_grid(heading, rows, widest, drilled=coverage.drilled))
    if coverage.gaps:
        console.print()
        console.print(Text("Nobody is told", style="bold"))
    for gap in coverage.gaps:
        console.print(Text(f"{gap.experiment}: {gap.says}{_gap_seen(gap.seen)}"))
    console.print()
    console.print(Text(summary(coverage), style="bold"))


def _grid(heading: str, rows: Sequence[Row], widest: int, *, drilled: bool) -> Table:
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", expand=True)
    grid.add_column("", width=max(len(state.value) for state in State))
    grid.add_column(heading, width=widest, overflow="fold")
    grid.add_column("shown by", ratio=3, overflow="fold")
    if drilled:
        grid.add_column("last drill", ratio=2, overflow="fold")
    for row in rows:
        how = "; ".join(part for part in (row.why, _witnesses(row)) if part)
        state = Text(_state(row, drilled=drilled), style=_STYLE[row.state])
        cells = [state, Text(row.id), Text(" ".join(how.split()))]
        cells += [Text(_last(row), style="dim")] if drilled else []
        grid.add_row(*cells)
    return grid
