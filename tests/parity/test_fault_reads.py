"""What `tocsin parity` reads of a fault is all that the fault reads in its life, by machine, on the stubbed account."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest
from tests.faults.stub.account import StubAws
from tests.faults.stub.bench import QuickLedger
from tests.faults.stub.clock import Clock
from tests.faults.stub.faults import ARGUMENTS, furnish
from tests.faults.stub.snapshot import snapshot
from tests.faults.table import FAULTS as TRIED
from tests.faults.table import Trial

from tocsin.aws.iam import actions_of
from tocsin.errors import TocsinError
from tocsin.faults.registry import FAULTS
from tocsin.parity.fault_reads import read_as

READING = ("Describe", "Filter", "Get", "List", "Lookup", "Receive")
NOT_ASKED: Mapping[tuple[str, str], str] = {
    ("elb_target_deregistered", "ecs:ListTasks"): "without `cluster` its targets are no tasks",
    ("elb_target_deregistered", "ecs:DescribeTasks"): "without `cluster` its targets are no tasks",
    ("lambda_reserved_concurrency", "lambda:GetAccountSettings"): "with `reserved: 0` nothing of the account is taken",
    ("sqs_poison_message", "sqs:ReceiveMessage"): "to receive counts, and hides the message from its consumer",
}
"""(fault, IAM action) that parity does not ask, and why."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickLedger]:
    made = QuickLedger(tmp_path_factory.mktemp("ledger"))
    yield made
    made.close()


def reads(actions: Counter[str] | set[str]) -> set[str]:
    return {one for one in actions if one.partition(":")[2].startswith(READING)}


def in_life(fault: str, ledger: QuickLedger) -> set[str]:
    """The reads of a whole life, from the first look to the last one after its undo, and those that it declares."""
    with pytest.MonkeyPatch.context() as patch:
        trial = Trial(patch, ledger, fault)
        asked = sum(trial.run().values(), Counter())
    made = {action for call in asked for action in actions_of(*call.split(":"))}
    return reads(made) | reads(set(FAULTS[TRIED[fault][0]].permissions))


def by_parity(fault: str) -> tuple[set[str], bool]:
    """Those of parity, and whether the account is as it was."""
    with pytest.MonkeyPatch.context() as patch:
        stub = StubAws(Clock(patch, TRIED[fault][1].scale))
        stub.install(patch)
        furnish(stub)
        kind, target = TRIED[fault]
        before = snapshot(stub)
        with contextlib.suppress(TocsinError):
            read_as(FAULTS[kind].model_validate(ARGUMENTS[kind]), target)
        return {action for call in stub.asked for action in actions_of(*call.split(":"))}, snapshot(stub) == before


@pytest.mark.parametrize("fault", TRIED)
def test_every_read_of_its_life_is_made_once_and_nothing_is_changed(fault: str, ledger: QuickLedger) -> None:
    asked, as_before = by_parity(fault)
    assert as_before
    assert asked == reads(asked), "it only reads"
    excepted = {action for kind, action in NOT_ASKED if kind == TRIED[fault][0]}
    assert in_life(fault, ledger) - asked == excepted
