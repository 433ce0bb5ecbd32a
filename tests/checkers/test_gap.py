"""A failure that nobody is told about."""

from __future__ import annotations

from tests.checkers.histories import (
    add,
    gap,
    tweak,
    without,
)
from tests.checkers.spoiled import (
    MINUTE,
    SCENE,
    F,
    P,
    Row,
    U,
    blind_polls,
    check_planted,
    planted,
    ringing,
)

from tocsin.checkers import judge
from tocsin.model.events import (
    CanaryRan,
    Event,
    FaultChanged,
    LoadSecond,
)
from tocsin.model.verdict import Outcome, Reason

SLOW = {"p50": 1900.0, "p95": 2400.0, "p99": 2500.0, "max": 2600.0, "sum": 40_000.0}


def unhurt() -> list[Event]:
    """No alarm rings, and every canary that failed succeeds when it is asked again."""
    return tweak(gap(), lambda event: isinstance(event, CanaryRan), ok_after_retry=True)


def under_fault(event: Event) -> bool:
    """A second of load while the fault is in place."""
    return isinstance(event, LoadSecond) and SCENE.accepted < event.at < SCENE.undo_requested - 1


def hurt(history: list[Event], *, seconds: int, failed: int | None = None) -> list[Event]:
    """Some seconds of the fault in which `failed` answers are 503; all of them where it is not said."""
    chosen = [event for event in history if under_fault(event)][:seconds]

    def spoilt(event: Event) -> Event:
        if not isinstance(event, LoadSecond) or event not in chosen:
            return event
        bad = event.sent if failed is None else failed
        return event.model_copy(update={"statuses": {"200": event.sent - bad, "503": bad}})

    return [spoilt(event) for event in history]


ROWS: list[Row] = [
    (
        "an alarm refutes the gap",
        lambda: add(gap(), *ringing("label-dlq", SCENE.accepted + MINUTE)),
        "gap",
        F,
        Reason.GAP_REFUTED,
    ),
    (
        "a gap nobody watched",
        lambda: blind_polls(gap(), SCENE.accepted, SCENE.verified),
        "gap",
        U,
        Reason.NOT_WATCHED,
    ),
    ("a gap that hurts nobody", lambda: unhurt(), "gap", U, Reason.NOBODY_HURT),
    ("a gap in which one answer failed", lambda: hurt(unhurt(), seconds=1, failed=1), "gap", U, Reason.NOBODY_HURT),
    ("a gap in which a canary only stumbled", lambda: hurt(unhurt(), seconds=0), "gap", U, Reason.NOBODY_HURT),
    ("a gap that a short outage shows", lambda: hurt(unhurt(), seconds=2), "gap", P, Reason.AS_EXPECTED),
    (
        "a gap that slow answers show",
        lambda: tweak(unhurt(), under_fault, latency_ms=SLOW),
        "gap",
        P,
        Reason.AS_EXPECTED,
    ),
    ("a gap without a fault", lambda: without(gap(), FaultChanged), "gap", U, Reason.NO_EVIDENCE),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_an_outage_within_the_second_of_the_injection_is_seen() -> None:
    def hurt(event: Event) -> Event:
        if isinstance(event, LoadSecond) and event.at <= SCENE.accepted < event.at + 1:
            return event.model_copy(update={"statuses": {"503": event.sent}})
        return event

    def told(history: list[Event]) -> str:
        return next(one.message for one in judge(history).findings if one.kind == "gap")

    assert "Seen: 0.0% of" in told(gap())
    assert "Seen: 0.0% of" not in told([hurt(event) for event in gap()])


def test_gap_is_a_finding_that_tells_what_hurt() -> None:
    verdict = judge(gap())
    assert verdict.outcome == Outcome.PASS
    finding = next(finding for finding in verdict.findings if finding.kind == "gap")
    assert "print_label" in finding.message
    assert "37 messages wait" in finding.message
