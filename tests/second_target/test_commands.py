"""Tocsin against emulators that are not its sandbox: the commands, a drill, its sudden end, and the brake."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.second_target.cannot import cannot, may_be, reasons, unanswered
from tests.second_target.emulators import Emulator
from tests.second_target.needs import READS
from tests.second_target.shop import (
    NOBODY_PACKS,
    ORDERS,
    POISON,
    deploy,
    environment,
    experiment,
    map_queue,
    tocsin,
    write,
)
from tests.second_target.standins import evaluator, packer, standing_in
from tests.sweep.account import Snapshot, differences, read_account

from tocsin.model.events import AlarmChanged
from tocsin.parity.model import ParityReport
from tocsin.project.histories import read_history

SCALE = 60.0
DEAD_ORDERS = experiment(
    "An order that cannot be packed",
    "sqs_poison_message",
    {"queue": ORDERS, "body": POISON},
    {"must": [{"alarm": "dead-orders", "within": "8m", "clears_within": "5m"}]},
)


def account(emulator: Emulator) -> Snapshot:
    """All that it tells of the account."""
    told = {need.removeprefix("reading ") for need in READS if not cannot(emulator.name, need)}
    return read_account(emulator.client, told)


@pytest.fixture
def root(emulator: Emulator, shop: str, tmp_path: Path) -> Path:
    """A project whose target `emu` is an emulator with the shop in it."""
    deploy(emulator, mapped=False)
    write(tmp_path, "emu", emulator.url, shop, SCALE, nobody_packs=NOBODY_PACKS, dead_orders=DEAD_ORDERS)
    return tmp_path


def test_doctor_finds_no_gap(root: Path) -> None:
    done = tocsin(root, "doctor", "shop", "--target", "emu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 gaps" in done.stdout
    assert "SNS may write to shop-oncall" in done.stdout


def test_parity_names_the_reads_that_the_emulator_does_not_answer(root: Path, emulator: Emulator) -> None:
    map_queue(emulator)
    before = account(emulator)
    done = tocsin(root, "parity", "shop", "--target", "emu", "--out", "looked")
    report = ParityReport.model_validate_json((root / "looked" / "parity.json").read_text())
    wrong = {row.about for row in report.rows if not row.holds}
    assert wrong == unanswered(emulator.name), done.stdout + done.stderr
    assert done.returncode == (1 if any(row.holds is False for row in report.rows) else 3)
    assert differences(before, account(emulator)) == []


def test_a_dry_run_says_what_would_be_changed_and_what_it_could_not_ask(root: Path, emulator: Emulator) -> None:
    before = account(emulator)
    done = tocsin(root, "run", "experiments/dead-orders.yaml", "--target", "emu", "--dry-run")
    blind = cannot(emulator.name, "SimulatePrincipalPolicy")
    assert done.returncode == (4 if blind else 0), done.stdout + done.stderr
    assert "in_dead_letter_queue: 0 -> 1" in done.stdout
    assert ("asking IAM what" in done.stdout) == blind
    assert "<html" not in done.stdout.lower()
    assert differences(before, account(emulator)) == []


@pytest.mark.drill
def test_a_drill_is_unknown_for_what_the_emulator_cannot_do_and_for_nothing_else(
    root: Path, emulator: Emulator
) -> None:
    """What neither does is played: the alarm is evaluated here, and where no function runs, it is one of the test's."""
    works = [evaluator(emulator)]
    if cannot(emulator.name, "functions without Docker"):
        works.append(packer(emulator))
    else:
        map_queue(emulator)
    before = account(emulator)
    with standing_in(*works):
        done = tocsin(root, "run", "experiments/dead-orders.yaml", "--target", "emu", "--out", "out", "--try-again")
    assert done.returncode == 3, done.stdout + done.stderr
    (verdict,) = json.loads((root / "out" / "verdict.json").read_text())["drills"]
    outcomes = {one["id"]: one["outcome"] for one in verdict["judgements"]}
    found = {one["reason"] for one in verdict["judgements"] if one["outcome"] != "pass"}
    assert reasons(emulator.name) <= found <= may_be(emulator.name)
    assert {name for name, outcome in outcomes.items() if outcome == "pass"} >= {"effect", "undo", "recovery"}
    assert outcomes["must:dead-orders"] == "unknown"
    assert ring_is_told(root / "out" / "dead-orders" / "history.jsonl") is not cannot(
        emulator.name, "DescribeAlarmHistory"
    )
    changed = differences(before, account(emulator))
    assert [line for line in changed if not line.startswith("logs/")] == [], "only the function has written"


def ring_is_told(history: Path) -> bool:
    """Whether the history has the transition to ALARM."""
    return any(isinstance(event, AlarmChanged) and event.after == "ALARM" for event in read_history(history))


@pytest.mark.drill
def test_what_a_killed_drill_left_is_found_and_undone(root: Path, emulator: Emulator) -> None:
    map_queue(emulator)
    before = account(emulator)
    kill_when_effective(root, "experiments/nobody-packs.yaml")
    left = differences(before, account(emulator))
    assert any("State" in line and "Enabled" in line for line in left), left
    recovered = tocsin(root, "recover", "--target", "emu")
    assert recovered.returncode == 0, recovered.stdout + recovered.stderr
    assert differences(before, account(emulator)) == []
    assert "nothing" in tocsin(root, "recover", "--target", "emu").stdout


def kill_when_effective(root: Path, path: str) -> None:
    """Run a drill, and end it by SIGKILL as soon as it says that its fault is effective."""
    with subprocess.Popen(
        [sys.executable, "-m", "tocsin.cli", "run", path, "--target", "emu", "--out", "out"],
        cwd=root,
        env={**environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if " effective " in line:
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL, "".join(said)


def test_the_brake_holds_until_it_is_released(root: Path, emulator: Emulator) -> None:
    before = account(emulator)
    stopped = tocsin(root, "stop", "--target", "emu", "--reason", "rehearsal")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    refused = tocsin(root, "run", "experiments/dead-orders.yaml", "--target", "emu")
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert "rehearsal" in refused.stdout
    cleared = tocsin(root, "stop", "--target", "emu", "--clear")
    assert cleared.returncode == 0, cleared.stdout + cleared.stderr
    assert differences(before, account(emulator)) == []
