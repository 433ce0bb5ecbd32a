"""At which numbers of answers a running drill judges a share, so that it may end as soon as it is shown.

A bound that is wrong once in twenty times holds of one look. Whoever looks after each second, and ends at the first
look that passes, is lucky far more often. Here the looks are planned before there is an answer, at numbers of answers,
each with the same smaller doubt: group sequential testing as Pocock has it (Biometrika 64, 1977, pages 191-199). The
plan of O'Brien and Fleming (Biometrics 35, 1979, pages 549-556) asks more of the first looks, so that a healthy system,
of which no answer fails, would be waited for far longer.

With five looks at 2 %, each at half as many answers again as the one before, a share right at its limit passes in 3.7
to 4.8 % of all drills, worked out exactly for limits from 0.1 to 50 % (docs/ANSWERS.md).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from tocsin.model.base import Model
from tocsin.model.shares import Seen, without_any


class LookPlan(Model):
    """The numbers of answers at which a share is looked at, whatever the answers are."""

    doubt: float = Field(default=0.02, gt=0, lt=0.5, description="how often one look may pass a share at its limit")
    growth: float = Field(default=1.5, gt=1, le=10, description="answers of a look, in those of the one before")
    steps: int = Field(default=8, ge=1, le=20, description="planned numbers, from the least that could pass")
    most: int = Field(default=5, ge=1, le=20, description="looks that are made: dense traffic skips numbers")

    def numbers(self, limit: float) -> tuple[int, ...]:
        """The planned numbers of answers: 390, 585, 878, ... for 1 %; none where no number shows the limit."""
        first = without_any(limit, self.doubt)
        return () if first is None else tuple(math.ceil(first * self.growth**step) for step in range(self.steps))

    def look(self, blocks: Sequence[tuple[int, int]], limit: float) -> Looked:
        """Look at a share, given as (count, of) of each second, until it is shown or no look is left.

        A look is at the first second by which a planned number of answers came. All that counts in that second counts,
        against no more answers than were planned: so no rate of arrivals makes a pass easier than the plan does.
        """
        numbers, total, passed, made, seen = self.numbers(limit), 0, 0, 0, None
        for end, (_, of) in enumerate(blocks, start=1):
            total += of
            reached = bisect_right(numbers, total)
            if reached == passed:
                continue
            passed, made = reached, made + 1
            seen = Seen.of_blocks(blocks[:end], most=numbers[reached - 1], doubt=self.doubt)
            if seen.is_within(limit):
                return Looked(limit, seen, made, is_shown=True)
            if made == self.most:
                return Looked(limit, seen, made)
        coming = numbers[passed : passed + self.most - made]
        return Looked(limit, seen or Seen.of_blocks(blocks, doubt=self.doubt), made, coming=coming)


LOOKS = LookPlan()
"""Of every drill that runs now; its history holds it, and is judged by it."""


@dataclass(frozen=True)
class Looked:
    """What the looks at one share found."""

    limit: float
    seen: Seen
    """at the last look; before the first one all answers so far"""
    made: int
    """looks, the last one too"""
    is_shown: bool = False
    coming: tuple[int, ...] = ()
    """numbers of answers of the looks that are left; none once it is shown"""

    @property
    def would_do(self) -> int | None:
        """The next look that answers like these pass; None: none of those that are left."""
        share = self.seen.share
        likely = ((many, math.ceil(share * many - 1e-9)) for many in self.coming)
        return next((many for many, count in likely if Seen(count, many, self.seen.doubt).is_within(self.limit)), None)
