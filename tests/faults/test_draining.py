"""An address that drains cannot be registered again: the undo waits for the end of its deregistration delay."""

from __future__ import annotations

import pytest
from tests.faults.stub.account import StubAws
from tests.faults.stub.bench import FaultBench
from tests.faults.stub.faults import ARGUMENTS, furnish

from tocsin.model.events import FaultStage

KIND = "elb_target_deregistered"


@pytest.fixture
def account(stub: StubAws) -> StubAws:
    furnish(stub)
    stub.services["elbv2"].delay = 300.0
    return stub


def test_an_address_is_registered_again_when_it_has_drained(account: StubAws, life: FaultBench) -> None:
    before, began = dict(account.services["elbv2"].targets), account.clock.now
    assert life.inject(KIND, **ARGUMENTS[KIND]) is FaultStage.EFFECTIVE
    assert account.services["elbv2"].targets != before
    assert life.lifecycle.undo_all() == []
    assert 300 <= account.clock.now - began < 310
    assert account.services["elbv2"].targets == before
    assert life.open == []


def test_one_that_drained_long_ago_is_registered_at_once(account: StubAws, life: FaultBench) -> None:
    life.inject(KIND, **ARGUMENTS[KIND])
    account.clock.sleep(600)
    began = account.clock.now
    assert life.lifecycle.undo_all() == []
    assert account.clock.now - began < 5


def test_an_instance_is_registered_at_once(account: StubAws, life: FaultBench) -> None:
    balancer = account.services["elbv2"]
    balancer.targets = {("i-0abc", 80): {"Id": "i-0abc", "Port": 80}}
    began = account.clock.now
    assert life.inject(KIND, **ARGUMENTS[KIND]) is FaultStage.EFFECTIVE
    assert life.lifecycle.undo_all() == []
    assert account.clock.now - began < 60


def test_what_drains_for_longer_than_a_load_balancer_lets_it_is_left_and_named(
    account: StubAws, life: FaultBench
) -> None:
    account.services["elbv2"].delay = 9000.0
    life.inject(KIND, **ARGUMENTS[KIND])
    (left,) = life.lifecycle.undo_all()
    assert "expected 10.0.0.1 to have left the target group till" in life.why(left)
    account.clock.sleep(9000)
    assert life.process().undo_all(life.open) == []
