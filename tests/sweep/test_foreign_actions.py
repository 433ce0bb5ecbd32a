"""An experiment for plain Chaos Toolkit on real AWS runs in a drill as it is: on the target, as its user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.drill.fault_table import SERVICE
from tests.sweep.harness import BARE, Range

from tocsin.model.verdict import Outcome, RunVerdict

pytestmark = [pytest.mark.drill, pytest.mark.timeout(120)]

SECRET = "theirs-and-never-told"


def _chaosaws(kind: str, func: str, **arguments: Any) -> dict[str, Any]:
    on = {"cluster": SERVICE, "service": SERVICE}
    return {
        "type": "python",
        "module": f"chaosaws.ecs.{kind}",
        "func": func,
        "secrets": ["aws"],
        "arguments": {**on, **arguments},
    }


def _scale(desired: int) -> dict[str, Any]:
    return {
        "type": "action",
        "name": f"scale to {desired}",
        "provider": _chaosaws("actions", "update_desired_count", desired_count=desired),
    }


def _wanted(desired: int) -> dict[str, Any]:
    return {
        "type": "probe",
        "name": f"{desired} are wanted",
        "tolerance": {"type": "jsonpath", "path": "$.services[0].desiredCount", "expect": [desired]},
        "provider": _chaosaws("probes", "describe_service"),
    }


EXPERIMENT: dict[str, Any] = {
    "title": "Scaled by another extension",
    "description": "Written for real AWS: a profile that is not here, and keys of an account that is not meant.",
    "configuration": {"aws_profile_name": "production"},
    "secrets": {"aws": {"aws_access_key_id": "AKIATHEIRS", "aws_secret_access_key": {"type": "env", "key": "THEIRS"}}},
    "steady-state-hypothesis": {"title": "One task is wanted", "probes": [_wanted(1)]},
    "method": [_scale(2), _wanted(2)],
    "rollbacks": [_scale(1), _wanted(1)],
    "extensions": [BARE],
}


@pytest.fixture
def file(shooting: Range, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = shooting.root / "bare" / "foreign.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
    monkeypatch.setenv("THEIRS", SECRET)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    return path


def test_actions_of_chaostoolkit_aws_work_on_the_target_and_leave_no_credentials(shooting: Range, file: Path) -> None:
    before = shooting.account()
    out = shooting.root / "foreign"
    ran = shooting.tocsin("run", str(file), "--out", str(out))
    assert "Traceback" not in ran.stderr, ran.stderr
    drill = RunVerdict.model_validate_json((out / "verdict.json").read_text()).drills[0]
    told = {judgement.id: judgement.outcome for judgement in drill.judgements}
    assert (told["effect"], told["undo"]) == (Outcome.PASS, Outcome.PASS), ran.stdout
    assert shooting.differs(before) == []
    journal = json.loads((out / "foreign" / "journal.json").read_text())
    answers = [run["output"] for run in journal["run"]]
    assert answers[0]["service"]["desiredCount"] == 2
    written = [path for path in out.rglob("*") if path.is_file()]
    assert [path.name for path in written if SECRET.encode() in path.read_bytes()] == []
