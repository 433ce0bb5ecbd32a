"""Are the lines of the history those that the drill wrote?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import HistoryBroken
from tocsin.model.verdict import Reason


def check_intact(timeline: Timeline) -> Iterator[Answer]:
    """Asked where it was found that they are not: every other answer rests on them."""
    for found in timeline.of_kind(HistoryBroken):
        question = Question("history", "the history is as the drill wrote it")
        yield question.unknown(Reason.HISTORY_BROKEN, found.detail)
