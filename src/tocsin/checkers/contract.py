"""Does the API keep its contract before, during and after the fault?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, ContractRan
from tocsin.model.verdict import Judgement, Reason

SHOWN = 3
"""Failures named in the message; the report holds all of them."""


def check_contract(timeline: Timeline) -> Iterator[Answer]:
    """Strict before and after; during the fault with the documented degraded answers and no others."""
    if timeline.system.contract is None:
        yield NotObserved("The API contract: the system file names none.")
        return
    degraded = timeline.expect.degraded
    during = (
        "the degraded contract holds during the fault" if degraded else "the contract holds unchanged during the fault"
    )
    yield _act(timeline, Act.BASELINE, "the contract holds before the fault")
    yield _act(timeline, Act.FAULT, during)
    yield _act(timeline, Act.RECOVERY, "the contract holds again after the recovery")


def _act(timeline: Timeline, act: Act, text: str) -> Judgement:
    question = Question(f"contract:{act.value}", text)
    runs = [run for run in timeline.of_kind(ContractRan) if run.act == act]
    cases = sum(run.cases for run in runs)
    failures = [failure for run in runs for failure in run.failures]
    if failures:
        named = "; ".join(f"{f.operation}: {f.check} ({f.message})" for f in failures[:SHOWN])
        more = f"; and {len(failures) - SHOWN} more" if len(failures) > SHOWN else ""
        return question.failed(
            Reason.CONTRACT_BROKEN,
            f"{named}{more}",
            cases=cases,
            failures=sum(failure.count for failure in failures),
        )
    if not runs:
        return question.unknown(Reason.NO_EVIDENCE, f"no contract test ran in the {act.value} act")
    cut = [run for run in runs if not run.complete]
    if cut:
        return question.unknown(
            Reason.WINDOW_CUT, f"the contract test did not reach its end: {cut[0].detail or 'no reason given'}"
        )
    if cases == 0:
        return question.unknown(Reason.NO_TRAFFIC, "the contract test made no case", cases=0)
    degraded = sum(run.degraded for run in runs)
    operations = max(run.operations for run in runs)
    accepted = f", {degraded} of them documented degraded answers" if degraded else ""
    return question.passed(
        f"{cases} cases over {operations} operations{accepted}",
        cases=cases,
        operations=operations,
        degraded=degraded,
    )
