"""How long a running drill holds in its recovery: for as long as callers do not get what they got before the fault."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

import pytest
from tests.checkers.histories import START, Scene, in_buckets, passing, tweak

from tocsin.actors.context import RunContext
from tocsin.checkers.timeline import Timeline
from tocsin.drill.recovery import Recovery
from tocsin.drill.view import LiveView
from tocsin.errors import Refused
from tocsin.model.events import Act, ActorDied, ActStarted, CanaryRan, Event, LoadSecond
from tocsin.model.experiment import ANSWERS_WITHIN_WALL_S, LoadPlan
from tocsin.model.system import Objectives

from .conftest import Stage

SCENE = Scene()
SHOWN = SCENE.system.objectives
"""77 answers without an error are enough, after those of a first minute."""


@dataclass(frozen=True)
class Replayed(RunContext):
    """A drill that stands still at an instant of a history."""

    clock: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.clock[0]


def seen_by(
    stage: Stage, events: Sequence[Event], after_s: float, objectives: Objectives = SHOWN, **known: Any
) -> tuple[Replayed, LiveView]:
    """What a drill has seen some wall seconds after the verified undo."""
    until = SCENE.verified + after_s
    context = stage.context(expect=SCENE.expect, load=LoadPlan())
    fields_of = {one.name: getattr(context, one.name) for one in fields(context)}
    system = context.system.model_copy(update={"objectives": objectives})
    replayed = Replayed(**{**fields_of, "system": system, "clock": [until], **known})
    view = LiveView(replayed)
    for event in events:
        # A second of load is told when it is over.
        if event.at + isinstance(event, LoadSecond) <= until:
            view.see(event)
    return replayed, view


def is_back(stage: Stage, events: Sequence[Event], after_s: float, objectives: Objectives = SHOWN) -> bool:
    """Whether the service counts as back some wall seconds after the verified undo."""
    return seen_by(stage, events, after_s, objectives)[1].service_back()


def after_undo(event: Event) -> bool:
    return isinstance(event, LoadSecond) and event.at > SCENE.verified - 1


def test_a_good_system_is_not_waited_for_longer_than_it_takes_to_see_it(stage: Stage) -> None:
    assert not is_back(stage, passing(), 0.0)
    assert not is_back(stage, passing(), 5.7), "some seventy answers after a first minute show nothing"
    assert is_back(stage, passing(), 6.7), "seven seconds of load and one run of each canary are enough"


def test_too_few_answers_are_waited_for_twice_as_long_as_before_the_fault(stage: Stage) -> None:
    """390 would be enough; some 180 come."""
    longest_s = 600 / SCENE.scale + 2 * ANSWERS_WITHIN_WALL_S  # the longest `clears_within`
    assert not is_back(stage, passing(), longest_s - 1, Objectives())
    assert is_back(stage, passing(), longest_s + 3, Objectives()), "the time for it is over"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"statuses": {"503": 20}}, id="failing"),
        pytest.param({"latency_ms": {"p50": 4100.0, "p95": 4900.0}}, id="slow"),
        pytest.param({"statuses": {"403": 20}}, id="forbidden"),
    ],
)
def test_a_system_that_is_not_as_before_is_waited_for_to_the_deadline(stage: Stage, changes: dict[str, object]) -> None:
    history = tweak(passing(), after_undo, **changes)
    longest_s = 600 / SCENE.scale  # the longest `clears_within`; the recovery's own target is shorter
    assert not is_back(stage, history, longest_s)
    assert is_back(stage, history, longest_s + 3), "the time for it is over"


def test_the_contract_is_asked_beside_the_answers_that_show_it(stage: Stage) -> None:
    """As soon as callers get what they got before; that it is so beyond doubt takes some seconds more."""
    _, early = seen_by(stage, passing(), 0.5)
    assert early.served_since() is None
    _, view = seen_by(stage, passing(), 2.5)
    assert view.served_since() is not None
    assert not view.service_back()


def test_the_contract_is_asked_again_where_callers_stop_being_served(stage: Stage) -> None:
    """Served, then not, then served: the run that began before the last of it says nothing of what came after."""
    relapse = tweak(passing(), lambda e: after_undo(e) and 3 <= e.at - SCENE.verified < 4, statuses={"503": 20})
    runs: list[float] = []
    looks = iter([False, True])
    moments = [0.5, 2.5, 2.6, 4.6, 7.5, 7.6, 9.0]
    context, view = seen_by(stage, relapse, moments[0])
    recovery = Recovery(
        context, view, lambda: next(looks), lambda: runs.append(context.now() - SCENE.verified), lambda: False
    )
    for before, at in pairwise([0.0, *moments]):
        for event in relapse:
            known = event.at + isinstance(event, LoadSecond) - SCENE.verified
            if at > moments[0] and before < known <= at:
                view.see(event)
        context.clock[0] = SCENE.verified + at
        recovery.is_seen()
    assert runs == pytest.approx([2.5, 7.5])
    assert next(looks, None) is None, "the steady state was looked at beside it, and no more once it held"


@pytest.mark.parametrize("is_running", [False, True])
def test_callers_are_looked_at_until_the_contract_is_asked(stage: Stage, is_running: bool) -> None:
    """Its requests are load: callers may stop being served meanwhile, and the judge looks at the last of them."""
    context, view = seen_by(stage, passing(), 8.0)
    recovery = Recovery(context, view, lambda: True, lambda: None, lambda: is_running)
    assert not recovery.is_seen(), "not for one more evaluation by now"
    context.clock[0] += 60.0 / SCENE.scale + 2.0
    assert recovery.is_seen() is not is_running
    context.clock[0] = view.recovery_deadline() + 1
    assert recovery.is_seen(), "the time for it is over"


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.2])
def test_the_running_drill_and_the_judge_take_the_same_looks(stage: Stage, share: float) -> None:
    """Whatever came by then: the drill waits on exactly where the judge of so long a history would still look again."""
    draw, waits = random.Random(share), Counter[bool]()
    for _ in range(8):
        history = [
            in_buckets(event.model_copy(update={"statuses": failing(event, draw, share)}))
            if isinstance(event, LoadSecond) and event.at > SCENE.verified
            else event
            for event in passing()
        ]
        for after_s in (2.1, 4.1, 6.1, 8.1, 9.1):
            until = SCENE.verified + after_s
            served = Timeline.of(one for one in history if one.at + isinstance(one, LoadSecond) <= until).served
            goes_on = served.well is None or served.waits
            assert is_back(stage, history, after_s) is not goes_on, (share, after_s)
            waits[goes_on] += 1
    assert waits[True]
    assert waits[False] or share > 0.02


def failing(second: LoadSecond, draw: random.Random, share: float) -> dict[str, int]:
    """Of the answers of a second so large a share, drawn by chance, failed."""
    wrong = sum(draw.random() < share for _ in range(second.answered))
    return {status: many for status, many in (("200", second.answered - wrong), ("503", wrong)) if many}


def in_baseline(stage: Stage, *events: Event, load: LoadPlan | None = None) -> LiveView:
    """What a drill has seen of its baseline."""
    view = LiveView(stage.context(expect=SCENE.expect, load=load))
    for event in (ActStarted(at=START, act=Act.BASELINE), *events):
        view.see(event)
    return view


def second(at: float, offered: int) -> LoadSecond:
    return LoadSecond(
        at=at, offered=offered, sent=offered, dropped=0, statuses={"200": offered}, latency_ms={}, lag_ms=0.0
    )


DIED = ActorDied(at=START + 1, actor="load", detail="exit code -9")


def test_whoever_died_before_the_fault_refuses_it_at_once(stage: Stage) -> None:
    assert in_baseline(stage).check_actors() == "everybody who loads or watches is alive"
    view = in_baseline(stage, DIED, load=LoadPlan())
    assert view.baseline_seen(), "nothing more comes: it is not waited for"
    with pytest.raises(Refused, match="somebody died before the fault: load: exit code -9") as refusal:
        view.check_actors()
    assert refusal.value.guard == "actors"


@pytest.mark.parametrize(
    ("ran", "after_s", "seen"),
    [
        pytest.param(("order", "pay"), 3.9, False, id="as long as planned"),
        pytest.param(("order", "pay"), 4.1, True, id="each ran"),
        pytest.param(("order",), 4.1, False, id="one did not run yet"),
        pytest.param(("order",), 23.9, False, id="for as long as one may take"),
        pytest.param(("order",), 24.1, True, id="it will not run any more"),
    ],
)
def test_the_baseline_waits_for_a_run_of_each_canary(
    stage: Stage, ran: tuple[str, ...], after_s: float, seen: bool
) -> None:
    """Four minutes at scale 60; a run that ends after the injection tells nothing of the time before it."""
    context = stage.context(expect=SCENE.expect)
    known = {one.name: getattr(context, one.name) for one in fields(context)}
    view = LiveView(Replayed(**known, clock=[START + after_s]), canaries=("order", "pay"))
    view.see(ActStarted(at=START, act=Act.BASELINE))
    for name in ran:
        view.see(CanaryRan(at=START + 1, canary=name, ok=True, ok_after_retry=True, ms=900.0))
    assert view.baseline_seen() is seen


@pytest.mark.parametrize(
    ("arrivals", "after_s", "seen"),
    [
        pytest.param(20, 5.1, False, id="102 are too few"),
        pytest.param(20, 7.1, False, id="140 show it only where none fails"),
        pytest.param(20, 8.1, True, id="160 are enough"),
        pytest.param(40, 4.1, True, id="160 sooner"),
        pytest.param(40, 3.9, False, id="never less than stated"),
        pytest.param(1, 29.9, False, id="for half a minute"),
        pytest.param(1, 30.1, True, id="no more are coming"),
    ],
)
def test_the_baseline_waits_for_the_answers_that_show_that_all_is_well(
    stage: Stage, arrivals: int, after_s: float, seen: bool
) -> None:
    """Four minutes at scale 60, and three in a hundred may fail: 157 of which one does show that."""
    objectives = Objectives(max_error_share=0.03)
    context, _ = seen_by(stage, (), 0, objectives)
    assert context.system.load is not None
    began = [ActStarted(at=SCENE.verified, act=Act.BASELINE)]
    seconds = [second(SCENE.verified + n, arrivals) for n in range(31)]
    _, view = seen_by(stage, [*began, *seconds], after_s, objectives)
    assert view.baseline_seen() is seen


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        ((), "found no second of it"),
        (tuple(second(START + n, 0) for n in range(7)), "found no arrival in 7 s"),
    ],
    ids=["none", "empty"],
)
def test_load_that_did_not_come_refuses_the_fault(stage: Stage, seconds: tuple[LoadSecond, ...], found: str) -> None:
    with pytest.raises(Refused, match=found) as refusal:
        in_baseline(stage, *seconds, load=LoadPlan(users=1, arrivals_per_s=1)).check_traffic()
    assert refusal.value.guard == "traffic"


@pytest.mark.parametrize(
    ("seconds", "plan"),
    [
        ((), None),
        ((second(START, 1),), LoadPlan(users=1, arrivals_per_s=1)),
        # By chance: of six planned arrivals none comes once in four hundred times.
        (tuple(second(START + n, 0) for n in range(6)), LoadPlan(users=1, arrivals_per_s=1)),
    ],
    ids=["none planned", "one came", "chance"],
)
def test_load_that_came_or_may_still_come_refuses_nothing(
    stage: Stage, seconds: tuple[LoadSecond, ...], plan: LoadPlan | None
) -> None:
    in_baseline(stage, *seconds, load=plan).check_traffic()
