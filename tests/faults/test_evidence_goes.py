"""What proves a fault may be forgotten by AWS, or deleted by somebody: what is no longer shown is not undone."""

from __future__ import annotations

import pytest
from tests.faults.stub.account import StubAws
from tests.faults.stub.bench import FaultBench
from tests.faults.stub.ecs import Ecs
from tests.faults.stub.errors import Asked
from tests.faults.stub.faults import ARGUMENTS, furnish

from tocsin.errors import LedgerError, TargetError
from tocsin.model.events import FaultStage

ALL = {**ARGUMENTS["ecs_stop_tasks"], "percent": 100}
CREDENTIAL = "lambda_environment_credential"


@pytest.fixture
def account(stub: StubAws) -> StubAws:
    furnish(stub)
    return stub


@pytest.fixture
def ecs(account: StubAws) -> Ecs:
    found: Ecs = account.services["ecs"]
    return found


def forget_stopped(ecs: Ecs, keep: int = 0) -> None:
    """ECS shows a stopped task for about an hour."""
    stopped = [one for one in ecs.tasks if one["desiredStatus"] == "STOPPED"]
    for one in stopped[keep:]:
        ecs.tasks.remove(one)


def start(account: StubAws, ecs: Ecs) -> None:
    ecs._start(at=account.clock.now - 600)


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_tasks_that_nobody_replaced_are_missing_also_when_ecs_has_forgotten_them(
    account: StubAws, life: FaultBench, ecs: Ecs, shown: int
) -> None:
    ecs.replaces = False
    assert life.inject("ecs_stop_tasks", **ALL) is FaultStage.EFFECTIVE
    account.clock.sleep(7200.0)
    forget_stopped(ecs, keep=shown)
    (left,) = life.process().undo_all(life.open)
    assert f"not_replaced is {shown or 2}, not 0" in life.reasons(left)
    start(account, ecs)
    (left,) = life.process().undo_all(life.open)
    assert "not_replaced is 1, not 0" in life.reasons(left)
    start(account, ecs)
    assert life.process().undo_all(life.open) == []


def test_tasks_that_were_replaced_before_anybody_looked_are_vouched_for(
    account: StubAws, life: FaultBench, ecs: Ecs
) -> None:
    """As on a machine that stands still for the half minute that a replacement takes."""
    stop_task = ecs.stop_task

    def stop_and_stand_still(asked: Asked) -> Asked:
        answer = stop_task(asked)
        account.clock.sleep(120.0)
        return answer

    ecs.stop_task = stop_and_stand_still  # type: ignore[method-assign]
    assert life.inject("ecs_stop_tasks", **ARGUMENTS["ecs_stop_tasks"]) is FaultStage.EFFECTIVE
    assert life.process().undo_all(life.open) == []


@pytest.mark.parametrize(
    ("kind", "service", "call"),
    [
        ("rds_reboot", "rds", "reboot_db_instance"),
        ("elasticache_failover", "elasticache", "test_failover"),
        ("elasticache_reboot", "elasticache", "reboot_cache_cluster"),
    ],
)
def test_what_was_over_before_anybody_looked_is_vouched_for(
    account: StubAws, life: FaultBench, kind: str, service: str, call: str
) -> None:
    stub = account.services[service]
    breaks = getattr(stub, call)

    def break_and_stand_still(asked: Asked) -> Asked:
        answer: Asked = breaks(asked)
        account.clock.sleep(120.0)
        return answer

    setattr(stub, call, break_and_stand_still)
    assert life.inject(kind, **ARGUMENTS[kind]) is FaultStage.EFFECTIVE
    assert life.process().undo_all(life.open) == []


def test_an_earlier_reboot_vouches_for_nothing(account: StubAws, life: FaultBench) -> None:
    rds = account.services["rds"]
    rds.reboot_db_instance({"DBInstanceIdentifier": "orders"})
    account.clock.sleep(3600.0)
    assert [one["Message"] for one in rds.events] == ["DB instance restarted."]
    rds.reboot_db_instance = lambda asked: {}
    assert life.inject("rds_reboot", **ARGUMENTS["rds_reboot"]) is FaultStage.NO_EFFECT


def test_tasks_that_were_stopped_by_others_vouch_for_nothing(account: StubAws, life: FaultBench, ecs: Ecs) -> None:
    ecs.stop_task = lambda asked: {}  # type: ignore[method-assign]
    for one in ecs.tasks[:1]:
        ecs.tasks.append({**one, "taskArn": "another", "desiredStatus": "STOPPED", "stoppedReason": "a deployment"})
    assert life.inject("ecs_stop_tasks", **ARGUMENTS["ecs_stop_tasks"]) is FaultStage.NO_EFFECT


def test_tasks_that_were_replaced_and_forgotten_are_undone(account: StubAws, life: FaultBench, ecs: Ecs) -> None:
    assert life.inject("ecs_stop_tasks", **ALL) is FaultStage.EFFECTIVE
    account.clock.sleep(7200.0)
    forget_stopped(ecs)
    assert life.process().undo_all(life.open) == []


def test_what_the_service_lacked_before_it_may_lack_afterwards(account: StubAws, life: FaultBench, ecs: Ecs) -> None:
    ecs.service["desiredCount"] = 5
    ecs.replaces = False
    assert life.inject("ecs_stop_tasks", **ALL) is FaultStage.EFFECTIVE
    account.clock.sleep(7200.0)
    forget_stopped(ecs)
    start(account, ecs)
    assert len(life.process().undo_all(life.open)) == 1
    start(account, ecs)
    assert life.process().undo_all(life.open) == []


def test_an_experiment_that_fis_has_forgotten_has_ended(account: StubAws, life: FaultBench) -> None:
    """None runs for more than twelve hours, and FIS shows them for months."""
    life.inject("ecs_task_cpu_stress", **ARGUMENTS["ecs_task_cpu_stress"])
    account.services["fis"].experiments.clear()
    assert life.process().undo_all(life.open) == []


def break_a_credential(account: StubAws, life: FaultBench) -> tuple[str, str]:
    """Of a function none of whose versions has the environment; the number of the version that keeps it, and what."""
    functions = account.services["lambda"]
    functions.latest["Environment"]["Variables"]["NEW"] = "since the last release"
    before = str(functions.latest["Environment"]["Variables"]["PASSWORD"])
    assert life.inject(CREDENTIAL, **ARGUMENTS[CREDENTIAL]) is FaultStage.EFFECTIVE
    assert functions.latest["Environment"]["Variables"]["PASSWORD"] != before
    return str(functions.versions[-1]["Version"]), before


def test_a_version_that_kept_the_environment_and_was_deleted_is_missed(account: StubAws, life: FaultBench) -> None:
    number, before = break_a_credential(account, life)
    functions = account.services["lambda"]
    functions.delete_function({"FunctionName": "desk", "Qualifier": number})
    (left,) = life.process().undo_all(life.open)
    assert f"expected version {number} of desk, which holds what was before" in life.reasons(left)
    # As the message says: put right by hand, and published under the name of the entry.
    functions.latest["Environment"]["Variables"]["PASSWORD"] = before
    functions.publish_version({"FunctionName": "desk", "Description": f"tocsin {left.id}"})
    assert life.process().undo_all(life.open) == []
    assert life.ledger.note(f"version of entry {left.id}") is None


def test_a_version_that_is_there_is_deleted_and_no_longer_missed(account: StubAws, life: FaultBench) -> None:
    number, before = break_a_credential(account, life)
    assert life.lifecycle.undo_all() == []
    functions = account.services["lambda"]
    assert functions.latest["Environment"]["Variables"]["PASSWORD"] == before
    assert number not in {one["Version"] for one in functions.versions}
    assert not life.ledger.note(f"version of entry {life.ledger.entries()[0].id}")


def test_a_version_whose_deletion_was_not_answered_is_not_missed(account: StubAws, life: FaultBench) -> None:
    number, _ = break_a_credential(account, life)
    account.fails("lambda:DeleteFunction", "(no answer)", times=1).done = True
    assert life.lifecycle.undo_all() == []
    assert FaultStage.UNDO_RETRIED in life.stages
    assert number not in {one["Version"] for one in account.services["lambda"].versions}


def test_a_version_that_cannot_be_noted_breaks_nothing(account: StubAws, life: FaultBench) -> None:
    functions = account.services["lambda"]
    functions.latest["Environment"]["Variables"]["NEW"] = "since the last release"
    note = life.ledger.set_note

    def full(name: str, value: str | None) -> None:
        if value is not None:
            raise LedgerError("the disk is full")
        note(name, value)

    life.ledger.set_note = full  # type: ignore[method-assign]
    with pytest.raises(TargetError, match="expected a ledger that takes the version"):
        life.inject(CREDENTIAL, **ARGUMENTS[CREDENTIAL])
    assert "lambda:UpdateFunctionConfiguration" not in account.asked
    assert life.lifecycle.undo_all() == []
    assert [one["Description"] for one in functions.versions] == ["the first"]
