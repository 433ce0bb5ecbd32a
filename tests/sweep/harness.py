"""The kill sweep: a drill is killed at one moment, `tocsin recover` runs, and the account must be as it was.

Everything that is chosen by chance comes from one seeded generator, so a sweep can be repeated by its seed. (Where a
kill after some milliseconds hits is up to the machine all the same.)
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import IO, Any

import yaml
from tests.drill.fault_table import ARGUMENTS, DATA, inside, make_resources
from tests.secret_scan import watched
from tests.sweep.account import Snapshot, differences, read_account
from tests.sweep.drill_child import BOUNDARIES, Ended, Job

from tocsin.faults.registry import FAULTS
from tocsin.ledger import Ledger
from tocsin.project import ledger_path
from tocsin.sandbox import control
from tocsin.target import Target
from tocsin.targets import load_target

ROOT = Path(__file__).parents[2]
SCALE = 600
REGION = "ap-southeast-2"
SYSTEM = "leave-attendance"
AT_RANDOM_CALL = "around a random call of AWS"
AT_RANDOM_TIME = "at a random time"
IN_RECOVER = "again, while it recovers"
RANDOM = (AT_RANDOM_CALL, AT_RANDOM_TIME, IN_RECOVER)
MOMENTS = (*BOUNDARIES, *RANDOM)
CHANCES = len(RANDOM)
"""Moments by chance that a sweep begins with, after every fault and every boundary."""
_OF_RECOVER = BOUNDARIES[BOUNDARIES.index("before undo") :]
_IN_DATABASE = """
SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
UNION SELECT 'function ' || proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public'
UNION SELECT 'sequence ' || relname FROM pg_class WHERE relkind = 'S'
"""
_SETTLES_WITHIN_S = 3.0
"""Wall seconds in which AWS is done with what it does on its own: concurrency that starts, messages that return."""


@dataclass(frozen=True)
class Aim:
    """Which drill to kill, and when: `at` as in `Job.at`, or after so many wall seconds.

    With `recover_at`, the first `tocsin recover` is killed too.
    """

    fault: str
    moment: str
    at: str = ""
    after_s: float | None = None
    recover_at: str = ""

    def __str__(self) -> str:
        place = self.at if self.after_s is None else f"after {self.after_s:.3f} s"
        return f"{self.fault} {place}" + (f", recover {self.recover_at}" if self.recover_at else "")


@dataclass(frozen=True)
class Shot:
    """What one kill left behind."""

    aim: Aim
    killed: bool
    residue: tuple[str, ...]
    seconds: float

    @property
    def missed(self) -> bool:
        """A boundary that was never reached: the kill proved nothing."""
        return not self.killed and self.aim.after_s is None


@dataclass(frozen=True)
class Rehearsal:
    """One drill that nobody kills."""

    seconds: float
    calls: int


@dataclass
class Range:
    """A checkout with a sandbox, a bare experiment for each fault, and the process that is killed.

    *Bare*: the fault and its undo, with no load, contract, canary or alarm. The engine is the real one.
    """

    root: Path
    rehearsals: dict[str, Rehearsal] = field(default_factory=dict)
    _zygote: subprocess.Popen[str] | None = None
    _target: Target | None = None
    _shots: int = 0

    def start(self) -> None:
        """Start the sandbox with the replica and write the bare experiments.

        Raises:
            RuntimeError: the sandbox did not come up.
        """
        for name in ("contracts", "loadtests", "replicas", "synthetics"):
            (self.root / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "systems", self.root / "systems")
        up = self.tocsin("sandbox", "up", SYSTEM, "--time-scale", str(SCALE))
        if up.returncode != 0:
            raise RuntimeError(f"expected a sandbox, found: {up.stdout}{up.stderr}")
        path = self.root / "systems" / f"{SYSTEM}.yaml"
        system = yaml.safe_load(path.read_text())
        bare = {name: system[name] for name in ("system", "title", "region", "endpoint")}
        path.write_text(yaml.safe_dump(bare))
        (self.root / "bare").mkdir()
        (self.root / "logs").mkdir()
        for kind in FAULTS:
            self.experiment(kind).write_text(yaml.safe_dump(bare_experiment(kind), sort_keys=False))
        self._target = replace(load_target(self.root, "sandbox"), region=REGION)
        state = control.status(self.root)
        assert state is not None
        make_resources(state.account)

    def stop(self) -> None:
        """End the forking process and the sandbox.

        Raises:
            RuntimeError: something of the sandbox is left.
        """
        if self._zygote is not None:
            _stream(self._zygote.stdin).close()
            self._zygote.wait(30)
        down = self.tocsin("sandbox", "down")
        if down.returncode != 0:
            raise RuntimeError(f"expected the sandbox to stop, found: {down.stdout}{down.stderr}")

    def experiment(self, kind: str) -> Path:
        """The file of a fault's bare experiment."""
        return self.root / "bare" / f"{kind}.yaml"

    @property
    def target(self) -> Target:
        """The sandbox, in the region of the replica."""
        assert self._target is not None
        return self._target

    @property
    def log(self) -> Path:
        """What the latest drill, and the commands after it, printed."""
        return self.root / "logs" / f"{self._shots}.log"

    def tocsin(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command in a fresh process."""
        return self._fresh("tocsin.cli", *arguments)

    def recover(self, bug: str = "") -> subprocess.CompletedProcess[str]:
        """`tocsin recover` in a fresh process; with a planted bug when one is named."""
        return self._fresh("tests.sweep.bugs", bug) if bug else self.tocsin("recover")

    def start_recover(self) -> subprocess.Popen[str]:
        """`tocsin recover` in a fresh process that nobody waits for."""
        command = [sys.executable, "-m", "tocsin.cli", "recover"]
        return subprocess.Popen(
            command, cwd=self.root, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def _fresh(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(
            command,
            cwd=self.root,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            start_new_session=True,
        )

    def run(self, job: Job) -> Ended:
        """One job in a forked process; waits for its end."""
        if self._zygote is None:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.sweep.drill_child"],
                cwd=self.root,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                # Ctrl-C is for the sweep: it lets the present drill end as planned.
                start_new_session=True,
            )
        print(job.model_dump_json(), file=_stream(self._zygote.stdin), flush=True)
        return Ended.model_validate_json(_stream(self._zygote.stdout).readline())

    def drill(self, kind: str, **options: Any) -> Ended:
        """One bare drill of a fault; `options` are fields of `Job`."""
        self._shots += 1
        arguments = ("run", str(self.experiment(kind)), "--out", str(self.out))
        return self.command(*arguments, **options)

    def command(self, *arguments: str, **options: Any) -> Ended:
        """Any command of Tocsin in a forked process."""
        return self.run(Job(root=str(self.root), arguments=arguments, log=str(self.log), **options))

    @property
    def out(self) -> Path:
        """Reports of the latest drill."""
        return self.root / "out" / str(self._shots)

    def rehearse(self, kind: str) -> Rehearsal:
        """How long a drill that nobody kills takes, and how many calls it makes; run once.

        Raises:
            RuntimeError: it did not run to its end.
        """
        if kind not in self.rehearsals:
            ended = self.drill(kind)
            # 1 or 3: without traffic and canaries there is nothing to pass, but all acts ran and the fault is undone.
            if ended.code not in (0, 1, 3):
                tail = self.log.read_text()[-2000:]
                raise RuntimeError(
                    f"expected a drill of {kind} to run to its end, found exit code {ended.code}: {tail}"
                )
            self.rehearsals[kind] = Rehearsal(ended.seconds, ended.calls)
        return self.rehearsals[kind]

    def account(self) -> Snapshot:
        """The state of the whole account, and of the database of our own in it."""
        return {**read_account(self.target.client), **{f"database/{name}": 1 for name in self._in_database()}}

    def _in_database(self) -> list[str]:
        """What a fault could leave inside the database, where no AWS API looks."""
        secret = self.target.client("secretsmanager").get_secret_value(SecretId=DATA)["SecretString"]
        found = inside(json.loads(secret), _IN_DATABASE)
        return [row[0] for row in found] if isinstance(found, list) else [f"no answer: {found}"]

    def differs(self, before: Snapshot) -> list[str]:
        """What is not as before, after everything that is on its way has arrived."""
        deadline = time.monotonic() + _SETTLES_WITHIN_S
        while (found := differences(before, self.account())) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def open_entries(self) -> list[str]:
        """Residue, as the ledger tells it."""
        ledger = Ledger(ledger_path(self.root, "sandbox"), "sandbox")
        try:
            return [f"{entry.fault} on {entry.resource} is {entry.state}" for entry in ledger.entries(only_open=True)]
        finally:
            ledger.close()

    def shoot(self, aim: Aim, before: Snapshot, bug: str = "") -> Shot:
        """Kill a drill, recover, compare."""
        started = time.monotonic()
        killed = self.drill(aim.fault, at=_kill(aim.at), killed_after_s=aim.after_s, bug=bug).code == -signal.SIGKILL
        if aim.recover_at:
            killed &= self.command("recover", at=_kill(aim.recover_at), bug=bug).code == -signal.SIGKILL
        recovered = self.recover(bug)
        residue = [f"differs: {line}" for line in self.differs(before)]
        residue += [f"ledger: {line}" for line in self.open_entries()]
        if recovered.returncode != 0:
            residue.append(f"recover: exit code {recovered.returncode}: {recovered.stderr.strip()}")
        return Shot(aim, killed, tuple(residue), time.monotonic() - started)


def _kill(at: str) -> dict[str, Any]:
    return {at: "SIGKILL"} if at else {}


BARE = {
    "name": "tocsin",
    "system": SYSTEM,
    "load": None,
    "baseline": "0s",
    "fault_for": "1s",
    "expect": {"gap": "nobody watches a bare drill", "recovery": {"within": "1m"}},
}
"""The `tocsin` block of an experiment in which nobody offers load and nobody watches."""


def bare_experiment(kind: str) -> dict[str, Any]:
    """The fault, held for a moment, and its undo: nothing else."""
    provider = {"type": "python", "module": "tocsin.faults"}
    return {
        "title": f"Bare {kind}",
        "description": "What a sweep kills.",
        "method": [
            {"type": "action", "name": "break", "provider": {**provider, "func": kind, "arguments": ARGUMENTS[kind]}}
        ],
        "rollbacks": [{"type": "action", "name": "undo", "provider": {**provider, "func": "undo"}}],
        "extensions": [BARE],
    }


def aims(shooting: Range, kinds: Iterable[str], rng: random.Random) -> Iterator[Aim]:
    """Where to aim, without an end: first every fault and every moment at least once, then every pair in turn."""
    kinds = sorted(kinds)
    few = list(zip(islice(cycle(_shuffled(kinds, rng)), max(len(kinds), len(BOUNDARIES))), cycle(BOUNDARIES)))
    yield from (_aim(shooting, kind, moment, rng) for kind, moment in few)
    yield from (
        _aim(shooting, kind, moment, rng) for kind, moment in islice(zip(_shuffled(kinds, rng), cycle(RANDOM)), CHANCES)
    )
    while True:
        pairs = [(kind, moment) for kind in kinds for moment in (*BOUNDARIES, *RANDOM * 3)]
        yield from (_aim(shooting, kind, moment, rng) for kind, moment in _shuffled(pairs, rng))


def _aim(shooting: Range, kind: str, moment: str, rng: random.Random) -> Aim:
    if moment == AT_RANDOM_CALL:
        number = rng.randint(1, shooting.rehearse(kind).calls)
        return Aim(kind, moment, at=f"{rng.choice(('before', 'after'))} call {number}")
    if moment == AT_RANDOM_TIME:
        return Aim(kind, moment, after_s=rng.random() * shooting.rehearse(kind).seconds)
    if moment == IN_RECOVER:
        return Aim(kind, moment, at="after inject", recover_at=rng.choice(_OF_RECOVER))
    return Aim(kind, moment, at=moment)


def _shuffled(items: Iterable[Any], rng: random.Random) -> list[Any]:
    items = list(items)
    rng.shuffle(items)
    return items


def sweep(shooting: Range, targets: Iterable[Aim]) -> Iterator[Shot]:
    """Kill after kill, each compared with the account as it was before; what one left is not told of the next."""
    before = shooting.account()
    for aim in targets:
        shot = shooting.shoot(aim, before)
        if shot.residue:
            before = shooting.account()
        yield shot


def table(shots: Iterable[Shot]) -> str:
    """Kills by moment and fault, in Markdown; in brackets how many of them left something."""
    cells: dict[tuple[str, str], list[Shot]] = defaultdict(list)
    for shot in shots:
        cells[shot.aim.moment, shot.aim.fault].append(shot)
    kinds = sorted({kind for _, kind in cells})
    lines = [f"| killed | {' | '.join(kinds)} |", f"|---|{'---|' * len(kinds)}"]
    for moment in MOMENTS:
        lines.append(f"| {moment} | {' | '.join(_cell(cells[moment, kind]) for kind in kinds)} |")
    total = [[shot for moment in MOMENTS for shot in cells[moment, kind]] for kind in kinds]
    return "\n".join([*lines, f"| **all** | {' | '.join(_cell(column) for column in total)} |"])


def _cell(shots: list[Shot]) -> str:
    dirty = sum(bool(shot.residue) for shot in shots)
    return f"{len(shots)} ({dirty} left residue)" if dirty else str(len(shots) or "")


@contextmanager
def shooting_range(root: Path) -> Iterator[Range]:
    """A range that is gone afterwards."""
    found = Range(root)
    try:
        found.start()
        with watched(root):
            yield found
    finally:
        found.stop()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}


def _stream(found: IO[str] | None) -> IO[str]:
    assert found is not None
    return found
