"""`make sweep N=1000 [SEED=...] [JOBS=2] [PARALLEL=60]`: the long sweep of ends, with a table at its end.

Four of five drills are killed, and recovered; the fifth ends in another way, and undoes by itself. Then so many runs of
two workers are ended: the run, a worker, or all of them. Leaves with 1 when one left anything behind, or another exit
code than it should, when a drill ended before the moment at which it should be ended, or when of the ends that were
asked for fewer than 99 % began to undo within a second.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from tests.sweep import crowd
from tests.sweep.harness import LEAST_SHARE, REQUESTED, ROOT, Shot, distribution, soon_enough, table
from tests.sweep.parts import in_parts

from tocsin.faults.registry import FAULTS
from tocsin.project.places import commit_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sweep", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=None, help="repeat a sweep; default: by chance")
    parser.add_argument("--jobs", type=int, default=2, help="so many at once, each with a sandbox of its own")
    parser.add_argument("--parallel", type=int, default=0, help="so many ends of runs side by side, after the others")
    chosen = parser.parse_args()
    seed = random.randrange(2**31) if chosen.seed is None else chosen.seed
    whole = _single(chosen, seed) if chosen.kills else True
    return 0 if _side_by_side(chosen.parallel, seed) and whole else 1


def _single(chosen: argparse.Namespace, seed: int) -> bool:
    """Whether all is well that ended one drill at a time."""
    jobs = min(chosen.jobs, chosen.kills)
    print(f"sweep: {chosen.kills} ends of {len(FAULTS)} faults, seed {seed}, {jobs} at once", flush=True)
    started = time.monotonic()
    shots = in_parts(chosen.kills, seed, jobs, lambda number, shot: _tell(number, chosen.kills, shot))
    _report(shots, seed, time.monotonic() - started)
    if len(shots) < chosen.kills:
        print(f"expected {chosen.kills} ends, found {len(shots)}: it was stopped, or a part of it ended before")
        return False
    asked = [shot.began_s for shot in shots if shot.aim.moment in REQUESTED and shot.began_s is not None]
    late = soon_enough(asked) < LEAST_SHARE
    return not late and not any(shot.residue or shot.missed for shot in shots)


def _side_by_side(count: int, seed: int) -> bool:
    """Whether all is well that ended runs of two workers."""
    if not count:
        return True
    print(f"sweep: {count} ends of runs side by side, seed {seed}", flush=True)
    started, shots = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="tocsin-sweep-") as root, crowd.crowd_of_two(Path(root)) as two:
        for shot in islice(crowd.sweep(two, crowd.aims(two, random.Random(seed))), count):
            shots.append(shot)
            _tell(len(shots), count, shot)
    dirty, missed = sum(bool(shot.residue) for shot in shots), sum(shot.missed for shot in shots)
    print(f"\n{crowd.table(shots)}\n\n{len(shots)} ends, {dirty} left residue, {missed} missed their moment")
    print(f"commit {commit_of(ROOT) or 'unknown'}, seed {seed}, {time.monotonic() - started:.0f} s")
    return not dirty and not missed


def _tell(number: int, kills: int, shot: Shot | crowd.Shot) -> None:
    outcome = "RESIDUE" if shot.residue else "MISSED" if shot.missed else "ok"
    took = shot.began_s if isinstance(shot, Shot) else None
    began = "" if took is None else f", undo after {took:.2f} s"
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
