"""Did the drill run to its end?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, DrillEnded
from tocsin.model.verdict import Reason


def check_complete(timeline: Timeline) -> Iterator[Answer]:
    """All four acts were begun and ended, and the drill closed its own history."""
    question = Question("drill", "the drill runs through all four acts to its own end")
    missing = [act.value for act in Act if act not in timeline.ended_acts]
    if timeline.stopped is not None:
        yield question.unknown(Reason.WINDOW_CUT, f"it was stopped: {timeline.stopped.detail}")
    elif missing:
        yield question.unknown(Reason.WINDOW_CUT, f"not completed: {', '.join(missing)}")
    elif not timeline.of_kind(DrillEnded):
        yield question.unknown(Reason.WINDOW_CUT, "the history ends before the drill did")
    else:
        yield question.passed("all four acts were completed")
