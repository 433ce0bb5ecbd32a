"""Where a bug is planted: a project of its own with a running sandbox, and every way to spoil a set-up."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.planted.setups import SETUPS, Setup
from tests.secret_scan import watched

from tocsin.aws.cloudwatch import definition_drift, describe_alarms
from tocsin.aws.lookups import resolve_system
from tocsin.aws.target import Target
from tocsin.commands.run import run_experiments
from tocsin.drill.options import RunOptions
from tocsin.faults.lifecycle import recover
from tocsin.model.events import Event
from tocsin.model.system import CompositeAlarm
from tocsin.model.verdict import Outcome, Reason, Verdict
from tocsin.project.documents import load_system
from tocsin.project.histories import read_history
from tocsin.project.places import ledger_path
from tocsin.project.targets import load_target
from tocsin.record.ledger import Ledger
from tocsin.sandbox import control
from tocsin.sandbox.account import Account, open_door

PROJECT = Path(__file__).parent / "project"
_DAEMON = ("-P", str(Path(__file__).parent / "planter.py"))
SCALE = 240.0
FUNCTIONS = ("bell-api", "bell-stock", "bell-worker")
_FILES = ("contracts", "loadtests", "synthetics", "systems")
_PATIENCE_WALL_S = 60.0
_SEEN_WITHIN_S = 180.0
"""Production seconds after which an alarm has seen what a drill left last: its minute is over, and two evaluations."""


@dataclass(frozen=True)
class Drilled:
    """What came of one drill."""

    verdict: Verdict
    events: list[Event]
    wall_s: float
    directory: Path


@dataclass
class Bench:
    """One project and its sandbox; everything planted is taken away after each drill."""

    root: Path
    patch: pytest.MonkeyPatch
    target: Target
    name: str = ""
    _left: bool = False
    document: dict[str, Any] = field(default_factory=dict)
    _runs: int = 0
    _hooks: list[Callable[[Event], None]] = field(default_factory=list)
    _after: ExitStack = field(default_factory=ExitStack)

    # --- ways to spoil ----------------------------------------------------------------------------------------

    def client(self, service: str) -> Any:
        """A boto3 client of the account."""
        return self.target.client(service)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace text in a file of the project."""
        path = self.root / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file}: expected once: {old!r}"
        path.write_text(text.replace(old, new))

    def alarm(self, name: str, **fields: Any) -> None:
        """Change an alarm in the account; the system file goes on documenting the right one."""
        spoilt = {**self.definition(name), **fields}
        # What earlier drills left within its reach would make it ring for them: wait until that is out of sight.
        reach = spoilt["Period"] * spoilt["EvaluationPeriods"]
        self._put_anew({**spoilt, "Period": reach, "EvaluationPeriods": 1})
        self._put_anew(spoilt)

    def spoil_alarm(self, name: str, **fields: Any) -> None:
        """Change the record of a new alarm in the sandbox's store, as no request could."""
        alarm_name = self.definition(name)["AlarmName"]
        assert self.target.endpoint_url is not None
        assert self.target.door_token is not None
        spoilt = {"alarm": alarm_name, "fields": fields}
        open_door(self.target.endpoint_url, self.target.door_token, "spoil-alarm", spoilt)

    def alarm_of_math(self, name: str, *queries: Mapping[str, Any]) -> None:
        """Let an alarm of the account look at metric math; the system file goes on documenting the right one."""
        system = resolve_system(load_system(self.root, "bell"), self.target)
        documented = system.alarms[name].cloudwatch.model_dump(by_alias=True, exclude_none=True)
        one_metric = ("Namespace", "MetricName", "Dimensions", "Statistic", "Period")
        kept = {field: value for field, value in documented.items() if field not in one_metric}
        self._put_anew({**kept, "Metrics": queries})

    def definition(self, name: str) -> dict[str, Any]:
        """The documented definition of a metric alarm, as PutMetricAlarm takes it."""
        system = resolve_system(load_system(self.root, "bell"), self.target)
        definition = system.cloudwatch_alarms[name].cloudwatch.model_dump(by_alias=True, exclude_none=True)
        return {field: value for field, value in definition.items() if value not in ([], ())}

    def code(self, old: str, new: str) -> None:
        """Change the code of the order desk, and release it."""
        functions = self.root / "replicas" / "bell" / "functions"
        before = (functions / "bell.py").read_text()
        self.edit("replicas/bell/functions/bell.py", old, new)
        self._after.callback(self._release, before)
        self._release((functions / "bell.py").read_text())

    def code_at_hand(self, old: str, new: str) -> Callable[[], object]:
        """Changed code of the desk's API, released and taken back; what is returned brings it at once."""
        client, alias = self.client("lambda"), {"FunctionName": "bell-api", "Name": "live"}
        good = client.get_alias(**alias)["FunctionVersion"]
        self.code(old, new)
        bad = client.get_alias(**alias)["FunctionVersion"]
        client.update_alias(**alias, FunctionVersion=good)
        return lambda: client.update_alias(**alias, FunctionVersion=bad)

    def _release(self, source: str) -> None:
        path = self.root / "replicas" / "bell" / "functions" / "bell.py"
        path.write_text(source)
        package, client = Account.zip_directory(path.parent), self.client("lambda")
        for function in FUNCTIONS:
            client.update_function_code(FunctionName=function, ZipFile=package)
        self._wait_updated()
        version = client.publish_version(FunctionName="bell-api")["Version"]
        client.update_alias(FunctionName="bell-api", Name="live", FunctionVersion=version)

    def _wait_updated(self) -> None:
        for function in FUNCTIONS:
            self.client("lambda").get_waiter("function_updated_v2").wait(
                FunctionName=function, WaiterConfig={"Delay": 0.05, "MaxAttempts": 200}
            )

    def _put_anew(self, definition: Mapping[str, Any]) -> None:
        """Put a metric alarm that remembers nothing, and wait until it was evaluated and is OK."""
        client, name = self.client("cloudwatch"), definition["AlarmName"]
        client.delete_alarms(AlarmNames=[name])
        client.put_metric_alarm(**{key: value for key, value in definition.items() if value not in ([], ())})
        self.wait_for(f"{name} to be OK", lambda: not self._take_messages() and name not in self.ringing())

    def _document_alarms(self) -> None:
        """The account's alarms are those of the system file."""
        alarms = resolve_system(load_system(self.root, "bell"), self.target).cloudwatch_alarms
        described = describe_alarms(alarms.values(), self.target)
        for alarm in alarms.values():
            name = alarm.cloudwatch.alarm_name
            definition = alarm.cloudwatch.model_dump(by_alias=True, exclude_none=True)
            if name not in described:
                self.after(lambda name=name: self.client("cloudwatch").delete_alarms(AlarmNames=[name]))
            if isinstance(alarm.cloudwatch, CompositeAlarm):
                self.client("cloudwatch").put_composite_alarm(**definition)
            elif name not in described or definition_drift(alarm, described[name]):
                self._put_anew(definition)

    @property
    def expect(self) -> dict[str, Any]:
        """The expectations of the experiment, to be changed in place."""
        expect: dict[str, Any] = self.document["extensions"][0]["expect"]
        return expect

    def when(self, seen: Callable[[Event], bool], act: Callable[[], object]) -> None:
        """Call `act` once, at the first event that `seen` says yes to.

        In the thread that records the event, which goes on when `act` is done: what comes after the event is under
        the bug, on a slow machine too.
        """
        waiting = [act]

        def hook(event: Event) -> None:
            if waiting and seen(event):
                waiting.pop()()

        self._hooks.append(hook)

    def after(self, act: Callable[..., object], *arguments: Any) -> None:
        """Call `act` when the drill is over."""
        self._after.callback(act, *arguments)

    def queue(self, name: str) -> str:
        """URL of a queue."""
        return str(self.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])

    def send(self, queue: str, body: str = "not an order") -> None:
        """Put a message into a queue; all queues are emptied after the drill."""
        self.client("sqs").send_message(QueueUrl=self.queue(queue), MessageBody=body)

    # --- the drill --------------------------------------------------------------------------------------------

    @contextmanager
    def set_up(self, name: str) -> Iterator[None]:
        """Lay out one healthy set-up of `SETUPS`, and clear everything away afterwards."""
        with self.lay_out(name, SETUPS[name]):
            yield

    @contextmanager
    def lay_out(self, name: str, setup: Setup) -> Iterator[None]:
        """Lay out a healthy set-up, and clear everything away afterwards."""
        self.name, self.document = name, copy.deepcopy(setup.document())
        self._hooks.clear()
        for directory in _FILES:
            shutil.copytree(PROJECT / directory, self.root / directory, dirs_exist_ok=True)
        if not setup.contract:
            self.edit("systems/bell.yaml", "contract: contracts/bell.openapi.yaml\n", "")
        for edit in setup.edits:
            self.edit(*edit)
        self._document_alarms()
        self.settle()
        try:
            yield
        finally:
            self.patch.undo()
            with self._after, self._ledger() as ledger:
                recover(self.target, ledger)
                ledger.forgive()  # what a bug kept from being rolled back is no concern of the next one

    def leaves_something(self) -> None:
        """What is drilled now may ring a moment later: who comes next has to listen for as long as alarms look back."""
        self._left = True

    def run(self, *, try_again: bool = False) -> Drilled:
        """Drill what is set up."""
        self._runs += 1
        self.leaves_something()
        file = self.root / f"{self.name.replace(' ', '-')}.yaml"
        file.write_text(yaml.safe_dump(self.document, sort_keys=False))
        started = time.perf_counter()
        run, out = run_experiments(
            [file],
            RunOptions(
                root=self.root,
                out=self.root / "out" / str(self._runs),
                time_scale=SCALE,
                seed=self._runs,
                try_again=try_again,
                listener=self._listen,
            ),
        )
        wall_s = time.perf_counter() - started
        self._left = run.outcome is not Outcome.PASS
        return Drilled(run.drills[0], read_history(out / file.stem / "history.jsonl"), wall_s, out / file.stem)

    def run_until_the_machine_kept_up(
        self,
        laid_out: Callable[[], AbstractContextManager[None]],
        is_told: Callable[[Drilled], bool] | None = None,
        *,
        try_again: bool = False,
    ) -> Drilled:
        """Lay out and drill, again where the verdict says that the machine did not keep up: it says nothing else.

        Where that is what a bug makes it say, `is_told` says whether it was the bug and no other moment of the machine.
        """
        for _ in range(3):
            with laid_out():
                drilled = self.run(try_again=try_again)
            told = False if is_told is None else is_told(drilled)
            if told or all(judgement.reason is not Reason.MACHINE_BUSY for judgement in drilled.verdict.judgements):
                break
        return drilled

    def _listen(self, event: Event) -> None:
        for hook in self._hooks:
            hook(event)

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        ledger = Ledger(ledger_path(self.root, "sandbox"), "sandbox")
        try:
            yield ledger
        finally:
            ledger.close()

    def settle(self) -> None:
        """Wait until nothing of the last drill is left: no message, no ringing alarm.

        What a drill that did not pass has left may ring a moment later: then for as long as alarms look back.
        """
        quiet_for = (self._alarms_look_back_s() + _SEEN_WITHIN_S) / SCALE if self._left else 0.0
        self.wait_for("quiet", lambda: not (self._take_messages() or self.ringing()), quiet_for)

    def _alarms_look_back_s(self) -> float:
        """Production seconds of the longest window of an alarm: within it one may clear and ring again."""
        alarms = self.client("cloudwatch").describe_alarms()["MetricAlarms"]
        return max((float(alarm["EvaluationPeriods"] * alarm.get("Period", 0)) for alarm in alarms), default=0.0)

    def wait_for(self, what: str, seen: Callable[[], bool], for_s: float = 0.0) -> None:
        """Wait until `seen`, for some wall seconds without a break; a minute at most."""
        began = time.monotonic()
        deadline, since = began + _PATIENCE_WALL_S, began
        while time.monotonic() - since < for_s or not seen():
            if not seen():
                since = time.monotonic()
            assert time.monotonic() < deadline, f"waited {_PATIENCE_WALL_S} s for {what}; ringing: {self.ringing()}"
            time.sleep(0.05)

    def ringing(self) -> list[str]:
        """Names of the alarms that are not OK."""
        alarms = self.client("cloudwatch").describe_alarms()["MetricAlarms"]
        return [alarm["AlarmName"] for alarm in alarms if alarm["StateValue"] != "OK"]

    def _take_messages(self) -> int:
        sqs, taken = self.client("sqs"), 0
        for name in ("bell-orders-dlq", "bell-oncall"):
            url = self.queue(name)
            while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
                for message in messages:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                taken += len(messages)
        return taken


@contextmanager
def running_bench(root: Path) -> Iterator[Bench]:
    """A project in `root` with its sandbox; both are gone afterwards, with every process."""
    shutil.copytree(PROJECT, root, dirs_exist_ok=True)
    control.up("bell", root, time_scale=SCALE, daemon=_DAEMON)
    patch = pytest.MonkeyPatch()
    try:
        with watched(root), patch.context() as inside:
            inside.chdir(root)
            yield Bench(root, pytest.MonkeyPatch(), load_target(root, "sandbox"))
    finally:
        control.down(root)
