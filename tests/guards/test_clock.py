"""A clock that jumps ends the drill; one that is only read late does not."""

from __future__ import annotations

import pytest

from tocsin.errors import Refused
from tocsin.guards.clock import LONGEST_STANDSTILL_S, Standstill, SteadyClock


class Clocks:
    """A wall clock that can be set, and the time that really passes."""

    def __init__(self) -> None:
        self.passed_s = 100.0
        self.set_by_s = 0.0
        self.interruptions = 0

    def wall(self) -> float:
        if self.interruptions:
            self.interruptions -= 1
            self.passed_s += 3.0
        return 1_700_000_000.0 + self.passed_s + self.set_by_s

    def passed(self) -> float:
        return self.passed_s


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.mark.parametrize(("by_s", "said"), [(3600.0, "ahead by 1h"), (-3600.0, "back by 1h"), (-2.0, "back by 2s")])
def test_a_jump_is_refused(clocks: Clocks, by_s: float, said: str) -> None:
    clock = SteadyClock(clocks.wall, clocks.passed)
    clocks.passed_s += 10.0
    clocks.set_by_s = by_s
    with pytest.raises(Refused, match=said):
        clock.check()


def test_time_that_passes_and_a_small_correction_are_no_jump(clocks: Clocks) -> None:
    clock = SteadyClock(clocks.wall, clocks.passed)
    clocks.passed_s += 86_400.0
    clocks.set_by_s = 0.2
    assert "0.5 s" in clock.check()


def test_a_machine_that_was_busy_between_two_readings_is_no_jump(clocks: Clocks) -> None:
    clock = SteadyClock(clocks.wall, clocks.passed)
    clocks.interruptions = 2
    clock.check()


def test_a_process_that_stood_still_is_refused_once(clocks: Clocks) -> None:
    looks = Standstill(clocks.passed)
    clocks.passed_s += 20.0
    with pytest.raises(Refused, match="stood still for 20s") as no:
        looks.check()
    assert no.value.guard == "clock"
    looks.check()


def test_a_process_that_was_busy_for_some_seconds_did_not_stand_still(clocks: Clocks) -> None:
    looks = Standstill(clocks.passed)
    for _ in range(10):
        clocks.passed_s += LONGEST_STANDSTILL_S - 1
        looks.check()
