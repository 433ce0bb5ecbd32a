"""`make fuzz N=10000 [SEED=...]`: spoilt files of every kind, with a table at its end.

Leaves with 1 when one of them gets anything but an answer: a traceback, a hang, too much memory, or a message without
file and line. `--only NUMBER` shows one case of a seed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.cases import case
from tests.fuzz.harness import Looked, fuzz
from tests.fuzz.worker import look, make_project
from tests.house import ROOT

from tocsin.project.places import commit_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None, help="repeat a run; default: by chance")
    parser.add_argument("--only", type=int, default=None, metavar="NUMBER", help="write and look at this case alone")
    chosen = parser.parse_args()
    seed = random.randrange(2**31) if chosen.seed is None else chosen.seed
    if chosen.only is not None:
        return _show(seed, chosen.only)
    print(f"fuzz: {chosen.cases} spoilt files, seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left running
    started = time.monotonic()
    looked: list[Looked] = []
    try:
        _look_at_all(seed, chosen.cases, looked)
    except KeyboardInterrupt:
        print("\nstopped: this is what was done so far")
    return _report(looked, seed, time.monotonic() - started)


def _look_at_all(seed: int, count: int, looked: list[Looked]) -> None:
    for one in fuzz(seed, count):
        looked.append(one)
        if one.problem:
            print(f"{one.number:6}  {one.kind:<20} {one.problem}", flush=True)
        if len(looked) % 500 == 0:
            print(f"{len(looked):6} of {count}", flush=True)


def _report(looked: list[Looked], seed: int, seconds: float) -> int:
    kinds, well = Counter(one.kind for one in looked), Counter(one.kind for one in looked if one.well_formed)
    bad = Counter(one.kind for one in looked if one.problem)
    print(f"\n{'kind':<20} {'files':>6} {'well-formed':>12} {'misbehaved':>11}")
    for kind, count in kinds.most_common():
        print(f"{kind:<20} {count:>6} {well[kind]:>12} {bad[kind]:>11}")
    print(
        f"\n{len(looked)} files, {well.total()} of them well-formed, {bad.total()} misbehaved; "
        f"at most {max((one.mib for one in looked), default=0)} MiB"
    )
    print(f"commit {commit_of(ROOT) or 'unknown'}, seed {seed}, {seconds:.0f} s")
    return 1 if bad else 0


def _show(seed: int, number: int) -> int:
    with TemporaryDirectory(prefix="tocsin-fuzz-") as directory:
        root = Path(directory)
        make_project(root)
        one = case(seed, number, root)
        sys.stdout.buffer.write(one.content)
        os.chdir(root)
        problem = look(one, root)
        os.chdir("/")
    print(f"\n--- {one.kind.file}: tocsin {' '.join(one.command)}: {problem or 'well answered'}")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
