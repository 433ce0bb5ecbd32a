"""The real Prometheus engine on samples stamped in system time: `promtool test rules`.

A Prometheus server evaluates by the wall clock, and its rules must never be rewritten for a faster one. The rule
tester of the same project takes samples with times of their own and evaluates with the same engine: an expression at
any moment, and what `for`, `keep_firing_for` and the templates of labels make of its results.
https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tocsin.alarms.exposition import Labels
from tocsin.alarms.prometheus import AlertRule, parse_duration
from tocsin.errors import SandboxError
from tocsin.sandbox.parts.programs import Promtool
from tocsin.sandbox.prometheus.samples import Value

_ANSWER = re.compile(r'^\s+expr: ".*\\n#(?P<number>\d+)", time: (?P<time>[^\s,]+),(?: err: (?P<error>.*))?$')
_GOT = "        got: "
_SERIES = re.compile(r'\{((?:[^{}"]|"(?:[^"\\]|\\.)*")*)\} ([^\s,]+)')
_LABEL = re.compile(r'"?([\w.:/-]+)"?="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")

Vector = tuple[tuple[Labels, float], ...]
"""What an expression gave: series with their values; the metric's name, if any, is the label `__name__`."""


@dataclass(frozen=True)
class Failed:
    """An expression that could not be evaluated, at one moment."""

    why: str


@dataclass(frozen=True)
class Grid:
    """Where time begins, and how far apart the samples are, in system seconds."""

    start: int
    step: int

    def values(self, samples: Mapping[int, Value]) -> str:
        """The samples of one series in promtool's notation."""
        parts, expected = [], 0
        for at in sorted(samples):
            index = (at - self.start) // self.step
            if index > expected:
                parts.append(f"_x{index - expected}")
            parts.append(_notation(samples[at]))
            expected = index + 1
        return " ".join(parts)


@dataclass(frozen=True)
class Question:
    """One expression at one moment."""

    number: int
    """Whose expression it is."""
    expr: str
    at: int
    """System second."""


class RuleEngine:
    """Evaluates expressions, and alerts on what they gave. Every method raises SandboxError when promtool fails."""

    def __init__(self, promtool: Promtool, rules: Path, interval_s: int) -> None:
        self._promtool = promtool
        self._rules = rules.resolve()
        self._interval_s = interval_s

    def check(self) -> None:
        """Whether the rules can be loaded.

        Raises:
            SandboxError: with what promtool says is wrong.
        """
        answer = self._promtool("check", "rules", str(self._rules))
        if answer.returncode != 0:
            raise SandboxError(
                f"{self._rules}: expected rules that Prometheus can load, found: {answer.stderr.strip()}"
            )

    def ask(
        self, questions: Sequence[Question], samples: Mapping[Labels, Mapping[int, Value]], grid: Grid
    ) -> dict[tuple[int, int], Vector | Failed]:
        """What each expression gave, by number and system second; nothing where the vector is empty."""
        tests = [
            {
                # The comment tells whose answer it is: promtool quotes the expression.
                "expr": f"{one.expr}\n#{one.number}",
                "eval_time": f"{one.at - grid.start}s",
                "exp_samples": [],
            }
            for one in questions
        ]
        return self._run([], self._interval_s, samples, grid, tests)

    def alert(
        self,
        rules: Mapping[int, AlertRule],
        results: Mapping[Labels, Mapping[int, Value]],
        grid: Grid,
        times: Sequence[int],
    ) -> dict[tuple[int, int], Vector]:
        """The instances of alerts at each of `times`, pending and firing, by number of the rule.

        `results` are those of the expressions, as the series that `result_name` names.
        """
        # What promtool calls an alert is ours to choose: rules of one name are told apart by it.
        document = {
            "groups": [
                {
                    "name": "alerts",
                    "rules": [
                        {
                            "alert": f"rule_{number}",
                            "expr": result_name(number),
                            "for": rule.for_,
                            **({"keep_firing_for": rule.keep_firing_for} if rule.keep_firing_s else {}),
                            "labels": rule.labels,
                        }
                        for number, rule in rules.items()
                    ],
                }
            ]
        }
        tests = [{"expr": "ALERTS\n#0", "eval_time": f"{time - grid.start}s", "exp_samples": []} for time in times]
        found: dict[tuple[int, int], list[tuple[Labels, float]]] = {}
        for (_, at), answer in self._run([document], grid.step, results, grid, tests).items():
            if isinstance(answer, Failed):
                raise SandboxError(f"expected promtool to tell the alerts, found: {answer.why}")
            for labels, value in answer:
                pairs = dict(labels)
                number = int(pairs.pop("alertname").removeprefix("rule_"))
                found.setdefault((number, at), []).append((tuple(sorted(pairs.items())), value))
        return {place: tuple(vector) for place, vector in found.items()}

    def _run(
        self,
        rules: Sequence[Mapping[str, Any]],
        interval_s: int,
        samples: Mapping[Labels, Mapping[int, Value]],
        grid: Grid,
        tests: Sequence[Mapping[str, Any]],
    ) -> dict[tuple[int, int], Vector | Failed]:
        document = {
            "rule_files": ["rules.yaml"] if rules else [],
            "evaluation_interval": f"{interval_s}s",
            "tests": [
                {
                    "interval": f"{grid.step}s",
                    "input_series": [
                        {"series": _selector(labels), "values": grid.values(values)}
                        for labels, values in samples.items()
                    ],
                    # Nothing is expected: whatever there is is then told as the difference.
                    "promql_expr_test": tests,
                }
            ],
        }
        with tempfile.TemporaryDirectory(prefix="tocsin-rules-", dir=self._promtool.scratch) as directory:
            for one in rules:
                _write(Path(directory) / "rules.yaml", one)
            _write(Path(directory) / "test.yaml", document)
            answer = self._promtool("test", "rules", str(Path(directory) / "test.yaml"))
        return _read(answer, grid)


def result_name(number: int) -> str:
    """The series that holds what the expression of a rule gave."""
    return f"result_{number}"


_Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(yaml.dump(document, Dumper=_Dumper, width=2**20), encoding="utf-8")


def _selector(labels: Labels) -> str:
    """A series as Prometheus writes it."""
    pairs = dict(labels)
    name = pairs.pop("__name__")
    return f"{name}{{{','.join(f'{key}={_quoted(value)}' for key, value in pairs.items())}}}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _notation(value: Value) -> str:
    return "_" if value is None else value if isinstance(value, str) else _number(value)


def _number(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Inf" if value > 0 else "-Inf"
    return f"{value:.17g}"


def _read(answer: subprocess.CompletedProcess[str], grid: Grid) -> dict[tuple[int, int], Vector | Failed]:
    text = f"{answer.stdout}\n{answer.stderr}"
    found: dict[tuple[int, int], Vector | Failed] = {}
    place: tuple[int, int] | None = None
    for line in text.splitlines():
        head = _ANSWER.match(line)
        if head is not None:
            place = int(head["number"]), grid.start + round(parse_duration(head["time"]))
            if head["error"] is not None:
                found[place] = Failed(head["error"])
        elif place is not None and line.startswith(_GOT):
            found[place] = tuple(
                (_labels(match[1]), float(match[2])) for match in _SERIES.finditer(line.removeprefix(_GOT))
            )
    if answer.returncode != 0 and not found:
        raise SandboxError(f"expected promtool to evaluate the rules, found: {text.strip()[:2000]}")
    return found


def _labels(text: str) -> Labels:
    return tuple(sorted((name, _unquoted(value)) for name, value in _LABEL.findall(text)))


def _unquoted(value: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], value)
