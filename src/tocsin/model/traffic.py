"""What callers got, second by second: sums of it, and whether that is what a healthy system gives.

A judge asks afterwards; the running drill asks to know how long to hold.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tocsin.model.events import LoadSecond, is_error
from tocsin.model.histogram import merged, slower
from tocsin.model.histogram import quantile as quantile_of
from tocsin.model.looks import Looked, LookPlan
from tocsin.model.shares import DOUBT, Seen, chance_of_more
from tocsin.model.system import SLOW_SHARE, Objectives

ENOUGH_ANSWERS = 20
"""Of fewer answers p95 cannot be told: one in twenty is slower."""
WINDOW_S = 60.0
"""Production seconds that are looked at together: the resolution of CloudWatch."""
_BY_CHANCE = 1e-4
"""Whatever comes more rarely than this by chance is taken for no chance. A drill asks some hundred such questions."""


def count_statuses(seconds: Iterable[LoadSecond]) -> Counter[str]:
    """Answers by status over several seconds."""
    total: Counter[str] = Counter()
    for second in seconds:
        _add(total, second.statuses)
    return total


def _add(total: Counter[str], counts: Mapping[str, int]) -> None:
    """As `Counter.update`, which costs more than it adds where there are one or two counts and many seconds."""
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count


def error_share(statuses: Counter[str]) -> float:
    """Share of answers that are server errors or no answer; 0 of nothing is 0."""
    errors = sum(count for status, count in statuses.items() if is_error(status))
    return errors / statuses.total() if statuses.total() else 0.0


def failed_of(seconds: Iterable[LoadSecond]) -> Seen:
    """How many of the answers were server errors or no answer."""
    return Seen.of_blocks([(second.failed, second.answered) for second in seconds])


def slow_of(seconds: Iterable[LoadSecond], limit_ms: float) -> tuple[Seen, Seen]:
    """How many of the answers were slower than a limit: certainly, and at most, as far as the histograms tell."""
    slow = [_slower(second, limit_ms) for second in seconds]
    certainly, at_most = [(least, of) for least, _, of in slow], [(most, of) for _, most, of in slow]
    return Seen.of_blocks(certainly), Seen.of_blocks(at_most)


def _slower(second: LoadSecond, limit_ms: float) -> tuple[int, int, int]:
    """(certainly slower, at most, of so many) answers of a second whose histogram is known."""
    if second.histogram is None:
        return 0, 0, 0
    good, failed = second.histogram.good, second.histogram.failed
    (certain, possible), (others_certain, others_possible) = slower(good, limit_ms), slower(failed, limit_ms)
    return certain + others_certain, possible + others_possible, sum(good.values()) + sum(failed.values())


def has_histograms(seconds: Iterable[LoadSecond]) -> bool:
    """Whether every second that has answers tells how long each of them took; older histories do not."""
    return all(second.histogram is not None for second in seconds if second.answered)


def buckets(seconds: Iterable[LoadSecond]) -> Counter[int]:
    """Latencies of all answers of several seconds, in the buckets of `tocsin.model.histogram`."""
    return merged(second.histogram for second in seconds if second.histogram is not None)


def latency_of(seconds: Sequence[LoadSecond], quantile: str) -> float | None:
    """A latency quantile (`p50`, `p95`, `p99`) of all answers of several seconds in ms; None of none.

    From the merged histograms, within 1.1 %. An older history has only the quantiles of its seconds, from which those
    of a longer time cannot be had: then it is their mean, weighted by answers, the usual estimate and a wrong one.
    """
    if has_histograms(seconds):
        return quantile_of(buckets(seconds), float(quantile[1:]) / 100)
    weighed = [(second.answered, second.latency_ms[quantile]) for second in seconds if quantile in second.latency_ms]
    answers = sum(count for count, _ in weighed)
    return sum(count * value for count, value in weighed) / answers if answers else None


def latencies_of(seconds: Sequence[LoadSecond], quantiles: Iterable[str]) -> dict[str, float]:
    """Several of what `latency_of` tells, of seconds with histograms: these are merged once. Nothing of no answer."""
    together = buckets(seconds)
    found = {name: quantile_of(together, float(name[1:]) / 100) for name in quantiles}
    return {name: value for name, value in found.items() if value is not None}


def usual_latency(seconds: Sequence[LoadSecond], quantile: str) -> float | None:
    """A latency quantile of a few seconds in ms: of all answers together; None of none.

    Of an older history it is the middle one of the seconds', weighed by their answers: of some twenty answers p95 is
    the slowest or the one before, so that a single slow answer makes a second slow, and the mean of a few with it.
    """
    if has_histograms(seconds):
        return latency_of(seconds, quantile)
    weighed = sorted(
        (second.latency_ms[quantile], second.answered) for second in seconds if quantile in second.latency_ms
    )
    half, counted = sum(answers for _, answers in weighed) / 2, 0
    for value, answers in weighed:
        counted += answers
        if counted >= half:
            return value
    return None


def errors_told(statuses: Counter[str]) -> str:
    """The errors among answers in words, the most frequent first."""
    wrong = [(status, count) for status, count in statuses.most_common() if is_error(status)]
    return ", ".join(f"{count} x {'no answer' if status == 'error' else status}" for status, count in wrong)


def window(seconds: Sequence[LoadSecond], scale: float, start: int = 0) -> Sequence[LoadSecond] | None:
    """The fewest `seconds` from an index on that tell something: a minute of production time, and enough answers."""
    answers = 0
    for end in range(start + 1, len(seconds) + 1):
        answers += seconds[end - 1].answered
        if answers >= ENOUGH_ANSWERS and (end - start) * scale >= WINDOW_S:
            return seconds[start:end]
    return None


def window_ends(seconds: Sequence[LoadSecond], scale: float) -> list[int | None]:
    """Where the window that begins with each second ends (the index after its last second); None: not within them."""
    answers = [0, *accumulate(second.answered for second in seconds)]
    length = math.ceil(WINDOW_S / scale)
    ends = (max(at + length, bisect_left(answers, answers[at] + ENOUGH_ANSWERS)) for at in range(len(seconds)))
    return [end if end <= len(seconds) else None for end in ends]


@dataclass(frozen=True)
class Healthy:
    """What callers of the healthy system get: its objectives, and the answers from before the fault."""

    objectives: Objectives
    before: Mapping[str, Counter[str]]
    """operation -> answers by status; under `` those of all operations"""

    @classmethod
    def of(cls, objectives: Objectives, baseline: Iterable[LoadSecond]) -> Healthy:
        """From the seconds before the fault."""
        return cls(objectives, by_operation(baseline))

    def well_from(self, seconds: Sequence[LoadSecond], scale: float) -> int | None:
        """Index of the second from which on callers get what they got before: in its window, and in all that follows.

        Where a later window is worse than chance explains, it is well only after it. All that follows is judged by
        intervals: it is not well where more than the objectives allow must be wrong. What was wrong in it may be left
        out only where it is over beyond doubt: a share is not put right by waiting for a lucky minute. None: not well
        at the end, or too few answers to tell.
        """
        ends = window_ends(seconds, scale)
        others, since, exact = list(self._others(by_operation(seconds))), None, has_histograms(seconds)
        for at in range(max(self._broken(seconds, ends), default=-1) + 1, len(seconds)):
            end, rest = ends[at], seconds[at:]
            if end is None:
                return None
            if self.complaint(seconds[at:end]):
                continue
            since = at if since is None else since
            as_before = self._is_kept(seconds[since:at], rest) if exact else not self.complaint(rest)
            if as_before and all(one.is_over(rest) for one in others):
                return at
        return None

    def served(self, seconds: Sequence[LoadSecond], scale: float, plan: LookPlan | None) -> Served:
        """How callers are served in `seconds`, the time since an undo, as far as planned looks tell; without a plan
        no look is made.

        What was known when it was found that they are served as before shows nothing: that time was taken because few
        of its answers failed. The answers after it are looked at.
        """
        well = self.well_from(seconds, scale)
        if well is None or plan is None or not has_histograms(seconds):
            return Served(well, ())
        after, objectives = seconds[self._found_by(well, seconds, scale) :], self.objectives
        failed = [(second.failed, second.answered) for second in after]
        slow = [(most, of) for _, most, of in (_slower(second, objectives.p95_ms) for second in after)]
        looked = (plan.look(failed, objectives.errors_to_show), plan.look(slow, objectives.slow_to_show))
        return Served(well, looked)

    def _found_by(self, well: int, seconds: Sequence[LoadSecond], scale: float) -> int:
        """By when it was found that it is well since `well`: the index after that second.

        That is at the end of the first window, or later, where a bad time had to be seen to be over. It is asked of a
        few prefixes of the time, ever further apart, so that a long time is not gone through again and again.
        """
        first, waited = well + len(window(seconds, scale, well) or ()), 0
        while first + waited < len(seconds) and self.well_from(seconds[: first + waited], scale) != well:
            waited += max(1, waited // 4)
        return min(first + waited, len(seconds))

    def above(self, seconds: Sequence[LoadSecond]) -> str | None:
        """What is above its objective beyond doubt, of the shares of failed and of slow answers, in words."""
        found = []
        errors, (slow, _) = failed_of(seconds), slow_of(seconds, self.objectives.p95_ms)
        statuses, p95 = count_statuses(seconds), latency_of(seconds, "p95") or 0.0
        for told, seen, limit in (
            (self._failed_told(statuses), errors, self.objectives.max_error_share),
            (f"{self._slow_told(p95)}: {slow.share:.1%} of {slow.of} answers took longer", slow, SLOW_SHARE),
        ):
            if seen.is_above(limit):
                found.append(f"{told}; {seen.above_told(limit)}")
        return "; ".join(found) or None

    def _failed_told(self, statuses: Counter[str]) -> str:
        return f"{error_share(statuses):.1%} of {statuses.total()} answers failed ({errors_told(statuses)})"

    def _slow_told(self, p95: float) -> str:
        return f"p95 was {p95:.0f} ms, at most {self.objectives.p95_ms:g} ms is healthy"

    def _is_kept(self, skipped: Sequence[LoadSecond], rest: Sequence[LoadSecond]) -> bool:
        """Whether what follows keeps the objectives, and what was skipped before it was something else."""
        if self.above(rest) or next(self._others(by_operation(rest)), None):
            return False
        limit_ms = self.objectives.p95_ms
        return all(
            not Seen(early.count + late.count, early.of + late.of).is_above(limit)
            or _chance_of_both(early.count, early.of, late.count, late.of) < DOUBT
            for early, late, limit in (
                (failed_of(skipped), failed_of(rest), self.objectives.max_error_share),
                (slow_of(skipped, limit_ms)[0], slow_of(rest, limit_ms)[0], SLOW_SHARE),
            )
        )

    def complaint(self, seconds: Sequence[LoadSecond]) -> str | None:
        """What callers get worse than from the healthy system, in words; None for nothing."""
        statuses = count_statuses(seconds)
        if error_share(statuses) > self.objectives.max_error_share:
            return self._failed_told(statuses)
        p95 = usual_latency(seconds, "p95")
        if p95 is not None and p95 > self.objectives.p95_ms:
            return self._slow_told(p95)
        return next((other.told() for other in self._others(by_operation(seconds))), None)

    def changes(self, seconds: Iterable[LoadSecond], expected: Collection[str] = ()) -> list[str]:
        """Answers without success that became more frequent than before the fault, by operation, in words.

        `expected` are statuses that may. Of all operations together is told only what no single one shows.
        """
        found = [other for other in self._others(by_operation(seconds)) if other.status not in expected]
        named = {other.status for other in found if other.operation}
        return [other.told() for other in found if other.operation or other.status not in named]

    def is_broken(self, seconds: Sequence[LoadSecond]) -> bool:
        """Whether the seconds are so bad that no chance explains it: a stray error, or a slow answer, is none."""
        return next(self._broken(seconds, [len(seconds)]), None) is not None

    def broken_windows(self, seconds: Sequence[LoadSecond], scale: float) -> Iterator[Sequence[LoadSecond]]:
        """The windows, from whichever second on, that are so bad."""
        ends = window_ends(seconds, scale)
        return (seconds[at : ends[at]] for at in self._broken(seconds, ends))

    def _broken(self, seconds: Sequence[LoadSecond], ends: Sequence[int | None]) -> Iterator[int]:
        """Where the windows begin that are so bad. Each second is looked at once, however many windows it is in."""
        answers = [0, *accumulate(second.answered for second in seconds)]
        failed = [0, *accumulate(second.failed for second in seconds)]
        slow = [0, *accumulate(_slow_at_least(second, self.objectives.p95_ms) for second in seconds)]
        mix, last = Mix(), 0
        for at, (first, end) in enumerate(zip(seconds, ends, strict=False)):
            if end is None:
                return
            for entering in seconds[last:end]:
                mix.add(entering)
            last, of = end, answers[end] - answers[at]
            if (
                chance_of_more(failed[end] - failed[at], of, self.objectives.max_error_share) < _BY_CHANCE
                or chance_of_more(slow[end] - slow[at], of, SLOW_SHARE) < _BY_CHANCE
                or next(self._others(mix.found), None) is not None
            ):
                yield at
            mix.take_away(first)

    def _others(self, mix: Mapping[str, Counter[str]]) -> Iterator[_Other]:
        """Answers without success that became more frequent than before the fault, by operation.

        What a server cannot do is counted by its objective. Here it is what callers are told to have done wrong, though
        they do what they did before: everybody is forbidden something, or nothing is found any more.
        """
        for operation, now in mix.items():
            then = self.before.get(operation, Counter())
            for status in [one for one, many in now.items() if many and not (one.startswith("2") or is_error(one))]:
                if not then.total():
                    continue
                other = _Other(operation, status, then[status] / then.total(), now[status] / now.total(), now.total())
                grown = other.share - other.before > self.objectives.max_error_share
                if grown and _chance_of_both(now[status], now.total(), then[status], then.total()) < _BY_CHANCE:
                    yield other


@dataclass(frozen=True)
class Served:
    """How callers are served since an undo."""

    well: int | None
    """index of the second from which on they get what they got before; None: they do not"""
    looked: tuple[Looked, ...]
    """at the shares of answers that failed and of those that were slow; nothing where it was not looked"""

    @property
    def waits(self) -> bool:
        """Whether they are served as before, which is not shown yet, and more answers can still show it."""
        missing = [one for one in self.looked if not one.is_shown]
        return self.well is not None and bool(missing) and all(one.coming for one in missing)


_MOST_TERMS = 10_000
"""Of a sum over answers: far more than ever matter for the answers of a drill."""


@dataclass(frozen=True)
class _Other:
    """An answer that one operation gives more often than before the fault."""

    operation: str
    status: str
    before: float
    share: float
    of: int

    def told(self) -> str:
        whose = f"of {self.operation} " if self.operation else ""
        return f"{self.share:.1%} of {self.of} answers {whose}were {self.status}, before the fault {self.before:.1%}"

    def is_over(self, rest: Iterable[LoadSecond]) -> bool:
        """Whether what follows is nearer to what was before: of a few answers chance alone would explain all."""
        answers = by_operation(rest).get(self.operation, Counter())
        return bool(answers) and answers[self.status] / answers.total() < (self.before + self.share) / 2


def is_refusal(status: str) -> bool:
    """Whether an answer is neither a success nor a failure of the server: a redirect, or a no to the caller.

    304 is a success: what the caller has is what there is.
    """
    return status.startswith(("3", "4")) and status != "304"


def by_operation(seconds: Iterable[LoadSecond]) -> Mapping[str, Counter[str]]:
    """Answers by status of each operation; those of all of them under ``."""
    mix = Mix()
    for second in seconds:
        mix.add(second)
    return mix.found


class Mix:
    """Answers by operation and status, of seconds that come and go."""

    def __init__(self) -> None:
        self.found: dict[str, Counter[str]] = {"": Counter()}
        """operation -> answers by status; those of all of them under ``"""

    def add(self, second: LoadSecond) -> None:
        """Count a second."""
        for operation, statuses in _operations(second):
            if operation not in self.found:
                self.found[operation] = Counter()
            _add(self.found[operation], statuses)

    def take_away(self, second: LoadSecond) -> None:
        """Count a second no more that was added before."""
        for operation, statuses in _operations(second):
            self.found[operation].subtract(statuses)


def _operations(second: LoadSecond) -> Iterator[tuple[str, Mapping[str, int]]]:
    yield "", second.statuses
    yield from second.by_name.items()


def _slow_at_least(second: LoadSecond, limit_ms: float) -> int:
    """Answers of a second that were certainly slower, as far as its histogram, or else its quantiles, tell."""
    if second.histogram is not None:
        return _slower(second, limit_ms)[0]
    limits = (
        (0.50, second.latency_ms.get("p50", 0.0)),
        (0.95, second.latency_ms.get("p95", 0.0)),
    )
    return next((max(1, round((1 - share) * second.answered)) for share, ms in limits if ms > limit_ms), 0)


def _chance_of_both(count: int, total: int, other_count: int, other_total: int) -> float:
    """How likely `count` or more of `total` are, when these and the others come from one mix: Fisher's exact test."""
    marked, everything = count + other_count, total + other_total
    return _sum_of_tail(
        math.exp(
            _log_choices(marked, many)
            + _log_choices(everything - marked, total - many)
            - _log_choices(everything, total)
        )
        for many in range(max(count, total - (everything - marked)), min(total, marked) + 1)
    )


def _sum_of_tail(terms: Iterable[float]) -> float:
    """The sum of a tail: terms of which, beyond the most likely one, each is smaller, and by more than the one before.

    A history may tell of any number of answers: what comes after ten thousand terms, or cannot matter, is not added up
    but bounded from above, by the geometric series with the last ratio.
    """
    found = last = 0.0
    for index, term in enumerate(terms):
        found += term
        left = term * term / (last - term) if term < last else math.inf
        if term == 0.0 or left <= found * 1e-12 or index >= _MOST_TERMS:
            return found if term == 0.0 else min(1.0, found + left)
        last = term
    return found


def _log_choices(total: int, many: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(many + 1) - math.lgamma(total - many + 1)
