"""What Chaos Toolkit allows an experiment to say, run for real: processes, a server on loopback, functions."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.actors import answers
from tests.actors.conftest import Script, wait_for
from tests.secret_scan import Secret, files_below, leaks

from tocsin.actors.injector import Injector
from tocsin.errors import Interrupted, Refused
from tocsin.masking import HIDDEN
from tocsin.model.events import (
    Act,
    ActorDied,
    ChangeLooked,
    FaultChanged,
    FaultStage,
    HypothesisChecked,
)
from tocsin.model.experiment import MethodChange

Activity = dict[str, Any]
LONG_S = 60


def process(command: str, kind: str = "action", name: str = "run", **more: Any) -> Activity:
    """An activity that runs a line of shell; Chaos Toolkit makes one `$` of two."""
    return {
        "type": kind,
        "name": name,
        "provider": {"type": "process", "path": "sh", "arguments": ["-c", command]},
        **more,
    }


def call(func: str, kind: str = "action", name: str = "call", *, module: str = "os", **more: Any) -> Activity:
    provider = {"type": "python", "module": module, "func": func, "arguments": more.pop("arguments", {})}
    return {"type": kind, "name": name, "provider": provider, **more}


# --- what an action has done --------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["method", "rollbacks"])
def test_an_action_whose_process_fails_has_failed(script: Script, part: str) -> None:
    failing = process("echo first >&2; echo 'no till: password=plum-velvet' >&2; exit 3")
    injector = script.injector(**{part: [failing]})
    assert not (injector.run_method() if part == "method" else injector.run_rollbacks())
    (ran,) = script.ran
    assert not ran.ok
    assert "exited with 3: first; no till: password=" in ran.detail
    assert "plum-velvet" not in ran.detail
    injector.write_journal(script.stage.root / "journal.json")
    journal = json.loads((script.stage.root / "journal.json").read_text())
    assert journal["status"] == "failed"
    assert journal["run" if part == "method" else "rollbacks"][0]["output"]["status"] == 3


@pytest.mark.parametrize(
    ("activity", "told"),
    [
        (process("kill -9 $$$$"), "was ended by SIGKILL"),
        (
            process("sleep 60") | {"provider": {"type": "process", "path": "sleep", "arguments": "60", "timeout": 0.2}},
            "0.2 s",
        ),
        (
            {"type": "action", "name": "x", "provider": {"type": "process", "path": "no-such-program"}},
            "no-such-program",
        ),
        (call("fspath", arguments={"path": 1}), "TypeError"),
        (call("no_such_function"), "no_such_function"),
        ({"type": "action", "name": "x", "provider": {"type": "http", "url": "http://127.0.0.1:9/"}}, "127.0.0.1"),
    ],
    ids=["killed", "timeout", "no program", "raises", "no function", "nobody listens"],
)
def test_an_activity_that_cannot_be_done_has_failed_and_the_rest_is_not_begun(
    script: Script, activity: Activity, told: str
) -> None:
    assert not script.injector(method=[activity, process("true", name="later")]).run_method()
    (ran,) = script.ran
    assert not ran.ok
    assert told in ran.detail


def test_what_a_probe_answers_is_judged_by_its_tolerance_only(script: Script) -> None:
    script.stage.shop.broken = lambda method, path: (503, {"closed": True})
    url = script.stage.shop.url
    ask = {"type": "probe", "name": "ask", "provider": {"type": "http", "url": url}}
    probes = [process("exit 3", "probe"), process("exit 3", "probe", tolerance=3), ask, {**ask, "tolerance": 503}]
    assert script.injector(method=probes).run_method()
    assert [ran.ok for ran in script.ran] == [True] * 4


def test_an_action_that_is_answered_with_an_error_has_failed(script: Script) -> None:
    script.stage.shop.broken = lambda method, path: (503, {"closed": True})
    action = {"type": "action", "name": "open", "provider": {"type": "http", "url": script.stage.shop.url}}
    assert not script.injector(method=[action]).run_method()
    assert "was answered 503" in script.ran[0].detail


# --- what shows that an action did something ----------------------------------------------------------------


@pytest.mark.parametrize(("there", "last"), [(False, FaultStage.EFFECTIVE), (True, FaultStage.NO_EFFECT)])
def test_evidence_is_asked_before_the_action_too(script: Script, tmp_path: Path, there: bool, last: FaultStage) -> None:
    sign = tmp_path / "sign"
    if there:
        sign.touch()
    look = process(f"test -e {sign}", "probe", "look", tolerance=0)
    injector = script.injector(method=[process(f"touch {sign}"), look])
    assert injector.run_method()
    assert [event.stage for event in script.events if isinstance(event, FaultChanged)][-1] is last
    assert injector.no_effect is there
    assert [ran.name for ran in script.ran] == ["run", "look"], "the look before is no step of the method"


# --- what a method changes beside its faults ----------------------------------------------------------------


@dataclass
class Shelf:
    """An activity that takes a file away, the rollback that puts it back, and the probe that looks for it."""

    sign: Path
    script: Script

    def injector(self, take: Activity | None = None, **change: str) -> Injector:
        self.sign.touch()
        return self.script.injector(
            method=[take or process(f"rm {self.sign}", name="take")],
            rollbacks=[
                process(f"touch {self.sign}", name="put back"),
                process(f"test -e {self.sign}", "probe", "look", tolerance=0),
            ],
            changes=[MethodChange(activity="take", **change)],
        )

    @property
    def looks(self) -> list[tuple[str, bool]]:
        return [(event.when, event.held) for event in self.script.events if isinstance(event, ChangeLooked)]


@pytest.fixture
def shelf(script: Script, tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "sign", script)


def test_what_shows_an_undo_is_asked_around_the_change_and_after_its_rollback(shelf: Shelf) -> None:
    injector = shelf.injector(undone_by="put back")
    assert injector.run_method()
    assert shelf.looks == [("before", True), ("after", False)]
    assert injector.run_rollbacks()
    assert [(ran.name, ran.ok) for ran in shelf.script.ran] == [("take", True), ("put back", True), ("look", True)]
    assert shelf.looks == [("before", True), ("after", False)]


def test_of_what_is_said_to_be_left_nothing_is_asked(shelf: Shelf) -> None:
    assert shelf.injector(leaves="nobody needs it").run_method()
    assert shelf.looks == []


@pytest.mark.parametrize("begun", [True, False])
def test_a_drill_that_ends_early_undoes_what_its_method_changed(shelf: Shelf, begun: bool) -> None:
    # One of ours: for an action of another extension the rollbacks would run anyway.
    ours = call("mask", name="take", module="tocsin.masking", arguments={"text": "x"})
    injector = shelf.injector(ours, undone_by="put back")
    assert not begun or injector.run_method()
    shelf.sign.unlink()
    injector.run_owed_rollbacks()
    assert shelf.sign.exists() is begun
    shelf.sign.unlink(missing_ok=True)
    injector.run_owed_rollbacks()
    assert not shelf.sign.exists(), "once is enough"


# --- references, variables, tolerances, pauses --------------------------------------------------------------


def test_a_reference_runs_as_the_activity_that_it_names_with_its_tolerance(script: Script, tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.touch()
    sells = call("exists", "probe", "sells", module="os.path", tolerance=True, arguments={"path": str(path)})
    injector = script.injector(
        hypothesis={"probes": [sells]},
        method=[call("remove", arguments={"path": str(path)})],
        rollbacks=[process(f"touch {path}", name="undo"), {"ref": "sells"}],
    )
    assert injector.check_hypothesis(Act.PREFLIGHT)
    assert injector.run_method()
    assert not injector.check_hypothesis(Act.FAULT)
    assert injector.run_rollbacks()
    assert [(ran.name, ran.ok) for ran in script.ran] == [("call", True), ("undo", True), ("sells", True)]


def test_a_reference_in_the_hypothesis_brings_its_own_tolerance(script: Script) -> None:
    injector = script.injector(
        hypothesis={"probes": [{"ref": "count", "tolerance": 4}]}, method=[process("exit 4", "probe", "count")]
    )
    assert injector.check_hypothesis(Act.PREFLIGHT)


def test_the_rollbacks_of_an_action_of_others_are_proven_by_a_reference(script: Script, tmp_path: Path) -> None:
    path = tmp_path / "gone"
    there = call("exists", "probe", "there", module="os.path", tolerance=True, arguments={"path": str(path)})
    gone = {**there, "name": "is gone", "tolerance": False}
    path.touch()
    injector = script.injector(
        hypothesis={"probes": [there]},
        method=[process(f"rm {path}", name="remove"), gone],
        rollbacks=[process(f"touch {path}", name="make"), {"ref": "there"}],
    )
    assert injector.run_method()
    assert injector.run_rollbacks()
    stages = [event.stage.value for event in script.events if event.kind == "fault_changed"]
    assert stages == ["requested", "accepted", "effective", "undo_requested", "undone", "verified"]


@pytest.mark.parametrize(
    ("tolerance", "ok"),
    [
        ("${three}", True),
        ("${four}", False),
        (["${three}", "${four}"], True),
        (["${four}", "${four}"], False),
        ({"type": "jsonpath", "path": "$.status", "expect": ["${three}"]}, True),
        ({"type": "range", "range": [3, 4], "target": "status"}, True),
        ({"type": "regex", "pattern": "^${word}$", "target": "stdout"}, True),
    ],
)
def test_a_tolerance_is_filled_in_before_it_is_asked(script: Script, tolerance: Any, ok: bool) -> None:
    probe = process("printf three; exit 3", "probe", tolerance=tolerance)
    values = {"three": 3, "four": 4, "word": "three"}
    assert script.injector(method=[probe], configuration=values).run_method() is ok


def test_a_tolerance_that_cannot_be_asked_is_not_met(script: Script) -> None:
    assert not script.injector(method=[call("getcwd", "probe", tolerance=[1, 2])]).run_method()
    assert "its tolerance cannot be asked" in script.ran[0].detail


def test_a_tolerance_by_a_probe_is_given_the_answer(script: Script) -> None:
    asks = {
        "type": "probe",
        "name": "a path",
        "provider": {"type": "python", "module": "tests.actors.answers", "func": "yes"},
    }
    assert script.injector(method=[call("getcwd", "probe", tolerance=asks)]).run_method()


def test_arguments_are_filled_in_with_configuration_and_secrets(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILL_NUMBER", "7")
    touch = {"type": "process", "path": "touch", "arguments": ["${where}/${token}-${number}"]}
    injector = script.injector(
        configuration={"where": str(tmp_path), "number": {"type": "env", "key": "TILL_NUMBER", "env_var_type": "int"}},
        secrets={"till": {"token": "plum"}},
        method=[{"type": "action", "name": "touch", "provider": touch}],
    )
    assert injector.run_method()
    assert (tmp_path / "plum-7").exists()


def test_pauses_are_filled_in_waited_and_counted(script: Script) -> None:
    pauses = {"before": "${short}", "after": 0.1}
    injector = script.injector(configuration={"short": 0.2}, method=[process("true", pauses=pauses), {"ref": "run"}])
    assert injector.pauses_wall_s == pytest.approx(0.6)
    began = time.monotonic()
    assert injector.run_method()
    assert time.monotonic() - began >= 0.6


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_pause_of_the_method_ends_with_the_drill(script: Script, when: str) -> None:
    injector = script.injector(method=[process("true", pauses={when: LONG_S})])
    script.ctx.stop.ask(Interrupted("enough")) if when == "before" else script.ctx.history.listen(
        lambda event: script.ctx.stop.ask(Interrupted("enough")), "test"
    )
    if when == "before":
        assert not injector.run_method()
    else:
        with pytest.raises(Interrupted):
            injector.run_method()


def test_a_process_of_the_method_ends_with_the_drill_and_all_that_it_began(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That the drill does not wait for one that is slow to end is shown elsewhere.
    monkeypatch.setattr("tocsin.actors.attended.GRACE_WALL_S", LONG_S)
    begun = tmp_path / "pid"
    injector = script.injector(method=[process(f"sleep {LONG_S} & echo $! > {begun}; wait")])

    def stop() -> None:
        wait_for("the process", lambda: begun.exists() and begun.read_text().strip() != "")
        script.ctx.stop.ask(Interrupted("enough"))

    thread = threading.Thread(target=stop)
    thread.start()
    assert not injector.run_method()
    thread.join()
    wait_for("its end", lambda: not alive(int(begun.read_text())))
    assert "was ended" in script.ran[0].detail


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text() if Path(f"/proc/{pid}/stat").exists() else True


# --- in the background --------------------------------------------------------------------------------------

WAIT = "until test -e {0}; do sleep 0.02; done"


def test_what_runs_in_the_background_runs_beside_the_rest(script: Script, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    waits = process(f"{WAIT.format(first)}; touch {second}", name="waits", background=True)
    meets = process(f"touch {first}; {WAIT.format(second)}", name="meets")
    injector = script.injector(method=[waits, meets])
    assert injector.run_method()
    assert injector.finish_background(LONG_S)
    assert {(ran.name, ran.ok) for ran in script.ran} == {("waits", True), ("meets", True)}


def test_what_fails_in_the_background_is_told(script: Script) -> None:
    injector = script.injector(method=[process("exit 5", name="beside", background=True)])
    assert injector.run_method()
    assert injector.finish_background(LONG_S)
    (ran,) = script.ran
    assert (ran.name, ran.ok) == ("beside", False)
    assert "exited with 5" in ran.detail


def test_what_is_not_over_in_time_is_ended_and_has_failed(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.actors.background._MERCY_WALL_S", LONG_S)
    pid = tmp_path / "pid"
    endless = process(f"echo $$$$ > {pid}; exec sleep {LONG_S}", name="endless", background=True)
    pausing = process("true", name="pausing", background=True, pauses={"after": LONG_S})
    # Written, and not only made: right after that it is ended.
    begun = process(f"until test -s {pid}; do sleep 0.02; done", name="begun")
    injector = script.injector(method=[endless, pausing, begun])
    assert injector.run_method()
    assert injector.finish_background(0)
    assert not alive(int(pid.read_text()))
    told = {ran.name: ran.ok for ran in script.ran}
    assert (told["endless"], told["begun"]) == (False, True)


def test_a_function_that_cannot_be_ended_is_told(
    script: Script, latch: answers.Latch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.actors.background._MERCY_WALL_S", 0.1)
    injector = script.injector(method=[call("hang", name="hangs", module="tests.actors.answers", background=True)])
    assert injector.run_method()
    assert not injector.finish_background(0)
    assert "cannot be ended" in script.ran[0].detail


def test_rollbacks_in_the_background_are_waited_for(script: Script, tmp_path: Path) -> None:
    done = tmp_path / "done"
    assert script.injector(rollbacks=[process(f"sleep 0.3; touch {done}", background=True)]).run_rollbacks()
    assert done.exists()


# --- controls -----------------------------------------------------------------------------------------------

NOTES = """
from pathlib import Path
NOTES = Path(__file__).with_suffix(".notes")

def note(text):
    with NOTES.open("a") as file:
        file.write(text + "\\n")

def configure_control(configuration, **more):
    configuration["said"] = "by the control"
    note("configure")

def cleanup_control():
    note("clean up")
"""
CALLED = """
def {when}_{level}_control(context, {state}**more):
    note("{when} {level} " + str(context.get("name", context.get("title"))) + " " + str(more.get("who", "")))
"""
LEVELS = ("experiment", "hypothesis", "method", "rollback", "activity")


@pytest.fixture
def noting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of controls that writes down who was called."""
    path = tmp_path / f"noting_{tmp_path.name.replace('-', '_')}.py"
    functions = [
        CALLED.format(when=when, level=level, state="" if when == "before" else "state, ")
        for level in LEVELS
        for when in ("before", "after")
    ]
    path.write_text(NOTES + "".join(functions))
    monkeypatch.syspath_prepend(str(tmp_path))
    return path


def control(path: Path, name: str = "notes", **more: Any) -> dict[str, Any]:
    return {"name": name, "provider": {"type": "python", "module": path.stem, "arguments": {"who": name}}, **more}


def notes(path: Path) -> list[str]:
    return [line.strip() for line in path.with_suffix(".notes").read_text().splitlines()]


def test_controls_are_called_at_every_level(script: Script, noting: Path, tmp_path: Path) -> None:
    injector = script.injector(
        controls=[control(noting)],
        hypothesis={"probes": [call("getcwd", "probe", "here", tolerance=str(Path.cwd()))]},
        method=[process("true", name="act")],
        rollbacks=[process("true", name="undo")],
    )
    injector.open()
    injector.check_hypothesis(Act.PREFLIGHT)
    injector.run_method()
    injector.run_rollbacks()
    injector.close()
    assert notes(noting) == [
        "configure",
        "before experiment A script notes",
        "before hypothesis All is well notes",
        "before activity here notes",
        "after activity here notes",
        "after hypothesis All is well notes",
        "before method A script notes",
        "before activity act notes",
        "after activity act notes",
        "after method A script notes",
        "before rollback A script notes",
        "before activity undo notes",
        "after activity undo notes",
        "after rollback A script notes",
        "after experiment A script notes",
        "clean up",
    ]
    assert not [event for event in script.events if isinstance(event, ActorDied)]


def test_controls_of_an_activity_are_called_around_it_only(script: Script, noting: Path) -> None:
    own = [control(noting, "own", scope="before")]
    hypothesis = {"controls": [control(noting, "theirs", scope="after")], "probes": []}
    injector = script.injector(
        hypothesis=hypothesis, method=[process("true", name="one", controls=own), process("true", name="two")]
    )
    assert injector.check_hypothesis(Act.PREFLIGHT)
    assert injector.run_method()
    assert notes(noting) == ["after hypothesis All is well theirs", "before activity one own"]


def test_what_a_control_puts_into_the_configuration_is_filled_in(script: Script, noting: Path) -> None:
    probe = process(
        "printf '%s' \"$0\"", "probe", tolerance={"type": "regex", "pattern": "^by the", "target": "stdout"}
    )
    probe["provider"]["arguments"].append("${said}")
    injector = script.injector(controls=[control(noting)], method=[probe])
    injector.open()
    assert injector.run_method()


def module(noting: Path, text: str) -> Path:
    path = noting.with_name(noting.stem + "_too.py")
    path.write_text(text)
    return path


def test_a_control_that_uses_boto3_works_on_the_target(
    script: Script, noting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    path = module(noting, NOTES + "import boto3\ndef before_activity_control(context, **more):\n")
    path.write_text(path.read_text() + "    note(boto3.client('sqs').meta.region_name)\n")
    assert script.injector(method=[process("true", controls=[control(path)])]).run_method()
    assert notes(path) == [script.ctx.target.region]


def test_an_activity_whose_control_fails_is_not_begun_and_has_failed(
    script: Script, noting: Path, tmp_path: Path
) -> None:
    broken = module(noting, "def before_activity_control(context, **more):\n    raise OSError('not approved')\n")
    done = tmp_path / "done"
    injector = script.injector(method=[process(f"touch {done}", controls=[control(broken)])])
    assert not injector.run_method()
    assert not done.exists()
    assert "control 'notes' before the activity: OSError: not approved" in script.ran[0].detail


def test_no_control_keeps_the_way_back_from_being_gone(script: Script, noting: Path, tmp_path: Path) -> None:
    broken = module(noting, "def before_activity_control(context, **more):\n    raise OSError('not approved')\n")
    done = tmp_path / "done"
    injector = script.injector(rollbacks=[process(f"touch {done}", controls=[control(broken)])])
    assert not injector.run_rollbacks()
    assert done.exists()
    assert not script.ran[-1].ok


def test_a_control_that_wants_the_drill_to_end_is_obeyed(
    script: Script, noting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Once the end was asked for, a call that is not over by then is left alone: here each comes to its end.
    monkeypatch.setattr("tocsin.actors.attended.LOOK_WALL_S", LONG_S)
    text = "from chaoslib.exceptions import InterruptExecution\n"
    text += "def after_activity_control(context, state, **more):\n    raise InterruptExecution('that will do')\n"
    injector = script.injector(
        method=[process("true", controls=[control(module(noting, text))]), process("true", name="later")]
    )
    assert not injector.run_method()
    with pytest.raises(Refused, match="control 'notes' ended the drill: that will do"):
        script.ctx.stop.wait(0)
    assert "later" not in {ran.name for ran in script.ran}


def test_a_control_cannot_change_what_the_guards_were_asked_about(script: Script, noting: Path, tmp_path: Path) -> None:
    text = "def before_activity_control(context, **more):\n    context['provider']['path'] = 'false'\n"
    done = tmp_path / "done"
    injector = script.injector(method=[process(f"touch {done}", controls=[control(module(noting, text))])])
    assert not injector.run_method()
    assert not done.exists()
    assert "changed what would be done" in script.ran[0].detail


@pytest.mark.parametrize("func", ["configure_control", "before_experiment_control"])
def test_a_control_that_cannot_begin_refuses_the_drill(script: Script, noting: Path, func: str) -> None:
    broken = module(noting, f"def {func}(**more):\n    raise OSError('no tracer')\n")
    injector = script.injector(controls=[control(broken)])
    with pytest.raises(Refused, match="OSError: no tracer"):
        injector.open()


def test_a_hypothesis_whose_control_fails_is_not_met(script: Script, noting: Path) -> None:
    broken = module(noting, "def after_hypothesis_control(context, state, **more):\n    raise OSError('no tracer')\n")
    injector = script.injector(controls=[control(broken)], hypothesis={"probes": []})
    assert not injector.check_hypothesis(Act.PREFLIGHT)
    (checked,) = [event for event in script.events if isinstance(event, HypothesisChecked)]
    assert "no tracer" in checked.probes[-1].detail


@pytest.mark.parametrize("level", ["method", "rollback", "experiment"])
def test_a_control_that_should_have_seen_the_whole_is_missed(script: Script, noting: Path, level: str) -> None:
    broken = module(noting, f"def after_{level}_control(context, state, **more):\n    raise OSError('no tracer')\n")
    injector = script.injector(controls=[control(broken)], method=[process("true")], rollbacks=[process("true")])
    injector.open()
    injector.run_method()
    injector.run_rollbacks()
    injector.close()
    (died,) = [event for event in script.events if isinstance(event, ActorDied)]
    assert f"control 'notes' after the {level}: OSError: no tracer" in died.detail


# --- code that ends the process -----------------------------------------------------------------------------

LEAVING = [call("exit", module="sys"), call("exit", "probe", module="sys", tolerance=0)]
"""An action and a probe that call sys.exit, with the exit code of a pass."""


@pytest.mark.parametrize("leaving", LEAVING, ids=["action", "probe"])
@pytest.mark.parametrize("background", [False, True])
def test_an_activity_that_ends_the_process_has_failed(script: Script, leaving: Activity, background: bool) -> None:
    injector = script.injector(method=[{**leaving, "background": background}])
    assert injector.run_method() is background
    assert injector.finish_background(LONG_S)
    (ran,) = script.ran
    assert not ran.ok
    assert ran.detail.startswith("SystemExit")


def test_a_rollback_that_ends_the_process_has_failed_and_the_next_is_run(script: Script, tmp_path: Path) -> None:
    undone = tmp_path / "undone"
    injector = script.injector(rollbacks=[LEAVING[0], process(f"touch {undone}", name="undo")])
    assert not injector.run_rollbacks()
    assert [(ran.name, ran.ok) for ran in script.ran] == [("call", False), ("undo", True)]
    assert undone.exists()


def test_a_probe_that_ends_the_process_does_not_meet_the_hypothesis(script: Script) -> None:
    injector = script.injector(hypothesis={"probes": [LEAVING[1]]})
    assert not injector.check_hypothesis(Act.PREFLIGHT)
    (checked,) = [event for event in script.events if isinstance(event, HypothesisChecked)]
    assert not checked.met
    assert checked.probes[0].detail.startswith("SystemExit")


def test_a_tolerance_that_ends_the_process_is_not_met(script: Script, noting: Path) -> None:
    leaves = module(noting, "import sys\n\ndef judge(value):\n    sys.exit(0)\n")
    tolerance = call("judge", "probe", module=leaves.stem, arguments={"value": 1})
    assert not script.injector(method=[call("getcwd", "probe", tolerance=tolerance)]).run_method()
    assert script.ran[0].detail.startswith("SystemExit")


@pytest.mark.parametrize("func", ["configure_control", "before_experiment_control"])
def test_a_control_that_ends_the_process_refuses_the_drill(script: Script, noting: Path, func: str) -> None:
    leaves = module(noting, f"import sys\n\ndef {func}(**more):\n    sys.exit(0)\n")
    injector = script.injector(controls=[control(leaves)])
    with pytest.raises(Refused, match="SystemExit: 0"):
        injector.open()


# --- secrets ------------------------------------------------------------------------------------------------


SECRET = 'plum-velvet-harbour@/,;&<("'


@pytest.fixture
def till(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A block of `secrets`, of the environment and written down."""
    monkeypatch.setenv("KIOSK_TOKEN", SECRET)
    return {"till": {"token": {"type": "env", "key": "KIOSK_TOKEN"}, "written": "amber-lantern-quay"}}


def test_a_declared_secret_is_in_nothing_that_is_written(script: Script, till: dict[str, Any]) -> None:
    arguments = ["${token}", "${written}"]
    echo = {"type": "process", "path": "echo", "arguments": arguments, "secrets": ["till"]}
    failing = {"type": "process", "path": "cat", "arguments": arguments, "secrets": ["till"]}
    url = "http://127.0.0.1:9/state?key=${token}&old=${written}"
    asking = {"type": "http", "url": url, "timeout": 1, "secrets": ["till"]}
    method: list[Activity] = [
        {"type": "action", "name": "close", "provider": echo},
        {"type": "probe", "name": "ask", "provider": asking},
    ]
    rollbacks = [{"type": "action", "name": "fail", "provider": failing}]
    injector = script.injector(secrets=till, method=method, rollbacks=rollbacks)
    injector.run_method()
    injector.run_rollbacks()
    injector.write_journal(script.ctx.directory / "journal.json")
    assert [(event.name, event.ok) for event in script.ran] == [("close", True), ("ask", False), ("fail", False)]
    known = [Secret("token", SECRET), Secret("written", "amber-lantern-quay")]
    assert leaks(known, files_below(script.stage.root)) == []
    journal = json.loads((script.ctx.directory / "journal.json").read_text())
    assert journal["experiment"]["secrets"]["till"]["token"] == till["till"]["token"]
    assert HIDDEN in journal["run"][0]["output"]["stdout"]


def test_an_answer_is_masked_before_it_is_shown_as_python_shows_it(script: Script, till: dict[str, Any]) -> None:
    said = json.dumps({"error": str({"said": SECRET + "'"})})
    quoted = "'" + said.replace("'", "'\"'\"'") + "'"
    injector = script.injector(secrets=till, method=[process(f"echo {quoted}", "probe")])
    injector.run_method()
    (ran,) = script.ran
    assert "plum-velvet" not in ran.detail


def test_a_fault_with_a_secret_in_its_arguments_is_refused_because_the_ledger_keeps_them(
    script: Script, till: dict[str, Any]
) -> None:
    fault = call("rds_reboot", module="tocsin.faults", arguments={"instance": "${written}"}, name="fault")
    fault["provider"]["secrets"] = ["till"]
    with pytest.raises(Refused, match="expected no secret in the arguments of rds_reboot"):
        script.injector(secrets=till, method=[fault]).check_faults_bite()
