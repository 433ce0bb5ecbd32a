"""The system was healthy under load before the fault."""

from __future__ import annotations

from dataclasses import replace

from tests.checkers.histories import (
    SYSTEM,
    Scene,
    bucket_of,
    passing,
    tweak,
    without,
)
from tests.checkers.spoiled import (
    SCENE,
    F,
    History,
    P,
    Row,
    U,
    check_planted,
    found,
    older,
    planted,
    slow,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    ActEnded,
    Event,
    FaultChanged,
    LoadSecond,
)
from tocsin.model.experiment import LoadPlan
from tocsin.model.histogram import Histogram
from tocsin.model.system import Objectives, System
from tocsin.model.verdict import Reason

ROWS: list[Row] = [
    (
        "no answers before the fault",
        lambda: without(passing(), LoadSecond),
        "baseline:errors",
        U,
        Reason.NO_TRAFFIC,
    ),
    (
        "no latency before the fault",
        lambda: without(passing(), LoadSecond),
        "baseline:latency",
        U,
        Reason.NO_TRAFFIC,
    ),
    (
        "errors before the fault",
        lambda: tweak(passing(), slow(), statuses={"200": 18, "500": 2}),
        "baseline:errors",
        F,
        Reason.TOO_MANY_ERRORS,
    ),
    (
        "slow before the fault",
        lambda: tweak(passing(), slow(), latency_ms={"p50": 900.0, "p95": 1400.0, "p99": 1500.0}),
        "baseline:latency",
        F,
        Reason.TOO_SLOW,
    ),
    (
        "nobody saw the end of the baseline",
        lambda: without(tweak(passing(), slow(), latency_ms={"p95": 1400.0}), FaultChanged, ActEnded),
        "baseline:latency",
        U,
        Reason.NO_TRAFFIC,
    ),
    (
        "answers without a latency",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond) and e.at < SCENE.requested, latency_ms={}),
        "baseline:latency",
        U,
        Reason.NO_DATA,
    ),
    (
        "answers that none of the histograms counts",
        lambda: tweak(passing(), lambda e: isinstance(e, LoadSecond), histogram=Histogram()),
        "baseline:latency",
        U,
        Reason.NO_DATA,
    ),
    ("too few answers to tell of errors", lambda: thin().history(), "baseline:errors", U, Reason.TOO_FEW_ANSWERS),
    ("too few answers to tell of p95", lambda: thin().history(), "baseline:latency", U, Reason.TOO_FEW_ANSWERS),
    (
        "the objective itself, of a hundred answers",
        lambda: replace(SCENE, system=objectives(max_error_share=0.01)).history(),
        "baseline:errors",
        U,
        Reason.TOO_FEW_ANSWERS,
    ),
    (
        "one answer in ten is slow, in seconds whose p95 is mostly fast",
        lambda: unlucky_seconds(passing()),
        "baseline:latency",
        F,
        Reason.TOO_SLOW,
    ),
    (
        "errors before the fault, in an older history",
        lambda: older(tweak(passing(), slow(), statuses={"200": 18, "500": 2})),
        "baseline:errors",
        F,
        Reason.TOO_MANY_ERRORS,
    ),
    ("an older history", lambda: older(passing()), "baseline:errors", P, Reason.AS_EXPECTED),
    ("an older history, and its latency", lambda: older(passing()), "baseline:latency", P, Reason.AS_EXPECTED),
    (
        "slow before the fault, in an older history",
        lambda: older(tweak(passing(), slow(), latency_ms={"p95": 1400.0})),
        "baseline:latency",
        F,
        Reason.TOO_SLOW,
    ),
]


def thin() -> Scene:
    """Two answers a second are a dozen before the fault."""
    return replace(SCENE, load=LoadPlan(arrivals_per_s=2))


def objectives(**changes: float) -> System:
    return SYSTEM.model_copy(update={"objectives": Objectives.model_validate(changes)})


def unlucky_seconds(history: History) -> History:
    """Of three seconds one has six slow answers of twenty, and a p95 of 1.9 s; the others have one of 40 ms.

    One answer in ten takes 1.9 s, and the mean of the three is 660 ms.
    """

    def unlucky(event: Event) -> Event:
        if not isinstance(event, LoadSecond):
            return event
        slow = 0 if int(event.at) % 3 else 6
        counts = {bucket_of(40.0): 20 - slow, bucket_of(1900.0): slow}
        told = {"p50": 40.0, "p95": 1900.0 if slow else 40.0}
        changes = {"statuses": {"200": 20}, "latency_ms": told, "histogram": Histogram(good=counts)}
        return event.model_copy(update=changes)

    return [unlucky(event) for event in history]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_a_mean_of_quantiles_passed_what_a_histogram_does_not() -> None:
    history = unlucky_seconds(passing())
    assert found(judge(older(history)), "baseline:latency").outcome is P
    judged = found(judge(history), "baseline:latency")
    assert judged.message.startswith("p95 was 1898 ms, and 12 of 120 answers took more than 1000 ms before anything")
    assert judged.message.endswith("of all, and 5 % may")


def test_few_answers_say_how_many_would_do() -> None:
    scene = replace(SCENE, system=objectives(max_error_share=0.01))
    judged = found(judge(scene.history()), "baseline:errors")
    assert "299 answers like these would do" in judged.message
    assert judged.measured["error_share_at_most"] > 0.01


def test_what_is_promised_and_not_shown_is_not_observed() -> None:
    shown = replace(SCENE, system=objectives(max_error_share=0.001, shown_in_drills=0.05))
    verdict = judge(shown.history())
    assert verdict.outcome is P
    (line,) = [what for what in verdict.not_observed if "0.1 %" in what]
    assert line.endswith("2,995 answers of which none does would show it.")
    assert "a drill has to show 5 %" in found(verdict, "baseline:errors").question


def test_what_all_answers_of_the_healthy_system_show_is_promised_and_shown() -> None:
    """A hundred before the fault and some hundred and eighty after it: neither shows 2 % alone, both do."""
    promised = replace(SCENE, system=objectives(max_error_share=0.015, shown_in_drills=0.05))
    verdict = judge(promised.history())
    assert found(verdict, "baseline:errors").measured["error_share_at_most"] > 0.015
    assert not [what for what in verdict.not_observed if "of the healthy system fail" in what]
    some = tweak(promised.history(), slow(), statuses={"200": 19, "500": 1})
    assert [what for what in judge(some).not_observed if "of the healthy system fail" in what]


def test_an_older_history_says_that_it_is_judged_by_the_older_rule() -> None:
    label = "What shares of the answers prove: this history is of an older Tocsin"
    assert any(what.startswith(label) for what in judge(older(passing())).not_observed)
    assert not any(what.startswith(label) for what in judge(passing()).not_observed)


def test_baseline_objectives_come_from_the_system() -> None:
    strict = SYSTEM.model_copy(update={"objectives": Objectives(p95_ms=50.0)})
    verdict = judge(replace(SCENE, system=strict).history())
    assert found(verdict, "baseline:latency").reason == Reason.TOO_SLOW
