"""One history evaluated in two ways: all of it in one run of promtool, and step by step as the sandbox does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tocsin.alarms.prometheus import load_rules
from tocsin.sandbox.parts.programs import Promtool
from tocsin.sandbox.prometheus.evaluation import Evaluator
from tocsin.sandbox.prometheus.plan import Plan
from tocsin.sandbox.prometheus.samples import Samples, Value

INTERVAL_S = 15
ORIGIN = 86_400
Active = frozenset[tuple[str, str, tuple[tuple[str, str], ...]]]
"""Alert, state and labels of each instance."""


def whole(
    promtool: Promtool,
    rules: Path,
    series: Mapping[str, Sequence[Value]],
    ticks: int,
    evaluation_interval_s: int = INTERVAL_S,
) -> list[Active]:
    """One run over everything, of the file as it stands. promtool knows no interval of a group, only one of all."""
    document = {
        "rule_files": [str(rules)],
        "evaluation_interval": f"{evaluation_interval_s}s",
        # promtool has no order of its own.
        "group_eval_order": list(Plan(load_rules(rules), INTERVAL_S).groups),
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": name, "values": " ".join("_" if one is None else str(one) for one in values)}
                    for name, values in series.items()
                ],
                "promql_expr_test": [
                    {"expr": "ALERTS", "eval_time": f"{tick * INTERVAL_S}s", "exp_samples": []} for tick in range(ticks)
                ],
            }
        ],
    }
    test = rules.with_name("whole.yaml")
    test.write_text(yaml.safe_dump(document))
    answer = promtool("test", "rules", str(test))
    found: dict[int, Active] = {}
    at = -1
    for line in answer.stderr.splitlines():
        if time := re.search(r'"ALERTS", time: ([^,]+),', line):
            at = sum(int(n) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[u] for n, u in re.findall(r"(\d+)(\w)", time[1]))
        elif "got:" in line:
            found[at] = frozenset(map(_instance, re.findall(r"\{(.*?)\} 1E\+00", line)))
    assert found or "SUCCESS" in answer.stdout, answer.stderr
    return [found.get(tick * INTERVAL_S, frozenset()) for tick in range(ticks)]


def _instance(text: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    pairs = dict(re.findall(r'(\w+)="([^"]*)"', text))
    del pairs["__name__"]
    return pairs.pop("alertname"), pairs.pop("alertstate"), tuple(sorted(pairs.items()))


def _labels(name: str) -> tuple[tuple[str, str], ...]:
    metric, _, rest = name.partition("{")
    return tuple(sorted({"__name__": metric, **dict(re.findall(r'(\w+)="([^"]*)"', rest))}.items()))


def stepwise(
    promtool: Promtool, rules: Path, series: Mapping[str, Sequence[Value]], steps: Sequence[int]
) -> list[Active]:
    """As a sandbox does it: `steps` says how many ticks each evaluation finds to be due."""
    return stepped(promtool, rules, series, steps)[0]


def stepped(
    promtool: Promtool, rules: Path, series: Mapping[str, Sequence[Value]], steps: Sequence[int]
) -> tuple[list[Active], Evaluator]:
    """As `stepwise`, with the evaluator."""
    evaluator = Evaluator(load_rules(rules), rules, promtool, ORIGIN, INTERVAL_S)
    samples, done = Samples(), 0
    for step in steps:
        until = done + step
        for tick in range(done, until):
            for name, values in series.items():
                if tick < len(values) and values[tick] is not None:
                    samples.add(_labels(name), ORIGIN + tick * INTERVAL_S, values[tick])
        evaluator.advance(samples, ORIGIN + (until - 1) * INTERVAL_S)
        done = until
    active: list[set[Any]] = [set() for _ in range(done)]
    for (number, labels), one in evaluator.instances.items():
        name = evaluator.plan.rules[number].rule.name
        for state, times in (("pending", one.pending), ("firing", one.firing)):
            for at in times:
                active[(at - ORIGIN) // INTERVAL_S].add((name, state, labels))
    return [frozenset(one) for one in active], evaluator
