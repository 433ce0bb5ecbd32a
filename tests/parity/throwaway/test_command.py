"""`tocsin parity --throwaway` as a process: its report, and `tocsin recover` after it was killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from tests import warm
from tests.parity.throwaway.account import everything
from tests.sandbox.aws.shop import Shop

from tocsin.parity.model import Key, ParityReport, exit_code_of
from tocsin.project.places import ledger_path, parity_path
from tocsin.record.ledger import Ledger

_PARITY = [sys.executable, "-m", "tocsin.cli", "parity", "--throwaway"]


def tocsin(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.python("-m", "tocsin.cli", *arguments, cwd=shop.root)


def open_entries(shop: Shop) -> list[str]:
    ledger = Ledger(ledger_path(shop.root, "sandbox"), "sandbox")
    try:
        return [entry.resource for entry in ledger.entries(only_open=True)]
    finally:
        ledger.close()


def test_the_report_holds_what_was_measured(shop: Shop) -> None:
    before = everything(shop.client)
    done = tocsin(shop, "parity", "--throwaway")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "gone: queue tocsin-parity-" in done.stderr
    report = ParityReport.model_validate_json(parity_path(shop.root, "sandbox").read_text())
    assert report.throwaway_at is not None
    assert report.left == ()
    # A minute is a second here: on a busy machine a lag may be longer than drills can live with.
    assert done.returncode == exit_code_of(report.rows)
    assert (report.figure(Key.METRIC_LAG) or 0) > 0
    assert (open_entries(shop), everything(shop.client)) == ([], before)


@pytest.mark.parametrize("line", ["creating topic", "rings, at most", "creating function", "has fired"])
def test_what_a_killed_one_left_is_deleted_by_recover(shop: Shop, line: str) -> None:
    before = everything(shop.client)
    with subprocess.Popen(_PARITY, cwd=shop.root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        seen = next(said for said in run.stderr if line in said)
        run.send_signal(signal.SIGKILL)
    assert line in seen
    left = open_entries(shop)
    assert left
    recovered = tocsin(shop, "recover")
    assert recovered.returncode == 0, recovered.stdout + recovered.stderr
    assert recovered.stdout.count("undone and verified: parity_") == len(left)
    assert (open_entries(shop), everything(shop.client)) == ([], before)


def test_a_stop_in_the_middle_deletes_and_ends_with_4(shop: Shop) -> None:
    before = everything(shop.client)
    with subprocess.Popen(_PARITY, cwd=shop.root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        said = [next(line for line in run.stderr if "can be assumed" in line)]
        run.send_signal(signal.SIGINT)
        said += run.stderr
    assert run.returncode == 4, said
    assert (open_entries(shop), everything(shop.client)) == ([], before)


def test_the_policy_for_it_needs_no_experiment(shop: Shop) -> None:
    printed = tocsin(shop, "permissions", "--parity-throwaway")
    assert printed.returncode == 0, printed.stderr
    allowed = json.loads(printed.stdout)["Statement"]
    changing = [one for one in allowed if one["Resource"] != ["*"] and one["Sid"] != "Guards"]
    assert changing
    assert all("tocsin-parity-*" in arn for one in changing for arn in one["Resource"])
