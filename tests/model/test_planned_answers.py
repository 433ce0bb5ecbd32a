"""Whether the planned load can show what it has to, said before anything is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.checkers.histories import SYSTEM, Scene

from tocsin.commands.validate import validate
from tocsin.drill.answers import enough_before, planned_answers, too_few
from tocsin.model.duration import parse_duration
from tocsin.model.experiment import Experiment, LoadPlan, RecoveryTarget
from tocsin.model.shares import Seen
from tocsin.model.system import Objectives, System


def planned(baseline: float = 240, load: LoadPlan | None = LoadPlan()) -> Experiment:  # noqa: B008 - a frozen value
    experiment = Scene().experiment()
    extension = experiment.extension.model_copy(update={"baseline": baseline, "load": load})
    return experiment.model_copy(update={"extension": extension})


def objectives(**changes: float) -> System:
    return SYSTEM.model_copy(update={"objectives": Objectives.model_validate(changes)})


def test_a_fast_clock_leaves_few_answers() -> None:
    told = too_few(planned(), objectives(max_error_share=0.001), 60)
    assert told is not None
    assert "about 600 answers are planned before the fault, and 2,995 of which none fails" in told
    # What it says would do, does.
    (longer,) = re.findall(r"baseline: ([^`]+)`", told)
    assert too_few(planned(parse_duration(longer)), objectives(max_error_share=0.001), 60) is None
    (rate,) = re.findall(r"arrivals_per_s: (\d+)", told)
    faster = planned(load=LoadPlan(arrivals_per_s=int(rate)))
    assert too_few(faster, objectives(max_error_share=0.001), 60) is None


def test_answers_are_waited_for_where_the_stated_time_brings_too_few() -> None:
    """Eighty come in four seconds, and 299 of which none fails show 1 %: 473 show it though one does."""
    one_percent = objectives(max_error_share=0.01)
    assert enough_before(planned(), one_percent, 60) == 473
    assert Seen(1, 473).is_within(0.01)
    assert not Seen(1, 472).is_within(0.01)
    assert planned_answers(planned(), one_percent, 60) == 473
    assert planned_answers(planned(3600), one_percent, 60) == 1200, "for as long as it is stated"
    assert enough_before(planned(load=None), one_percent, 60) == 0
    # Half a minute of the wall brings 600, with which nothing is shown: nothing is gained by waiting.
    assert enough_before(planned(), objectives(max_error_share=0.001), 60) == 0


def test_a_real_clock_and_what_a_drill_has_to_show_are_enough() -> None:
    assert too_few(planned(), objectives(max_error_share=0.01), 1) is None
    assert too_few(planned(300), objectives(max_error_share=0.001, shown_in_drills=0.05), 60) is None
    assert too_few(planned(load=None), objectives(max_error_share=0.01), 60) is None
    # p95 takes 59 answers, whatever share of errors may be.
    slow = planned(120, LoadPlan(arrivals_per_s=2))
    assert too_few(slow, objectives(max_error_share=0.3), 60) is not None


def test_no_number_of_answers_shows_that_none_fails() -> None:
    told = too_few(planned(), objectives(max_error_share=0.0), 1)
    assert told is not None
    assert told.startswith("no number of answers")


def test_less_is_shown_never_more() -> None:
    with pytest.raises(ValueError, match=r"expected `shown_in_drills` of at least `max_error_share` \(0.01\)"):
        Objectives(max_error_share=0.01, shown_in_drills=0.005)


def test_validate_says_where_the_sandbox_is_too_fast() -> None:
    root = Path(__file__).parents[1] / "fuzz" / "project"
    found = validate(root, [root / "experiments" / "throttled.yaml"])
    assert not found.problems
    (note,) = found.notes
    assert "in the sandbox it takes a clock only 1 times AWS's: not 6: about" in note
    assert "299 of which none fails or is slow are needed to show 1 %" in note


def test_a_recovery_is_waited_for_no_longer_than_its_target_and_its_baseline() -> None:
    """Ten minutes for the slowest alarm to clear; for answers twice four more, or twice half a minute of the wall."""
    assert planned().extension.recovers_within_s == 600
    assert planned().extension.longest_recovery_s(1) == 600 + 2 * 240
    assert planned().extension.longest_recovery_s(60) == 600 + 2 * 30 * 60
    assert planned(load=None).extension.longest_recovery_s(60) == 600


def test_a_baseline_so_short_that_no_second_is_left_after_the_undo_is_told() -> None:
    """Forty seconds of twenty arrivals are enough before the fault; after the undo a minute shows nothing."""
    told = too_few(at_the_deadline(40), objectives(max_error_share=0.01), 1)
    assert told is not None
    assert "after a recovery that takes its whole time, and 390 of which none fails or is slow are needed" in told
    (longer,) = re.findall(r"baseline: ([^`]+)`", told)
    assert too_few(at_the_deadline(parse_duration(longer)), objectives(max_error_share=0.01), 1) is None


def at_the_deadline(baseline: float) -> Experiment:
    """With no alarm that may clear later than callers are served again."""
    experiment = planned(baseline)
    expect = experiment.extension.expect.model_copy(update={"recovery": RecoveryTarget(within=600)})
    return experiment.model_copy(update={"extension": experiment.extension.model_copy(update={"expect": expect})})
