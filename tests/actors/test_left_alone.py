"""What somebody else's code does when the end is asked for is nobody's business: the drill goes on to undo."""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.actors import answers
from tests.actors.conftest import Script, Stage, wait_for
from tests.actors.test_injector import call, process

from tocsin.actors.attended import Call, anything_left, attended
from tocsin.actors.canaries import CanaryActor
from tocsin.actors.context import StopRequest
from tocsin.actors.injector import Injector
from tocsin.errors import Interrupted, InvalidInput, Refused
from tocsin.model.events import Act, ActivityRan, FaultChanged
from tocsin.project.python_files import import_python

SOON_S = 30.0
"""Far more than the drill needs, on a slow machine too, and far less than what hangs."""


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server to which one may connect, and which never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def hanging(name: str = "hangs", kind: str = "action", **more: Any) -> dict[str, Any]:
    return call("hang", kind, name, module="tests.actors.answers", **more)


def asked_soon(injector: Injector, script: Script, when: Callable[[], bool], run: Callable[[], object]) -> float:
    """Ask for the end once `when`; wall seconds from then until the injector let go."""

    def ask() -> None:
        wait_for("it hangs", when)
        script.ctx.stop.ask(Interrupted("SIGTERM"))

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(Interrupted):
        run()
    asking.join()
    assert script.ctx.stop.asked_at is not None
    return time.time() - script.ctx.stop.asked_at


def test_a_function_of_the_method_is_left_alone_and_told(script: Script, latch: answers.Latch) -> None:
    injector = script.injector(method=[hanging(), process("true", name="later")])
    assert asked_soon(injector, script, latch.entered.is_set, injector.run_method) < SOON_S
    assert anything_left()
    injector.let_go()
    latch.let_go.set()
    injector.finish_late()
    assert [ran.name for ran in script.ran] == []


def test_what_does_not_end_is_told_and_nobody_believes_that_it_is_undone(
    script: Script, latch: answers.Latch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.actors.injector._LATE_WALL_S", 0.2)
    injector = script.injector(
        method=[hanging()],
        rollbacks=[process("true", name="undo"), process("true", "probe", "as before", tolerance=0)],
    )
    asked_soon(injector, script, latch.entered.is_set, injector.run_method)
    injector.let_go()
    injector.run_owed_rollbacks()
    injector.finish_late()
    told = {ran.name: ran.detail for ran in script.ran}
    assert "cannot be ended" in told["hangs"]
    stages = [event for event in script.events if isinstance(event, FaultChanged)]
    assert [event.stage.value for event in stages[-2:]] == ["verified", "undo_failed"]
    assert "hangs still runs" in stages[-1].detail


def test_what_ends_after_the_rollbacks_is_rolled_back_again(
    script: Script, latch: answers.Latch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    latch.then = broken.touch
    undo = process(f"rm -f {broken}", name="undo")
    whole = process(f"test ! -e {broken}", "probe", "whole", tolerance=0)
    injector = script.injector(method=[hanging()], rollbacks=[undo, whole])
    asked_soon(injector, script, latch.entered.is_set, injector.run_method)
    injector.let_go()
    injector.run_owed_rollbacks()
    latch.let_go.set()
    wait_for("the harm that comes late", broken.exists)
    injector.finish_late()
    assert not broken.exists()
    stages = [event.stage.value for event in script.events if isinstance(event, FaultChanged)]
    assert stages == ["requested", *["undo_requested", "undone", "verified"] * 2]


def test_a_probe_that_is_never_answered_is_left_alone(script: Script, silent: socket.socket) -> None:
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
    ask = {"type": "probe", "name": "ask", "provider": {"type": "http", "url": url}, "tolerance": 200}
    injector = script.injector(method=[ask])

    def asked() -> bool:
        return bool(select.select([silent], [], [], 0)[0])

    assert asked_soon(injector, script, asked, injector.run_method) < SOON_S


def test_a_process_that_does_not_want_to_end_is_left_alone_and_ended(script: Script, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    stubborn = process(f"trap '' TERM; touch {begun}; while true; do sleep 0.1; done")
    injector = script.injector(method=[stubborn])
    assert asked_soon(injector, script, begun.exists, injector.run_method) < SOON_S
    injector.let_go()
    injector.finish_late()


def test_a_hypothesis_that_hangs_is_left_alone(script: Script, latch: answers.Latch) -> None:
    injector = script.injector(hypothesis={"probes": [hanging(kind="probe", tolerance=True)]})

    def look() -> object:
        return injector.check_hypothesis(Act.PREFLIGHT)

    assert asked_soon(injector, script, latch.entered.is_set, look) < SOON_S


@pytest.mark.parametrize("called", ["before_experiment_control", "before_method_control", "after_activity_control"])
def test_a_control_that_hangs_is_left_alone(
    script: Script, latch: answers.Latch, called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, called, lambda *_, **__: latch.hang(), raising=False)
    provider = {"type": "python", "module": "tests.actors.answers"}
    controls = [{"name": "watch", "provider": provider}]
    injector = script.injector(method=[process("true", name="first")], controls=controls)

    def run() -> None:
        injector.open()
        injector.run_method()

    assert asked_soon(injector, script, latch.entered.is_set, run) < SOON_S


# --- the way back -------------------------------------------------------------------------------------------


def test_what_is_ours_is_undone_while_a_rollback_of_others_hangs(
    script: Script, latch: answers.Latch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.actors.injector._WAY_BACK_WALL_S", 0.3)
    undone = threading.Event()
    injector = script.injector(rollbacks=[hanging(), process("true", name="next")])
    monkeypatch.setattr(injector, "_undo_ours", undone.set)

    def be_patient(event: object) -> None:
        if isinstance(event, ActivityRan) and event.name == "hangs":
            monkeypatch.setattr("tocsin.actors.injector._WAY_BACK_WALL_S", SOON_S)  # the next one is a process

    script.ctx.history.listen(be_patient, "test")

    def ask() -> None:
        wait_for("the rollback", latch.entered.is_set)
        assert not undone.is_set()
        script.ctx.stop.ask(Interrupted("SIGTERM"))

    asking = threading.Thread(target=ask)
    asking.start()
    assert not injector.run_rollbacks()
    asking.join()
    assert undone.is_set()
    assert {ran.name: ran.ok for ran in script.ran} == {"hangs": False, "next": True}


def test_a_rollback_that_pauses_delays_nothing_of_ours(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    undone = threading.Event()
    pausing = process("true", pauses={"before": 0.3})
    injector = script.injector(rollbacks=[process("true", name="first"), pausing])
    monkeypatch.setattr(injector, "_undo_ours", undone.set)
    script.ctx.history.listen(lambda event: _ask_after(event, "first", script.ctx.stop), "test")
    assert injector.run_rollbacks()
    assert undone.is_set()


def _ask_after(event: object, name: str, stop: StopRequest) -> None:
    if isinstance(event, ActivityRan) and event.name == name:
        stop.ask(Interrupted("SIGTERM"))


# --- imports ------------------------------------------------------------------------------------------------


def test_an_import_has_a_time_limit(tmp_path: Path) -> None:
    path = tmp_path / "slow.py"
    path.write_text("import threading\n\nthreading.Event().wait(60)\n")
    # Long enough that it has come to its line when it is looked at.
    with pytest.raises(InvalidInput, match=r"to end within 3 s, found it still going on") as found:
        import_python(path, "tests_slow", within_s=3.0)
    assert found.value.line == 3


def test_canaries_that_hang_at_import_keep_nobody_from_the_end(stage: Stage, latch: answers.Latch) -> None:
    stage.write("canaries.py", "from tests.actors import answers\nanswers.hang()\n")
    ctx = stage.context()

    def ask() -> None:
        wait_for("the import", latch.entered.is_set)
        ctx.stop.ask(Interrupted("SIGINT"))

    asking = threading.Thread(target=ask)
    asking.start()
    with pytest.raises(Interrupted):
        CanaryActor(ctx)
    asking.join()
    ctx.history.close()


# --- calls --------------------------------------------------------------------------------------------------


def test_what_a_call_raises_is_raised_where_it_is_waited_for() -> None:
    with pytest.raises(SystemExit):
        attended(sys.exit, StopRequest(), "leaves")
    with pytest.raises(Refused, match="no"):
        attended(answers.refuse, StopRequest(), "refuses")


def test_a_call_that_is_over_has_its_answer() -> None:
    assert attended(lambda: 7, StopRequest(), "quick") == 7
    late = Call(lambda: 8, "late")
    assert late.wait(SOON_S)
    assert late.result() == 8
