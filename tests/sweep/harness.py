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
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import IO, Any

import yaml
from tests.drill.fault_table import ARGUMENTS, DATA, door, inside, make_resources
from tests.moments import began_s
from tests.secret_scan import watched
from tests.sweep.account import Snapshot, differences, read_account
from tests.sweep.drill_child import BOUNDARIES, Deed, Ended, Job

from tocsin.aws.target import Target
from tocsin.faults.registry import FAULTS
from tocsin.model.events import Event, Stopped
from tocsin.project.histories import read_history
from tocsin.project.places import ledger_path
from tocsin.project.targets import load_target
from tocsin.record.ledger import Ledger
from tocsin.sandbox import control

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
PAUSE = "a signal in a pause"
HANGS = {
    "function": "a signal while a function hangs",
    "process": "a signal while a process hangs",
    "http": "a signal while an answer does not come",
}
TERMINAL = "a terminal that is closed"
FULL = "a full stdout"
STOPPED = "stopped for 20 s"
REQUESTED = (PAUSE, *HANGS.values(), TERMINAL)
"""Ends that are asked for: the undo begins within a second."""
ENDS = (*REQUESTED, FULL, STOPPED)
"""How a drill ends beside being killed: it undoes by itself, and no `tocsin recover` is needed."""
ONE_IN = 5
"""Of so many shots of a long sweep one is such an end; of forty one is stopped for 20 s."""
WITHIN_S = 1.0
LEAST_SHARE = 0.99
_WHILE_BROKEN = ("before inject", "after inject", "after advance injected")
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_ASKED = "interrupted"
_HANG_S = 60
LEAVES = "leaves"
"""A variant of the bare experiment: somebody's code ends the process, with the exit code of a pass."""
_WAITS = f"""
import os
import time

def hang():
    time.sleep({_HANG_S})

def leave():
    os._exit(0)
"""
_OF_RECOVER = BOUNDARIES[BOUNDARIES.index("before undo") :]
_IN_DATABASE = """
SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal
UNION SELECT 'function ' || proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public'
UNION SELECT 'sequence ' || relname FROM pg_class WHERE relkind = 'S'
"""
_SETTLES_WITHIN_S = 30.0
"""Wall seconds in which AWS is done with what it does on its own: concurrency that starts, messages that return."""
_LOOKED_FOR_S = 3.0
"""The same with a planted bug: what it leaves is not waited for as long as the end of it."""


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
    deed: Deed = "SIGKILL"
    variant: str = ""
    """Of the bare experiment: one that pauses, or in which something hangs."""

    @property
    def ends_itself(self) -> bool:
        """Whether the drill is to undo by itself."""
        return self.moment in ENDS

    def __str__(self) -> str:
        if self.ends_itself:
            return f"{self.fault} {self.moment} ({self.deed} {self.at})"
        place = self.at if self.after_s is None else f"after {self.after_s:.3f} s"
        return f"{self.fault} {place}" + (f", recover {self.recover_at}" if self.recover_at else "")


@dataclass(frozen=True)
class Shot:
    """What one kill left behind."""

    aim: Aim
    killed: bool
    residue: tuple[str, ...]
    seconds: float
    began_s: float | None = None
    """Wall seconds from the moment at which the signal was sent to the beginning of the undo."""

    @property
    def missed(self) -> bool:
        """A moment that was never reached: the end proved nothing."""
        if self.aim.ends_itself:  # whose output is full is not ended at all: its exit code says so
            return self.aim.moment != FULL and self.began_s is None
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
    _silent: socket.socket | None = None
    """Takes connections and never answers."""

    def start(self) -> None:
        """Start the sandbox with the replica and write the bare experiments.

        Raises:
            RuntimeError: the sandbox did not come up.
        """
        self.write_project()
        self.up()
        self.write_experiments()

    def write_project(self) -> None:
        """The files of a checkout, as the replica needs them to be deployed."""
        for name in ("contracts", "loadtests", "replicas", "synthetics"):
            (self.root / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "systems", self.root / "systems")

    def up(self) -> None:
        """Start the sandbox with the replica, and what faults need beside it.

        Raises:
            RuntimeError: the sandbox did not come up.
        """
        up = self.tocsin("sandbox", "up", SYSTEM, "--time-scale", str(SCALE))
        if up.returncode != 0:
            raise RuntimeError(f"expected a sandbox, found: {up.stdout}{up.stderr}")
        self._target = replace(load_target(self.root, "sandbox"), region=REGION)
        state = control.status(self.root)
        assert state is not None
        make_resources(state.account)

    def write_experiments(self) -> None:
        """The bare experiments, and the system without anybody who watches it."""
        path = self.root / "systems" / f"{SYSTEM}.yaml"
        system = yaml.safe_load(path.read_text())
        bare = {name: system[name] for name in ("system", "title", "region", "endpoint", "third_parties")}
        path.write_text(yaml.safe_dump(bare))
        (self.root / "bare").mkdir()
        (self.root / "logs").mkdir()
        (self.root / "waits.py").write_text(_WAITS)
        self._silent = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{self._silent.getsockname()[1]}/"
        for kind in FAULTS:
            for variant, found in {"": bare_experiment(kind), **slow_experiments(kind, url)}.items():
                self.experiment(kind, variant).write_text(yaml.safe_dump(found, sort_keys=False))

    def stop(self) -> None:
        """End the forking process and the sandbox.

        Raises:
            RuntimeError: something of the sandbox is left.
        """
        if self._zygote is not None:
            _stream(self._zygote.stdin).close()
            self._zygote.wait(120)
        if self._silent is not None:
            self._silent.close()
        down = self.tocsin("sandbox", "down")
        if down.returncode != 0:
            raise RuntimeError(f"expected the sandbox to stop, found: {down.stdout}{down.stderr}")

    def experiment(self, kind: str, variant: str = "") -> Path:
        """The file of a fault's bare experiment."""
        return self.root / "bare" / f"{kind}{'-' if variant else ''}{variant}.yaml"

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
            timeout=300,
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

    def drill(self, kind: str, variant: str = "", **options: Any) -> Ended:
        """One bare drill of a fault; `options` are fields of `Job`."""
        self._shots += 1
        arguments = ("run", str(self.experiment(kind, variant)), "--out", str(self.out))
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
        """The state of the whole account, of the database of our own in it, and of the third party's fault door."""
        database = {f"database/{name}": 1 for name in self._in_database()}
        return {**read_account(self.target.client), **database, "third party": door(self.target)}

    def _in_database(self) -> list[str]:
        """What a fault could leave inside the database, where no AWS API looks."""
        secret = self.target.client("secretsmanager").get_secret_value(SecretId=DATA)["SecretString"]
        found = inside(json.loads(secret), _IN_DATABASE)
        return [row[0] for row in found] if isinstance(found, list) else [f"no answer: {found}"]

    def differs(self, before: Snapshot, bug: str = "") -> list[str]:
        """What is not as before, after everything that is on its way has arrived."""
        deadline = time.monotonic() + (_LOOKED_FOR_S if bug else _SETTLES_WITHIN_S)
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
        if aim.ends_itself:
            return self._end(aim, before, bug)
        started = time.monotonic()
        killed = self.drill(aim.fault, at=_kill(aim.at), killed_after_s=aim.after_s, bug=bug).code == -signal.SIGKILL
        if aim.recover_at:
            killed &= self.command("recover", at=_kill(aim.recover_at), bug=bug).code == -signal.SIGKILL
        recovered = self.recover(bug)
        residue = [f"differs: {line}" for line in self.differs(before, bug)]
        residue += [f"ledger: {line}" for line in self.open_entries()]
        if recovered.returncode != 0:
            residue.append(f"recover: exit code {recovered.returncode}: {recovered.stderr.strip()}")
        return Shot(aim, killed, tuple(residue), time.monotonic() - started)

    def _end(self, aim: Aim, before: Snapshot, bug: str) -> Shot:
        """End a drill in another way, which undoes by itself, and compare."""
        started = time.monotonic()
        ended = self.drill(aim.fault, aim.variant, at={aim.at: aim.deed}, bug=bug)
        residue = [f"differs: {line}" for line in self.differs(before, bug)]
        residue += [f"ledger: {line}" for line in self.open_entries()]
        directory = self.out / self.experiment(aim.fault, aim.variant).stem
        events = read_history(directory / "history.jsonl")
        residue += self._told_otherwise(aim, ended, events, directory)
        if residue:
            self.recover()
        return Shot(aim, False, tuple(residue), time.monotonic() - started, began_s(events, ended.sent_at))

    def _told_otherwise(self, aim: Aim, ended: Ended, events: Sequence[Event], directory: Path) -> Iterator[str]:
        """What the drill says of its end, where that is not what was done to it."""
        # 4: stopped. 1 or 3: it ran to its end, and without traffic there is nothing to pass.
        codes, guards = ((1, 3), []) if aim.moment == FULL else ((4,), ["clock" if aim.moment == STOPPED else _ASKED])
        if ended.code not in codes:
            yield f"exit code {ended.code}: {self.log.read_text()[-500:]}"
        found = [event.guard for event in events if isinstance(event, Stopped)]
        if found != guards:
            yield f"ended by {found or 'nobody'}, expected {guards or 'nobody'}"
        told = [name for name in ("report.html", "verdict.json") if (directory / name).exists()]
        if len(told) < 2:
            yield f"told in {told or 'nothing'} only: {self.log.read_text()[-500:]}"
        elif guards and (outcome := json.loads((directory / "verdict.json").read_text())["outcome"]) != "unknown":
            yield f"its verdict is {outcome}, expected unknown"


def _kill(at: str) -> dict[str, Any]:
    return {at: "SIGKILL"} if at else {}


# As long as can be told at `SCALE`; a drill that nobody watches waits for nothing of it.
BARE = {
    "name": "tocsin",
    "system": SYSTEM,
    "load": None,
    "baseline": "0s",
    "fault_for": "1s",
    "expect": {"gap": "nobody watches a bare drill", "recovery": {"within": "10m"}},
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


def slow_experiments(kind: str, silent_url: str) -> dict[str, dict[str, Any]]:
    """By variant: one that pauses while the fault is in place, and those in which something hangs, or leaves, then."""
    providers = {
        "function": {"type": "python", "module": "waits", "func": "hang"},
        LEAVES: {"type": "python", "module": "waits", "func": "leave"},
        "process": {"type": "process", "path": "sleep", "arguments": str(_HANG_S)},
        "http": {"type": "http", "url": silent_url},
    }
    pausing = bare_experiment(kind)
    pausing["method"][0]["pauses"] = {"after": _HANG_S}
    found = {"pause": pausing}
    for variant, provider in providers.items():
        found[variant] = bare_experiment(kind)
        found[variant]["method"].append({"type": "probe", "name": "hangs", "provider": provider})
    return found


def ends(kinds: Iterable[str], rng: random.Random) -> Iterator[Aim]:
    """The other ends, without an end: each in turn, of any fault."""
    kinds = sorted(kinds)
    # Stopped for 20 s is the last of a round of eight.
    for end in cycle((*REQUESTED, FULL, PAUSE, STOPPED)):
        yield other_end(rng.choice(kinds), end, rng)


def ends_of_all(kinds: Iterable[str], rng: random.Random) -> Iterator[Aim]:
    """One other end of every fault, each as often as the others; only one fault is stopped for 20 s as well."""
    shuffled = _shuffled(sorted(kinds), rng)
    for kind, end in zip(shuffled, cycle((*REQUESTED, FULL))):
        yield other_end(kind, end, rng)
    yield other_end(rng.choice(shuffled), STOPPED, rng)


def other_end(kind: str, end: str, rng: random.Random) -> Aim:
    """A drill of a fault that ends so; by which signal, and when, is chosen by chance."""
    if end in (PAUSE, *HANGS.values()):
        variant = next((name for name, told in HANGS.items() if told == end), "pause")
        deed: Any = f"{rng.choice(_SIGNALS)} soon"
        return Aim(kind, end, at="after event activity_ran", deed=deed, variant=variant)
    deeds: dict[str, Deed] = {TERMINAL: "closed terminal", FULL: "full stdout", STOPPED: "SIGSTOP for 20 s"}
    return Aim(kind, end, at=rng.choice(_WHILE_BROKEN), deed=deeds[end])


def with_ends(kills: Iterator[Aim], others: Iterator[Aim]) -> Iterator[Aim]:
    """Of every `ONE_IN` aims the last is another end than a kill."""
    while True:
        yield from islice(kills, ONE_IN - 1)
        yield next(others)


def distribution(shots: Iterable[Shot]) -> str:
    """How soon the undo began, in words: of the ends that were asked for, from when they were sent."""
    took = sorted(shot.began_s for shot in shots if shot.aim.moment in REQUESTED and shot.began_s is not None)
    if not took:
        return "no end was asked for"
    at = {share: took[min(len(took) - 1, int(share * len(took)))] for share in (0.5, 0.9, 0.99)}
    told = ", ".join(f"{share:.0%} <= {seconds:.2f} s" for share, seconds in at.items())
    return (
        f"{len(took)} ends were asked for; the undo began after: {told}, the longest {took[-1]:.2f} s; "
        f"{soon_enough(took):.1%} within {WITHIN_S:g} s"
    )


def soon_enough(took: Sequence[float]) -> float:
    """Share of undos that began soon enough; 1 where there is none."""
    return sum(seconds <= WITHIN_S for seconds in took) / len(took) if took else 1.0


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


def earlier_call(aim: Aim) -> Aim:
    """A call half as far on, which also a drill reaches that makes fewer of them."""
    side, _, number = aim.at.rpartition(" ")
    return replace(aim, at=f"{side} {max(1, int(number) // 2)}")


def _shuffled(items: Iterable[Any], rng: random.Random) -> list[Any]:
    items = list(items)
    rng.shuffle(items)
    return items


def sweep(shooting: Range, targets: Iterable[Aim]) -> Iterator[Shot]:
    """Kill after kill, each compared with the account as it was before; what one left is not told of the next."""
    before = shooting.account()
    for aim in targets:
        shot = shooting.shoot(aim, before)
        if shot.missed and aim.moment == AT_RANDOM_CALL:  # one drill looks more often than the next
            shot = shooting.shoot(earlier_call(aim), before)
        if shot.residue:
            before = shooting.account()
        yield shot


def table(shots: Iterable[Shot]) -> str:
    """Kills by moment and fault, in Markdown; in brackets how many of them left something."""
    cells: dict[tuple[str, str], list[Shot]] = defaultdict(list)
    for shot in shots:
        cells[shot.aim.moment, shot.aim.fault].append(shot)
    kinds = sorted({kind for _, kind in cells})
    lines = [f"| ended | {' | '.join(kinds)} |", f"|---|{'---|' * len(kinds)}"]
    for moment in (*MOMENTS, *ENDS):
        if any(cells[moment, kind] for kind in kinds):
            lines.append(f"| {moment} | {' | '.join(_cell(cells[moment, kind]) for kind in kinds)} |")
    total = [[shot for moment in (*MOMENTS, *ENDS) for shot in cells[moment, kind]] for kind in kinds]
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
