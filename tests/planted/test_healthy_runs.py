"""Healthy runs stay quiet: twenty drills in a row of a fault that breaks nothing, without one false alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from tests.planted.bench import Bench, Drilled
from tests.planted.placebo import ALARMS, experiment, registered
from tests.planted.setups import Document, Setup

from tocsin.model.events import Act, ActorDied, ActStarted, AlarmChanged, AlarmNotified, CanaryRan
from tocsin.model.verdict import Outcome

pytestmark = [pytest.mark.planted, pytest.mark.timeout(1200)]

IN_A_ROW = 20
WITH_EVERYTHING = (1, 20)
"""The first and the last also with load and contract; the others with canaries, alarms and the count of work."""

ALWAYS = {
    *("drill", "effect", "undo", "residue", "method", "rollbacks", "recovery", "conserved:orders"),
    *(f"quiet:{alarm}" for alarm in ALARMS),
    *("steady-state:before", "steady-state:after", "canaries:before", "canaries:after"),
}
WITH_TRAFFIC = {
    *("load", "baseline:errors", "baseline:latency", "answers"),
    *("contract:baseline", "contract:fault", "contract:recovery"),
}


@pytest.mark.takes(110)
def test_twenty_null_faults_in_a_row_ring_nothing_and_pass(
    bench: Bench, record_property: Callable[[str, object], None]
) -> None:
    for number in range(1, IN_A_ROW + 1):
        everything = number in WITH_EVERYTHING
        setup = Setup(partial(experiment, load=everything), contract=everything)
        with registered():
            drilled = bench.run_until_the_machine_kept_up(partial(bench.lay_out, "null fault", setup))
        judgements = drilled.verdict.judgements
        assert {j.id: j.message for j in judgements if j.outcome is not Outcome.PASS} == {}, number
        assert {j.id for j in judgements} == ALWAYS | (WITH_TRAFFIC if everything else set()), number
        assert drilled.verdict.outcome is Outcome.PASS
        assert drilled.verdict.findings == (), number
        assert false_alarms(drilled) == [], number
    record_property("null", IN_A_ROW)


def test_a_canary_that_takes_longer_than_the_baseline_is_waited_for(bench: Bench) -> None:
    """Three minutes are less than a second on the shelf's clock, and its run takes longer."""
    desk = 'api.get("/healthz", expect=200)'

    def patient() -> Document:
        document = experiment(load=False)
        # Ten seconds: the run that is under way at the undo tells nothing, and the next one takes as long.
        document["extensions"][0]["expect"]["recovery"]["within"] = "40m"
        return document

    @contextmanager
    def laid_out() -> Iterator[None]:
        with bench.lay_out("null fault", Setup(patient)):
            bench.edit("synthetics/bell.py", desk, f"__import__('time').sleep(1.5), {desk}")
            yield

    with registered():
        drilled = bench.run_until_the_machine_kept_up(laid_out)
    assert {j.id: j.message for j in drilled.verdict.judgements if j.outcome is not Outcome.PASS} == {}
    began = {event.act: event.at for event in drilled.events if isinstance(event, ActStarted)}
    (first, *_) = (event for event in drilled.events if isinstance(event, CanaryRan))
    assert first.at + first.ms / 1000 < began[Act.FAULT]


def false_alarms(drilled: Drilled) -> list[str]:
    """Everything that anybody would have been woken for."""
    return [
        event.model_dump_json()
        for event in drilled.events
        if isinstance(event, AlarmChanged | AlarmNotified | ActorDied)
        or (isinstance(event, CanaryRan) and not event.ok)
    ]
