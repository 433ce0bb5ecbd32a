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


def runs_of(timeline: Timeline, act: Act) -> list[ContractRan]:
    """The runs that count in an act.

    In the recovery that is the last one: where callers stopped being served once more, all of it was asked again.
    """
    runs = [run for run in timeline.of_kind(ContractRan) if run.act == act]
    return runs[-1:] if act is Act.RECOVERY else runs


def _act(timeline: Timeline, act: Act, text: str) -> Judgement:
    question = Question(f"contract:{act.value}", text)
    runs = runs_of(timeline, act)
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
    return _covered(question, runs, act)


def _covered(question: Question, runs: list[ContractRan], act: Act) -> Judgement:
    """Nothing wrong was found: in how much of the contract?"""
    for run in runs:
        missing = uncovered(run)
        if missing:
            return question.unknown(Reason.NO_EVIDENCE, missing, cases=run.cases, operations=run.operations)
    cases, degraded = sum(run.cases for run in runs), sum(run.degraded for run in runs)
    operations = max(run.operations for run in runs)
    accepted = f", {degraded} of them documented degraded answers" if degraded else ""
    refused = sorted({name for run in runs for name in refused_operations(run)}) if act is not Act.FAULT else []
    never = f"; no success was seen of {', '.join(refused[:SHOWN])}" if refused else ""
    more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
    return question.passed(
        f"{cases} cases over {operations} operations{accepted}{never}{more}",
        cases=cases,
        operations=operations,
        degraded=degraded,
    )


def uncovered(run: ContractRan) -> str:
    """Why a run that found nothing wrong is no test of the contract; empty when it is one.

    Every operation that is documented was tried, by more than one case in all, and outside of the fault somebody who
    does everything right was served by at least one of them: where every answer is a refusal, only refusals were
    compared with the contract. Histories of older versions do not say how many are documented: there one operation is
    too few, because most contracts have more.
    """
    if run.documented is not None and run.operations < run.documented:
        return f"{run.operations} of the {run.documented} operations of the contract were tried"
    if run.cases <= 1 or (run.documented is None and run.operations <= 1):
        return f"expected every operation to be tried, found {run.cases} cases on {run.operations} operations"
    if run.act is not Act.FAULT and run.answers and len(refused_operations(run)) == len(run.answers):
        mix = ", ".join(f"{status}: {count}" for status, count in sorted(run.statuses.items()))
        return f"no operation answered with success ({mix}): only refusals were compared with the contract"
    return ""


def refused_operations(run: ContractRan) -> list[str]:
    """Operations of which no answer was a success (2xx or 3xx), as far as that was recorded."""
    return [name for name, answers in run.answers.items() if not any(status[0] in "23" for status in answers)]
