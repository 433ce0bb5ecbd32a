"""Does the steady-state hypothesis hold before the fault and again after it?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, HypothesisChecked
from tocsin.model.verdict import Judgement, Reason

BEFORE = (Act.PREFLIGHT, Act.BASELINE)


def check_hypothesis(timeline: Timeline) -> Iterator[Answer]:
    """Chaos Toolkit's own gate and deviation check; what it says during the fault is not judged."""
    if not timeline.experiment.hypothesis:
        yield NotObserved("The steady state: the experiment has no steady-state hypothesis.")
        return
    checks = timeline.of_kind(HypothesisChecked)
    before = [check for check in checks if check.act in BEFORE]
    after = [check for check in checks if check.act == Act.RECOVERY]
    yield _last(Question("steady-state:before", "the steady state holds before the fault"), before)
    yield _last(Question("steady-state:after", "the steady state holds again after the recovery"), after)


def hypothesis_recovered(timeline: Timeline) -> float | None:
    """When the hypothesis was first met again and stayed met; None if it is not met at the end."""
    recovered: float | None = None
    for check in timeline.of_kind(HypothesisChecked):
        if check.act == Act.RECOVERY:
            recovered = (recovered or check.at) if check.met else None
    return recovered


def hypothesis_failed_until(timeline: Timeline) -> float | None:
    """When the hypothesis was last found unmet after the undo; None if it never was."""
    unmet = (check.at for check in timeline.of_kind(HypothesisChecked) if check.act == Act.RECOVERY and not check.met)
    return max(unmet, default=None)


def _last(question: Question, checks: list[HypothesisChecked]) -> Judgement:
    if not checks:
        return question.unknown(Reason.NO_EVIDENCE, "it was not checked")
    last = checks[-1]
    if last.met:
        return question.passed(f"met: {', '.join(probe.name for probe in last.probes)}", probes=len(last.probes))
    told = "; ".join(f"{probe.name}: {probe.detail}" for probe in last.probes if not probe.ok)
    return question.failed(Reason.HYPOTHESIS_NOT_MET, f"not met: {told or 'no probe told why'}")
