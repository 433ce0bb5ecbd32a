"""Did the fault really change something?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.fault import names_of, stages_of, why
from tocsin.checkers.timeline import Timeline
from tocsin.model.duration import format_duration
from tocsin.model.events import FaultFelt, FaultStage
from tocsin.model.verdict import Judgement, Reason


def check_effect(timeline: Timeline) -> Iterator[Answer]:
    """Evidence of effect for every fault: an API that said yes is no evidence."""
    question = Question("effect", "the fault really changes something")
    stages = {entry: stages_of(timeline, entry) for entry in timeline.entries}
    without = [entry for entry, seen in stages.items() if FaultStage.EFFECTIVE not in seen]
    refuted = [entry for entry in without if FaultStage.NO_EFFECT in stages[entry]]
    if refuted:
        names = names_of(timeline, refuted)
        yield question.unknown(
            Reason.NO_EFFECT,
            f"no effect: {names} was accepted and changed nothing{why(timeline, FaultStage.NO_EFFECT)}",
        )
    elif not stages:
        yield question.unknown(Reason.NO_EVIDENCE, "no fault was injected, so nothing can be said about it")
    elif without:
        names = names_of(timeline, without)
        unread = why(timeline, FaultStage.NOT_SEEN)
        yield question.unknown(Reason.NO_EVIDENCE, f"no evidence that {names} took effect was seen{unread}")
    elif unfelt := [one.entry for one in timeline.of_kind(FaultFelt) if one.calls == 0]:
        yield question.unknown(
            Reason.NO_EFFECT,
            f"no effect: {names_of(timeline, unfelt)} was in place and no call was refused because of it"
            f"{why(timeline, FaultStage.EFFECTIVE)}",
        )
    else:
        yield _effective(question, timeline)


def _effective(question: Question, timeline: Timeline) -> Judgement:
    names = names_of(timeline, timeline.entries)
    reason = why(timeline, FaultStage.EFFECTIVE)
    if timeline.accepted is None or timeline.effective is None:
        return question.unknown(Reason.NO_EVIDENCE, f"{names} took effect but was never accepted{reason}")
    after_s = max(0.0, timeline.production(timeline.effective - timeline.accepted))
    refused = sum(one.calls for one in timeline.of_kind(FaultFelt))
    felt = f"; it refused {refused} calls" if refused else ""
    return question.passed(
        f"{names} took effect {format_duration(after_s)} after it was accepted{reason}{felt}", effective_s=after_s
    )
