"""The table of the shelf, made from the JUnit report of a run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.planted.setups import SETUPS
from tests.planted.shelves import SHELF, Planted

DOCUMENT = Path(__file__).parents[2] / "docs" / "PLANTED_BUGS.md"
BEGIN, END = "<!-- make planted: begin -->", "<!-- make planted: end -->"
_HEADER = "| bug | set-up | with the bug | | without the bug | |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Result:
    """What a test of the shelf told."""

    passed: bool
    properties: dict[str, str]


def read_results(junit: Path) -> list[Result]:
    """Results of all tests that told something."""
    cases = ElementTree.parse(junit).getroot().iter("testcase")
    results = [
        Result(
            passed=case.find("failure") is None and case.find("error") is None,
            properties={p.attrib["name"]: p.attrib["value"] for p in case.iter("property")},
        )
        for case in cases
    ]
    return [result for result in results if result.properties]


def table(results: Iterable[Result]) -> str:
    """One row a bug, in the order of the shelf; a set-up is drilled once without a bug, whoever shares it."""
    told = list(results)
    bugs = {r.properties["bug"]: r for r in told if "bug" in r.properties}
    healthy = {r.properties["setup"]: r for r in told if "setup" in r.properties}
    return "\n".join([_HEADER, *(_row(bug, bugs.get(bug.name), healthy.get(bug.setup)) for bug in SHELF)])


def _row(bug: Planted, with_bug: Result | None, without: Result | None) -> str:
    if with_bug is None:
        seen = "not run | missed"
    else:
        seen = f"{with_bug.properties['outcome']}, `{with_bug.properties['reason']}` | "
        seen += "detected" if with_bug.passed else "**missed**"
    if without is None:
        healthy = "not run | "
    else:
        healthy = f"{without.properties['outcome']} | {'healthy' if without.passed else '**false alarm**'}"
    return f"| {bug.name} | {bug.setup} | {seen} | {healthy} |"


def summary(results: Iterable[Result]) -> str:
    """The figures under the table."""
    told = list(results)
    detected = sum(r.passed for r in told if "bug" in r.properties)
    healthy = sum(r.passed for r in told if "setup" in r.properties)
    quiet = sum(r.passed for r in told if "null" in r.properties)
    shared = Counter(bug.setup for bug in SHELF)
    return (
        f"{detected} of {len(SHELF)} bugs detected; {healthy} of {len(SETUPS)} healthy set-ups passed, drilled once "
        f"each and shared by up to {max(shared.values())} bugs; twenty null drills in a row: "
        f"{'quiet' if quiet else 'not quiet'}."
    )


def rows_of(document: str) -> list[tuple[str, str]]:
    """(bug, set-up) of each row that a document holds."""
    between = document[document.index(BEGIN) : document.index(END)]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", between, re.MULTILINE)
    return [(bug, setup) for bug, setup in rows if bug != "bug"]


def write(text: str) -> None:
    """Put the table into the document, in place of the one before."""
    document = DOCUMENT.read_text(encoding="utf-8")
    before, after = document[: document.index(BEGIN)], document[document.index(END) :]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{after}", encoding="utf-8")
