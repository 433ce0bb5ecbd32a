"""Histories of real drills, kept as they were recorded, are judged as they were judged then.

Each system has six. `expected.json` is what `tocsin report` made of them when they were recorded: byte for byte, the
version of Tocsin apart, and what later versions say beside it (the tags of the experiment, what they did not look at).
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tests import warm

RECORDED = Path(__file__).parent / "recorded"
_VERSION = re.compile(rb'^  "version": ".*",$', re.MULTILINE)


@pytest.mark.parametrize("system", sorted(path.name for path in RECORDED.iterdir()))
def test_what_was_recorded_is_judged_as_it_was(system: str, tmp_path: Path) -> None:
    run = tmp_path / system
    shutil.copytree(RECORDED / system, run, ignore=shutil.ignore_patterns("expected.json"))
    assert len(list(run.glob("*/history.jsonl"))) == 6
    done = warm.python("-m", "tocsin.cli", "report", str(run), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    now, then = (run / "verdict.json").read_bytes(), (RECORDED / system / "expected.json").read_bytes()
    assert _VERSION.sub(b"", now) == _VERSION.sub(b"", then)
