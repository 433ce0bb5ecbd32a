"""`make sweep N=1000 [SEED=...] [JOBS=2]`: the long sweep of ends, with a table at its end.

Four of five drills are killed, and recovered; the fifth ends in another way, and undoes by itself. Leaves with 1 when
one left anything behind, or another exit code than it should, when a drill ended before the moment at which it should
be ended, or when of the ends that were asked for fewer than 99 % began to undo within a second.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from tests.sweep.harness import LEAST_SHARE, REQUESTED, ROOT, Shot, distribution, soon_enough, table
from tests.sweep.parts import in_parts

from tocsin.faults.registry import FAULTS
from tocsin.project.places import commit_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sweep", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="repeat a sweep; default: by chance")
    parser.add_argument("--jobs", type=int, default=2, help="so many at once, each with a sandbox of its own")
    chosen = parser.parse_args()
    seed = random.randrange(2**31) if chosen.seed is None else chosen.seed
    jobs = min(chosen.jobs, chosen.kills)
    print(f"sweep: {chosen.kills} ends of {len(FAULTS)} faults, seed {seed}, {jobs} at once", flush=True)
    started = time.monotonic()
    shots = in_parts(chosen.kills, seed, jobs, lambda number, shot: _tell(number, chosen.kills, shot))
    _report(shots, seed, time.monotonic() - started)
    if len(shots) < chosen.kills:
        print(f"expected {chosen.kills} ends, found {len(shots)}: it was stopped, or a part of it ended before")
        return 1
    asked = [shot.began_s for shot in shots if shot.aim.moment in REQUESTED and shot.began_s is not None]
    late = soon_enough(asked) < LEAST_SHARE
    return 1 if late or any(shot.residue or shot.missed for shot in shots) else 0


def _tell(number: int, kills: int, shot: Shot) -> None:
    outcome = "RESIDUE" if shot.residue else "MISSED" if shot.missed else "ok"
    began = "" if shot.began_s is None else f", undo after {shot.began_s:.2f} s"
    print(f"{number:5} of {kills}  {outcome:<7}  {shot.seconds:4.1f} s  {shot.aim}{began}", flush=True)
    for line in shot.residue:
        print(f"        {line}", flush=True)


def _report(shots: list[Shot], seed: int, seconds: float) -> None:
    dirty, missed = sum(bool(shot.residue) for shot in shots), sum(shot.missed for shot in shots)
    print(f"\n{table(shots)}\n")
    print(f"{len(shots)} ends, {dirty} left residue, {missed} missed their moment")
    print(distribution(shots))
    print(f"commit {commit_of(ROOT) or 'unknown'}, seed {seed}, {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
