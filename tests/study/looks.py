"""How often planned looks pass a share, and how often a look after each second would: sums, nothing drawn by chance.

The number of answers that failed by one look is a chain: what failed by the look before, and a binomial number of the
answers since. At each look those chains end that pass, so that what is left can pass only later (Armitage's way of
working out repeated looks, done exactly).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tocsin.model.looks import LOOKS, LookPlan
from tocsin.model.shares import DOUBT, Seen, without_any

LIMITS = (0.005, 0.01, 0.03, 0.05, 0.1)
PER_S = 40
"""Arrivals of the table."""
SECONDS = 20
"""Looks of the rule before planned looks: one after each second, from the first that could pass."""
_NEVER = 1e-13
"""A chance that is left out: all of them together change no figure."""

Look = tuple[int, Callable[[int], bool]]
"""(answers by then, whether so many failures of them pass)"""


def chance_to_pass(looks: Sequence[Look], share: float) -> float:
    """How often one of the looks passes, when each answer fails with the probability `share`."""
    left, before, passed = {0: 1.0}, 0, 0.0
    for answers, passes in looks:
        more = _binomial(answers - before, share)
        before, found = answers, dict[int, float]()
        for failed, chance in left.items():
            for extra, likely in enumerate(more):
                found[failed + extra] = found.get(failed + extra, 0.0) + chance * likely
        passed += sum(chance for failed, chance in found.items() if passes(failed))
        left = {failed: chance for failed, chance in found.items() if chance > _NEVER and not passes(failed)}
    return passed


def planned(limit: float, plan: LookPlan = LOOKS) -> list[Look]:
    """The looks of a plan, where answers come one by one."""
    return [(many, _within(many, limit, plan.doubt)) for many in plan.numbers(limit)[: plan.most]]


def by_the_second(limit: float, per_s: int, plan: LookPlan = LOOKS) -> list[Look]:
    """The looks of a plan where so many answers come each second: the last number that was reached is looked at."""
    numbers, looks, passed, answers = plan.numbers(limit), list[Look](), 0, 0
    while len(looks) < plan.most and passed < len(numbers):
        answers += per_s
        reached = sum(number <= answers for number in numbers)
        if reached > passed:
            looks.append((answers, _within(numbers[reached - 1], limit, plan.doubt)))
        passed = reached
    return looks


def each_second(limit: float, per_s: int) -> list[Look]:
    """A look after each second, as before there was a plan: each wrong once in twenty times."""
    least = without_any(limit)
    assert least is not None
    seconds = range(math.ceil(least / per_s), math.ceil(least / per_s) + SECONDS)
    return [(many * per_s, _within(many * per_s, limit, DOUBT)) for many in seconds]


def table() -> str:
    """Rows are limits: the planned numbers, and how often shares at the limit and below it pass, in per cent."""
    shares = "at the limit | half of it | a tenth of it"
    lines = [
        f"| limit | looks at so many answers | {shares} | at the limit, {PER_S}/s | so, each second |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_row, LIMITS)])


def _row(limit: float) -> str:
    looks = planned(limit)
    numbers = ", ".join(f"{many:,}" for many, _ in looks)
    cells = [
        *(chance_to_pass(looks, limit * part) for part in (1, 0.5, 0.1)),
        chance_to_pass(by_the_second(limit, PER_S), limit),
        chance_to_pass(each_second(limit, PER_S), limit),
    ]
    return f"| {limit * 100:g} % | {numbers} | {' | '.join(f'{cell * 100:.1f}' for cell in cells)} |"


def _within(many: int, limit: float, doubt: float) -> Callable[[int], bool]:
    """Whether so many failures are within the limit: up to a largest number of them, which is looked for once."""
    most, too_many = -1, many + 1
    while too_many - most > 1:
        middle = (most + too_many) // 2
        most, too_many = (middle, too_many) if Seen(middle, many, doubt).is_within(limit) else (most, middle)
    return lambda failed: failed <= most


def _binomial(of: int, share: float) -> list[float]:
    """The chances of 0, 1, 2 ... of so many, to where more never come."""
    chances = list[float]()
    for count in range(of + 1):
        log = math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)
        chances.append(math.exp(log + count * math.log(share) + (of - count) * math.log1p(-share)))
        if count > share * of and chances[-1] < _NEVER:
            break
    return chances
