"""Were the answers that callers got during the fault the documented ones?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.shares import ShareLimit, errors_limit
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import is_error
from tocsin.model.shares import Seen
from tocsin.model.traffic import count_statuses, errors_told, has_histograms
from tocsin.model.verdict import Judgement, Reason


@dataclass(frozen=True)
class _Fault:
    """What callers got while the fault was in place."""

    statuses: Counter[str]
    documented: frozenset[str]

    @property
    def answers(self) -> int:
        return self.statuses.total()

    @property
    def degraded(self) -> int:
        return sum(self.statuses[status] for status in self.documented)

    @property
    def undocumented(self) -> Counter[str]:
        wrong = {s: n for s, n in self.statuses.items() if is_error(s) and s not in self.documented}
        return Counter(wrong)

    @property
    def told(self) -> str:
        share = self.undocumented.total() / self.answers
        return f"{share:.1%} of {self.answers} answers were neither healthy nor documented"

    @property
    def figures(self) -> dict[str, float]:
        shares = {"degraded_share": self.degraded, "undocumented_share": self.undocumented.total()}
        return {"answers": float(self.answers), **{name: count / self.answers for name, count in shares.items()}}


def check_answers(timeline: Timeline) -> Iterator[Answer]:
    """During the fault callers get healthy answers or documented degraded ones, and not too many of those.

    Healthy is what they got before it: an operation that now says 403 to everybody is not.
    """
    if timeline.experiment.extension.load is None:
        return
    degraded = timeline.expect.degraded
    documented = frozenset(str(status) for status in degraded.status) if degraded else frozenset[str]()
    text = f"callers get documented answers during the fault (degraded: {', '.join(sorted(documented)) or 'none'})"
    question, found = Question("answers", text), _Fault(count_statuses(timeline.fault_load), documented)
    if not found.answers:
        yield question.unknown(Reason.NO_TRAFFIC, "no answer was seen during the fault")
        return
    most = degraded.max_share if degraded is not None else 1.0
    yield (
        _by_interval(timeline, question, found, most)
        if has_histograms(timeline.load)
        else _by_count(timeline, question, found, most)
    )


def _by_interval(timeline: Timeline, question: Question, found: _Fault, most: float) -> Judgement:
    wrong, less = errors_limit(timeline.system.objectives), ShareLimit(most, most)
    undocumented, degraded = Seen(found.undocumented.total(), found.answers), Seen(found.degraded, found.answers)
    figures = {
        **found.figures,
        "degraded_share_at_most": degraded.at_most,
        "undocumented_share_at_most": undocumented.at_most,
    }
    healthy = timeline.healthy
    changes = healthy.changes(timeline.fault_load, found.documented)
    if wrong.is_broken(undocumented):
        named = errors_told(found.undocumented)
        told = f"{found.told} ({named}): {wrong.told(undocumented)}"
        return question.failed(Reason.UNDOCUMENTED_ANSWER, told, **figures)
    if not healthy.before[""].total():
        return question.unknown(Reason.NO_EVIDENCE, "no answer before the fault is recorded to compare with", **figures)
    if changes:
        told = f"{'; '.join(changes)}: nothing says that the fault does that (`degraded`)"
        return question.failed(Reason.UNDOCUMENTED_ANSWER, told, **figures)
    seen = f"{degraded.share:.1%} of {found.answers} answers were degraded"
    if less.is_broken(degraded):
        return question.failed(Reason.TOO_MANY_ERRORS, f"{seen}: {less.told(degraded)}", **figures)
    for what, limit, share in ((found.told, wrong, undocumented), (seen, less, degraded)):
        if not limit.is_shown(share):
            return question.unknown(Reason.TOO_FEW_ANSWERS, f"{what}: {limit.told(share)}", **figures)
    told = (
        f"{found.answers} answers, {degraded.share:.1%} documented degraded ones, {undocumented.share:.1%} undocumented"
    )
    return question.passed(f"{told}: {wrong.told(undocumented)}", **figures)


def _by_count(timeline: Timeline, question: Question, found: _Fault, most: float) -> Judgement:
    """Of an older history, which was made for this rule: the shares that were seen, and no look at what changed."""
    share, bad = found.figures["degraded_share"], found.figures["undocumented_share"]
    if bad > timeline.system.objectives.max_error_share:
        told = f"{found.told} ({errors_told(found.undocumented)})"
        return question.failed(Reason.UNDOCUMENTED_ANSWER, told, **found.figures)
    if share > most:
        told = f"{share:.1%} of {found.answers} answers were degraded, at most {most:.1%} is allowed"
        return question.failed(Reason.TOO_MANY_ERRORS, told, **found.figures)
    told = f"{found.answers} answers, {share:.1%} documented degraded ones, {bad:.1%} undocumented"
    return question.passed(told, **found.figures)
