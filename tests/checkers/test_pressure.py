"""Taken processors: what slowness makes is put off to a second try; everything else stands, and so does every pass."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from tests.checkers.histories import START, add, passing, tweak
from tests.checkers.spoiled import (
    SCENE,
    F,
    History,
    P,
    Row,
    U,
    check_planted,
    found,
    planted,
    ran,
    silent,
    staged,
)
from tests.checkers.test_machine import (
    LOUD,
    actionless,
    broken_contract,
    clears_late,
    cut_contract,
    dataless,
    drifted,
    flapping,
    late_load,
    lost,
    on_latency,
    recovers_late,
    refuted_by_time,
    rings_again,
    rules_on_latency,
    unanswered_contract,
    undo_failed,
    unsteady,
    untold,
    with_alarm_late,
)

from tocsin.checkers import judge
from tocsin.checkers.machine import STANDS
from tocsin.checkers.pressure import MOSTLY, PRESSED, TABLE
from tocsin.commands.run import first_try
from tocsin.model.events import Act, DrillStarted, Event, FaultStage, LoadSecond, MachineWatched
from tocsin.model.verdict import Reason

DOCUMENT = Path(__file__).parents[2] / "docs" / "VERDICTS.md"
BUSY, SLOW, ERRORS = Reason.MACHINE_BUSY, Reason.TOO_SLOW, Reason.TOO_MANY_ERRORS
Span = tuple[float, float]
ALL = (START, SCENE.end + 1)
BASELINE = (SCENE.wall(SCENE.preflight_s), SCENE.requested)
FAULT = (SCENE.accepted, SCENE.undo_requested)
RECOVERY = (SCENE.verified, SCENE.end)


def taken(history: History, *spans: Span, pressure: float = 0.84, tries_again: bool = True) -> History:
    """The history, on a machine that was measured each second, whose timers were in time, and whose processors were
    taken for some stretches."""
    begun = tweak(history, lambda e: isinstance(e, DrillStarted), measures_machine=True, tries_again=tries_again)
    seconds = [START + 0.01 + at for at in range(int(SCENE.end - START) + 2)]
    return add(
        begun, *(watched(since, at, pressure if held(since, at, spans) else 0.4) for since, at in pairwise(seconds))
    )


def held(since: float, at: float, spans: tuple[Span, ...]) -> bool:
    return any(start <= (since + at) / 2 <= end for start, end in spans)


def watched(since: float, at: float, pressure: float) -> MachineWatched:
    return MachineWatched(at=at, since=since, ticks=20, longest_s=0.09, target_longest_s=0.0, cpu_pressure=pressure)


def of_load(history: History, span: Span, share: float = 1.0, **changes: object) -> History:
    """The same with other answers in the first `share` of a stretch."""
    start, end = span[0], span[0] + share * (span[1] - span[0])
    return tweak(history, lambda e: isinstance(e, LoadSecond) and start <= e.at < end, **changes)


def slow(history: History, share: float = 1.0) -> History:
    return of_load(history, BASELINE, share, latency_ms={"p50": 1500.0, "p95": 2400.0, "p99": 2500.0, "sum": 1.0})


def failing(history: History, span: Span = BASELINE, share: float = 1.0, status: str = "500") -> History:
    return of_load(history, span, share, statuses={"200": 15, status: 5})


def as_in_the_field() -> History:
    """What was seen once: a slow baseline, and a 500."""
    return failing(slow(passing()), share=0.2)


def after(detail: str) -> Callable[[], History]:
    """A canary that fails at the end."""
    told = {"ok": False, "ok_after_retry": False, "detail": f"ask: {detail}"}
    return lambda: tweak(passing(), lambda e: ran(e, "health", SCENE.end - 1.2, SCENE.end), **told)


def before(detail: str) -> Callable[[], History]:
    told = {"ok": False, "ok_after_retry": False, "detail": f"ask: {detail}"}
    return lambda: tweak(passing(), lambda e: ran(e, "health", *BASELINE), **told)


def on(history: Callable[[], History], *spans: Span, pressure: float = 0.84) -> Callable[[], History]:
    return lambda: taken(history(), *spans, pressure=pressure)


def first(span: Span, share: float) -> Span:
    return span[0], span[0] + share * (span[1] - span[0])


NO_ANSWER, FORBIDDEN = "no answer: ReadTimeout: timed out", "GET /parcels: expected 200, found 403 {}"
UNAVAILABLE, WRONG = "GET /parcels: expected 200, found 504 {}", "contract: /parcels: 'id' is missing"
NOT_RECOVERED, UNDOCUMENTED = Reason.NOT_RECOVERED, Reason.UNDOCUMENTED_ANSWER

ROWS: list[Row] = [
    # What is counted in shares, before the fault.
    ("slow", on(as_in_the_field, ALL), "baseline:latency", U, BUSY),
    ("slow at a pressure below", on(as_in_the_field, ALL, pressure=PRESSED - 0.01), "baseline:latency", F, SLOW),
    ("slow and taken later", on(as_in_the_field, FAULT), "baseline:latency", F, SLOW),
    ("slow while at ease too", on(lambda: slow(passing()), first(BASELINE, 0.5)), "baseline:latency", F, SLOW),
    ("slow while taken", on(lambda: slow(passing(), 0.5), first(BASELINE, 0.7)), "baseline:latency", U, BUSY),
    ("errors", on(lambda: failing(passing()), ALL), "baseline:errors", U, BUSY),
    ("no answers", on(lambda: failing(passing(), status="error"), ALL), "baseline:errors", U, BUSY),
    ("errors while at ease too", on(lambda: failing(passing()), first(BASELINE, 0.5)), "baseline:errors", F, ERRORS),
    ("errors and taken later", on(lambda: failing(passing()), FAULT), "baseline:errors", F, ERRORS),
    ("canary fails before", on(before(NO_ANSWER), ALL), "canaries:before", U, BUSY),
    ("canary is forbidden before", on(before(FORBIDDEN), ALL), "canaries:before", F, Reason.CANARY_FAILED),
    # Under the fault.
    ("a 500", on(lambda: failing(passing(), FAULT), ALL), "answers", U, BUSY),
    ("a 500 at ease", on(lambda: failing(passing(), FAULT), BASELINE), "answers", F, UNDOCUMENTED),
    ("a 403", on(lambda: failing(passing(), FAULT, status="403"), ALL), "answers", F, UNDOCUMENTED),
    ("silent", on(lambda: silent("api-5xx"), ALL), "must:api-5xx", U, BUSY),
    (
        "silent and taken for a while",
        on(lambda: silent("api-5xx"), first(FAULT, MOSTLY / 2)),
        "must:api-5xx",
        F,
        Reason.DID_NOT_RING,
    ),
    ("silent by its definition", on(drifted, ALL), "must:api-5xx", F, Reason.DID_NOT_RING),
    ("silent without any data", on(dataless, ALL), "must:api-5xx", F, Reason.DID_NOT_RING),
    ("rings late", on(with_alarm_late, (START, START + 1000)), "must:api-5xx", U, BUSY),
    ("nobody is told", on(untold, ALL), "must:api-5xx", U, BUSY),
    ("it has no action", on(actionless, ALL), "must:api-5xx", F, Reason.NOT_NOTIFIED),
    ("flaps", on(flapping, ALL), "must:api-5xx", F, Reason.FLAPPED),
    ("a bell that rang", on(LOUD.history, ALL), "quiet:label-dlq", F, Reason.RANG_BUT_QUIET),
    ("a time rang", on(on_latency(LOUD).history, ALL), "quiet:label-dlq", U, BUSY),
    ("a time rang, by the rules of Prometheus", on(rules_on_latency, ALL), "quiet:label-dlq", U, BUSY),
    ("a gap is refuted by a time", on(refuted_by_time, ALL), "gap", U, BUSY),
    ("load leaves late", on(late_load, ALL), "load", U, BUSY),
    ("contract cut", on(cut_contract, ALL), "contract:fault", U, BUSY),
    ("contract without answers", on(unanswered_contract, ALL), "contract:fault", U, BUSY),
    ("contract broken", on(broken_contract, ALL), "contract:fault", F, Reason.CONTRACT_BROKEN),
    # After it.
    ("clears late", on(clears_late, ALL), "clears:api-5xx", U, BUSY),
    ("rings again", on(rings_again, ALL), "clears:api-5xx", F, Reason.RANG_AGAIN),
    ("canary has no answer", on(after(NO_ANSWER), ALL), "canaries:after", U, BUSY),
    ("canary finds a 504", on(after(UNAVAILABLE), ALL), "canaries:after", U, BUSY),
    ("canary is forbidden", on(after(FORBIDDEN), ALL), "canaries:after", F, NOT_RECOVERED),
    ("canary finds a wrong body", on(after(WRONG), ALL), "canaries:after", F, NOT_RECOVERED),
    ("canary has no answer, at ease", on(after(NO_ANSWER), FAULT), "canaries:after", F, NOT_RECOVERED),
    ("recovers late, with wrong answers", on(recovers_late, ALL), "recovery", F, NOT_RECOVERED),
    ("not steady after", on(unsteady(Act.RECOVERY), ALL), "steady-state:after", F, Reason.HYPOTHESIS_NOT_MET),
    # What no machine does.
    ("work lost", on(lost, ALL), "conserved:labels", F, Reason.WORK_LOST),
    ("undo failed", on(undo_failed, ALL), "undo", F, Reason.UNDO_FAILED),
    # A pass was harder to get.
    ("a canary notices", on(passing, ALL), "canary:create_parcel", P, Reason.AS_EXPECTED),
    ("stays quiet", on(passing, ALL), "quiet:label-dlq", P, Reason.AS_EXPECTED),
]


@planted(ROWS)
def test_what_slowness_makes_is_put_off_and_the_rest_stands(row: Row) -> None:
    check_planted(row)


@pytest.mark.parametrize("row", [row for row in ROWS if row[4] is BUSY], ids=lambda row: f"{row[2]}-{row[0]}")
def test_at_ease_each_of_them_says_what_it_said(row: Row) -> None:
    """The healthy twin: on a machine with room the same history is judged as ever."""
    judged = {one.id: one.reason for one in judge(tweak(row[1](), is_watched, cpu_pressure=0.4)).judgements}
    assert judged[row[2]] is not BUSY


def is_watched(event: Event) -> bool:
    return isinstance(event, MachineWatched)


def test_a_pass_stays_a_pass_at_any_pressure() -> None:
    assert judge(taken(passing(), ALL, pressure=1.0)).judgements == judge(taken(passing())).judgements


def test_the_case_of_the_field_is_tried_again() -> None:
    verdict = judge(taken(as_in_the_field(), ALL))
    assert {one.id for one in verdict.judgements if one.reason is BUSY} == {"baseline:latency", "baseline:errors"}
    told = found(verdict, "baseline:latency")
    assert "the processors of this machine were taken" in told.message
    assert "up to 84% of the time. The second try tells" in told.message
    assert told.message.startswith("p95 was"), "what was seen comes first"
    assert told.measured["cpu_pressure"] == 0.84
    again = first_try(verdict)
    assert again is not None
    assert "were taken" in again.because


def test_where_no_second_try_follows_nothing_is_put_off() -> None:
    verdict = judge(taken(as_in_the_field(), ALL, pressure=1.0, tries_again=False))
    assert found(verdict, "baseline:latency").reason is SLOW
    assert first_try(verdict) is None


@pytest.mark.parametrize("pressure", [None, 0.0])
def test_where_nobody_tells_of_pressure_nothing_is_put_off(pressure: float | None) -> None:
    history = tweak(taken(as_in_the_field(), ALL), is_watched, cpu_pressure=pressure)
    assert found(judge(history), "baseline:latency").reason is SLOW


def test_beside_a_failure_of_its_own_nothing_is_tried_again() -> None:
    broken = taken(staged(as_in_the_field(), FaultStage.VERIFIED, FaultStage.UNDO_FAILED), ALL)
    verdict = judge(broken)
    assert verdict.outcome is F
    assert first_try(verdict) is None


def test_every_row_is_about_a_question_that_is_asked_and_no_pass() -> None:
    kinds = {kind.partition(":")[0] for kind in (*(row.kind for row in TABLE), *STANDS)}
    judged = {one.id.partition(":")[0] for one in judge(passing()).judgements}
    assert {row.kind.partition(":")[0] for row in TABLE} <= judged | {"gap", "all-clear"} <= kinds | {"steady-state"}
    assert all(Reason.AS_EXPECTED not in row.reasons for row in TABLE)


def test_the_document_has_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for row in TABLE:
        reasons = ", ".join(f"`{reason.value}`" for reason in row.reasons)
        line = f"| `{row.kind}` | {reasons} | {row.how.value} | {row.why} |"
        assert line in text, f"docs/VERDICTS.md: expected this line: {line}"
    assert f"{PRESSED:.0%}".replace("%", " %") in text
