"""When a fault ends by itself, and what is said of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tocsin.actors.context import RunContext
from tocsin.aws.target import Target
from tocsin.commands.faults import fault_lines
from tocsin.commands.recover import ledger_lines
from tocsin.drill.acts import longest_fault
from tocsin.drill.view import LiveView
from tocsin.model.base import Model
from tocsin.model.events import FaultChanged, FaultStage
from tocsin.model.experiment import (
    Expect,
    Experiment,
    Extension,
    MustAlarm,
    PlannedActivity,
    QuietAlarm,
    RecoveryTarget,
)
from tocsin.model.rules import GuardRules
from tocsin.model.system import Endpoint, System
from tocsin.project.places import ledger_path
from tocsin.record.history import History
from tocsin.record.ledger import EntryState, Ledger


def line(root: Path, fault: str, ends_at: float | None, state: EntryState = EntryState.INJECTED) -> str:
    ledger = Ledger(ledger_path(root, "sandbox"), "sandbox")
    entry = ledger.intend("d", fault, "bucket orders", Model(), Model(), ends_at)
    ledger.advance(entry.id, state)
    ledger.close()
    (found,) = ledger_lines(root, "sandbox", everything=True)
    return found


def at(moment: float) -> str:
    return time.strftime("%H:%M", time.localtime(moment))


def test_an_open_entry_says_when_it_ends_by_itself(tmp_path: Path) -> None:
    ends_at = time.time() + 7200
    assert line(tmp_path, "s3_bucket_deny", ends_at).endswith(f"bucket orders; ends by itself at {at(ends_at)}")


@pytest.mark.parametrize(
    ("fault", "ended"),
    [("s3_bucket_deny", "ended by itself at {}, harmless since"), ("rds_proxy_throttle", "a schedule should have")],
)
def test_an_expired_entry_is_open_until_recover_has_looked(tmp_path: Path, fault: str, ended: str) -> None:
    ended_at = time.time() - 7200
    found = line(tmp_path, fault, ended_at)
    assert ended.format(at(ended_at)) in found
    assert found.endswith("`tocsin recover` verifies that and removes what is left")


def test_an_entry_that_only_an_undo_ends_and_one_that_is_undone_say_nothing(tmp_path: Path) -> None:
    assert line(tmp_path / "a", "rds_proxy_throttle", None).endswith("bucket orders")
    assert line(tmp_path / "b", "s3_bucket_deny", time.time() + 7200, EntryState.VERIFIED).endswith("bucket orders")


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("dynamodb_table_deny", "AWS ends it by itself"),
        ("ecs_stop_tasks", "AWS mends it by itself at once"),
        ("rds_proxy_throttle", "a schedule ends it, on targets with a `dead_man_role`"),
        ("sqs_poison_message", "it stays until `tocsin recover`"),
    ],
)
def test_a_fault_says_what_becomes_of_it_when_nobody_is_left(fault: str, end: str) -> None:
    assert f"if nobody is left to undo it: {end}" in list(fault_lines(fault))


# --- a drill's own time -------------------------------------------------------------------------------------


def drill_context(
    root: Path, expect: Expect, fault_for: float | None = None, allowed: float | None = None
) -> RunContext:
    extension = Extension(system="shop", load=None, expect=expect, fault_for=fault_for)
    method = (PlannedActivity(name="break", type="action", provider_type="python"),)
    return RunContext(
        drill="x-1",
        root=root,
        directory=root,
        experiment=Experiment(path="x.yaml", slug="x", title="X", method=method, rollbacks=(), extension=extension),
        system=System(system="shop", title="Shop", endpoint=Endpoint(url="http://127.0.0.1:9")),
        target=Target(name="test", region="us-east-1", scale=60.0, rules=GuardRules(max_duration=allowed)),
        history=History(root / "history.jsonl"),
        base_url="http://127.0.0.1:9",
        seed=1,
    )


@pytest.mark.parametrize(
    ("expect", "fault_for"),
    [
        (Expect(must=(MustAlarm(alarm="a", within=660.0),), recovery=RecoveryTarget(within=60.0)), None),
        (
            Expect(gap="silence", quiet=(QuietAlarm(alarm="a", window=900.0),), recovery=RecoveryTarget(within=60.0)),
            None,
        ),
        (Expect(gap="silence", recovery=RecoveryTarget(within=60.0)), 1800.0),
    ],
)
def test_no_fault_ends_by_itself_while_the_drill_still_waits_for_a_bell(
    tmp_path: Path, expect: Expect, fault_for: float | None
) -> None:
    ctx = drill_context(tmp_path, expect, fault_for)

    def done(accepted_s_ago: float) -> bool:
        view = LiveView(ctx)
        at = ctx.now() - accepted_s_ago
        view.see(FaultChanged(at=at, entry="e", fault="f", stage=FaultStage.ACCEPTED))
        return view.fault_seen()

    longest = LiveView(ctx).longest_fault()
    assert done(longest)
    assert not done(longest - 6.0)  # the patience for a notification, and the slack
    margin = longest_fault(ctx, 0.0) - longest
    assert margin > 60
    assert longest_fault(ctx, 7.5) == longest + margin + 7.5


def test_a_fault_ends_by_itself_no_later_than_its_target_allows(tmp_path: Path) -> None:
    expect = Expect(gap="silence", recovery=RecoveryTarget(within=60.0))
    assert longest_fault(drill_context(tmp_path, expect, fault_for=7200.0, allowed=3600.0), 0.0) == 60.0
