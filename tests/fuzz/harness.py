"""Runs the cases, a hundred a process; one that misbehaves is looked at again alone, and the others go on."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.fuzz.cases import numbers
from tests.house import ROOT

TOGETHER = 100
SILENT_S = 60.0
"""Wall seconds after which a process that tells nothing hangs: far more than a case takes on a busy machine."""


@dataclass(frozen=True)
class Looked:
    """How one case went."""

    number: int
    kind: str
    well_formed: bool
    problem: str
    mib: int


def fuzz(seed: int, count: int, together: int = TOGETHER) -> Iterator[Looked]:
    """All cases of a seed."""
    for portion in numbers(count, together):
        yield from _portion(seed, portion)


def _portion(seed: int, portion: range) -> Iterator[Looked]:
    first = portion.start
    while first < portion.stop:
        for looked in _process(seed, first, portion.stop):
            first = looked.number + 1
            yield looked if not looked.problem else _alone(seed, looked)


def _alone(seed: int, looked: Looked) -> Looked:
    """The case by itself: what others left behind is not held against it."""
    again = list(_process(seed, looked.number, looked.number + 1))
    return again[-1]


def _process(seed: int, first: int, last: int) -> Iterator[Looked]:
    """The cases that one process got to; the last one with a problem where the process did not get through."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fuzz.worker", str(seed), str(first), str(last)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    begun: dict[str, object] = {"number": first, "kind": "none yet", "well_formed": False}
    done = first
    try:
        for told in _lines(process):
            if "begins" in told:
                begun = {name: told[name] for name in ("number", "kind", "well_formed")}
                continue
            done = int(str(told["number"])) + 1
            yield Looked(**told)
            if told["problem"]:
                return
    finally:
        process.kill()
        _, errors = process.communicate()
    if done < last:
        ended = f"exit code {process.returncode}: {errors.decode(errors='replace')[-400:]}"
        yield Looked(**begun, problem=f"the process died or hung: {ended}", mib=0)  # type: ignore[arg-type]


def _lines(process: subprocess.Popen[bytes]) -> Iterator[dict[str, object]]:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        rest, heard = b"", time.monotonic()
        while time.monotonic() - heard < SILENT_S:
            if not selector.select(timeout=1.0):
                continue
            chunk = process.stdout.read1(65536)  # type: ignore[attr-defined]
            if not chunk:
                return
            heard = time.monotonic()
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line) for line in lines)
