"""The harness notices that it, or the emulator beside it, was kept from working; and says so when neither was."""

from __future__ import annotations

import ctypes
import time
from dataclasses import replace

import pytest
from tests.actors.conftest import Shop, Stage, wait_for

from tocsin.actors import machine
from tocsin.actors.context import RunContext
from tocsin.actors.machine import Emulator, MachineActor, stretches
from tocsin.errors import Refused
from tocsin.model.events import Event, MachineLagged, MachineWatched

FROZEN_S = 1


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a test takes on a busy machine: there is one summary, and the emulator answers in time."""
    monkeypatch.setattr(machine, "_SUMMARY_WALL_S", 3600.0)
    monkeypatch.setattr(machine, "_ANSWER_WITHIN_S", 60.0)


def freeze() -> None:
    """Nothing of this process runs for a second: the call keeps the interpreter's lock."""
    ctypes.PyDLL(None).sleep(FROZEN_S)


def beside(stage: Stage) -> RunContext:
    """On an emulator, which is the shop."""
    ctx = stage.context()
    return replace(ctx, target=replace(ctx.target, endpoint_url=stage.shop.url))


def summary(events: list[Event]) -> MachineWatched:
    """The only one, at the end."""
    (found,) = (event for event in events if isinstance(event, MachineWatched))
    return found


def test_a_process_that_was_stopped_is_noticed(stage: Stage) -> None:
    actor = MachineActor(stage.context())
    actor.start()
    wait_for("the first timer", lambda: actor.ticks > 0)
    freeze()
    actor.stop()
    late = [event for event in stage.events() if isinstance(event, MachineLagged)]
    longest = max(late, key=lambda event: event.longest_s)
    assert longest.who == "harness"
    assert longest.longest_s >= FROZEN_S * 0.8
    assert longest.until - longest.at >= FROZEN_S * 0.8
    told = summary(stage.events())
    assert told.longest_s == longest.longest_s
    assert told.since < longest.at < longest.until <= told.at


def test_without_an_emulator_nothing_is_said_of_its_timers(stage: Stage) -> None:
    actor = MachineActor(stage.context())
    actor.start()
    wait_for("the first timer", lambda: actor.ticks > 0)
    actor.stop()
    told = summary(stage.events())
    assert told.ticks > 0
    assert told.target_longest_s is None


def told_by(shop: Shop, *late: tuple[float, float]) -> None:
    shop.broken = lambda method, path: (200, {"late": late}) if path == "/_tocsin/lag" else None


def test_what_an_emulator_tells_of_its_own_timers_is_recorded(stage: Stage) -> None:
    told_by(stage.shop, (1000.0, 1.5), (1000.5, 0.1), (1002.0, 0.5))
    actor = MachineActor(beside(stage))
    actor.start()
    actor.stop()
    (late,) = (event for event in stage.events() if isinstance(event, MachineLagged) and event.who == "target")
    assert (late.at, late.until, late.longest_s) == (1000.0, 1002.5, 1.5)
    assert summary(stage.events()).target_longest_s == 1.5


def test_an_emulator_that_tells_nothing_is_not_taken_for_one_that_is_in_time(stage: Stage) -> None:
    actor = MachineActor(beside(stage))  # the shop has no such path
    actor.start()
    actor.stop()
    assert summary(stage.events()).target_longest_s is None


def test_an_emulator_that_stops_answering_is_late(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    told_by(stage.shop)
    emulator = Emulator(stage.shop.url)
    assert emulator.late() == []
    monkeypatch.setattr(machine, "_ANSWER_WITHIN_S", 1.0)
    stage.shop.frozen_until = time.monotonic() + 30
    ((_, late_s),) = emulator.late() or ()
    assert late_s >= 1


@pytest.mark.parametrize(
    ("scale", "late_s", "refused"), [(60, 1.2, True), (60, 0.8, False), (240, 0.8, False), (1, 20, False)]
)
def test_a_machine_that_does_not_keep_up_is_refused(stage: Stage, scale: float, late_s: float, refused: bool) -> None:
    told_by(stage.shop, (1000.0, late_s))
    ctx = beside(stage)
    actor = MachineActor(replace(ctx, target=replace(ctx.target, scale=scale)))
    if refused:
        with pytest.raises(Refused, match=r"timers 1\.2 s late in the baseline, 1m12s of production"):
            actor.check()
    else:
        assert "late" in actor.check()


def test_late_timers_close_to_each_other_are_one_stretch() -> None:
    late = [(10.0, 3.0), (1.0, 0.3), (1.5, 0.25), (9.0, 0.1)]
    found = [(one.at, one.until, one.longest_s) for one in stretches("harness", late)]
    assert found == [(1.0, 1.75, 0.3), (10.0, 13.0, 3.0)]
    assert list(stretches("harness", [])) == []
