"""Was every piece of accepted work processed exactly once?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import WorkCounted
from tocsin.model.verdict import Judgement, Reason


def check_conserved(timeline: Timeline) -> Iterator[Answer]:
    """Counted after recovery from the system's own logs; nothing accepted is no proof of anything."""
    counts = {event.rule: event for event in timeline.of_kind(WorkCounted)}
    for rule in timeline.expect.conserved:
        known = timeline.system.conservation.get(rule)
        question = Question(f"conserved:{rule}", known.title if known else rule)
        yield _count(question, counts.get(rule))
    for rule, conservation in timeline.system.conservation.items():
        if rule not in timeline.expect.conserved:
            yield NotObserved(f"Conservation '{conservation.title}': the experiment does not ask for it.")


def _count(question: Question, count: WorkCounted | None) -> Judgement:
    if count is None:
        return question.unknown(Reason.NO_EVIDENCE, "nobody counted")
    figures: dict[str, float] = {
        "accepted": count.accepted,
        "processed": count.processed,
        "lost": max(count.lost_count, len(count.lost)),
        "duplicated": max(count.duplicated_count, len(count.duplicated)),
    }
    if figures["lost"]:
        return question.failed(
            Reason.WORK_LOST,
            f"{figures['lost']:.0f} of {count.accepted} accepted were never processed: {', '.join(count.lost[:5])}",
            **figures,
        )
    if figures["duplicated"]:
        return question.failed(
            Reason.WORK_DUPLICATED,
            f"{figures['duplicated']:.0f} of {count.accepted} were processed more than once: "
            f"{', '.join(count.duplicated[:5])}",
            **figures,
        )
    if count.accepted == 0:
        return question.unknown(Reason.NO_TRAFFIC, "nothing was accepted, so nothing could be lost", **figures)
    if count.processed < count.accepted:
        return question.failed(
            Reason.WORK_LOST,
            f"{count.accepted} accepted and only {count.processed} processed",
            **figures,
        )
    return question.passed(f"{count.accepted} accepted, each processed exactly once", **figures)
