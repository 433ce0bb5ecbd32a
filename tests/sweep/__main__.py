"""`make sweep N=1000 [SEED=...]`: the long kill sweep, with a table at its end.

Leaves with 1 when a kill left anything behind, or when a drill ended before the boundary at which it should be killed.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from tests.sweep.harness import ROOT, Shot, aims, shooting_range, sweep, table

from tocsin.faults.registry import FAULTS
from tocsin.project import commit_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sweep", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="repeat a sweep; default: by chance")
    chosen = parser.parse_args()
    seed = random.randrange(2**31) if chosen.seed is None else chosen.seed
    print(f"kill sweep: {chosen.kills} kills of {len(FAULTS)} faults, seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left running
    shots: list[Shot] = []
    started = time.monotonic()
    try:
        _sweep(chosen.kills, seed, shots)
    except KeyboardInterrupt:
        print("\nstopped: this is what was done so far")
    _report(shots, seed, time.monotonic() - started)
    return 1 if any(shot.residue or shot.missed for shot in shots) else 0


def _sweep(kills: int, seed: int, shots: list[Shot]) -> None:
    with tempfile.TemporaryDirectory(prefix="tocsin-sweep-") as root, shooting_range(Path(root)) as shooting:
        for shot in sweep(shooting, islice(aims(shooting, FAULTS, random.Random(seed)), kills)):
            shots.append(shot)
            told = "RESIDUE" if shot.residue else "MISSED" if shot.missed else "ok"
            print(f"{len(shots):5} of {kills}  {told:<7}  {shot.seconds:4.1f} s  {shot.aim}", flush=True)
            for line in shot.residue:
                print(f"        {line}", flush=True)


def _report(shots: list[Shot], seed: int, seconds: float) -> None:
    dirty, missed = sum(bool(shot.residue) for shot in shots), sum(shot.missed for shot in shots)
    print(f"\n{table(shots)}\n")
    print(f"{len(shots)} kills, {dirty} left residue, {missed} missed their moment")
    print(f"commit {commit_of(ROOT) or 'unknown'}, seed {seed}, {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
