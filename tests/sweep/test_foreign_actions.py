"""An experiment for plain Chaos Toolkit on real AWS runs in a drill as it is: on the target, as its user."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.drill.fault_table import SERVICE
from tests.sweep.harness import BARE, Range

from tocsin.model.verdict import Outcome, RunVerdict
from tocsin.project.places import ledger_path
from tocsin.record.ledger import Ledger

pytestmark = [pytest.mark.sweep, pytest.mark.takes(150), pytest.mark.xdist_group("sweep"), pytest.mark.timeout(600)]

PROXY = "rds_proxy_throttle"
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


WAIT = "until test -e {}; do sleep 0.02; done"
CONTROL = """
from pathlib import Path

def note(text):
    with Path(__file__).with_suffix(".notes").open("a") as file:
        file.write(text + chr(10))

def before_experiment_control(context, **more):
    note("begin")

def after_activity_control(context, state, **more):
    note(f"{context['name']} {state['status']}")

def after_experiment_control(context, state, **more):
    note(f"end {state['status']}")
"""


def _process(name: str, line: str, kind: str = "action", **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "name": name,
        "provider": {"type": "process", "path": "sh", "arguments": ["-c", line]},
        **more,
    }


def test_what_is_in_chaos_toolkits_own_names_is_obeyed_in_a_drill(
    shooting: Range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shooting.root / "noting.py").write_text(CONTROL)
    monkeypatch.setenv("FIELD", "0.05")
    begun, met, closed = tmp_path / "begun", tmp_path / "met", tmp_path / "closed"
    is_open = _process("is open", f"test ! -e {closed}", "probe", tolerance="${done}")
    document: dict[str, Any] = {
        "title": "In Chaos Toolkit's own names",
        "description": "Two that wait for each other, and a till that is closed.",
        "configuration": {"done": 0, "moment": {"type": "env", "key": "FIELD", "env_var_type": "float"}},
        "controls": [{"name": "notes", "provider": {"type": "python", "module": "noting"}}],
        "runtime": {"rollbacks": {"strategy": "always"}},
        "steady-state-hypothesis": {"title": "It is open", "probes": [is_open]},
        "method": [
            _process("beside", f"touch {begun}; {WAIT.format(met)}; sleep 1", background=True),
            _process("close", f"{WAIT.format(begun)}; touch {met} {closed}", pauses={"after": "${moment}"}),
            _process("is closed", f"test ! -e {closed}", "probe", tolerance=1),
        ],
        "rollbacks": [_process("open", f"rm {closed}"), {"ref": "is open"}],
        "extensions": [BARE],
    }
    path, out = shooting.root / "bare" / "own-names.yaml", shooting.root / "own-names"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    ran = shooting.tocsin("run", str(path), "--out", str(out))
    assert (out / "verdict.json").exists(), ran.stdout + ran.stderr
    drill = RunVerdict.model_validate_json((out / "verdict.json").read_text()).drills[0]
    told = {judgement.id: judgement.outcome for judgement in drill.judgements}
    judged = ("drill", "method", "rollbacks", "effect", "undo", "steady-state:after")
    assert {told[name] for name in judged} == {Outcome.PASS}, ran.stdout
    notes = (shooting.root / "noting.notes").read_text().splitlines()
    assert (notes[0], notes[-1]) == ("begin", "end completed")
    # What runs in the background is over before the way back begins.
    assert notes.index("beside succeeded") < notes.index("open succeeded")


@pytest.mark.parametrize("way_back", ["works", "fails", "shows nothing"])
@pytest.mark.parametrize("end", ["a signal", "its own end"])
def test_what_a_process_left_is_residue_however_the_drill_ends(
    shooting: Range, tmp_path: Path, way_back: str, end: str
) -> None:
    closed = tmp_path / "closed"
    rollbacks = [_process("open", "false" if way_back == "fails" else f"rm -f {closed}")]
    if way_back != "shows nothing":
        rollbacks.append(_process("is open", f"test ! -e {closed}", "probe", tolerance=0))
    document: dict[str, Any] = {
        "title": "A till that a program closes",
        "description": "What a program did, no ledger knows.",
        "method": [
            _process("close", f"touch {closed}"),
            _process("is closed", f"test -e {closed}", "probe", tolerance=0),
            *([_process("end", "kill -TERM $PPID; sleep 20", "probe")] if end == "a signal" else []),
        ],
        "rollbacks": rollbacks,
        "extensions": [BARE],
    }
    path, out = shooting.root / "bare" / "till.yaml", shooting.root / f"till-{way_back}-{end}".replace(" ", "-")
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    ran = shooting.tocsin("run", str(path), "--out", str(out))
    recovered = shooting.tocsin("recover")
    ended_well = {4} if end == "a signal" else {0, 1, 3}  # nothing loads or watches here: nothing can pass
    assert ran.returncode in (ended_well if way_back == "works" else {5}), ran.stdout + ran.stderr
    # What failed is owed, and `recover` says it with the same exit code; what was tried and not seen is in no ledger.
    assert recovered.returncode == (5 if way_back == "fails" else 0), recovered.stderr
    assert ("no ledger knows" in ran.stdout, "`tocsin recover --rollbacks`" in ran.stdout) == (
        way_back != "works",
        way_back == "fails",
    ), ran.stdout
    with closing(Ledger(ledger_path(shooting.root, "sandbox"), "sandbox")) as ledger:
        ledger.forgive()


def test_a_drill_that_is_ended_early_runs_the_rollbacks_that_it_owes(shooting: Range, tmp_path: Path) -> None:
    """Also where all that was broken was broken by faults, which no rollback has to undo."""
    told = tmp_path / "told"
    bare = yaml.safe_load(shooting.experiment(PROXY).read_text())
    bare["method"].append(_process("end", "kill -TERM $PPID; sleep 20", "probe"))
    bare["rollbacks"].append(_process("tell", f"touch {told}"))
    path = shooting.root / "bare" / "owing.yaml"
    path.write_text(yaml.safe_dump(bare, sort_keys=False))
    ran = shooting.tocsin("run", str(path), "--out", str(shooting.root / "owing"))
    assert (ran.returncode, told.exists()) == (4, True), ran.stdout + ran.stderr
    recovered = shooting.tocsin("recover")
    assert (recovered.returncode, recovered.stdout) == (0, "nothing to recover on target 'sandbox'\n")
