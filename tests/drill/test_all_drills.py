"""Every drill of Leave & Attendance, one after the other: what the runbook promises, and what it gets wrong."""

from __future__ import annotations

import pytest
from tests.drill.conftest import Checkout
from tests.drill.test_drills import reasons
from tests.secret_scan import Secret, files_below, leaks, secrets_of

from tocsin.model.events import GuardChecked
from tocsin.model.verdict import RunVerdict
from tocsin.project.histories import read_history
from tocsin.sandbox import control

pytestmark = [pytest.mark.all_drills, pytest.mark.xdist_group("leave-attendance"), pytest.mark.timeout(1200)]


def planted_secrets(checkout: Checkout) -> set[Secret]:
    """Everything secret in the sandbox of the drills; a search for nothing would find nothing."""
    state = control.status(checkout.root)
    assert state is not None
    secrets = set(secrets_of(state.account))
    worker = "function leave-attendance-dev-calendarSyncWorker: GRAPH_CLIENT_SECRET"
    assert {"secret itcenter/dev/db: password", worker} < {secret.name for secret in secrets}
    return secrets


def test_all_drills_pass_and_tell_what_the_runbook_gets_wrong(checkout: Checkout) -> None:
    out = checkout.out()
    answer = checkout.tocsin("run", "experiments/leave-attendance", "--out", str(out), "--try-again", timeout=1000)
    run = RunVerdict.model_validate_json((out / "verdict.json").read_text())
    assert {d.experiment: reasons(d) for d in run.drills} == {
        name: {}
        for name in (
            "bad-release",
            "break-graph-token",
            "calendar-queue-denied",
            "calendar-worker-denied",
            "calendar-worker-stopped",
            "clock-in-throttled",
            "graph-down",
            "poison-calendar-message",
            "throttle-rds-proxy",
        )
    }
    assert answer.returncode == 0
    findings = {(finding.kind, finding.subject) for drill in run.drills for finding in drill.findings}
    assert any(kind == "gap" for kind, _ in findings)
    assert ("blind_alarm", "api-5xx-runbook") in findings
    release = next(drill for drill in run.drills if drill.experiment == "bad-release")
    assert release.time_to_roll_back_s is not None
    assert release.time_to_recover_s is not None
    for drill in run.drills:
        assert (out / drill.experiment / "report.html").stat().st_size > 10_000
        asked = [e for e in read_history(out / drill.experiment / "history.jsonl") if isinstance(e, GuardChecked)]
        (answers,) = [e.detail for e in asked if e.guard == "answers"]
        assert answers == "about 157 answers are planned before the fault, which is enough"
    again = checkout.tocsin("report", str(out))
    assert again.returncode == 0
    assert RunVerdict.model_validate_json((out / "verdict.json").read_text()).drills == run.drills
    written = [*files_below(out), *files_below(checkout.root / ".tocsin" / "ledger")]
    assert leaks(planted_secrets(checkout), written) == []
