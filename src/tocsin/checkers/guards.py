"""Did every guard let the drill begin?"""

from __future__ import annotations

from collections.abc import Iterator

from tocsin.checkers.answers import Answer, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import GuardChecked
from tocsin.model.verdict import Reason


def check_guards(timeline: Timeline) -> Iterator[Answer]:
    """A guard that said no and did not stop the drill would be a guard that cannot guard."""
    for event in timeline.of_kind(GuardChecked):
        if not event.ok:
            question = Question(f"guard:{event.guard}", f"the guard '{event.guard}' lets the drill begin")
            yield question.unknown(Reason.REFUSED, event.detail)
