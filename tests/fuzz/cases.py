"""What is spoilt, and which command then has to say so: the kinds of files that people write."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.fuzz import mutations

PROJECT = Path(__file__).parent / "project"


@dataclass(frozen=True)
class Kind:
    """A kind of file: one that is well, and the commands that read it."""

    name: str
    file: str
    form: str
    """yaml, json, lines (of JSON) or text"""
    commands: tuple[tuple[str, ...], ...]
    weight: int = 4


KINDS = (
    Kind(
        "experiment", "experiments/throttled.yaml", "yaml", (("validate", "experiments"), ("coverage", "--written")), 10
    ),
    Kind("experiment in JSON", "experiments/throttled-too.json", "json", (("validate", "experiments"),), 5),
    Kind("system", "systems/shop.yaml", "yaml", (("validate", "experiments"), ("coverage", "--written")), 10),
    Kind("rules", "systems/shop.rules.yaml", "yaml", (("lint", "shop"), ("validate", "experiments")), 5),
    Kind("contract", "contracts/shop.openapi.yaml", "yaml", (("validate", "experiments"),), 6),
    Kind("targets", "tocsin.toml", "text", (("ledger", "--target", "staging"), ("ledger",)), 4),
    Kind("canaries", "synthetics/shop.py", "text", (("validate", "experiments"),), 2),
    Kind("load", "loadtests/shop.py", "text", (("validate", "experiments"),), 1),
    Kind("page of metrics", "metrics.txt", "text", (("lint", "shop", "--metrics", "metrics.txt"),), 1),
    Kind("policy", "policy.json", "json", (("policy", "policy.json"),), 2),
    Kind("history", "run/passing/history.jsonl", "lines", (("history", "run/passing/history.jsonl"),), 4),
    Kind("history told again", "told/passing/history.jsonl", "lines", (("report", "told"),), 6),
    Kind("verdict", "run/passing/verdict.json", "json", (("coverage", "--results", "run"),), 3),
)


@dataclass(frozen=True)
class Case:
    """One spoilt file."""

    number: int
    kind: Kind
    content: bytes
    well_formed: bool
    command: tuple[str, ...]


def case(seed: int, number: int, project: Path) -> Case:
    """The case of that number: the same for a seed, wherever it is asked for."""
    rng = random.Random(f"{seed}/{number}")
    kind = rng.choices(KINDS, [kind.weight for kind in KINDS])[0]
    text = (project / kind.file).read_text(encoding="utf-8")
    well_formed = kind.form != "text" and rng.random() < 0.7
    content = _FORMS[kind.form](text, rng) if well_formed else mutations.spoilt_text(text, rng)
    return Case(number, kind, content, well_formed, rng.choice(kind.commands))


def _yaml(text: str, rng: random.Random) -> bytes:
    return mutations.as_yaml(mutations.well_formed(yaml.safe_load(text), rng), rng)


def _json(text: str, rng: random.Random) -> bytes:
    return mutations.as_json(mutations.well_formed(json.loads(text), rng), rng)


def _lines(text: str, rng: random.Random) -> bytes:
    lines = text.splitlines()
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines))
        event = mutations.well_formed(json.loads(lines[at]), rng)
        lines[at] = mutations.as_json(event, random.Random(1)).decode().replace("\n", " ")
        if rng.random() < 0.2:
            lines.insert(rng.randrange(len(lines)), lines[at])
        if rng.random() < 0.2:
            del lines[rng.randrange(len(lines))]
    if rng.random() < 0.3:
        lines = mutations.odd_times(lines, rng)
    return mutations.cut_lines("\n".join(lines) + "\n", rng).encode()


_FORMS: dict[str, Callable[[str, random.Random], bytes]] = {"yaml": _yaml, "json": _json, "lines": _lines}


def numbers(count: int, together: int) -> Iterator[range]:
    """All numbers of cases, in portions of those that one process looks at."""
    return (range(start, min(start + together, count)) for start in range(0, count, together))


def as_told(data: Any) -> str:
    """One line of what a process tells about its cases."""
    return json.dumps(data)
