"""What is kept small says the same as all events together: held against the plain way to ask them."""

from __future__ import annotations

import gc
import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.checkers.histories import Scene, passing, write_history

from tocsin.checkers import judge
from tocsin.checkers.gathering import CanaryRun
from tocsin.checkers.machine import REACH_WALL_S, Machine, Starved
from tocsin.checkers.polls import SETTLING_WALL_S, alarm_events
from tocsin.checkers.timeline import Timeline
from tocsin.errors import InvalidInput
from tocsin.model.events import (
    AlarmChanged,
    AlarmSeen,
    AlarmsPolled,
    CanaryRan,
    DrillStarted,
    Event,
    LoadSecond,
    MachineLagged,
)
from tocsin.model.system import AlarmState
from tocsin.project.histories import stream_history

NAMES = ("a", "b", "c")
STATES: tuple[AlarmState, ...] = ("OK", "ALARM", "INSUFFICIENT_DATA")
BEGAN = Scene().started()

times = st.integers(0, 40).map(lambda quarter: BEGAN.at + quarter / 4)
states = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(STATES), max_size=3)
why = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(("no data", "throttled")), max_size=1)
polls = st.builds(
    AlarmsPolled,
    at=times,
    polls=st.just(1),
    states=states,
    part=st.sampled_from((None, 0, 0, 0, 1)),
    same=st.sampled_from(({}, {}, {"OK": 1}, {"ALARM": 1}, {"OK": 2}, {"OK": 1, "ALARM": 1})),
    missing=st.lists(st.sampled_from(NAMES), max_size=1).map(tuple),
    not_evaluated=why,
)
seen = st.builds(
    AlarmSeen,
    at=times,
    alarm=st.sampled_from(NAMES),
    state=st.sampled_from(STATES),
    not_evaluated=st.sampled_from(("", "", "partial")),
)
changed = st.builds(
    AlarmChanged, at=times, alarm=st.sampled_from(NAMES), before=st.just("OK"), after=st.sampled_from(STATES)
)
histories = st.lists(st.one_of(polls, polls, seen, changed), max_size=25)


@settings(max_examples=150, deadline=None)
@given(histories, times, times)
def test_states_of_alarms_are_those_that_all_events_tell(events: list[Event], one: float, other: float) -> None:
    timeline, ordered = Timeline.of([BEGAN, *events]), sorted(events, key=lambda event: event.at)
    start, end = min(one, other), max(one, other)
    for alarm in NAMES:
        told, looks = list(statements(ordered, alarm)), list(looked(ordered, alarm))
        assert list(zip(timeline.said(alarm).times, states_of(timeline, alarm), strict=True)) == told
        assert timeline.state_at(alarm, one) == next((state for at, state in reversed(told) if at <= one), None)
        assert timeline.in_alarm(alarm, start, end) == first(told, "ALARM", start, end)
        first_state = timeline.state_at(alarm, start)
        within = {state for at, state in told if start < at <= end} | ({first_state} if first_state else set())
        assert timeline.states_within(alarm, start, end) == within
        others = [at for at, state in told if state != "OK" and at <= end]
        assert timeline.said(alarm).first_other("OK", end) == min(others, default=None)
        changes = [now for before, now in zip([(0, None), *told], told, strict=False) if before[1] != now[1]]
        assert list(timeline.said(alarm).changes()) == changes
        marks = [start, *(at for at in looks if start <= at <= end), end]
        longest = max(later - earlier for earlier, later in pairwise(marks))
        assert timeline.watch_gap(alarm, start, end) == longest * timeline.scale
        assert timeline.alarms.was_seen(alarm, end) == any(at <= end for at in looks)
        assert timeline.not_evaluated(alarm, start, end) == next(unevaluated(ordered, alarm, start, end), None)


def states_of(timeline: Timeline, alarm: str) -> Iterator[AlarmState | None]:
    """State by state, as the columns hold them."""
    return (STATES[code] for code in timeline.said(alarm).codes)


def statements(ordered: list[Event], alarm: str) -> Iterator[tuple[float, AlarmState]]:
    """Every statement about an alarm, event by event; a poll right after a transition may be older than that."""
    changed_at = float("-inf")
    for event in alarm_events(ordered):
        if isinstance(event, AlarmsPolled):
            if alarm in event.states and event.at - changed_at > SETTLING_WALL_S:
                yield event.at, event.states[alarm]
        elif event.alarm == alarm and isinstance(event, AlarmSeen):
            yield event.at, event.state
        elif event.alarm == alarm and isinstance(event, AlarmChanged):
            changed_at = event.at
            yield event.at, event.after


def looked(ordered: list[Event], alarm: str) -> Iterator[float]:
    for event in alarm_events(ordered):
        if isinstance(event, AlarmsPolled):
            if alarm in event.states:
                yield event.at
        elif isinstance(event, AlarmSeen) and event.alarm == alarm:
            yield event.at


def unevaluated(ordered: list[Event], alarm: str, start: float, end: float) -> Iterator[str]:
    for event in ordered:
        if not start <= event.at <= end:
            continue
        if isinstance(event, AlarmSeen) and event.alarm == alarm and event.not_evaluated:
            yield event.not_evaluated
        elif isinstance(event, AlarmsPolled) and alarm in event.not_evaluated:
            yield event.not_evaluated[alarm]


def first(told: list[tuple[float, AlarmState]], state: AlarmState, after: float, until: float) -> float | None:
    return next((at for at, found in told if found == state and after < at <= until), None)


@pytest.mark.parametrize(
    "scene",
    [Scene(), Scene(rings={}), Scene(failing_canaries=()), Scene(scale=240.0), Scene(drift=("Threshold",))],
    ids=["passes", "silent", "canaries blind", "faster", "drifted"],
)
def test_a_history_read_line_by_line_and_out_of_order_is_judged_the_same(scene: Scene, tmp_path: Path) -> None:
    events = scene.history()
    whole = judge(events)
    places = {event.at: random.Random(event.at).random() for event in events}  # of one time the first stays first
    shuffled = sorted(events, key=lambda event: places[event.at])
    write_history(tmp_path / "history.jsonl", shuffled)
    again = judge(Timeline.of(stream_history(tmp_path / "history.jsonl")))
    assert again.model_dump_json() == whole.model_dump_json()


def test_lines_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    write_history(tmp_path / "history.jsonl", passing()[:3])
    with (tmp_path / "history.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    lines = stream_history(tmp_path / "history.jsonl")
    assert isinstance(next(lines), DrillStarted)
    with pytest.raises(InvalidInput, match="expected an event of a drill"):
        list(lines)


def test_seconds_of_load_are_kept_whole() -> None:
    seconds = [event for event in passing() if isinstance(event, LoadSecond)]
    kept = Timeline.of(passing()).load
    assert list(kept) == seconds
    assert [one.model_dump_json() for one in kept] == [one.model_dump_json() for one in seconds]
    same = Counter(id(one.statuses) for one in kept)
    assert len(same) == len({tuple(one.statuses.items()) for one in seconds})


def test_runs_of_canaries_are_kept_in_the_order_of_their_time() -> None:
    events = passing()
    runs = [event for event in events if isinstance(event, CanaryRan)]
    kept = Timeline.of(reversed(events)).canary_runs
    fields = CanaryRun._fields
    assert sorted(kept) == sorted(CanaryRun(*(getattr(run, field) for field in fields)) for run in runs)
    assert [run.at for run in kept] == sorted(run.at for run in runs)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40), st.integers(3, 50)), max_size=6))
def test_what_a_lagging_machine_touched_is_found_as_by_looking_at_each_lag(lags: list[tuple[int, int, int]]) -> None:
    events = passing()
    start = events[0].at
    lagged = [
        MachineLagged(at=start + at / 10, until=start + (at + length) / 10, longest_s=lag / 10, who="harness")
        for at, length, lag in lags
    ]
    machine = Machine(Timeline.of([*events, *lagged]))
    kept = machine.kept_up
    assert list(kept.load) == [
        one for one in machine.timeline.load if not touched(machine.late, one.at, one.at + 1 + REACH_WALL_S)
    ]
    accepted, effective = machine.timeline.accepted, machine.timeline.effective
    assert accepted is not None
    assert effective is not None
    assert list(kept.canary_runs) == [
        run
        for run in machine.timeline.canary_runs
        if not touched(machine.late, run.at, run.at + run.ms / 1000) and not accepted < run.at < effective
    ]


def touched(late: tuple[Starved, ...], start: float, end: float) -> bool:
    return any(one.overlaps(start - one.lag_s, end) for one in late)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_as_before_however_reading_ends(enabled: bool) -> None:
    def broken() -> Iterator[Event]:
        yield BEGAN
        assert not gc.isenabled()
        raise InvalidInput("expected an event of a drill")

    was = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        Timeline.of(passing())
        assert gc.isenabled() is enabled
        with pytest.raises(InvalidInput):
            Timeline.of(broken())
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
