"""The table of evidence in docs/VERDICTS.md: what each judgement needs before it passes, and the bug that shows it.

What is needed is found by taking it away. Of the histories of healthy drills that the tests of the checkers are made
from, every line of one kind is forgotten, kind by kind; whatever then no longer passes needs lines of that kind. So the
table says what the checkers do, not what somebody remembers of them.

`python -m tests.planted.evidence` writes the table anew, and so does `make planted`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from tests.checkers.histories import drop, gap, passing
from tests.checkers.test_changes import WHOLE, changing
from tests.planted.shelves import SHELF

from tocsin.checkers import judge
from tocsin.model.events import DrillStarted, Event, FaultChanged
from tocsin.model.verdict import Outcome

DOCUMENT = Path(__file__).parents[2] / "docs" / "VERDICTS.md"
BEGIN, END = "<!-- evidence: begin -->", "<!-- evidence: end -->"
_HEADER = "| judgement | does not pass without, in the history | bugs that it does not pass with |\n|---|---|---|"
_ENDS = ("before", "after", "errors", "latency", "baseline", "fault", "recovery")
_SEEN_BY: Mapping[str, str] = {"steady-state:before": "guard:steady-state"}
"""A guard asks the same before anything is broken, and refuses the drill: its bugs are this judgement's, too."""


def kind_of(judgement: str) -> str:
    """`must:<name>` of `must:api-5xx`; where the end is part of the question, the whole."""
    head, colon, tail = judgement.partition(":")
    return judgement if not colon or tail in _ENDS else f"{head}:<name>"


def line_of(event: Event) -> str:
    """What kind of line an event is in a history; the stages of a fault are told apart."""
    return f"{event.kind} {event.stage.value}" if isinstance(event, FaultChanged) else event.kind


@cache
def needed() -> dict[str, set[str]]:
    """Kind of judgement -> kinds of lines without which it does not pass."""
    found: dict[str, set[str]] = defaultdict(set)
    for history in (passing(), gap(), changing(*WHOLE)):
        whole = _passed(history)
        for line in {line_of(event) for event in history if not isinstance(event, DrillStarted)}:
            left = _passed(drop(history, lambda event, line=line: line_of(event) == line))
            for judgement in whole:
                found[kind_of(judgement)] |= {line} - ({line} if judgement in left else set())
    return found


def _passed(history: Iterable[Event]) -> set[str]:
    return {judgement.id for judgement in judge(history).judgements if judgement.outcome is Outcome.PASS}


def bugs_of(kind: str) -> list[str]:
    """Names of the bugs on the shelf that this kind of judgement names."""
    return [bug.name for bug in SHELF if kind_of(bug.judgement) == kind or bug.judgement == _SEEN_BY.get(kind)]


def table() -> str:
    """One row a kind of judgement."""
    rows = sorted(needed().items())
    return "\n".join([_HEADER, *(_row(kind, lines) for kind, lines in rows)])


def _row(kind: str, lines: Iterable[str]) -> str:
    return f"| `{kind}` | {', '.join(f'`{line}`' for line in sorted(lines))} | {'; '.join(bugs_of(kind))} |"


def told() -> str:
    """The table that the document holds."""
    document = DOCUMENT.read_text(encoding="utf-8")
    return document[document.index(BEGIN) + len(BEGIN) : document.index(END)].strip()


def main() -> None:
    """Write the table into the document, in place of the one before."""
    document = DOCUMENT.read_text(encoding="utf-8")
    before, after = document[: document.index(BEGIN)], document[document.index(END) :]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table()}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
