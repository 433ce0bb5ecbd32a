"""How often the judge passes, fails and does not know, for so many answers and such a true share of errors.

Nothing is drawn by chance: of n answers k fail with the binomial probability, and the judge says one thing for each k.
So each figure is a sum over all k, of what `check_baseline` says of a history with k errors among n answers.
"""

from __future__ import annotations

from functools import cache
from math import comb

from tests.checkers.histories import SYSTEM, Scene, bucket_of

from tocsin.checkers.baseline import check_baseline
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, ActEnded, ActStarted, FaultChanged, FaultStage, LoadSecond
from tocsin.model.histogram import Histogram
from tocsin.model.system import Objectives
from tocsin.model.verdict import Judgement, Outcome

ANSWERS = (20, 80, 300, 3000)
SHARES = (0.0, 0.001, 0.01, 0.02)
LIMITS = (0.001, 0.01, 0.05)
SECONDS = 5
"""Answers come in so many seconds: as many errors in each as possible, and too few seconds to tell bursts."""


@cache
def says(failed: int, answers: int, limit: float) -> Outcome:
    """What the judge says of so many errors among so many answers before a fault."""
    system = SYSTEM.model_copy(update={"objectives": Objectives(max_error_share=limit)})
    scene = Scene(system=system)
    seconds = [
        _second(at, failed // SECONDS + (at < failed % SECONDS), answers // SECONDS + (at < answers % SECONDS))
        for at in range(SECONDS)
    ]
    start = scene.started().at
    history = [
        scene.started(),
        ActStarted(at=start, act=Act.BASELINE),
        *(second.model_copy(update={"at": start + second.at}) for second in seconds),
        ActEnded(at=start + SECONDS + 0.1, act=Act.BASELINE),
        FaultChanged(at=start + SECONDS + 0.2, entry="one", fault="f", stage=FaultStage.REQUESTED),
    ]
    (judged,) = (
        one
        for one in check_baseline(Timeline.of(history))
        if isinstance(one, Judgement) and one.id == "baseline:errors"
    )
    return judged.outcome


def _second(at: float, failed: int, answers: int) -> LoadSecond:
    fast = bucket_of(20.0)
    statuses = {"200": answers - failed, "503": failed}
    return LoadSecond(
        at=at,
        offered=answers,
        sent=answers,
        dropped=0,
        statuses={status: count for status, count in statuses.items() if count},
        latency_ms={"p50": 20.0, "p95": 20.0, "p99": 20.0, "max": 20.0},
        lag_ms=1.0,
        histogram=Histogram(good={fast: answers - failed}, failed={fast: failed}),
    )


def chances(answers: int, share: float, limit: float) -> dict[Outcome, float]:
    """How often each outcome comes when the true share of errors is `share`."""
    found = dict.fromkeys(Outcome, 0.0)
    for failed in range(answers + 1):
        chance = comb(answers, failed) * share**failed * (1 - share) ** (answers - failed)
        found[says(failed, answers, limit)] += chance
        if failed > share * answers and chance < 1e-12:
            break  # what is left comes more rarely than once in a thousand million times
    return found


def tables() -> str:
    """A table for each limit: rows are answers, columns true shares, cells pass / fail / unknown in per cent."""
    return "\n\n".join(_table(limit) for limit in LIMITS)


def _table(limit: float) -> str:
    head = " | ".join(f"{share * 100:g} % fail" for share in SHARES)
    lines = [f"| answers, objective {limit * 100:g} % | {head} |", f"|---|{'---|' * len(SHARES)}"]
    lines += [f"| {many:,} | {' | '.join(_cell(many, share, limit) for share in SHARES)} |" for many in ANSWERS]
    return "\n".join(lines)


def _cell(answers: int, share: float, limit: float) -> str:
    found = chances(answers, share, limit)
    shown = " / ".join(f"{found[one] * 100:.1f}" for one in (Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN))
    return f"**{shown}**" if share > limit else shown
