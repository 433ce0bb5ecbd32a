"""What a count of answers says about the share behind it: exact intervals of the binomial distribution.

Two errors of forty answers are not "5 % fail": they are what one in a hundred gives now and then, and what one in ten
gives too. The bounds are those of Clopper and Pearson (Biometrika 26, 1934), one-sided, each wrong at most once in
twenty. They come from tails of the binomial distribution, summed from the middle outwards: nothing is approximated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import variance

DOUBT = 0.05
"""How often a bound may be wrong. A share above a limit is taken for one within it no more often."""
MOST_ANSWERS = 10_000_000
"""What nobody offers to a drill: more are not asked for, and more than these say no more than these."""
BLOCKS_THAT_TELL = 10
"""Blocks of five seconds from which on their spread tells how much answers hang together."""
_NEGLIGIBLE = 1e-17
_HALVINGS = 50


@dataclass(frozen=True)
class Seen:
    """So many of so many answers, and what share of all answers that can be."""

    count: int
    of: int
    doubt: float = DOUBT
    """how often each of its bounds may be wrong"""

    @property
    def share(self) -> float:
        """The share that was seen; 0 of nothing is 0."""
        return self.count / self.of if self.of else 0.0

    @classmethod
    def of_blocks(cls, blocks: Sequence[tuple[int, int]], most: int | None = None, doubt: float = DOUBT) -> Seen:
        """Of (count, of) for each second of a longer time, as few answers as they are worth.

        Answers of a second share its luck: what is slow is slow together, and says less than as many answers of their
        own would. With blocks of five seconds of about m answers each, n answers count as n/f of their own, where
        f = m Var(shares of the blocks) / (p (1 - p)), at least 1. Fewer than ten blocks cannot tell f: it is 1 then.
        No more than `most` answers are counted, and all that count of them.
        """
        count, of = sum(one for one, _ in blocks), sum(many for _, many in blocks)
        of = of if most is None else min(of, most)
        f = _bunching([(sum(k), sum(n)) for k, n in (zip(*five, strict=True) for five in _fives(blocks))])
        return cls(math.ceil(min(count, of) / f), math.ceil(of / f), doubt)

    @property
    def at_least(self) -> float:
        """The lower bound: a smaller share gives as many as were seen less often than the doubt."""
        count, of = self._fewest
        return 0.0 if not count else _lower_bound(count, of, self.doubt)

    @property
    def at_most(self) -> float:
        """The upper bound: a larger share gives as few as were seen less often than the doubt."""
        count, of = self._most
        return 1.0 if count == of else _upper_bound(count, of, self.doubt)

    def is_above(self, limit: float) -> bool:
        """Whether the share is above the limit, as far as anybody can tell."""
        return chance_of_more(*self._fewest, limit) < self.doubt

    def above_told(self, limit: float) -> str:
        """In words that the share is above the limit, where it is."""
        return f"that is at least {percent(self.at_least)} of all, and {percent(limit)} may"

    def is_within(self, limit: float) -> bool:
        """Whether the share is at most the limit, as far as anybody can tell. Neither of both: too few answers."""
        return limit >= 1 or chance_of_fewer(*self._most, limit) <= self.doubt

    @property
    def _fewest(self) -> tuple[int, int]:
        """Count and answers; of more than `MOST_ANSWERS` as many of them, rounded so that they show the smaller share.

        A history may tell of any number, and the tail of a million million has more terms than anybody waits for.
        """
        of = min(self.of, MOST_ANSWERS)
        return (self.count * of // self.of if self.of else 0), of

    @property
    def _most(self) -> tuple[int, int]:
        """As `_fewest`, rounded so that they show the larger share."""
        of = min(self.of, MOST_ANSWERS)
        return (-(-self.count * of // self.of) if self.of else 0), of

    def needed(self, limit: float) -> int | None:
        """How many answers would show that the share is within the limit, if as large a part of them counted.

        None: that many are more than anybody offers, or the share that was seen is not below the limit.
        """
        if self.share >= limit:
            return None

        def would_do(many: int) -> bool:
            return Seen(math.ceil(self.share * many - 1e-9), many, self.doubt).is_within(limit)

        enough = max(1, self.of)
        while not would_do(enough):
            enough *= 2
            if enough > MOST_ANSWERS:
                return None
        too_few = 0
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            too_few, enough = (too_few, middle) if would_do(middle) else (middle, enough)
        return enough


def without_any(limit: float, doubt: float = DOUBT) -> int | None:
    """How many answers of which none counts show that the share is within the limit: 299 for 1 %, 2,995 for 0.1 %."""
    return Seen(0, 0, doubt).needed(limit)


def percent(share: float) -> str:
    """`0.1 %`, `3.5 %`, `40 %`: two figures that matter."""
    return f"{share * 100:.2g} %" if share < 0.995 else "100 %"


def chance_of_more(count: int, of: int, share: float) -> float:
    """How likely `count` or more of `of` are, when each is with the probability `share`."""
    if count <= 0:
        return 1.0
    if share <= 0 or count > of:
        return 0.0
    if share >= 1:
        return 1.0
    if count <= share * of:
        return 1.0 - chance_of_fewer(count - 1, of, share)
    odds = share / (1 - share)
    return _sum(_term(count, of, share), lambda step: odds * (of - count - step) / (count + step + 1), of - count)


def chance_of_fewer(count: int, of: int, share: float) -> float:
    """How likely `count` or fewer of `of` are, when each is with the probability `share`."""
    if count >= of or share <= 0:
        return 1.0
    if count < 0 or share >= 1:
        return 0.0
    if count >= share * of:
        return 1.0 - chance_of_more(count + 1, of, share)
    odds = (1 - share) / share
    return _sum(_term(count, of, share), lambda step: odds * (count - step) / (of - count + step + 1), count)


def _fives(blocks: Sequence[tuple[int, int]]) -> list[Sequence[tuple[int, int]]]:
    return [blocks[at : at + 5] for at in range(0, len(blocks) - 4, 5)]


def _bunching(blocks: Sequence[tuple[int, int]]) -> float:
    shares = [count / of for count, of in blocks if of]
    if len(shares) < BLOCKS_THAT_TELL:
        return 1.0
    mean = sum(shares) / len(shares)
    spread = variance(shares)
    answers = sum(of for _, of in blocks) / len(shares)
    return max(1.0, answers * spread / (mean * (1 - mean))) if 0 < mean < 1 else 1.0


def _term(count: int, of: int, share: float) -> float:
    choices = math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)
    return math.exp(choices + count * math.log(share) + (of - count) * math.log1p(-share))


def _sum(first: float, ratio: Callable[[int], float], steps: int) -> float:
    """A tail from its largest term outwards, to where a further term changes nothing."""
    total = term = first
    for step in range(steps):
        term *= ratio(step)
        total += term
        if term <= _NEGLIGIBLE * total:
            break
    return min(1.0, total)


# The same few counts are judged again and again, and told in words each time: by every look at a recovery, by every
# judgement on the same answers.
@lru_cache(maxsize=4096)
def _lower_bound(count: int, of: int, doubt: float) -> float:
    return _root(lambda share: chance_of_more(count, of, share) >= doubt)


@lru_cache(maxsize=4096)
def _upper_bound(count: int, of: int, doubt: float) -> float:
    return _root(lambda share: chance_of_fewer(count, of, share) <= doubt)


def _root(is_reached: Callable[[float], bool]) -> float:
    """Where a condition on a share, which holds from somewhere on, begins to hold."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_reached(middle) else (middle, high)
    return high
