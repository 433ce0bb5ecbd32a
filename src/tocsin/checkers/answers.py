"""How checkers speak: constructors of judgements, so that each rule reads as one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tocsin.checkers.timeline import Timeline
from tocsin.model.verdict import Finding, Judgement, Outcome, Reason


@dataclass(frozen=True)
class NotObserved:
    """Something that this drill did not look at, or could not see."""

    what: str


Answer = Judgement | Finding | NotObserved
"""What a checker may say."""

Checker = Callable[[Timeline], Iterator[Answer]]
"""A pure function from the history to answers. A question that was not asked gets none."""


@dataclass(frozen=True)
class Question:
    """One expectation, about to be judged."""

    id: str
    text: str

    def passed(self, message: str, **measured: float) -> Judgement:
        """What was expected was seen."""
        return self._judged(Outcome.PASS, Reason.AS_EXPECTED, message, measured)

    def failed(self, reason: Reason, message: str, **measured: float) -> Judgement:
        """Something else was seen."""
        return self._judged(Outcome.FAIL, reason, message, measured)

    def unknown(self, reason: Reason, message: str, **measured: float) -> Judgement:
        """Too little was seen to say."""
        return self._judged(Outcome.UNKNOWN, reason, message, measured)

    def _judged(self, outcome: Outcome, reason: Reason, message: str, measured: dict[str, float]) -> Judgement:
        rounded = {name: round(value, 4) for name, value in measured.items()}
        return Judgement(
            id=self.id,
            question=self.text,
            outcome=outcome,
            reason=reason,
            message=message,
            measured=rounded,
        )
