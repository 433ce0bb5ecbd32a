"""Did every activity of the method run and succeed?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, ActivityRan
from tocsin.model.experiment import PlannedActivity
from tocsin.model.verdict import Judgement, Reason


def check_method(timeline: Timeline) -> Iterator[Answer]:
    """Every action and probe of the method ran and succeeded."""
    question = Question("method", "every activity of the method succeeds")
    ran = [event for event in timeline.of_kind(ActivityRan) if event.act != Act.RECOVERY]
    yield judge_activities(question, timeline.experiment.method, ran)


def judge_activities(question: Question, planned: tuple[PlannedActivity, ...], ran: list[ActivityRan]) -> Judgement:
    """The answer about activities that were planned, by the last runs of each: a `ref` lets one run several times."""
    wanted = Counter(activity.name for activity in planned)
    last = {name: [event for event in ran if event.name == name][-times:] for name, times in wanted.items()}
    failed = [event for events in last.values() for event in events if not event.ok]
    missing = [name for name, times in wanted.items() if len(last[name]) < times]
    if failed:
        told = "; ".join(f"{event.name} ({event.detail})" if event.detail else event.name for event in failed)
        return question.failed(Reason.ACTIVITY_FAILED, f"failed: {told}", failed=len(failed))
    if missing:
        return question.unknown(Reason.NO_EVIDENCE, f"not seen to run: {', '.join(missing)}")
    if not planned:
        return question.unknown(Reason.NO_EVIDENCE, "the experiment has no activity")
    return question.passed(", ".join(activity.name for activity in planned), ran=len(planned))
