"""Laws that hold for every history: verdicts merge like Jepsen's, and less evidence never makes a pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.checkers.histories import (
    EXPECT,
    TOPIC,
    Scene,
    add,
    datapoints,
    drop,
    failing,
    forecast,
    gap,
    passing,
    path,
    told_by_news,
    tweak,
    without,
)
from tests.checkers.rows import ROWS

from tocsin.checkers import EXPECTATIONS, judge
from tocsin.checkers.answers import Checker
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import (
    ActEnded,
    ActivityRan,
    ActorDied,
    ActStarted,
    AlarmActed,
    AlarmChanged,
    AlarmDatapoints,
    AlarmForecast,
    AlarmNotEvaluated,
    AlarmNotified,
    AlarmPath,
    AlarmRedefined,
    AlarmsAwaited,
    AlarmSeen,
    AlarmsPolled,
    ApiCalls,
    CanaryRan,
    ChangeLooked,
    ContractRan,
    DrillEnded,
    DrillStarted,
    Event,
    FaultChanged,
    FaultFelt,
    FaultStage,
    GuardChecked,
    HistoryBroken,
    HypothesisChecked,
    LoadSecond,
    MachineLagged,
    MachineWatched,
    MessagesTapped,
    NotificationIgnored,
    ResidueChecked,
    SettingsCompared,
    Stopped,
    TapsOpened,
    WorkCounted,
)
from tocsin.model.verdict import Outcome, merge

pytestmark = pytest.mark.xdist_group("laws")
"""Histories are built once: by whoever asks first."""
OUTCOMES = st.sampled_from(list(Outcome))
MANY = st.lists(OUTCOMES, max_size=8)
CAUSES = {AlarmActed, AlarmDatapoints, AlarmForecast, AlarmPath, NotificationIgnored}
"""What only tells why: a verdict rests on nothing in it."""
KINDS = sorted(({type(event) for event in passing()} | CAUSES) - {DrillStarted}, key=lambda kind: kind.__name__)

NOT_PASSING: dict[str, Callable[[], list[Event]]] = {
    "failing": failing,
    "silent alarm": lambda: Scene(rings={"api-latency": (312.0, 301.0)}).history(),
    "silent alarm, with its causes": lambda: add(
        Scene(rings={"api-latency": (312.0, 301.0)}).history(),
        forecast("api-5xx"),
        path("api-5xx", TOPIC),
        datapoints("api-5xx", 1, 3),
    ),
    "nobody told, with the cause": lambda: add(
        without(passing(), AlarmNotified), path("api-5xx", TOPIC, actions_enabled=False)
    ),
    "infeasible": lambda: add(Scene().refused(), forecast("api-5xx", feasible=False)),
    "loud quiet alarm": lambda: Scene(rings={**Scene().rings, "label-dlq": (200.0, 100.0)}).history(),
    "seeing blind alarm": lambda: Scene(rings={**Scene().rings, "api-5xx-legacy": (200.0, 100.0)}).history(),
    "canary blind": lambda: Scene(failing_canaries=()).history(),
    "too degraded": lambda: Scene(expect=EXPECT.model_copy(update={"degraded": None})).history(),
    "no effect": lambda: tweak(
        passing(),
        lambda e: isinstance(e, FaultChanged) and e.stage == FaultStage.EFFECTIVE,
        stage=FaultStage.NO_EFFECT,
    ),
    "undo failed": lambda: tweak(
        passing(),
        lambda e: isinstance(e, FaultChanged) and e.stage == FaultStage.VERIFIED,
        stage=FaultStage.UNDO_FAILED,
    ),
    "work lost": lambda: tweak(passing(), lambda e: isinstance(e, WorkCounted), lost_count=1, lost=("a",)),
    "steady state lost": lambda: tweak(passing(), lambda e: isinstance(e, HypothesisChecked), met=False),
    "interrupted": lambda: Scene().interrupted(),
    "refused": lambda: Scene().refused(),
    "refuted gap": lambda: tweak(gap(), lambda e: isinstance(e, AlarmSeen) and e.alarm == "api-5xx", state="ALARM"),
}


@given(MANY, MANY)
def test_merging_parts_is_merging_the_whole(one: list[Outcome], other: list[Outcome]) -> None:
    if one and other:
        assert merge([merge(one), merge(other)]) == merge([*one, *other])


@given(MANY, st.randoms())
def test_order_does_not_matter_to_a_merge(outcomes: list[Outcome], random: st.DataObject) -> None:
    shuffled = list(outcomes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merge(shuffled) == merge(outcomes)


@given(MANY)
def test_a_pass_is_only_what_is_all_pass(outcomes: list[Outcome]) -> None:
    assert (merge(outcomes) == Outcome.PASS) == (bool(outcomes) and set(outcomes) == {Outcome.PASS})
    assert (merge(outcomes) == Outcome.FAIL) == (Outcome.FAIL in outcomes)


@given(MANY)
def test_saying_it_twice_changes_no_merge(outcomes: list[Outcome]) -> None:
    assert merge([*outcomes, *outcomes]) == merge(outcomes)
    if outcomes:
        assert merge([merge(outcomes)]) == merge(outcomes)


@given(st.lists(OUTCOMES, min_size=1), st.lists(OUTCOMES, min_size=1), st.lists(OUTCOMES, min_size=1))
def test_how_a_merge_is_grouped_does_not_matter(a: list[Outcome], b: list[Outcome], c: list[Outcome]) -> None:
    assert merge([merge([*a, *b]), merge(c)]) == merge([merge(a), merge([*b, *c])])


def test_fail_goes_before_unknown_and_unknown_before_pass() -> None:
    assert merge([Outcome.PASS, Outcome.UNKNOWN, Outcome.FAIL]) == Outcome.FAIL
    assert merge([Outcome.PASS, Outcome.UNKNOWN]) == Outcome.UNKNOWN
    assert merge([]) == Outcome.UNKNOWN


@cache
def not_passing(name: str) -> list[Event]:
    return NOT_PASSING[name]()


def speaks_against(event: Event) -> bool:
    """An observation that is bad news by itself: without it the drill may rightly look better."""
    match event:
        case AlarmChanged() | AlarmRedefined() | AlarmSeen():
            return True
        case AlarmsPolled():
            # An alarm may tell by INSUFFICIENT_DATA, too.
            return not set(event.states.values()) <= {"OK"} or bool(event.not_evaluated)
        case CanaryRan():
            return not event.ok
        case ContractRan():
            return bool(event.failures)
        case LoadSecond():
            return "500" in event.statuses or "503" in event.statuses or "error" in event.statuses
        case HypothesisChecked():
            return not event.met
        case WorkCounted():
            return bool(event.lost_count)
        case GuardChecked():
            return not event.ok
        case ActorDied() | MachineLagged() | FaultFelt(calls=0):
            return True
    return False


@pytest.mark.parametrize("name", NOT_PASSING)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(removed=st.sets(st.sampled_from(KINDS), max_size=6))
def test_forgetting_a_kind_of_evidence_never_makes_a_pass(name: str, removed: set[type[Event]]) -> None:
    # Alarm polls and transitions vouch for each other: what one forgets the other still tells.
    assert judge(without(not_passing(name), *removed)).outcome != Outcome.PASS


@pytest.mark.parametrize("name", NOT_PASSING)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_forgetting_single_observations_never_makes_a_pass(name: str, data: st.DataObject) -> None:
    history = not_passing(name)
    losable = [i for i, e in enumerate(history) if not isinstance(e, DrillStarted) and not speaks_against(e)]
    gone = data.draw(st.sets(st.sampled_from(losable), max_size=40))
    left = [event for index, event in enumerate(history) if index not in gone]
    assert judge(left).outcome != Outcome.PASS


@settings(max_examples=60, deadline=None)
@given(removed=st.sets(st.sampled_from(KINDS), min_size=1))
def test_every_kind_of_evidence_is_needed_for_a_pass(removed: set[type[Event]]) -> None:
    needless = {"GuardChecked", *(kind.__name__ for kind in CAUSES)}
    verdict = judge(without(passing(), *removed))
    if {kind.__name__ for kind in removed} <= needless:
        assert verdict.outcome == Outcome.PASS
    else:
        assert verdict.outcome != Outcome.PASS, sorted(kind.__name__ for kind in removed)


@settings(max_examples=40, deadline=None)
@given(at=st.floats(min_value=0, max_value=1))
def test_a_history_cut_anywhere_is_no_pass(at: float) -> None:
    history = passing()
    end = history[0].at + at * (history[-1].at - history[0].at)
    cut = drop(history, lambda event: event.at > end)
    if len(cut) < len(history):
        assert judge(cut).outcome != Outcome.PASS


ACTORS: dict[str, tuple[type[Event], ...]] = {
    "alarm watcher": (
        *(AlarmSeen, AlarmChanged, AlarmRedefined, AlarmNotified, AlarmsPolled),
        *(AlarmPath, AlarmDatapoints, AlarmActed, NotificationIgnored),
    ),
    "canaries": (CanaryRan,),
    "contract": (ContractRan,),
    "taps": (TapsOpened, MessagesTapped),
    "injector": (FaultChanged, FaultFelt, ActivityRan, ChangeLooked),
    "steady state": (HypothesisChecked,),
    "load": (LoadSecond,),
    "machine": (MachineLagged, MachineWatched),
    "counting": (WorkCounted,),
    "ledger": (ResidueChecked,),
    "acts": (ActStarted, ActEnded, DrillEnded),
}
"""Who writes what into a history."""
NOBODY: set[type[Event]] = {
    *(ActorDied, AlarmForecast, AlarmNotEvaluated, AlarmsAwaited, ApiCalls, GuardChecked, HistoryBroken),
    *(SettingsCompared, Stopped),
}
"""What is no evidence for anything: bad news by itself, or asked for a forecast, a permission, a guard."""

PLANTED = [row for row in ROWS if row[3] != Outcome.PASS]


@cache
def planted(index: int) -> list[Event]:
    return PLANTED[index][1]()


@cache
def givers(judgement_id: str) -> tuple[Checker, ...]:
    """Who gives this judgement; nobody where it is always given. What others say of a history changes nothing in it."""
    timeline = Timeline.of(next(planted(index) for index, row in enumerate(PLANTED) if row[2] == judgement_id))
    given = {one: {judgement.id for judgement in judge(timeline, one).judgements} for one in ((), *zip(EXPECTATIONS))}
    return tuple(one for one in EXPECTATIONS if judgement_id in given[(one,)] - given[()])


def outcome_of(index: int, history: list[Event]) -> Outcome | None:
    """Of the judgement of a row, in another history."""
    judgement_id = PLANTED[index][2]
    return next((j.outcome for j in judge(history, givers(judgement_id)).judgements if j.id == judgement_id), None)


@pytest.mark.parametrize("index", range(0, len(PLANTED), 12), ids=lambda index: PLANTED[index][0])
def test_a_judgement_is_what_it_is_whoever_else_is_asked(index: int) -> None:
    judgement_id, history = PLANTED[index][2], planted(index)
    everybody = next((j.outcome for j in judge(history).judgements if j.id == judgement_id), None)
    assert outcome_of(index, history) == everybody == PLANTED[index][3]


@pytest.mark.parametrize("actor", ACTORS)
def test_no_judgement_passes_because_an_actor_saw_nothing(actor: str) -> None:
    """Every bug of the tables, with everything gone that one actor wrote, good news and bad."""
    for index, (bug, *_) in enumerate(PLANTED):
        history = planted(index)
        left = without(history, *ACTORS[actor])
        if len(left) < len(history):
            assert outcome_of(index, left) != Outcome.PASS, bug


def test_every_event_belongs_to_an_actor() -> None:
    known = {kind for kinds in ACTORS.values() for kind in kinds}
    assert set(get_args(get_args(Event)[0])) == known | {DrillStarted} | NOBODY


def test_a_watcher_that_writes_only_news_is_judged_as_one_that_writes_all() -> None:
    for bug, history, *_ in ROWS:
        events = history()
        assert judge(told_by_news(events, at_once=3)) == judge(events), bug


ROW = st.integers(min_value=0, max_value=len(PLANTED) - 1)


@settings(max_examples=150, deadline=None)
@given(index=ROW, data=st.data())
def test_no_judgement_passes_because_something_was_forgotten(index: int, data: st.DataObject) -> None:
    """Any bug of the tables, without any kinds of events and any single ones that do not speak against the system.

    That a drill was stopped, one line says and no other: what is without it has a law of its own.
    """
    history = planted(index)
    kinds = data.draw(st.sets(st.sampled_from(KINDS), max_size=3))
    places = data.draw(st.sets(st.integers(min_value=1, max_value=len(history) - 1), max_size=12))
    left = [
        event
        for place, event in enumerate(history)
        if place == 0
        or speaks_against(event)
        or isinstance(event, Stopped)
        or (place not in places and type(event) not in kinds)
    ]
    assert outcome_of(index, left) != Outcome.PASS


@pytest.mark.parametrize("after_s", [30.0, 200.0, 600.0])
def test_no_drill_passes_because_its_stop_was_forgotten(after_s: float) -> None:
    assert judge(without(Scene().interrupted(after_s), Stopped)).outcome != Outcome.PASS


@settings(max_examples=150, deadline=None)
@given(index=ROW, data=st.data())
def test_no_judgement_passes_because_news_of_alarms_was_lost(index: int, data: st.DataObject) -> None:
    """Lines that tell only news stand for what was told before: without that they are no evidence."""
    history = told_by_news(planted(index), at_once=2)
    polls = [place for place, event in enumerate(history) if isinstance(event, AlarmsPolled)]
    lost = data.draw(st.sets(st.sampled_from(polls), max_size=6)) if polls else set()
    left = [event for place, event in enumerate(history) if place not in lost or speaks_against(event)]
    assert outcome_of(index, left) != Outcome.PASS


@settings(max_examples=150, deadline=None)
@given(index=ROW, share=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_no_verdict_passes_because_its_end_is_lost(index: int, share: float) -> None:
    history = planted(index)
    assert judge(history[: 1 + int(share * (len(history) - 1))]).outcome != Outcome.PASS


def test_notifications_are_evidence_too() -> None:
    assert judge(without(passing(), AlarmNotified)).outcome == Outcome.FAIL
