"""A drill is admitted only while the machine has room: as its own timers and the pressure on its processors say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tocsin.commands.parallel.room import EASY_PRESSURE, MOST_LAG_S, MOST_LOAD, MOST_PRESSURE, Room


class Hand:
    """A clock that goes when it is told to, and a machine whose pressure is told to the room."""

    def __init__(self, file: Path) -> None:
        self.now = 100.0
        self.file = file
        self._waited = 0.0

    def passes(self, room: Room, wall_s: float, pressure: float | None, lag_s: float = 0.0) -> None:
        for _ in range(round(wall_s / 0.5)):
            self.now += 0.5
            if pressure is not None:
                self._waited += pressure * 0.5
                self.file.write_text(f"some avg10=0.00 avg60=0.00 avg300=0.00 total={self._waited * 1e6:.0f}\n")
            room.note(lag_s)


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return Hand(tmp_path / "cpu")


def room_of(hand: Hand, load: Callable[[], float] = lambda: 0.0) -> Room:
    return Room(hand.file, lambda: hand.now, load)


def test_an_idle_machine_has_room(hand: Hand) -> None:
    room = room_of(hand)
    hand.passes(room, 4, pressure=0.1)
    assert room.why_not() is None


def test_right_after_a_drill_began_nobody_knows(hand: Hand) -> None:
    room = room_of(hand)
    hand.passes(room, 4, pressure=0.1)
    room.taken()
    hand.passes(room, 2, pressure=0.1)
    assert room.why_not() == "a drill has just begun"
    hand.passes(room, 2, pressure=0.1)
    assert room.why_not() is None


@pytest.mark.parametrize(
    ("pressure", "full"), [(MOST_PRESSURE - 0.05, False), (MOST_PRESSURE + 0.05, True), (1.0, True)]
)
def test_a_machine_under_pressure_has_none(hand: Hand, pressure: float, full: bool) -> None:
    room = room_of(hand)
    hand.passes(room, 4, pressure)
    assert (room.why_not() is not None) is full
    assert not full or f"waited for a processor {pressure:.0%} of the time" in str(room.why_not())


@pytest.mark.parametrize(("lag_s", "full"), [(MOST_LAG_S - 0.01, False), (MOST_LAG_S + 0.01, True)])
def test_a_machine_whose_timers_are_late_has_none(hand: Hand, lag_s: float, full: bool) -> None:
    room = room_of(hand)
    hand.passes(room, 4, pressure=0.0)
    hand.passes(room, 0.5, pressure=0.0, lag_s=lag_s)
    assert (room.why_not() is not None) is full


def test_what_was_long_ago_says_nothing(hand: Hand) -> None:
    room = room_of(hand)
    hand.passes(room, 4, pressure=1.0, lag_s=1.0)
    hand.passes(room, 4, pressure=0.0)
    assert room.why_not() is None


@pytest.mark.parametrize(("each", "full"), [(MOST_LOAD - 0.1, False), (MOST_LOAD + 0.1, True)])
def test_where_nobody_tells_of_pressure_the_load_says_it(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, each: float, full: bool
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    room = room_of(hand, lambda: 2 * each)
    hand.passes(room, 4, pressure=None)
    assert (room.why_not() is not None) is full


def test_it_measures_by_itself(hand: Hand) -> None:
    with Room() as room:
        room.note(1.0)
        assert room.why_not() is not None


@pytest.mark.parametrize(("pressure", "full"), [(EASY_PRESSURE - 0.05, False), (EASY_PRESSURE + 0.05, True)])
def test_one_more_than_there_are_processors_has_to_be_easy(hand: Hand, pressure: float, full: bool) -> None:
    room = room_of(hand)
    hand.passes(room, 4, pressure=0.0)
    assert room.why_not(easily=True) == "a drill has just begun"
    hand.passes(room, 7, pressure)
    assert (room.why_not(easily=True) is not None) is full
    assert room.why_not() is None
