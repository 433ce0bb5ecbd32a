"""The bounded kill sweep: every fault and every boundary at least once, and moments by chance. `make sweep` goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

import pytest
from tests.drill.fault_table import ARGUMENTS
from tests.sweep.account import Snapshot, differences
from tests.sweep.harness import BOUNDARIES, CHANCES, MOMENTS, Aim, Range, aims, sweep, table

from tocsin.faults.base import Aws
from tocsin.faults.rds import RdsProxyThrottle
from tocsin.faults.registry import FAULTS

pytestmark = [pytest.mark.drill, pytest.mark.timeout(240)]

SEED = 20
KILLS = max(len(BOUNDARIES), len(FAULTS)) + CHANCES
PROXY = "rds_proxy_throttle"


def test_killed_anywhere_every_fault_is_undone_by_recover(shooting: Range) -> None:
    shots = list(sweep(shooting, islice(aims(shooting, FAULTS, random.Random(SEED)), KILLS)))
    print(f"seed {SEED}\n{table(shots)}")
    assert {shot.aim.fault for shot in shots} == set(FAULTS)
    assert {shot.aim.moment for shot in shots} == set(MOMENTS)
    assert [str(shot.aim) for shot in shots if shot.missed] == []
    assert {str(shot.aim): shot.residue for shot in shots if shot.residue} == {}


@pytest.fixture
def mended(shooting: Range, before: Snapshot) -> Iterator[None]:
    """What a planted bug left of the proxy is put back."""
    fault, aws = RdsProxyThrottle.model_validate(ARGUMENTS[PROXY]), Aws(shooting.target, entry="")
    prior = fault.observe(aws, None)
    yield
    fault.undo(aws, prior)
    assert shooting.differs(before) == []
    assert shooting.open_entries() == []


@pytest.mark.usefixtures("mended")
@pytest.mark.parametrize(
    ("bug", "moment"),
    [
        ("ledger written after the injection", "after inject"),
        ("undo restores half and does not look", "after undo"),
    ],
)
def test_a_planted_bug_leaves_residue_and_is_found(shooting: Range, before: Snapshot, bug: str, moment: str) -> None:
    shot = shooting.shoot(Aim(PROXY, moment, at=moment), before, bug=bug)
    assert shot.killed
    assert any("ConnectionBorrowTimeout: 120 -> 1" in line for line in shot.residue), shot.residue


def test_a_boundary_that_is_never_reached_is_a_miss(shooting: Range, before: Snapshot) -> None:
    shot = shooting.shoot(Aim(PROXY, "before forget", at="before a step that does not exist"), before)
    assert (shot.missed, shot.residue) == (True, ())


def test_differences_tell_what_came_what_went_and_no_secret() -> None:
    variable = "lambda/worker/function/Configuration/Environment/Variables/KEY"
    before = {"sqs/orders/VisibilityTimeout": "30", variable: "hunter2-hunter2", "sqs/orders/Same": 1}
    after = {"sqs/dead/Name": "dead", variable: "else", "sqs/orders/Same": 1}
    told = differences(before, after)
    assert [line.split(":")[0] for line in told] == [variable, "sqs/dead/Name", "sqs/orders/VisibilityTimeout"]
    assert "hunter2" not in "".join(told)
    assert differences(before, before) == []
