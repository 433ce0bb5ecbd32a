"""A second try tells of the first."""

from __future__ import annotations

import pytest
from tests.checkers.histories import Scene, passing, tweak

from tocsin.checkers import judge
from tocsin.model.events import DrillStarted, Event, FirstTry
from tocsin.model.verdict import Verdict

FIRST = FirstTry(drill="x-1", because="the bell rings within 5m: nobody looked", directory="first-try")


def second(history: list[Event]) -> Verdict:
    return judge(tweak(history, lambda event: isinstance(event, DrillStarted), first_try=FIRST))


@pytest.mark.parametrize("history", [passing(), Scene().refused()], ids=["a drill", "one that was refused"])
def test_a_second_try_tells_of_the_first_and_is_judged_alone(history: list[Event]) -> None:
    verdict = second(history)
    (told,) = (finding for finding in verdict.findings if finding.kind == "tried_again")
    assert "did not keep up with the first, x-1, whose report is first-try/report.html. the bell rings" in told.message
    assert verdict.judgements == judge(history).judgements


def test_an_only_try_tells_nothing() -> None:
    assert not any(finding.kind == "tried_again" for finding in judge(passing()).findings)
