"""The tables are whole: every answer that a checker can give is told by a hand-written history that expects it.

An answer is a place in the code, `question.passed(...)`, `.failed(Reason.X, ...)` or `.unknown(Reason.X, ...)`. The
places are read from the source; which of them an expected judgement came from is seen while the tables are judged.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.checkers.histories import gap, passing
from tests.checkers.rows import ROWS, TESTS

import tocsin.checkers
from tocsin.checkers import EXPECTATIONS, judge
from tocsin.checkers.answers import Answer, Checker, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Event
from tocsin.model.verdict import Judgement, Outcome, Reason

pytestmark = pytest.mark.xdist_group("tables")
"""What they tell is worked out once: by whoever asks first."""
SOURCE = Path(tocsin.checkers.__file__).parent
ANSWERS = {"passed": Outcome.PASS, "failed": Outcome.FAIL, "unknown": Outcome.UNKNOWN}


@dataclass(frozen=True)
class Place:
    """Where a checker gives an answer."""

    file: str
    first: int
    last: int
    outcome: Outcome
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.first} {self.outcome.value} {self.reason}"


def places_in(path: Path) -> Iterator[Place]:
    """Every call of an answer in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ANSWERS:
            reason = node.args[0].attr if node.args and isinstance(node.args[0], ast.Attribute) else ""
            last = node.end_lineno or node.lineno
            yield Place(path.name, node.lineno, last, ANSWERS[node.func.attr], reason.lower())


def questions_in(path: Path) -> Iterator[str]:
    """The id of every question of a file, with its literal text only: `must:{}`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Question":
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in _parts(node.args[0]))


def _parts(text: ast.expr) -> list[ast.expr]:
    return text.values if isinstance(text, ast.JoinedStr) else [text]


def kind_of(question: str) -> str:
    """`must:` of `must:api-5xx`; what has two ends (`steady-state:before`) is two questions."""
    head, colon, tail = question.partition(":")
    return question if tail in ENDS else f"{head}{colon}"


ENDS = ("before", "after", "errors", "latency")
FILES = sorted(SOURCE.glob("*.py"))
QUESTIONS = {question for path in FILES for question in questions_in(path)}
PLACES = [place for path in FILES for place in places_in(path)]


def caller() -> tuple[str, int]:
    """File and line of the checker that is answering."""
    frame = sys._getframe()
    while Path(frame.f_code.co_filename).name in ("answers.py", "test_tables.py"):
        assert frame.f_back is not None
        frame = frame.f_back
    return Path(frame.f_code.co_filename).name, frame.f_lineno


@cache
def told() -> dict[tuple[str, int], set[str]]:
    """(file, line) of an answer -> ids of the judgements of the tables that expect it."""
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    seen: list[tuple[Judgement, tuple[str, int]]] = []
    judged = Question._judged

    def remember(self: Question, *arguments: Any) -> Judgement:
        judgement = judged(self, *arguments)
        seen.append((judgement, caller()))
        return judgement

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Question, "_judged", remember)
        for history, checkers, wanted in cases():
            seen.clear()
            judge(history(), checkers)
            for judgement, place in seen:
                if (judgement.id, judgement.outcome, judgement.reason) in wanted:
                    found[place].add(judgement.id)
    return found


def stumbling(timeline: Timeline) -> Iterator[Answer]:
    raise ZeroDivisionError("planted")
    yield


Wanted = set[tuple[str, Outcome, Reason]]


@cache
def cases() -> list[tuple[Callable[[], list[Event]], tuple[Checker, ...], Wanted]]:
    """What makes a history, checkers that are asked, and what the tables expect of them.

    All histories together take 140 MB: none is kept.
    """
    rows: list[tuple[Callable[[], list[Event]], tuple[Checker, ...], Wanted]] = [
        (history, EXPECTATIONS, {(judgement_id, outcome, reason)}) for _, history, judgement_id, outcome, reason in ROWS
    ]
    for healthy in (passing, gap):
        ids = {judgement.id for judgement in judge(healthy()).judgements}
        rows.append((healthy, EXPECTATIONS, {(name, Outcome.PASS, Reason.AS_EXPECTED) for name in ids}))
    rows.append((passing, (stumbling,), {("checker:stumbling", Outcome.UNKNOWN, Reason.CHECKER_CRASHED)}))
    return rows


def test_every_planted_judgement_passes_in_the_healthy_twin() -> None:
    known = {judgement.id for history in (passing(), gap()) for judgement in judge(history).judgements}
    # The healthy twins of an all-clear and of an undone change are rows of their own: no other history asks for one.
    only_when_planted = ("actor:", "guard:", "all-clear:", "undone:", "history")
    assert {row[2] for row in ROWS if not row[2].startswith(only_when_planted)} <= known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_file_a_checker_and_one_of_tests_for_it(path: Path) -> None:
    functions = (node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef))
    checkers = [one.name for one in functions if one.name.startswith("check_")]
    assert len(checkers) <= 1
    if checkers:
        assert Path(__file__).with_name(f"test_{path.name}") in TESTS


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_every_answer_is_expected_by_a_history(place: Place) -> None:
    lines = {line for file, line in told() if file == place.file}
    assert lines & set(range(place.first, place.last + 1)), f"no row of the tables expects {place}"


def test_an_answer_that_no_history_expects_would_be_noticed(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def check(question):\n    yield question.unknown(\n        Reason.NO_DATA, 'x'\n    )\n")
    (place,) = places_in(planted)
    assert (place.first, place.last, place.outcome, place.reason) == (2, 4, Outcome.UNKNOWN, "no_data")
    assert not any(file == place.file for file, _ in told())


def test_every_reason_is_expected_by_a_history() -> None:
    expected = {reason for *_, wanted in cases() for _, _, reason in wanted}
    assert expected == set(Reason)


NEVER = {
    "effect": {Outcome.FAIL},  # a fault that did nothing tells nothing about the system
    "load": {Outcome.FAIL},  # traffic that was not as planned tells nothing about the system
    "drill": {Outcome.FAIL},  # nor does a drill that was cut
    "actor:": {Outcome.FAIL, Outcome.PASS},  # asked only of actors that died
    "guard:": {Outcome.FAIL, Outcome.PASS},  # and only of guards that said no
    "checker:": {Outcome.FAIL, Outcome.PASS},  # and only of checkers that stumbled
    "history": {Outcome.FAIL, Outcome.PASS},  # and only of histories that are not as they were written
}
"""What is never answered to a question, and why."""


def test_every_question_has_a_pass_a_fail_and_an_unknown() -> None:
    answered: dict[str, set[Outcome]] = defaultdict(set)
    for *_, wanted in cases():
        for judgement_id, outcome, _ in wanted:
            answered[kind_of(judgement_id)].add(outcome)
    assert answered.keys() == {kind_of(question) for question in QUESTIONS}
    assert {kind: set(Outcome) - found for kind, found in answered.items() if found < set(Outcome)} == NEVER
