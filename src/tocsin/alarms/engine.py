"""What Prometheus itself says of a rules file: its `promtool`, where this machine has one.

https://prometheus.io/docs/prometheus/latest/command-line/promtool/
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tocsin.alarms.lint import grammar_problems
from tocsin.alarms.prometheus import RuleFile
from tocsin.errors import InvalidInput, shortened
from tocsin.project.documents import Document
from tocsin.project.promtool import promtool_at_hand

_TIMEOUT_S = 30.0
_PLACE = re.compile(r"(?P<line>\d+):\d+: (?P<rest>.*)")
_NEWER = re.compile(
    r"field \w+ not found in type rulefmt\.|unknown function with name|missing unit character in duration"
    r"|in label matching, expected identifier"
)
"""What an older Prometheus does not know yet. What none knows, our model and our parser refuse by themselves."""
_CHARACTERS = 500


def load_problems(path: Path, rules: RuleFile, document: Document) -> list[InvalidInput]:
    """Why Prometheus would not load a rules file that our model can read: the engine's own check has the last word.

    Without an engine at hand, or with one that is older than the file, our parser alone decides.
    """
    said = _said(path)
    if said == []:
        return []
    ours = [document.invalid(message, location) for location, message in grammar_problems(rules)]
    if ours or said is None:
        return ours
    return [_told(line, path) for line in said if not _NEWER.search(line)]


def _said(path: Path) -> list[str] | None:
    """What the engine has against a file, a line each; None where there is none that answers."""
    promtool = promtool_at_hand()
    if promtool is None:
        return None
    command = [str(promtool), "check", "rules", str(path.resolve())]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return [] if answer.returncode == 0 else list(_complaints(answer.stderr, path.resolve())) or None


def _complaints(text: str, path: Path) -> Iterator[str]:
    """A complaint begins with the name of the file; what follows it on lines of its own belongs to it."""
    for one in text.split(f"{path}: ")[1:]:
        lines = [line.strip() for line in one.splitlines() if line.strip()]
        for line in [lines[0]] if len(lines) == 1 or not lines[0].endswith("unmarshal errors:") else lines[1:]:
            yield line.removeprefix("line ")


def _told(line: str, path: Path) -> InvalidInput:
    place = _PLACE.match(line)
    number, words = (int(place["line"]), place["rest"]) if place is not None else (None, line)
    return InvalidInput(
        f"expected rules that Prometheus loads, and promtool refuses: {shortened(words, _CHARACTERS)}",
        file=path,
        line=number or None,
    )
