"""A time scale at which the deadlines of an experiment cannot be told is refused, with the arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.planted.bench import SCALE
from tests.planted.setups import SETUPS

from tocsin.drill.deadlines import resolution_s, untold
from tocsin.drill.options import DEFAULT_SCALE
from tocsin.model.experiment import Expect, MustAlarm, MustCanary, RecoveryTarget
from tocsin.project.documents import load_experiment

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*/*.yaml"))


def expecting(**changes: object) -> Expect:
    healthy = Expect(
        must=(MustAlarm(alarm="bell", within=300, clears_within=300), MustCanary(canary="desk", within=300)),
        recovery=RecoveryTarget(within=300),
    )
    return healthy.model_copy(update=changes)


def test_the_resolution_is_the_slower_clock_of_the_watchers_and_one_evaluation() -> None:
    assert [resolution_s(scale) for scale in (1, 60, 240, 600)] == [25, 25, 70, 160]


@pytest.mark.parametrize(
    ("expect", "place"),
    [
        (expecting(must=(MustAlarm(alarm="bell", within=60),)), ("must", 0, "within")),
        (expecting(must=(MustAlarm(alarm="bell", within=300, clears_within=70),)), ("must", 0, "clears_within")),
        (expecting(must=(MustCanary(canary="desk", within=60),)), ("must", 0, "within")),
        (expecting(recovery=RecoveryTarget(within=60)), ("recovery", "within")),
    ],
    ids=["alarm", "clears", "canary", "recovery"],
)
def test_a_deadline_within_the_resolution_cannot_be_told(expect: Expect, place: tuple[str | int, ...]) -> None:
    ((found, message),) = untold(expect, 240)
    assert found == place
    assert "longer than 1m10s" in message
    assert "looked at every 0.25 s and evaluated every 0.042 s" in message
    assert list(untold(expect, 60)) == []


def test_the_highest_scale_that_would_do_is_named_and_does() -> None:
    expect = expecting(recovery=RecoveryTarget(within=60))
    ((_, message),) = untold(expect, 240)
    assert message.endswith(
        "found 1m, which is 0.25 s at time scale 240: alarms are looked at every 0.25 s and "
        "evaluated every 0.042 s. Use a time scale of at most 199"
    )
    assert list(untold(expect, 199)) == []
    assert list(untold(expect, 200)) != []


def test_what_no_clock_can_tell_is_wrong_everywhere() -> None:
    for scale in (1, 60, 600):
        ((_, message),) = untold(expecting(must=(MustAlarm(alarm="bell", within=20),)), scale)
        assert "looked at every 15 s and evaluated every 10 s" in message


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_experiments_of_this_project_can_be_told(path: Path) -> None:
    assert list(untold(load_experiment(path).experiment.extension.expect, DEFAULT_SCALE)) == []


@pytest.mark.parametrize("name", SETUPS)
def test_the_shelf_of_planted_bugs_can_be_told(name: str) -> None:
    (block,) = SETUPS[name].document()["extensions"]
    assert list(untold(Expect.model_validate(block["expect"]), SCALE)) == []
