"""With a planted bug the drill must not pass and must name the cause; without it, it must pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.planted.bench import Bench, Drilled
from tests.planted.setups import SETUPS
from tests.planted.shelves import SHELF, Planted

from tocsin.model.events import FaultChanged
from tocsin.model.verdict import Judgement, Outcome

pytestmark = [pytest.mark.planted, pytest.mark.timeout(900)]

BREAKS_NOTHING = ("guard:actors", "guard:alarms", "guard:machine", "guard:traffic")
"""What is found before the fault, and must keep it from being injected."""


def not_passed(judgements: tuple[Judgement, ...]) -> dict[str, tuple[str, str, str]]:
    return {j.id: (j.outcome.value, j.reason.value, j.message) for j in judgements if j.outcome is not Outcome.PASS}


@pytest.mark.parametrize("bug", SHELF, ids=lambda bug: bug.name)
def test_with_the_bug_it_does_not_pass_and_names_the_cause(
    bench: Bench, bug: Planted, record_property: Callable[[str, object], None]
) -> None:
    @contextmanager
    def laid_out() -> Iterator[None]:
        with bench.set_up(bug.setup):
            bug.plant(bench)
            yield

    def is_named(drilled: Drilled) -> bool:
        _, reason, message = not_passed(drilled.verdict.judgements).get(bug.judgement, ("", "", ""))
        return reason == bug.reason.value and re.search(bug.names, message) is not None

    drilled = bench.run_until_the_machine_kept_up(laid_out, is_named)
    record_property("bug", bug.name)
    record_property("outcome", drilled.verdict.outcome.value)
    record_property("reason", f"{bug.judgement}: {bug.reason.value}")
    found = not_passed(drilled.verdict.judgements)
    assert drilled.verdict.outcome is not Outcome.PASS
    assert bug.judgement in found, found
    _, reason, message = found[bug.judgement]
    assert reason == bug.reason.value, found
    assert re.search(bug.names, message), message
    if bug.judgement in BREAKS_NOTHING:
        assert not any(isinstance(event, FaultChanged) for event in drilled.events)


@pytest.mark.parametrize("setup", SETUPS)
def test_without_a_bug_it_passes(bench: Bench, setup: str, record_property: Callable[[str, object], None]) -> None:
    drilled = bench.run_until_the_machine_kept_up(lambda: bench.set_up(setup))
    record_property("setup", setup)
    record_property("outcome", drilled.verdict.outcome.value)
    assert not_passed(drilled.verdict.judgements) == {}
    assert [finding.message for finding in drilled.verdict.findings if finding.kind == "changed"] == []
    assert drilled.verdict.outcome is Outcome.PASS
