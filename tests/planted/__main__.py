"""`make planted`: run the shelf and the healthy runs, print the table, and keep it in docs/PLANTED_BUGS.md.

Leaves with 1 when a bug was missed, or when something healthy did not pass.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.planted import evidence
from tests.planted.bench import SCALE
from tests.planted.table import read_results, summary, table, write

from tocsin.project.places import commit_of

ROOT = Path(__file__).parents[2]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="tocsin-planted-") as directory:
        junit = Path(directory) / "junit.xml"
        started = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-n", "3", "--maxschedchunk", "1", "-m", "planted"]
        ended = subprocess.run([*command, "--junitxml", str(junit), str(ROOT / "tests" / "planted")], check=False)
        seconds = time.monotonic() - started
        results = read_results(junit)
    commit = commit_of(ROOT) or "unknown"
    made = f"{time.strftime('%Y-%m-%d')}, commit {commit}, clock {SCALE:g}x, {seconds:.0f} s on two cores"
    text = f"{table(results)}\n\n{summary(results)}\n\nMade by `make planted`: {made}."
    print(f"\n{text}")
    write(text)
    evidence.main()
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
