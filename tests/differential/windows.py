"""Random rules of Prometheus on random histories: the sandbox's steps against one promtool over all of it."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from tests.sandbox.prometheus.steps import INTERVAL_S, Active, stepwise, whole

from tocsin.sandbox.parts.programs import Promtool
from tocsin.sandbox.prometheus.samples import STALE, Value

TICKS = 70
_COUNTERS = ('till_total{outcome="failed",till="1"}', 'till_total{outcome="sold",till="1"}', 'till_total{till="2"}')
_GAUGES = ('till_open{till="1"}', 'till_open{till="2"}')
_RECORDED = ("till:rate", "till:open")
_RANGES = ("30s", "1m", "2m", "5m")


@dataclass(frozen=True)
class History:
    """Rules, what was scraped every 15 seconds, and how many scrapes each evaluation finds."""

    rules: Sequence[Mapping[str, Any]]
    interval_s: int
    series: Mapping[str, Sequence[Value]]
    steps: Sequence[int]

    @property
    def text(self) -> str:
        """The rules file, of two groups where there are rules enough."""
        half = (len(self.rules) + 1) // 2
        interval = {} if self.interval_s == INTERVAL_S else {"interval": f"{self.interval_s}s"}
        groups = [
            {"name": name, **interval, "rules": [dict(rule) for rule in rules]}
            for name, rules in (("first", self.rules[:half]), ("second", self.rules[half:]))
            if rules
        ]
        return yaml.safe_dump({"groups": groups}, sort_keys=False)

    @property
    def features(self) -> frozenset[str]:
        """What of it is worth counting."""
        found = {field for rule in self.rules for field in rule if field in ("for", "keep_firing_for", "record")}
        expressions = " ".join(str(rule["expr"]) for rule in self.rules)
        words = {"offset": " offset ", "subquery": ":1m]", "absent": "absent(", "reads recorded": "till:", "range": "["}
        found |= {name for name, word in words.items() if word in expressions}
        return frozenset(found | ({"group interval"} if self.interval_s != INTERVAL_S else set()))


def history(seed: int, number: int) -> History:
    """The history of a number."""
    rng = random.Random(f"{seed}:{number}")
    recorded = [{"record": name, "expr": _recorded(name, rng)} for name in _RECORDED if rng.random() < 0.6]
    names = [str(rule["record"]) for rule in recorded]
    alerts = [_alert(f"Alert{at}", names, rng) for at in range(rng.randint(2, 4))]
    rules = [*recorded, *alerts]
    if rng.random() < 0.5:
        rng.shuffle(rules)
    steps = [1]
    while sum(steps) < TICKS:
        steps.append(min(rng.choice((1, 3, 8, 20, 30)), TICKS - sum(steps)))
    series = {name: _counter(rng) for name in _COUNTERS} | {name: _gauge(rng) for name in _GAUGES}
    return History(rules, rng.choice((INTERVAL_S, INTERVAL_S, INTERVAL_S, 30, 60)), series, steps)


def _recorded(name: str, rng: random.Random) -> str:
    if name == "till:rate":
        return f"sum by (till) (rate(till_total[{rng.choice(_RANGES)}]))"
    return rng.choice(("sum(till_open)", "avg_over_time(till_open[2m])", "till_open == 0"))


def _alert(name: str, recorded: Sequence[str], rng: random.Random) -> dict[str, Any]:
    expr = _condition(recorded, rng)
    if rng.random() < 0.3:
        expr = f"({expr}) {rng.choice(('and on(till)', 'or', 'unless on(till)'))} ({_condition(recorded, rng)})"
    found: dict[str, Any] = {"alert": rng.choice((name, name, "AlertTwice")), "expr": expr}
    if rng.random() < 0.7:
        found["for"] = rng.choice(("15s", "30s", "1m", "2m", "4m"))
    if rng.random() < 0.4:
        found["keep_firing_for"] = rng.choice(("30s", "1m", "3m"))
    # Two alerts of one name differ in a label, as Prometheus wants them to.
    return {**found, "labels": {"of": name}}


def _condition(recorded: Sequence[str], rng: random.Random) -> str:
    window, offset = rng.choice(_RANGES), rng.choice(("", "", "", " offset 1m", " offset 3m"))
    choices: list[Callable[[], str]] = [
        lambda: f"till_open{offset} == 0",
        lambda: f"max_over_time(till_open[{window}]{offset}) < 1",
        lambda: f'rate(till_total{{outcome="failed"}}[{window}]{offset}) > {rng.choice((0, 0.05, 0.1))}',
        lambda: f"increase(till_total[{window}]{offset}) > {rng.choice((1, 3, 6))}",
        lambda: f"changes(till_open[{window}]) > 1",
        lambda: f"max_over_time(rate(till_total[{window}])[{rng.choice(('3m', '7m'))}:1m]{offset}) > 0.1",
        lambda: f'absent(till_open{{till="{rng.choice((1, 2, 3))}"}})',
        lambda: f"count_over_time((till_open == 0)[{rng.choice(('2m', '5m'))}:1m]) > 1",
    ]
    for name in recorded:
        choices += [
            lambda name=name: f"{name} > {rng.choice((0, 0.1))}",
            lambda name=name: f"avg_over_time({name}[{window}]{offset}) > 0.05",
            lambda name=name: f"min_over_time({name}[4m:1m]) <= 1",
        ]
    return rng.choice(choices)()


def _counter(rng: random.Random) -> list[Value]:
    found: list[Value] = []
    total, pace = 0.0, 0
    for _ in range(TICKS):
        if rng.random() < 0.1:
            pace = rng.choice((0, 0, 1, 2, 5))
        total = 0.0 if rng.random() < 0.02 else total + pace
        found.append(None if rng.random() < 0.05 else total)
    return _ended(found, rng)


def _gauge(rng: random.Random) -> list[Value]:
    found: list[Value] = []
    value = 1.0
    for _ in range(TICKS):
        if rng.random() < 0.12:
            value = 1.0 - value
        found.append(None if rng.random() < 0.05 else value)
    return _ended(found, rng)


def _ended(values: list[Value], rng: random.Random) -> list[Value]:
    """Now and then its target was gone for a while."""
    if rng.random() < 0.4:
        at, until = sorted(rng.sample(range(5, TICKS), 2))
        values[at:until] = [STALE, *([None] * (until - at - 1))]
    return values


# ------------------------------------------------------------------------------------------------ comparing


def differing(promtool: Promtool, one: History, directory: Path) -> tuple[int, Active, Active] | None:
    """The first evaluation of which the steps say something else: (tick, whole, steps)."""
    rules = directory / "rules.yaml"
    rules.write_text(one.text, encoding="utf-8")
    ticks, every = sum(one.steps), one.interval_s // INTERVAL_S
    expected = whole(promtool, rules, one.series, ticks, one.interval_s)
    found = stepwise(promtool, rules, one.series, one.steps)
    for tick in range(0, ticks, every):
        if expected[tick] != found[tick]:
            return tick, expected[tick], found[tick]
    return None


def compare_windows(promtool: Promtool, seed: int, count: int, say: Callable[[str], object]) -> bool:
    """Compare as many histories as wanted, and tell of them."""
    wrong, features = 0, Counter[str]()
    with tempfile.TemporaryDirectory(prefix="tocsin-differential-") as directory:
        for number in range(count):
            one = history(seed, number)
            features.update(one.features)
            if differing(promtool, one, Path(directory)) is not None:
                wrong += 1
                small = shrunk(promtool, one, Path(directory))
                say(f"\nhistory {number}:\n{small.text}{dict(small.series)}\nsteps {list(small.steps)}")
                say(f"(tick, whole, steps): {differing(promtool, small, Path(directory))}")
            if (number + 1) % 10 == 0:
                say(f"{number + 1:6} of {count} histories, {wrong} disagreements")
    say(f"\n{count} histories of Prometheus rules, {wrong} disagreements; with {_counted(features)}")
    return not wrong


def _counted(features: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(features.items()))


def shrunk(promtool: Promtool, one: History, directory: Path) -> History:
    """With as few rules as still come out in two ways."""
    for rule in one.rules:
        fewer = replace(one, rules=[other for other in one.rules if other is not rule])
        if fewer.rules and differing(promtool, fewer, directory) is not None:
            one = fewer
    return one
