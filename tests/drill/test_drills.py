"""Whole drills against the running sandbox: what passes, and everything that must not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.drill.conftest import ROOT, Checkout, wait_for
from tests.drill.test_faults import ROLE

from tocsin.model.events import FaultChanged, FaultStage
from tocsin.model.verdict import Outcome, Reason, Verdict
from tocsin.project.histories import read_history

pytestmark = [pytest.mark.drill, pytest.mark.takes(260), pytest.mark.xdist_group("drills"), pytest.mark.timeout(1200)]


def reasons(verdict: Verdict) -> dict[str, Reason]:
    """What was not as expected."""
    return {j.id: j.reason for j in verdict.judgements if j.outcome is not Outcome.PASS}


def stages(directory: Path) -> list[FaultStage]:
    events = read_history(directory / "history.jsonl")
    return [event.stage for event in events if isinstance(event, FaultChanged)]


def test_a_fault_that_changes_nothing_is_no_pass(checkout: Checkout) -> None:
    pool = checkout.pool()

    def throttle_to_what_is_set(document: dict[str, Any]) -> None:
        document["method"][0]["provider"]["arguments"] = {
            "proxy": "itcenter-dev-proxy",
            "max_connections_percent": pool["MaxConnectionsPercent"],
        }

    code, verdict, _ = checkout.run("throttle-rds-proxy", throttle_to_what_is_set)
    assert code == 3
    assert Reason.NO_EFFECT in reasons(verdict).values()
    assert checkout.pool() == pool


def test_an_alarm_that_already_rings_stops_the_drill_before_anything_is_broken(checkout: Checkout) -> None:
    sqs, cloudwatch = checkout.client("sqs"), checkout.client("cloudwatch")
    url = sqs.get_queue_url(QueueName="itcenter-dev-calendar-sync-dlq")["QueueUrl"]

    def state() -> str:
        alarms = cloudwatch.describe_alarms(AlarmNames=["itcenter-dev-calendar-dlq"])["MetricAlarms"]
        return str(alarms[0]["StateValue"])

    sqs.send_message(QueueUrl=url, MessageBody="{}")
    try:
        wait_for("the alarm to ring", lambda: state() == "ALARM")
        code, verdict, directory = checkout.run("throttle-rds-proxy")
        assert code == 4
        assert verdict.stopped == "alarms"
        assert stages(directory) == []
    finally:
        for message in sqs.receive_message(QueueUrl=url)["Messages"]:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        wait_for("the alarm to clear", lambda: state() == "OK")


def test_an_alarm_that_cannot_ring_at_this_traffic_stops_the_drill_before_anything_is_broken(
    checkout: Checkout,
) -> None:
    systems = checkout.root / "systems"
    planted = (systems / "leave-attendance.yaml").read_text().replace("Threshold: 5\n", "Threshold: 5000\n")
    systems.unlink()
    systems.mkdir()
    (systems / "leave-attendance.yaml").write_text(planted)
    try:
        code, verdict, directory = checkout.run("throttle-rds-proxy")
    finally:
        (systems / "leave-attendance.yaml").unlink()
        systems.rmdir()
        systems.symlink_to(ROOT / "systems")
    assert (code, verdict.stopped) == (4, "feasible")
    assert reasons(verdict) == {"guard:feasible": Reason.REFUSED, "must:api-5xx": Reason.INFEASIBLE}
    assert any("needs 5000 bad requests a period" in judgement.message for judgement in verdict.judgements)
    assert stages(directory) == []


def test_kill_9_in_the_fault_act_is_mended_by_recover(checkout: Checkout) -> None:
    def deny_too(document: dict[str, Any]) -> None:
        deny = {"type": "python", "module": "tocsin.faults", "func": "iam_role_deny"}
        arguments = {"role": ROLE, "actions": ["sqs:SendMessage"]}
        document["method"].insert(0, {"type": "action", "name": "deny", "provider": {**deny, "arguments": arguments}})

    before, path, out = checkout.pool(), checkout.experiment("throttle-rds-proxy", deny_too), checkout.out()
    process = checkout.start("run", "--try-again", str(path), "--out", str(out))
    wait_for("the fault", lambda: checkout.pool() != before)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    assert checkout.pool() != before
    deny, throttle = checkout.tocsin("ledger").stdout.splitlines()
    assert "rds_proxy_throttle" in throttle
    assert re.search(rf"iam_role_deny on role {ROLE} in ap-southeast-2; ends by itself at \d\d:\d\d", deny)

    refused = checkout.tocsin("run", "experiments/leave-attendance/throttle-rds-proxy.yaml")
    assert refused.returncode == 4
    assert "tocsin recover" in refused.stdout

    recovered = checkout.tocsin("recover")
    assert (recovered.returncode, recovered.stdout.count("undone and verified")) == (0, 2)
    assert checkout.pool() == before
    policies = checkout.client("iam").list_role_policies(RoleName=ROLE)["PolicyNames"]
    assert [name for name in policies if name.startswith("tocsin-")] == []
    assert checkout.tocsin("recover").stdout.startswith("nothing to recover")
    # The history of the dead drill is cut in the middle: it can be judged, and is no pass.
    assert checkout.tocsin("report", str(out)).returncode in (1, 3, 5)


def chaos_run(checkout: Checkout, name: str) -> tuple[int, dict[str, Any]]:
    """Plain Chaos Toolkit on one of our files: exit code and journal."""
    journal, chaos = checkout.root / f"journal-{name}.json", Path(sys.executable).with_name("chaos")
    path = f"experiments/leave-attendance/{name}.yaml"
    checkout.left = True
    ended = subprocess.run(
        [str(chaos), "run", "--journal-path", str(journal), path], cwd=checkout.root, check=False, timeout=300
    )
    return ended.returncode, json.loads(journal.read_text())


def test_chaos_run_works_with_the_same_files(checkout: Checkout) -> None:
    code, journal = chaos_run(checkout, "calendar-worker-stopped")
    assert (code, journal["status"]) == (0, "completed")
    assert journal["run"][0]["output"] == "effective"
    assert journal["rollbacks"][0]["status"] == "succeeded"
    assert checkout.tocsin("recover").stdout.startswith("nothing to recover")


def test_chaos_run_sees_the_steady_state_deviate_and_rolls_back(checkout: Checkout) -> None:
    """Chaos Toolkit asks the hypothesis again before the rollbacks: without its database the API is not healthy."""
    before = checkout.pool()
    code, journal = chaos_run(checkout, "throttle-rds-proxy")
    assert (code, journal["deviated"]) == (1, True)
    assert journal["run"][0]["output"] == "effective"
    assert journal["rollbacks"][0]["status"] == "succeeded"
    assert checkout.pool() == before


def test_smoke(checkout: Checkout) -> None:
    answer = checkout.tocsin("smoke", "leave-attendance")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "canary" in answer.stdout
    assert "contract:" in answer.stdout
