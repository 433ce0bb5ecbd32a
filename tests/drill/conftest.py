"""One sandbox for all drills of this directory, in a checkout of its own: nothing here touches the developer's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.drill.fault_table import make_resources
from tests.secret_scan import watched

from tocsin.commands.run import FIRST_TRY
from tocsin.model.verdict import Reason, RunVerdict, Verdict
from tocsin.sandbox import control
from tocsin.sandbox.account import Account

ROOT = Path(__file__).parents[2]
CONTENT = ("contracts", "experiments", "loadtests", "replicas", "synthetics", "systems")
EXPERIMENTS = ROOT / "experiments" / "leave-attendance"
LOOK_BACK_S = 300.0 + 180.0
"""Production seconds after which no alarm rings for what is over: five minutes, the longest period here, and three in
which an alarm has seen the last of it."""


@dataclass
class Checkout:
    """A directory that looks like the repository, with a running sandbox."""

    root: Path
    runs: list[Path] = field(default_factory=list)
    left: bool = False
    """Whether something was drilled here for which an alarm may still ring, or ring again."""

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tocsin.cli", *arguments]

    def tocsin(self, *arguments: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments), cwd=self.root, capture_output=True, text=True, timeout=timeout, check=False
        )
        with (self.root / "printed.log").open("a") as printed:  # scanned for secrets like every other file
            printed.write(done.stdout + done.stderr)
        self.left |= arguments[0] == "run" and done.returncode != 0
        return done

    @property
    def account(self) -> Account:
        state = control.status(self.root)
        assert state is not None
        return state.account

    def client(self, service: str) -> Any:
        return self.account.client(service)

    def run(self, name: str, edit: Callable[[dict[str, Any]], None] | None = None) -> tuple[int, Verdict, Path]:
        """Drill one of our experiments, changed by `edit`; exit code, verdict, directory of the drill.

        Drilled once more where its verdict says that the machine did not keep up, by `--try-again`: and where that did
        not, because something else failed, here, because each answer is looked at.
        """
        path = self.experiment(name, edit)
        for again in (["--try-again"], []):
            out = self.out()
            answer = self.tocsin("run", str(path), "--out", str(out), *again)
            assert "Traceback" not in answer.stderr, answer.stderr
            run = RunVerdict.model_validate_json((out / "verdict.json").read_text())
            if not is_busy(run) or (out / path.stem / FIRST_TRY).exists():
                break
            self.settle()
        return answer.returncode, run.drills[0], out / path.stem

    def experiment(self, name: str, edit: Callable[[dict[str, Any]], None] | None = None) -> Path:
        document = yaml.safe_load((EXPERIMENTS / f"{name}.yaml").read_text())
        if edit is not None:
            edit(document)
        path = self.out().with_suffix("") / f"{name}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    def out(self) -> Path:
        self.runs.append(self.root / f"out-{len(self.runs)}")
        return self.runs[-1]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        self.left = True
        return subprocess.Popen(
            self.command(*arguments), cwd=self.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def pool(self) -> dict[str, int]:
        """The connection pool of the database proxy, as the AWS API tells it."""
        groups = self.client("rds").describe_db_proxy_target_groups(DBProxyName="itcenter-dev-proxy")
        config: dict[str, int] = groups["TargetGroups"][0]["ConnectionPoolConfig"]
        return {name: value for name, value in config.items() if isinstance(value, int)}

    def ringing(self) -> list[str]:
        alarms = self.client("cloudwatch").describe_alarms(StateValue="ALARM")["MetricAlarms"]
        return [alarm["AlarmName"] for alarm in alarms]

    def settle(self) -> None:
        """Wait until no alarm rings, and until none can for what was left: the next drill would rightly be refused."""
        quiet_s = LOOK_BACK_S / self.account.time_scale if self.left else 0.0
        wait_for("all alarms to clear", lambda: not self.ringing(), for_s=quiet_s)
        self.left = False


def extension(document: dict[str, Any]) -> dict[str, Any]:
    block: dict[str, Any] = document["extensions"][0]
    return block


def is_busy(run: RunVerdict) -> bool:
    """Whether a verdict says of anything that the machine did not keep up, and no residue refuses the next drill."""
    judgements = [one for drill in run.drills for one in drill.judgements]
    left = any(drill.residue for drill in run.drills)
    return not left and any(one.reason is Reason.MACHINE_BUSY for one in judgements)


def wait_for(what: str, seen: Callable[[], bool], timeout_s: float = 120, for_s: float = 0.0) -> None:
    """Wait until `seen`, for some wall seconds without a break."""
    began = since = time.monotonic()
    while not (there := seen()) or time.monotonic() - since < for_s:
        if not there:
            since = time.monotonic()
        if time.monotonic() > began + timeout_s:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        time.sleep(0.05)


@contextmanager
def checked_out(root: Path, system: str) -> Iterator[Checkout]:
    """What the repository holds, in a directory of its own, with a sandbox in which a system is deployed."""
    for name in CONTENT:
        (root / name).symlink_to(ROOT / name)
    checkout = Checkout(root)
    up = checkout.tocsin("sandbox", "up", system, timeout=300)
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        with watched(root):
            yield checkout
    finally:
        down = checkout.tocsin("sandbox", "down", timeout=120)
        assert down.returncode == 0, down.stdout + down.stderr


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    with checked_out(tmp_path_factory.mktemp("checkout"), "leave-attendance") as checkout:
        make_resources(checkout.account)
        yield checkout


@pytest.fixture(autouse=True)
def _settled(request: pytest.FixtureRequest) -> None:
    """A test begins when no alarm rings for the one before; one without the sandbox does not start it for this."""
    if "checkout" in request.fixturenames:
        checkout: Checkout = request.getfixturevalue("checkout")
        checkout.settle()


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, float]:
    """Send a signal; exit code, output, and wall seconds until the end."""
    started = time.monotonic()
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output, time.monotonic() - started
