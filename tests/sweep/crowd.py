"""The kill sweep of runs side by side: the run, a worker or all of them are ended, and each worker's account compared.

Two workers drill bare experiments of two faults. Their sandboxes are there before the first run and stay after it, so
that what is in them can be compared; everything else is `tocsin run --parallel 2` in processes of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, get_args

import psutil
import yaml
from tests.planted.bench import PROJECT
from tests.secret_scan import watched
from tests.sweep.account import Snapshot, read_account
from tests.sweep.drill_child import BOUNDARIES
from tests.sweep.harness import AT_RANDOM_TIME, BARE, SCALE, Range, bare_experiment
from tests.sweep.worker_child import SHOOTER, WORKERS, Number, Plan, Whom

from tocsin.faults.registry import FAULTS
from tocsin.project.places import as_worker
from tocsin.project.targets import load_target

ENDS: tuple[tuple[Whom, Number], ...] = tuple((whom, number) for whom in get_args(Whom) for number in get_args(Number))
"""Whom, and how."""
KINDS = tuple(sorted(kind for kind, fault in FAULTS.items() if not fault.burns_processor))
"""Faults that are drilled beside others."""
_ONE_IN = 3
"""Of so many ends one is at a random time, the others at a boundary of the first worker's drill."""
_GOING_WALL_S = 120.0
"""A worker undoes, and tries for two minutes where AWS does not let it."""
_STOPPED_BY_SOMEBODY = 4


@dataclass(frozen=True)
class Aim:
    """Which two faults are drilled, who is ended and how, and when: at a moment of the first worker's, or after so many
    wall seconds of its life."""

    faults: tuple[str, str]
    whom: Whom
    number: Number
    at: str = ""
    after_s: float | None = None

    @property
    def moment(self) -> str:
        """When, as a table has it."""
        return self.at or AT_RANDOM_TIME

    @property
    def killed(self) -> frozenset[str]:
        """The workers that cannot undo any more: their account is as before when `tocsin recover` has run."""
        if self.number != "SIGKILL" or self.whom == "the run":
            return frozenset()
        return frozenset(WORKERS) if self.whom == "all" else frozenset({SHOOTER})

    def __str__(self) -> str:
        when = self.at if self.after_s is None else f"after {self.after_s:.3f} s"
        return f"{self.number} to {self.whom}, {when}, of {' beside '.join(self.faults)}"


@dataclass(frozen=True)
class Shot:
    """What one end left behind."""

    aim: Aim
    ended: bool
    residue: tuple[str, ...]
    seconds: float

    @property
    def missed(self) -> bool:
        """A moment that was never reached: the end proved nothing."""
        return not self.ended and self.aim.after_s is None


class Desk(Range):
    """The small system of the shelf of planted bugs, and bare experiments of a few faults: it is up in a moment."""

    def write_project(self) -> None:
        """The files of the desk."""
        shutil.copytree(PROJECT, self.root, dirs_exist_ok=True)

    def up(self) -> None:
        """Start the sandbox with the desk.

        Raises:
            RuntimeError: it did not come up.
        """
        up = self.tocsin("sandbox", "up", "bell", "--time-scale", str(SCALE))
        if up.returncode != 0:
            raise RuntimeError(f"expected a sandbox, found: {up.stdout}{up.stderr}")
        self._target = load_target(self.root, "sandbox")

    def write_experiments(self) -> None:
        """The bare experiments, and the system without anybody who watches it."""
        path = self.root / "systems" / "bell.yaml"
        system = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({name: system[name] for name in ("system", "title", "endpoint")}))
        for directory in ("bare", "logs"):
            (self.root / directory).mkdir()
        for kind, arguments in OF_DESK.items():
            found = bare_experiment(kind)
            found["method"][0]["provider"]["arguments"] = arguments
            found["extensions"] = [{**BARE, "system": "bell"}]
            self.experiment(kind).write_text(yaml.safe_dump(found, sort_keys=False))

    def account(self) -> Snapshot:
        """The state of the whole account."""
        return read_account(self.target.client)


OF_DESK: dict[str, dict[str, Any]] = {
    "lambda_reserved_concurrency": {"function": "bell-api", "reserved": 0},
    "lambda_event_source_disabled": {"function": "bell-worker", "queue": "bell-orders"},
    "iam_role_deny": {"role": "bell", "actions": ["sqs:SendMessage"]},
}


@dataclass
class Crowd:
    """A checkout in which each of two workers has a sandbox."""

    root: Path
    places: Mapping[str, Range]
    before: dict[str, Snapshot] = field(default_factory=dict)
    _shots: int = 0
    _seconds: float | None = None

    def rehearse(self) -> float:
        """Wall seconds of a run that nobody ends; run once.

        Raises:
            RuntimeError: it did not run to its end.
        """
        if self._seconds is None:
            faults = ("lambda_reserved_concurrency", "rds_proxy_throttle")
            began = time.monotonic()
            code, _ = self._run(Aim(faults, "the run", "SIGTERM", after_s=3600.0), bug="")
            if code not in (0, 1, 3):  # as of a single drill: there is nothing to pass, and all acts ran
                raise RuntimeError(
                    f"expected a run to its end, found exit code {code}: {self._log.read_text()[-2000:]}"
                )
            self._seconds = time.monotonic() - began
        return self._seconds

    def shoot(self, aim: Aim, bug: str = "") -> Shot:
        """End a run, recover in the places of all workers, compare."""
        began = time.monotonic()
        code, plan = self._run(aim, bug)
        ended = plan.told("shot") is not None
        residue = list(self._still_there(plan))
        if ended and aim.number != "SIGKILL" and aim.whom != "a worker" and code != _STOPPED_BY_SOMEBODY:
            residue.append(f"exit code {code}: {self._log.read_text()[-500:]}")
        killed = aim.killed if ended else frozenset()
        for name in WORKERS:
            if name not in killed:
                residue += [f"before recover: {line}" for line in self._left(name, bug)]
        recovered = self.places[SHOOTER].command("recover", bug=bug)
        if recovered.code != 0:
            residue.append(f"recover: exit code {recovered.code}: {self._log.read_text()[-500:]}")
        for name in sorted(killed):
            residue += self._left(name, bug)
        return Shot(aim, ended, tuple(residue), time.monotonic() - began)

    def mend(self) -> list[str]:
        """`tocsin recover` after a planted bug; what is left even then."""
        self.places[SHOOTER].command("recover")
        return [line for name in WORKERS for line in self._left(name, "")]

    @property
    def _log(self) -> Path:
        return self.places[SHOOTER].log

    def _run(self, aim: Aim, bug: str) -> tuple[int, Plan]:
        self._shots += 1
        notes = self.root / "notes" / str(self._shots)
        notes.mkdir(parents=True)
        plan = Plan(notes=notes, whom=aim.whom, number=aim.number, at=aim.at, after_s=aim.after_s, bug=bug)
        first = self.places[SHOOTER]
        files = [str(first.experiment(fault)) for fault in aim.faults]
        how = (
            "--parallel",
            str(len(WORKERS)),
            "--time-scale",
            str(SCALE),
            "--out",
            str(self.root / "out" / notes.name),
        )
        return first.command("run", *files, *how, workers=plan.model_dump_json()).code, plan

    def _still_there(self, plan: Plan) -> Iterator[str]:
        """Workers that do not end though their run has."""
        deadline = time.monotonic() + _GOING_WALL_S
        for name in WORKERS:
            pid = int(plan.told(f"worker {name}") or 0)
            while pid and _is_alive(pid):
                if time.monotonic() > deadline:
                    yield f"worker {name} is still there"
                    os.kill(pid, signal.SIGKILL)
                    break
                time.sleep(0.02)

    def _left(self, name: str, bug: str) -> list[str]:
        place = self.places[name]
        found = [f"worker {name} differs: {line}" for line in place.differs(self.before[name], bug)]
        with as_worker(name):
            return found + [f"worker {name}, ledger: {line}" for line in place.open_entries()]


def _is_alive(pid: int) -> bool:
    """Whether it runs: one that ended, and for which nobody has waited yet, does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def aims(crowd: Crowd, rng: random.Random) -> Iterator[Aim]:
    """Every end in turn, at every boundary in turn and by chance, of two faults by chance, without an end."""
    moments = cycle(rng.sample(BOUNDARIES, len(BOUNDARIES)))
    while True:
        for number, (whom, how) in enumerate(rng.sample(ENDS, len(ENDS))):
            first, second = rng.sample(KINDS, 2)
            if number % _ONE_IN:
                yield Aim((first, second), whom, how, at=next(moments))
            else:
                yield Aim((first, second), whom, how, after_s=rng.random() * crowd.rehearse())


def sweep(crowd: Crowd, targets: Iterable[Aim]) -> Iterator[Shot]:
    """End after end; what one left is not told of the next."""
    for aim in targets:
        shot = crowd.shoot(aim)
        if shot.residue:
            crowd.mend()
            crowd.before = {name: place.account() for name, place in crowd.places.items()}
        yield shot


def table(shots: Iterable[Shot]) -> str:
    """Ends by whom, how and when, in Markdown; in brackets how many of them left something."""
    counted, dirty = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for shot in shots:
        cell = (f"{shot.aim.whom}, {shot.aim.number}", shot.aim.moment)
        counted[cell] += 1
        dirty[cell] += bool(shot.residue)
    columns = [column for column in (*BOUNDARIES, AT_RANDOM_TIME) if any(cell[1] == column for cell in counted)]
    lines = [f"| ended | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for whom, number in ENDS:
        row = f"{whom}, {number}"
        cells = [_cell(counted[row, column], dirty[row, column]) for column in columns]
        if any(cells):
            lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(count: int, dirty: int) -> str:
    return f"{count} ({dirty} left residue)" if dirty else str(count or "")


@contextmanager
def crowd_of_two(root: Path, kind: type[Range] = Range) -> Iterator[Crowd]:
    """Two workers' sandboxes, which are gone afterwards."""
    crowd = Crowd(root, {name: kind(root) for name in WORKERS})
    first = crowd.places[SHOOTER]
    first.write_project()
    with ExitStack() as stack:
        for name, place in crowd.places.items():
            stack.callback(_stop, name, place)
            with as_worker(name):
                place.up()
        first.write_experiments()
        crowd.before = {name: place.account() for name, place in crowd.places.items()}
        with watched(root):
            yield crowd


def _stop(name: str, place: Range) -> None:
    with as_worker(name):
        place.stop()
