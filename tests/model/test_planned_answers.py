"""Whether the planned load can show what it has to, said before anything is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.checkers.histories import SYSTEM, Scene

from tocsin.commands.validate import validate
from tocsin.drill.answers import planned_answers, too_few
from tocsin.model.duration import parse_duration
from tocsin.model.experiment import Experiment, LoadPlan
from tocsin.model.system import Objectives, System


def planned(baseline: float = 240, load: LoadPlan | None = LoadPlan()) -> Experiment:  # noqa: B008 - a frozen value
    experiment = Scene().experiment()
    extension = experiment.extension.model_copy(update={"baseline": baseline, "load": load})
    return experiment.model_copy(update={"extension": extension})


def objectives(**changes: float) -> System:
    return SYSTEM.model_copy(update={"objectives": Objectives.model_validate(changes)})


def test_a_fast_clock_leaves_few_answers() -> None:
    assert planned_answers(planned(), 60) == 80
    told = too_few(planned(), objectives(max_error_share=0.01), 60)
    assert told is not None
    assert "about 80 answers are planned before the fault, and 299 of which none fails" in told
    # What it says would do, does.
    longer, rate = re.findall(r"baseline: (\d+)m", told), re.findall(r"arrivals_per_s: (\d+)", told)
    assert too_few(planned(baseline=60 * int(longer[0])), objectives(max_error_share=0.01), 60) is None
    faster = planned(load=LoadPlan(arrivals_per_s=int(rate[0])))
    assert too_few(faster, objectives(max_error_share=0.01), 60) is None


def test_a_real_clock_and_what_a_drill_has_to_show_are_enough() -> None:
    assert too_few(planned(), objectives(max_error_share=0.01), 1) is None
    assert too_few(planned(300), objectives(max_error_share=0.001, shown_in_drills=0.05), 60) is None
    assert too_few(planned(load=None), objectives(max_error_share=0.01), 60) is None
    # p95 takes 59 answers, whatever share of errors may be.
    assert too_few(planned(120), objectives(max_error_share=0.3), 60) is not None


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
    assert "in the sandbox, 60 times as fast, the baseline is too thin: about" in note
    assert "299 of which none fails or is slow are needed to show 1 %" in note


def test_a_recovery_is_waited_for_no_longer_than_its_target_and_its_baseline() -> None:
    """Ten minutes for the slowest alarm to clear; twice four more where answers are to be had."""
    assert planned().extension.recovers_within_s == 600
    assert planned().extension.longest_recovery_s == 600 + 2 * 240
    assert planned(load=None).extension.longest_recovery_s == 600


def test_a_clock_so_fast_that_no_second_is_left_after_the_undo_is_told() -> None:
    """Half a second of 800 arrivals is enough before the fault; the minute after the undo takes a whole second."""
    fast = planned(300, LoadPlan(arrivals_per_s=800))
    told = too_few(fast, objectives(max_error_share=0.01), 600)
    assert told is not None
    assert "after a recovery that takes its whole time, and 390 of which none fails or is slow are needed" in told
    (longer,) = re.findall(r"baseline: ([^`]+)`", told)
    enough = planned(parse_duration(longer), LoadPlan(arrivals_per_s=800))
    assert too_few(enough, objectives(max_error_share=0.01), 600) is None
