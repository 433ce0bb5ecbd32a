"""Many alarms are asked for in parts."""

from __future__ import annotations

import pytest

from tocsin.actors.alarm_parts import Parts

MANY = [f"alarm-{number:04d}" for number in range(1000)]


def parts(alarms: list[str], matter: list[str], polls: int = 4) -> Parts:
    return Parts(alarms, matter, at_once=100, polls=polls)


def test_few_alarms_are_one_call_in_every_poll() -> None:
    few = parts(["a", "b", "c"], ["b"])
    assert few.names == [("b", "a", "c")]
    assert few.next() == few.next() == [0]


def test_no_alarm_needs_no_call() -> None:
    assert parts([], []).next() == []


def test_what_matters_is_in_every_poll_and_the_others_have_their_turn() -> None:
    many = parts(MANY, ["alarm-0999"])
    assert many.names[0][0] == "alarm-0999"
    rounds = [many.next() for _ in range(6)]
    assert rounds == [[0, 1, 2, 3], [0, 4, 5, 6], [0, 7, 8, 9], [0, 1, 2, 3], [0, 4, 5, 6], [0, 7, 8, 9]]


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250, 1000])
@pytest.mark.parametrize("polls", [0, 1, 3, 4, 60])
def test_every_alarm_is_asked_for_within_the_polls_allowed(count: int, polls: int) -> None:
    some = parts(MANY[:count], MANY[:1], polls)
    asked = {name for _ in range(max(1, polls)) for number in some.next() for name in some.names[number]}
    assert asked == set(MANY[:count])
    assert all(len(names) <= 100 for names in some.names)


def test_where_all_matter_all_are_in_every_poll() -> None:
    assert parts(MANY, MANY).next() == list(range(10)) == parts(MANY, []).all()
