"""The life of a fault, on the smallest real resource there is: a file with two settings."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tocsin.aws.target import Aws, Target
from tocsin.errors import CredentialsExpired, LedgerError, Refused, ResidueLeft, TargetError, Unavailable
from tocsin.faults.base import Fault, State
from tocsin.faults.lifecycle import FaultLifecycle, recover
from tocsin.model.events import Event, FaultChanged, FaultStage
from tocsin.record.ledger import EntryState, Ledger


class Settings(State):
    limit: int
    mode: str


class FileFault(Fault[Settings]):
    """Breaks a setting in a file; its class variables plant the bugs that real APIs have."""

    kind: ClassVar[str] = "file"
    state: ClassVar[type[State]] = Settings
    summary: ClassVar[str] = "break a setting"
    aws_service: ClassVar[str] = "none"
    permissions: ClassVar[tuple[str, ...]] = ()
    effect_within_s: ClassVar[float] = 1.0

    path: str
    limit: int = 0
    ignored: bool = False  # the API accepts the change and changes nothing
    undo_lies: bool = False  # the API accepts the undo and restores nothing
    undo_fails: bool = False  # the API refuses the undo
    unread: ClassVar[list[TargetError]] = []  # what the next reads after the injection are answered with

    @property
    def resource(self) -> str:
        return "settings"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return (self.path,)

    def observe(self, aws: Aws, prior: Settings | None) -> Settings:
        if prior is not None and self.unread:
            raise self.unread.pop()
        return Settings.model_validate_json(Path(self.path).read_text())

    def broken(self, prior: Settings) -> Settings:
        return prior.model_copy(update={"limit": self.limit})

    def inject(self, aws: Aws, prior: Settings) -> None:
        if not self.ignored:
            Path(self.path).write_text(self.broken(prior).model_dump_json())

    def undo(self, aws: Aws, prior: Settings) -> None:
        if self.undo_fails:
            raise TargetError("AWS answered Throttling: slow down")
        if not self.undo_lies:
            Path(self.path).write_text(prior.model_dump_json())


REGISTRY = {"file": FileFault}


class Bench:
    """A lifecycle, its ledger, and what it recorded."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "settings.json"
        self.set(limit=100, mode="fast")
        self.target = Target(name="t", region="eu-west-1", scale=60.0)
        self.ledger = Ledger(directory / "ledger.sqlite", "t")
        self.events: list[Event] = []
        self.lifecycle = FaultLifecycle(
            target=self.target, ledger=self.ledger, drill="d", record=self.events.append, registry=REGISTRY
        )

    def set(self, **settings: Any) -> None:
        self.file.write_text(json.dumps(settings))

    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.file.read_text())
        return found

    def fault(self, **arguments: Any) -> FileFault:
        return FileFault(path=str(self.file), **arguments)

    def stages(self) -> list[FaultStage]:
        return [event.stage for event in self.events if isinstance(event, FaultChanged)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_injected_seen_undone_and_verified(bench: Bench) -> None:
    assert bench.lifecycle.inject(bench.fault()) is FaultStage.EFFECTIVE
    assert bench.settings()["limit"] == 0
    assert bench.lifecycle.undo_all() == []
    assert bench.settings() == {"limit": 100, "mode": "fast"}
    assert bench.stages() == [
        FaultStage.REQUESTED,
        FaultStage.ACCEPTED,
        FaultStage.EFFECTIVE,
        FaultStage.UNDO_REQUESTED,
        FaultStage.UNDONE,
        FaultStage.VERIFIED,
    ]
    assert [entry.state for entry in bench.ledger.entries()] == [EntryState.VERIFIED]


def test_a_fault_to_the_value_already_set_has_no_effect(bench: Bench) -> None:
    assert bench.lifecycle.inject(bench.fault(limit=100)) is FaultStage.NO_EFFECT


def test_what_cannot_be_written_down_is_not_broken(bench: Bench) -> None:
    bench.ledger.close()
    with pytest.raises(LedgerError):
        bench.lifecycle.inject(bench.fault())
    assert bench.settings() == {"limit": 100, "mode": "fast"}
    assert bench.lifecycle.refusal is not None
    assert bench.lifecycle.refusal.guard == "ledger"


def test_an_api_that_changes_nothing_has_no_effect(bench: Bench) -> None:
    assert bench.lifecycle.inject(bench.fault(ignored=True)) is FaultStage.NO_EFFECT
    assert bench.stages()[-1] is FaultStage.NO_EFFECT
    assert bench.lifecycle.undo_all() == []


def test_one_read_that_is_not_answered_is_asked_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileFault, "unread", [Unavailable("AWS answered Throttling"), TargetError("AWS answered 400")])
    assert bench.lifecycle.inject(bench.fault()) is FaultStage.EFFECTIVE


def test_what_is_never_read_has_neither_an_effect_nor_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileFault, "unread", [Unavailable("AWS answered Throttling")] * 1000)
    assert bench.lifecycle.inject(bench.fault()) is FaultStage.NOT_SEEN
    (told,) = [one.detail for one in bench.events if isinstance(one, FaultChanged) and one.stage is FaultStage.NOT_SEEN]
    assert told == "settings: it could not be read: AWS answered Throttling"
    FileFault.unread.clear()
    assert bench.lifecycle.undo_all() == []


@pytest.mark.parametrize(("error", "renewals"), [(Unavailable, 0), (CredentialsExpired, 2)])
def test_credentials_are_read_again_only_when_they_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: type[Unavailable], renewals: int
) -> None:
    bench.lifecycle.inject(bench.fault())
    monkeypatch.setattr(FileFault, "unread", [error("AWS answered something")] * 2)
    assert bench.lifecycle.undo_all() == []
    assert bench.stages().count(FaultStage.UNDO_RETRIED) == 2
    assert bench.target.login.renewals == renewals


def test_an_undo_that_restores_nothing_is_residue(bench: Bench) -> None:
    bench.lifecycle.inject(bench.fault(undo_lies=True))
    (left,) = bench.lifecycle.undo_all()
    assert bench.stages()[-1] is FaultStage.UNDO_FAILED
    assert bench.ledger.entries(only_open=True)[0].id == left.id
    with pytest.raises(ResidueLeft, match=r"settings is not as before: limit is 0, not 100"):
        recover(bench.target, bench.ledger, registry=REGISTRY)


def test_an_undo_that_fails_is_residue_until_recover_finishes_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.lifecycle.inject(bench.fault(undo_fails=True))
    assert len(bench.lifecycle.undo_all()) == 1
    with pytest.raises(ResidueLeft, match="Throttling"):
        recover(bench.target, bench.ledger, registry=REGISTRY)
    # AWS is itself again.
    monkeypatch.setattr(FileFault, "undo", lambda self, aws, prior: bench.set(**prior.model_dump()))
    assert [entry.fault for entry in recover(bench.target, bench.ledger, registry=REGISTRY)] == ["file"]
    assert bench.settings() == {"limit": 100, "mode": "fast"}


def test_drift_is_reported_and_never_overwritten(bench: Bench) -> None:
    bench.lifecycle.inject(bench.fault())
    bench.set(limit=55, mode="fast")  # somebody else mends it in another way
    assert len(bench.lifecycle.undo_all()) == 1
    assert bench.stages()[-1] is FaultStage.DRIFTED
    assert bench.settings() == {"limit": 55, "mode": "fast"}


class HealingFault(FileFault):
    """AWS puts it right by itself, step by step; as long as nobody looks, nothing is done."""

    kind: ClassVar[str] = "healing"
    heals: ClassVar[bool] = True

    def observe(self, aws: Aws, prior: Settings | None) -> Settings:
        now = super().observe(aws, prior)
        if prior is not None and now.limit < prior.limit:
            healing = now.model_copy(update={"limit": min(prior.limit, now.limit + 40)})
            Path(self.path).write_text(healing.model_dump_json())
        return now

    def undo(self, aws: Aws, prior: Settings) -> None:
        pass


def test_what_aws_mends_by_itself_is_waited_for_and_no_drift(bench: Bench) -> None:
    bench.lifecycle.registry = {"healing": HealingFault}
    assert bench.lifecycle.inject(HealingFault(path=str(bench.file))) is FaultStage.EFFECTIVE
    assert bench.settings()["limit"] == 40  # neither as before nor as broken
    assert bench.lifecycle.undo_all() == []
    assert bench.settings() == {"limit": 100, "mode": "fast"}


def test_what_aws_should_have_mended_and_did_not_is_residue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.lifecycle.registry = {"healing": HealingFault}
    bench.lifecycle.inject(HealingFault(path=str(bench.file)))
    monkeypatch.setattr(HealingFault, "observe", FileFault.observe)
    monkeypatch.setattr(HealingFault, "effect_within_s", 0.0)
    assert [entry.detail for entry in bench.lifecycle.undo_all()] == [""]
    assert bench.ledger.entries()[-1].detail == "settings is not as before: limit is 40, not 100"


def test_faults_are_undone_latest_first_and_one_failure_does_not_keep_the_others(bench: Bench, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"limit": 7, "mode": "slow"}))
    bench.lifecycle.inject(bench.fault())
    bench.lifecycle.inject(FileFault(path=str(other), undo_fails=True))
    (left,) = bench.lifecycle.undo_all()
    assert left.arguments["path"] == str(other)
    assert bench.settings() == {"limit": 100, "mode": "fast"}


@pytest.mark.parametrize(("asked", "within_s"), [(None, 3600.0 / 60.0), (600.0, 600.0)])
def test_a_fault_that_aws_ends_has_its_end_in_the_ledger(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, asked: float | None, within_s: float
) -> None:
    """As the drill says; an hour of production time where nobody says."""
    monkeypatch.setattr(FileFault, "expires", True)
    before = time.time()
    bench.lifecycle.expires_at = None if asked is None else before + asked
    bench.lifecycle.inject(bench.fault())
    (entry,) = bench.ledger.entries()
    assert entry.expires_at is not None
    assert before + within_s <= entry.expires_at <= time.time() + within_s


def test_a_fault_that_only_an_undo_ends_has_no_end_in_the_ledger(bench: Bench) -> None:
    bench.lifecycle.inject(bench.fault())
    assert [entry.expires_at for entry in bench.ledger.entries()] == [None]


def test_recover_undoes_what_a_dead_process_only_intended(bench: Bench) -> None:
    """Killed between the ledger and the API call: nothing is broken, and recover says so after looking."""
    fault = bench.fault()
    prior = fault.observe(Aws(bench.target, ""), None)
    bench.ledger.intend("dead", "file", "settings", fault, prior)
    assert len(recover(bench.target, bench.ledger, registry=REGISTRY)) == 1
    assert recover(bench.target, bench.ledger, registry=REGISTRY) == []
    assert bench.settings() == {"limit": 100, "mode": "fast"}


# --- an end while something is being injected ---------------------------------------------------------------


class SlowFault(FileFault):
    """Its API takes its time before it does what it was asked for."""

    kind: ClassVar[str] = "slow"
    asked: ClassVar[threading.Event]
    answer: ClassVar[threading.Event]

    def inject(self, aws: Aws, prior: Settings) -> None:
        self.asked.set()
        self.answer.wait(60)
        super().inject(aws, prior)


@pytest.fixture
def slow(bench: Bench) -> SlowFault:
    SlowFault.asked, SlowFault.answer = threading.Event(), threading.Event()
    bench.lifecycle.registry = {"slow": SlowFault}
    return SlowFault(path=str(bench.file))


def injecting(bench: Bench, fault: SlowFault) -> threading.Thread:
    def inject() -> None:
        with contextlib.suppress(Refused):
            bench.lifecycle.inject(fault)

    thread = threading.Thread(target=inject)
    thread.start()
    assert fault.asked.wait(60)
    return thread


def test_what_is_broken_while_it_is_undone_is_undone_again(bench: Bench, slow: SlowFault) -> None:
    thread = injecting(bench, slow)
    bench.lifecycle.end()
    undoing = threading.Thread(target=bench.lifecycle.undo_all)
    undoing.start()
    while FaultStage.UNDO_REQUESTED not in bench.stages():
        time.sleep(0.01)
    slow.answer.set()
    for one in (thread, undoing):
        one.join(60)
    assert bench.settings() == {"limit": 100, "mode": "fast"}
    assert bench.ledger.entries(only_open=True) == []
    assert bench.stages() == [
        FaultStage.REQUESTED,
        FaultStage.UNDO_REQUESTED,
        FaultStage.UNDONE,
        FaultStage.VERIFIED,
    ]


def test_an_injection_that_is_not_answered_leaves_its_entry_open(
    bench: Bench, slow: SlowFault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.faults.lifecycle._ANSWERED_WITHIN", 0.01)
    thread = injecting(bench, slow)
    bench.lifecycle.end()
    (left,) = bench.lifecycle.undo_all()
    assert "is not answered yet" in bench.lifecycle.reasons[left.id]
    slow.answer.set()
    thread.join(60)
    assert [entry.state for entry in bench.ledger.entries(only_open=True)] == [EntryState.INTENDED]
    assert bench.lifecycle.undo_all() == []
    assert bench.settings()["limit"] == 100


def test_nothing_is_injected_after_the_end(bench: Bench) -> None:
    bench.lifecycle.end()
    with pytest.raises(Refused, match="has ended"):
        bench.lifecycle.inject(bench.fault())
    assert (bench.settings()["limit"], bench.ledger.entries(only_open=False)) == (100, [])
