"""A share against its limit: shown to be within it, shown to be above it, or too few answers to say."""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.checkers.answers import Question
from tocsin.model.shares import Seen, percent
from tocsin.model.system import SLOW_SHARE, Objectives
from tocsin.model.verdict import Judgement, Reason


@dataclass(frozen=True)
class ShareLimit:
    """The largest share that may be, and the one that a drill has to show."""

    promised: float
    to_show: float
    """at least what is promised: where answers are few, less is shown"""

    def is_broken(self, seen: Seen) -> bool:
        """Whether the share is above what is promised."""
        return seen.is_above(self.promised)

    def is_shown(self, seen: Seen) -> bool:
        """Whether the share is within what has to be shown."""
        return seen.is_within(self.to_show)

    def told(self, seen: Seen) -> str:
        """What the answers show, in words; where that is too little, how many would do."""
        if self.is_broken(seen):
            return seen.above_told(self.promised)
        if self.is_shown(seen):
            return f"that is at most {percent(seen.at_most)} of all"
        needed = seen.needed(self.to_show)
        many = "no number of answers like these" if needed is None else f"{needed:,} answers like these"
        return f"that can be up to {percent(seen.at_most)} of all, and {percent(self.to_show)} may; {many} would do"


@dataclass(frozen=True)
class Share:
    """A share of the answers that was seen, before it is judged."""

    told: str
    """what was seen, in words"""
    certainly: Seen
    """of these a failure is made"""
    at_most: Seen
    """of these a pass"""


def judge_share(
    question: Question, limit: ShareLimit, share: Share, reason: Reason, wrong: str, **figures: float
) -> Judgement:
    """Failed (`reason`, told as `wrong`), passed, or too few answers."""
    if limit.is_broken(share.certainly):
        return question.failed(reason, f"{wrong}: {limit.told(share.certainly)}", **figures)
    if limit.is_shown(share.at_most):
        return question.passed(f"{share.told}: {limit.told(share.at_most)}", **figures)
    return question.unknown(Reason.TOO_FEW_ANSWERS, f"{share.told}: {limit.told(share.at_most)}", **figures)


def errors_limit(objectives: Objectives) -> ShareLimit:
    """Of answers that failed."""
    return ShareLimit(objectives.max_error_share, objectives.errors_to_show)


def slow_limit(objectives: Objectives) -> ShareLimit:
    """Of answers that are slower than p95 may be."""
    return ShareLimit(SLOW_SHARE, objectives.slow_to_show)
