"""The real Prometheus rule engine on samples stamped in system time: `promtool test rules`.

A Prometheus server evaluates by the wall clock, and its rules must never be rewritten for a faster one. The rule
tester of the same project takes samples with times of their own, evaluates the unmodified file with the same engine,
and tells what was pending or firing at any moment.
https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tocsin.alarms.exposition import Labels
from tocsin.alarms.prometheus import parse_duration
from tocsin.errors import SandboxError
from tocsin.sandbox.parts import Promtool

STALE = "stale"
"""A series ended here: its target is gone, or does not export it any more."""
Value = float | str | None
"""A sample, STALE, or None where there is none."""

_TIMEOUT_S = 30.0
_QUERY = "ALERTS"
_RESULT = re.compile(r'^\s+expr: "(?P<expr>.*)", time: (?P<time>\S+),$')
_SERIES = re.compile(r'\{((?:\w+="(?:[^"\\]|\\.)*"(?:, )?)*)\} (\S+)')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

_INSTALL = (
    "Install it (Debian, Ubuntu: `apt install prometheus`; macOS: `brew install prometheus`; else "
    "https://prometheus.io/download/), so that `promtool` is on the PATH."
)


@dataclass(frozen=True)
class ActiveAlert:
    """One instance of an alert that was pending or firing at one evaluation."""

    alert: str
    state: str
    """`pending` or `firing`."""
    labels: Labels
    """Without the alert's name and state."""


class RuleEngine:
    """Evaluates one rules file.

    `interval_s` is both the scrape and the evaluation interval, in system seconds.
    """

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

    def evaluate(self, series: Mapping[Labels, Sequence[Value]], ticks: Sequence[int]) -> list[list[ActiveAlert]]:
        """What was active at each of `ticks`.

        A tick is an index into the values, which are `interval_s` apart; the first value is the start of time for
        `for:`, so the values must reach back further than the longest `for:` and range together.

        Raises:
            SandboxError: promtool did not run, or answered something else.
        """
        times = [tick * self._interval_s for tick in ticks]
        document = {
            "rule_files": [str(self._rules)],
            "evaluation_interval": f"{self._interval_s}s",
            "tests": [
                {
                    "interval": f"{self._interval_s}s",
                    "input_series": [
                        {"series": _selector(labels), "values": _notation(values)} for labels, values in series.items()
                    ],
                    # Nothing is expected: whatever is active is then told as the difference.
                    "promql_expr_test": [
                        {"expr": _QUERY, "eval_time": f"{time}s", "exp_samples": []} for time in times
                    ],
                }
            ],
        }
        with tempfile.TemporaryDirectory(prefix="tocsin-rules-", dir=self._promtool.scratch) as directory:
            file = Path(directory) / "test.yaml"
            file.write_text(yaml.dump(document, Dumper=_Dumper, width=2**20), encoding="utf-8")
            answer = self._promtool("test", "rules", str(file))
        return _read(answer, times)


@dataclass(frozen=True)
class InstalledPromtool:
    """A `promtool` of this machine."""

    program: Path
    scratch: None = None

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it once. Raises SandboxError when it does not answer at all."""
        try:
            return subprocess.run(
                [str(self.program), *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxError(f"expected promtool to answer, found: {error}") from error


_Dumper: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def find_promtool() -> Path:
    """`promtool` from the PATH, else from Debian's package, unpacked once into the user's cache without root.

    Raises:
        SandboxError: there is none, and none can be had.
    """
    found = promtool_at_hand()
    if found is None:
        _unpack_debian_package(_cache())
        return _unpacked()
    return found


def promtool_at_hand() -> Path | None:
    """`promtool` from the PATH or from the user's cache; None where it would have to be fetched first."""
    found = shutil.which("promtool")
    if found is not None:
        return Path(found)
    return _unpacked() if _unpacked().exists() else None


def _unpacked() -> Path:
    return _cache() / "usr" / "bin" / "promtool"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tocsin" / "prometheus"


def _unpack_debian_package(home: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise SandboxError(f"expected `promtool` on the PATH, found none. {_INSTALL}")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="unpacking-") as name:
        directory = Path(name)
        if not _download(directory, []):
            # Package lists of our own: those of the system may be empty, and only root may renew them.
            options = _private_lists(directory)
            _apt(directory, [*options, "update"])
            if not _download(directory, options):
                raise SandboxError(f"expected to download Debian's package `prometheus`, could not. {_INSTALL}")
        (package,) = directory.glob("prometheus_*.deb")
        root = directory / "root"
        subprocess.run(["dpkg", "-x", str(package), str(root)], check=True, timeout=_TIMEOUT_S * 4, capture_output=True)
        # One rename, so that a second process never finds half of it.
        if not home.exists():
            root.rename(home)


def _download(directory: Path, options: Sequence[str]) -> bool:
    _apt(directory, [*options, "download", "prometheus"])
    return any(directory.glob("prometheus_*.deb"))


def _private_lists(directory: Path) -> list[str]:
    for part in ("lists/partial", "cache/archives/partial"):
        (directory / part).mkdir(parents=True)
    return ["-o", f"Dir::State::lists={directory / 'lists'}", "-o", f"Dir::Cache={directory / 'cache'}"]


def _apt(directory: Path, arguments: Sequence[str]) -> None:
    subprocess.run(
        ["apt-get", "-qq", *arguments], cwd=directory, capture_output=True, timeout=_TIMEOUT_S * 8, check=False
    )


def _selector(labels: Labels) -> str:
    """A series as Prometheus writes it."""
    pairs = dict(labels)
    name = pairs.pop("__name__")
    return f"{name}{{{','.join(f'{key}={_quoted(value)}' for key, value in pairs.items())}}}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _notation(values: Sequence[Value]) -> str:
    return " ".join("_" if v is None else v if isinstance(v, str) else _number(v) for v in values)


def _number(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Inf" if value > 0 else "-Inf"
    return f"{value:.17g}"


def _read(answer: subprocess.CompletedProcess[str], times: Sequence[int]) -> list[list[ActiveAlert]]:
    text = f"{answer.stdout}\n{answer.stderr}"
    active: dict[int, list[ActiveAlert]] = {}
    now: int | None = None
    for line in text.splitlines():
        head = _RESULT.match(line)
        if head is not None and head["expr"] == _QUERY:
            now = round(parse_duration(head["time"]))
        elif now is not None and line.strip().startswith("got:"):
            active[now] = [_alert(match[1]) for match in _SERIES.finditer(line)]
    understood = answer.returncode == 0 or active
    if not understood or active.keys() - set(times):
        raise SandboxError(f"expected promtool to evaluate the rules, found: {text.strip()[:2000]}")
    return [active.get(time, []) for time in times]


def _alert(labels: str) -> ActiveAlert:
    pairs = {name: _unquoted(value) for name, value in _LABEL.findall(labels)}
    pairs.pop("__name__", None)
    alert, state = pairs.pop("alertname"), pairs.pop("alertstate")
    return ActiveAlert(alert=alert, state=state, labels=tuple(sorted(pairs.items())))


def _unquoted(value: str) -> str:
    return value.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
