"""Whole drills of the smallest fault there is, a file: whoever asks for the end, and whatever runs, the undo begins.

The account is a stub on loopback and nobody offers load; engine, guards, signals and history are the real ones. How
soon the undo began is taken from the history's own moments. What hangs here hangs for a minute: on the slowest
machine that is far more than the undo may need. How often it is within a second is what `make sweep` counts.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.actors import answers
from tests.actors.conftest import wait_for
from tests.faults.registered import register
from tests.faults.test_lifecycle import FileFault, Settings
from tests.guards.conftest import Aws
from tests.moments import began_s

from tocsin.actors.context import RunContext
from tocsin.commands.endings import nobody_leaves
from tocsin.commands.signals import signals_to
from tocsin.drill.acts import run_drill
from tocsin.drill.opening import residue_is_louder
from tocsin.errors import HistoryError, ResidueLeft
from tocsin.guards.clock import LONGEST_STANDSTILL_S
from tocsin.guards.kill_switch import PARAMETER, set_file
from tocsin.model.events import ActivityRan, ActorDied, Event, FaultChanged, FaultStage, Stopped
from tocsin.model.experiment import Expect, Experiment, Extension, RecoveryTarget
from tocsin.model.system import CanaryPlan, Endpoint, System
from tocsin.model.toolkit import ExperimentFile
from tocsin.project.histories import read_history
from tocsin.record.history import History
from tocsin.record.ledger import Debt, Ledger

LASTS_S = 60
BEGINS_WITHIN_S = 20.0
ALARM = "shop-orders-low"


class Bare:
    """One drill that breaks a file and holds it broken while something runs."""

    def __init__(self, root: Path, aws: Aws) -> None:
        self.root, self.aws = root, aws
        self.file = root / "settings.json"
        self.file.write_text('{"limit": 100, "mode": "fast"}')
        self.rules: dict[str, Any] = {}
        self.canaries: str | None = None
        self.scale = 1.0
        arguments = {"path": str(self.file)}
        provider = {"type": "python", "module": "tocsin.faults", "func": "file", "arguments": arguments}
        self.document: dict[str, Any] = {
            "title": "A file",
            "description": "of a test",
            "method": [{"type": "action", "name": "break", "provider": provider}],
            "rollbacks": [],
        }
        self.extension = Extension(
            system="shop",
            load=None,
            baseline=0.0,
            fault_for=LASTS_S * 60.0,
            expect=Expect(gap="nobody watches a file", recovery=RecoveryTarget(within=60.0)),
        )

    def then(self, **activity: Any) -> None:
        """What runs when the file is broken."""
        self.document["method"].append({"type": "probe", "name": "then", **activity})

    def refused(self) -> tuple[str, str]:
        """Drill, and be refused before anything is broken: the guard, and what it said."""
        ctx = self._context()
        with closing(ctx.history), closing(Ledger(self.root / "ledger.sqlite", "staging")) as ledger:
            run_drill(ctx, ExperimentFile.model_validate(self.document), ledger)
        (end,) = [event for event in read_history(ctx.history.path) if isinstance(event, Stopped)]
        return end.guard, end.detail

    def _context(self) -> RunContext:
        canaries = CanaryPlan(file=self.canaries, every=1.0) if self.canaries else None
        return RunContext(
            drill="x-1",
            root=self.root,
            directory=self.root / "out",
            experiment=Experiment(
                path="x.yaml", slug="x", title="X", method=(), rollbacks=(), extension=self.extension
            ),
            system=System(system="shop", title="Shop", endpoint=Endpoint(url=self.aws.url), canaries=canaries),
            target=replace(self.aws.target(**self.rules), scale=self.scale),
            history=History(self.root / "out" / "history.jsonl"),
            base_url=self.aws.url,
            seed=1,
        )

    def run(self, ask: Callable[[RunContext], object], when: Callable[[], bool]) -> list[Event]:
        """Drill, and `ask` for the end once the file is broken and `when` holds."""
        ctx, toolkit = self._context(), ExperimentFile.model_validate(self.document)
        history = ctx.history
        ledger = Ledger(self.root / "ledger.sqlite", "staging")
        broken = threading.Event()
        history.listen(lambda event: broken.set() if _is_broken(event) else None, "test")

        def ask_then() -> None:
            assert broken.wait(LASTS_S)
            wait_for("what is to be interrupted", when)
            ask(ctx)

        asking = threading.Thread(target=ask_then, daemon=True)
        asking.start()
        try:
            with signals_to(ctx.stop):
                run_drill(ctx, toolkit, ledger)
            assert ledger.entries(only_open=True) == []
        finally:
            ledger.close()
            history.close()
            asking.join(LASTS_S)
        assert self.file.read_text() == '{"limit":100,"mode":"fast"}'
        return read_history(history.path)


def _is_broken(event: Event) -> bool:
    return isinstance(event, FaultChanged) and event.stage is FaultStage.EFFECTIVE


@pytest.fixture
def bare(tmp_path: Path, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Bare:
    register(monkeypatch, FileFault)
    monkeypatch.setattr("tocsin.actors.injector._LATE_WALL_S", 0.1)
    aws.answers["DescribeAlarms"] = lambda _: {"MetricAlarms": [], "CompositeAlarms": []}
    return Bare(tmp_path, aws)


@pytest.fixture
def latch() -> Iterator[answers.Latch]:
    answers.latch = answers.Latch()
    yield answers.latch
    answers.latch.let_go.set()


def terminate(ctx: RunContext) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def stopped(events: list[Event], guard: str) -> None:
    """The drill was ended by that guard, and the undo began soon."""
    (end,) = [event for event in events if isinstance(event, Stopped)]
    seconds = began_s(events)
    assert end.guard == guard
    assert seconds is not None
    assert seconds < BEGINS_WITHIN_S
    assert [event for event in events if isinstance(event, ActorDied)] == []
    stages = [event.stage for event in events if isinstance(event, FaultChanged)]
    assert stages[-3:] == [FaultStage.UNDO_REQUESTED, FaultStage.UNDONE, FaultStage.VERIFIED]


# --- whatever is used up, or raised -----------------------------------------------------------------------------


@pytest.fixture
def few_files() -> Iterator[list[int]]:
    """So few descriptors that a test can use them up; those that it took are closed again."""
    before, taken = resource.getrlimit(resource.RLIMIT_NOFILE), []
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(int(one.name) for one in Path("/dev/fd").iterdir()) + 150, before[1])
    )
    yield taken
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_code_that_uses_up_every_file_descriptor(bare: Bare, few_files: list[int]) -> None:
    def use_up(ctx: RunContext) -> None:
        with suppress(OSError):
            while True:
                few_files.append(os.open(os.devnull, os.O_RDONLY))
        terminate(ctx)

    stopped(bare.run(use_up, always), "interrupted")


@pytest.mark.parametrize("raised", [RuntimeError("can't start new thread"), SystemExit(0), HistoryError("full")])
def test_what_is_left_is_said_whatever_else_is_raised(tmp_path: Path, raised: BaseException) -> None:
    with closing(Ledger(tmp_path / "ledger.sqlite", "staging")) as ledger:
        with pytest.raises(type(raised)), residue_is_louder(ledger, "x-1"):
            raise raised
        ledger.intend("another", "file", "settings", FileFault(path="x"), Settings(limit=1, mode="fast"))
        with pytest.raises(type(raised)), residue_is_louder(ledger, "x-1"):
            raise raised
        ledger.owe(
            Debt(drill="x-1", experiment="x.yaml", rollbacks=("mend",), digest="", region="eu-west-1", created_at=1.0)
        )
        with (
            pytest.raises(ResidueLeft, match=r"Still in place: rollbacks of x-1 .*tocsin recover"),
            residue_is_louder(ledger, "x-1"),
        ):
            raise raised
        ledger.forgive()
        ledger.intend("x-1", "file", "settings", FileFault(path="x"), Settings(limit=1, mode="fast"))
        with (
            pytest.raises(ResidueLeft, match="Still in place: file on settings") as found,
            residue_is_louder(ledger, "x-1"),
        ):
            raise raised
        assert found.value.exit_code == 5


# --- whatever runs ------------------------------------------------------------------------------------------


def always() -> bool:
    return True


def test_a_pause(bare: Bare) -> None:
    bare.document["method"][0]["pauses"] = {"after": LASTS_S}
    stopped(bare.run(terminate, always), "interrupted")


def test_the_pause_of_a_probe_that_comes_later(bare: Bare) -> None:
    bare.then(provider={"type": "process", "path": "true"}, pauses={"before": LASTS_S})
    stopped(bare.run(terminate, always), "interrupted")


def test_a_function_that_hangs(bare: Bare, latch: answers.Latch) -> None:
    bare.then(provider={"type": "python", "module": "tests.actors.answers", "func": "hang"})
    events = bare.run(terminate, latch.entered.is_set)
    stopped(events, "interrupted")
    (told,) = [event for event in events if isinstance(event, ActivityRan) and event.name == "then"]
    assert "cannot be ended" in told.detail


def test_a_function_that_would_end_the_process(bare: Bare, latch: answers.Latch) -> None:
    latch.then = lambda: os._exit(0)
    latch.let_go.set()
    bare.then(provider={"type": "python", "module": "tests.actors.answers", "func": "hang"})
    with nobody_leaves():
        events = bare.run(terminate, latch.entered.is_set)
    stopped(events, "interrupted")
    (told,) = [event for event in events if isinstance(event, ActivityRan) and event.name == "then"]
    assert (told.ok, told.detail.partition(":")[0]) == (False, "SystemExit")


def test_a_process_that_hangs(bare: Bare, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    bare.then(provider={"type": "process", "path": "sh", "arguments": ["-c", f"touch {begun}; sleep {LASTS_S}"]})
    stopped(bare.run(terminate, begun.exists), "interrupted")


def test_an_answer_that_does_not_come(bare: Bare) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        bare.then(provider={"type": "http", "url": f"http://127.0.0.1:{silent.getsockname()[1]}/"})
        asked = bare.run(terminate, lambda: bool(select.select([silent], [], [], 0)[0]))
    stopped(asked, "interrupted")


def test_the_time_for_which_a_fault_is_held(bare: Bare) -> None:
    stopped(bare.run(terminate, always), "interrupted")


def test_a_canary_that_hangs(bare: Bare, latch: answers.Latch, tmp_path: Path) -> None:
    (tmp_path / "canaries.py").write_text(
        "from tests.actors import answers\n\n"
        "def canary_item(api):\n"
        "    with api.step('look'):\n"
        "        api.get('/', expect=403)\n"
        f"    if '100' not in open({str(bare.file)!r}).read():\n"
        "        answers.hang()\n"
    )
    bare.canaries = "canaries.py"
    stopped(bare.run(terminate, latch.entered.is_set), "interrupted")


def test_a_row_that_is_gone_from_the_ledger_keeps_the_next_drill_from_beginning(bare: Bare) -> None:
    with closing(Ledger(bare.root / "ledger.sqlite", "staging")) as ledger:
        ledger.intend("w-1", "file", "settings", bare.extension, bare.extension)
        ledger._db.execute("DELETE FROM entries")
    guard, told = bare.refused()
    assert guard == "residue"
    assert "found row 1 (file on settings, of drill w-1): gone from the ledger. Call `tocsin recover`." in told


def test_a_drill_that_owes_rollbacks_keeps_the_next_one_from_beginning(bare: Bare) -> None:
    debt = Debt(drill="w-1", experiment="w.yaml", rollbacks=("mend",), digest="d", region="eu-west-1", created_at=1.0)
    with closing(Ledger(bare.root / "ledger.sqlite", "staging")) as ledger:
        ledger.owe(debt)
    told = bare.refused()
    assert told == (
        "residue",
        "expected no rollbacks that earlier runs owe, found rollbacks of w-1 (w.yaml): mend: what they would take back "
        "is there still. Call `tocsin recover --rollbacks`.",
    )


def test_a_debt_that_somebody_deleted_keeps_the_next_one_from_beginning(bare: Bare) -> None:
    debt = Debt(drill="w-1", experiment="w.yaml", rollbacks=("mend",), digest="d", region="eu-west-1", created_at=1.0)
    with closing(Ledger(bare.root / "ledger.sqlite", "staging")) as ledger:
        ledger.owe(debt)
        ledger._db.execute("DELETE FROM owed")
    guard, told = bare.refused()
    assert guard == "residue"
    assert "found debt 1 (rollbacks of w-1 (w.yaml): mend): gone from the ledger. Call `tocsin recover`." in told


# --- whoever asks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_of_any_kind_and_more_of_them(bare: Bare, first: signal.Signals) -> None:
    def thrice(ctx: RunContext) -> None:
        for number in (first, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)

    events = bare.run(thrice, always)
    stopped(events, "interrupted")
    (end,) = [event for event in events if isinstance(event, Stopped)]
    assert end.detail.startswith("stopped by SIG")


def test_the_kill_switch_of_this_machine(bare: Bare) -> None:
    bare.document["method"][0]["pauses"] = {"after": LASTS_S}
    stopped(bare.run(lambda ctx: set_file(ctx.root, "staging", "enough"), always), "kill-switch")


def test_the_kill_switch_in_the_account(bare: Bare) -> None:
    bare.document["method"][0]["pauses"] = {"after": LASTS_S}
    stopped(bare.run(lambda ctx: bare.aws.parameters.update({PARAMETER: ["customers first"]}), always), "kill-switch")


def test_a_stop_condition(bare: Bare) -> None:
    states = {ALARM: "OK"}

    def describe(request: dict[str, Any]) -> Any:
        found = [{"AlarmName": name, "StateValue": states[name]} for name in request["AlarmNames"] if name in states]
        return {"MetricAlarms": found, "CompositeAlarms": []}

    bare.aws.answers["DescribeAlarms"] = describe
    bare.scale = 5.0  # asked for every ten seconds of production time
    bare.rules = {"stop_conditions": [ALARM]}
    bare.document["method"][0]["pauses"] = {"after": LASTS_S}
    stopped(bare.run(lambda ctx: states.update({ALARM: "ALARM"}), always), "stop-conditions")


def test_the_longest_time_of_a_fault(bare: Bare, latch: answers.Latch) -> None:
    bare.rules = {"max_duration": "2s"}
    bare.extension = bare.extension.model_copy(update={"fault_for": 1.0})
    bare.then(provider={"type": "python", "module": "tests.actors.answers", "func": "hang"})
    stopped(bare.run(lambda ctx: None, always), "max-duration")


def test_a_process_that_stood_still(bare: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin.guards.clock.LONGEST_STANDSTILL_S", 2.0)
    assert LONGEST_STANDSTILL_S == 10.0

    def stand_still(ctx: RunContext) -> None:
        ours = os.getpid()
        if (child := os.fork()) == 0:
            os.kill(ours, signal.SIGSTOP)
            signal.sigtimedwait([signal.SIGUSR2], 4.0)
            os.kill(ours, signal.SIGCONT)
            os._exit(0)
        os.waitpid(child, 0)

    stopped(bare.run(stand_still, always), "clock")
