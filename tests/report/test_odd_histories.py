"""Whatever numbers a history holds, it is judged and shown: nothing hangs, and nothing is divided by nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.checkers.histories import failing, gap, passing, refused, tweak

from tocsin.checkers import judge
from tocsin.commands.run import summarise
from tocsin.model.events import EVENT, Event, LoadSecond
from tocsin.model.verdict import Verdict
from tocsin.report.junit import junit_xml
from tocsin.report.page import drill_page, run_page
from tocsin.report.summary import summary_md

LAST = 253_402_300_799.0
"""The end of the year 9999."""
ODD_TIMES = (0.0, 1e-9, 1.0, 1_795_972_204.0, 1_795_972_204.0000002, LAST - 0.5, LAST)
ODD_NUMBERS = (*ODD_TIMES, -0.0, -1.0, 0.5, 1e-308, 1e12, -1e12, 1e300, float("nan"), float("inf"))
HISTORIES = {"passed": passing(), "failed": failing(), "a gap": gap(), "refused": refused()}
Path = tuple[int | str, ...]


def is_shown(history: list[Event]) -> Verdict:
    """Judge it and make every report; no judge stumbles over it."""
    verdict = judge(history)
    assert [one for one in verdict.judgements if one.id.startswith("checker:")] == []
    run = summarise([verdict], verdict.started_at, verdict.ended_at)
    for text in (drill_page(history, verdict), run_page(run, {verdict.experiment: history}), junit_xml(run)):
        assert "nan" not in text.lower().split()
    assert summary_md(run)
    return Verdict.model_validate_json(verdict.model_dump_json())


def numbers_in(value: Any, at: Path = ()) -> Iterator[Path]:
    """Where a document holds numbers."""
    if isinstance(value, dict | list):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers_in(inside, (*at, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield at


def with_number(event: Event, where: int, number: float) -> Event:
    """The event with another number in one of its places; as it was where no drill could have written that."""
    document = EVENT.dump_python(event, mode="json", by_alias=True)
    places = list(numbers_in(document))
    *inside, last = places[where % len(places)]
    part: Any = document
    for key in inside:
        part = part[key]
    part[last] = int(number) if isinstance(part[last], int) and abs(number) < 1e13 else number
    try:
        return EVENT.validate_python(document)
    except ValidationError:
        return event


changes = st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 60), st.sampled_from(ODD_NUMBERS)), max_size=30)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(HISTORIES)), changes)
def test_any_history_is_judged_and_shown(name: str, changes: list[tuple[int, int, float]]) -> None:
    history = list(HISTORIES[name])
    for index, where, number in changes:
        index %= len(history)
        history[index] = with_number(history[index], where, number)
    is_shown(history)


@pytest.mark.parametrize("at", ODD_TIMES)
def test_a_history_in_which_no_time_passes_is_judged_and_shown(at: float) -> None:
    verdict = is_shown(tweak(passing(), lambda event: True, at=at))
    assert verdict.started_at == verdict.ended_at == at


@pytest.mark.parametrize("count", [10**6, 10**12])
def test_any_number_of_answers_is_counted_in_time(count: int) -> None:
    is_shown(tweak(passing(), lambda event: isinstance(event, LoadSecond), statuses={"200": count, "503": count // 9}))
