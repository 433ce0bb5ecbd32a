"""`make differential [CASES=24000] [SEED=...] [MUTANTS=30] [WINDOWS=30]`: evaluation of alarms against a second one.

Leaves with 1 when the two disagree, when a feature has too few cases, when a mutant of the evaluator goes unnoticed, or
when rules of Prometheus come out otherwise step by step than in one run of promtool over the whole history.
`--only NUMBER` shows one case of a seed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.differential.cases import FEATURES, Maker
from tests.differential.compare import Asked, Disagreement, First, ask_second, differs, shrunk
from tests.differential.equivalent import EQUIVALENT
from tests.differential.mutants import all_mutants, caught_by, chosen, without_change
from tests.differential.seen import features_of, states_of
from tests.differential.windows import compare_windows
from tests.house import ROOT

from tocsin.alarms import suppression
from tocsin.alarms.cloudwatch import AlarmEvaluator
from tocsin.alarms.composite import CompositeRule
from tocsin.project.places import commit_of
from tocsin.sandbox.parts.programs import Promtool
from tocsin.sandbox.parts.promtool import InstalledPromtool, find_promtool

FIRST = First(AlarmEvaluator, CompositeRule, suppression)
FEWEST = 200
"""Cases of each feature in _CASES; of fewer cases its share."""
_CASES = 24_000
_FOR_MUTANTS = 6000
"""Cases that every mutant is given, until one shows it."""
_SHOWN = 10


@dataclass
class Tally:
    """What was asked so far."""

    asked: list[Asked] = field(default_factory=list)
    """The first cases, for the mutants."""
    cases: int = 0
    features: Counter[str] = field(default_factory=Counter)
    states: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    def add(self, one: Asked, found: Disagreement | None) -> None:
        """Count a case."""
        self.cases += 1
        if len(self.asked) < _FOR_MUTANTS:
            self.asked.append(one)
        for name in features_of(one):
            self.features[name] += 1
            self.states[name, states_of(one)] += 1
        if found is not None:
            self.wrong[one.case.made_for] += 1

    def too_few(self) -> list[str]:
        """Features that were not asked often enough."""
        fewest = min(FEWEST, FEWEST * self.cases // _CASES)
        return [name for name in FEATURES if self.features[name] < fewest]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make differential", description=__doc__)
    parser.add_argument("--cases", type=int, default=_CASES)
    parser.add_argument("--seed", type=int, default=None, help="repeat a run; default: by chance")
    parser.add_argument("--only", type=int, default=None, metavar="NUMBER", help="ask this case alone")
    parser.add_argument("--mutants", type=int, default=30, help="of the evaluator; 0: none, -1: every one")
    parser.add_argument("--windows", type=int, default=30, help="histories of Prometheus rules; 0: none")
    options = parser.parse_args()
    seed = random.randrange(2**31) if options.seed is None else options.seed
    if options.only is not None:
        return _show(seed, options.only)
    print(f"differential: {options.cases} cases, seed {seed}, commit {commit_of(ROOT) or 'unknown'}", flush=True)
    tally, started = Tally(), time.monotonic()
    try:
        _ask(seed, options.cases, tally)
        well = _report(tally, time.monotonic() - started)
        well &= _mutants(seed, options.mutants, tally.asked)
        well &= not options.windows or compare_windows(_promtool(), seed, options.windows, print)
    except KeyboardInterrupt:
        print("\nstopped: this is what was done so far")
        return _report(tally, time.monotonic() - started) and 1
    return 0 if well else 1


def _ask(seed: int, count: int, tally: Tally) -> None:
    for number, case in enumerate(Maker(seed).cases(count)):
        asked = ask_second(case)
        found = differs(asked, FIRST)
        tally.add(asked, found)
        if found is not None and tally.wrong.total() <= _SHOWN:
            print(f"\ncase {number}, {case.made_for}:\n{shrunk(found, FIRST)}", flush=True)
        if tally.cases % 1000 == 0:
            print(f"{tally.cases:6} of {count}, {tally.wrong.total()} disagreements", flush=True)


def _report(tally: Tally, seconds: float) -> bool:
    print(f"\n{'feature':<42}{'cases':>7}{'OK':>7}{'ALARM':>7}{'no data':>9}{'refused':>9}{'disagree':>10}")
    for name in FEATURES:
        states = [tally.states[name, state] for state in ("OK", "ALARM", "INSUFFICIENT_DATA", "refused")]
        print(f"{name:<42}{tally.features[name]:>7}{states[0]:>7}{states[1]:>7}{states[2]:>9}{states[3]:>9}", end="")
        print(f"{tally.wrong[name]:>10}")
    print(f"\n{tally.cases} cases of {len(FEATURES)} features, {tally.wrong.total()} disagreements, {seconds:.0f} s")
    few = tally.too_few()
    if few:
        print(f"expected at least {FEWEST} cases in {_CASES} of each feature, found fewer of: {', '.join(few)}")
    return not few and not tally.wrong


def _mutants(seed: int, count: int, asked: Sequence[Asked]) -> bool:
    if not count or not asked:
        return True
    try:
        twin = without_change()
    except Exception as error:  # the source was changed since this began
        print(f"\nexpected the source as it was when this began, found that it cannot be imported: {error!r}")
        return False
    false_alarm = next((found for one in asked if (found := differs(one, twin)) is not None), None)
    if false_alarm is not None:
        print(f"\nexpected the evaluator without any change to be quiet, found {false_alarm}")
        return False
    mutants = chosen(seed, len(all_mutants()) if count < 0 else count, EQUIVALENT)
    print(f"\n{'mutant of the evaluator':<100}{'cases until seen':>17}")
    unseen = 0
    for mutant in mutants:
        found = caught_by(mutant, asked)
        unseen += found is None
        print(f"{mutant!s:<100}{found[0] if found else 'NOT SEEN':>17}", flush=True)
    print(f"{len(mutants)} mutants, {len(mutants) - unseen} seen; {len(EQUIVALENT)} that change nothing are left out")
    return not unseen


def _promtool() -> Promtool:
    return InstalledPromtool(find_promtool())


def _show(seed: int, number: int) -> int:
    asked = ask_second(Maker(seed).case(number))
    found = differs(asked, FIRST)
    print(f"{asked.case}\n{asked.second}" if found is None else f"{found}\n\nsmaller:\n{shrunk(found, FIRST)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
