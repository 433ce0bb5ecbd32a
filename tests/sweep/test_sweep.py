"""The bounded sweep: every fault and every boundary at least once, moments by chance, another end of every fault.

`make sweep` goes on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
from tests.drill.fault_table import ARGUMENTS
from tests.sweep.account import Snapshot, differences
from tests.sweep.harness import (
    AT_RANDOM_CALL,
    BOUNDARIES,
    CHANCES,
    ENDS,
    FULL,
    MOMENTS,
    PAUSE,
    REQUESTED,
    Aim,
    Range,
    Shot,
    aims,
    distribution,
    ends,
    ends_of_all,
    other_end,
    soon_enough,
    sweep,
    table,
    with_ends,
)

from tocsin.aws.target import Aws
from tocsin.faults.rds import RdsProxyThrottle
from tocsin.faults.registry import FAULTS

pytestmark = [pytest.mark.sweep, pytest.mark.takes(120), pytest.mark.timeout(900)]
OF_KILLS, OF_ENDS, OF_ALL = map(pytest.mark.xdist_group, ("kills", "ends", "sweep"))
"""What has a sandbox together: three of them side by side, and each takes two minutes."""

SEED = 20
KILLS = max(len(BOUNDARIES), len(FAULTS)) + CHANCES
PROXY = "rds_proxy_throttle"


@OF_KILLS
def test_killed_anywhere_every_fault_is_undone_by_recover(shooting: Range) -> None:
    shots = list(sweep(shooting, islice(aims(shooting, FAULTS, random.Random(SEED)), KILLS)))
    print(f"seed {SEED}\n{table(shots)}")
    assert {shot.aim.fault for shot in shots} == set(FAULTS)
    assert {shot.aim.moment for shot in shots} == set(MOMENTS)
    assert [str(shot.aim) for shot in shots if shot.missed] == []
    assert {str(shot.aim): shot.residue for shot in shots if shot.residue} == {}


@OF_ENDS
@pytest.mark.timeout(1200)
def test_however_else_it_ends_every_fault_is_undone_by_its_own_drill(shooting: Range) -> None:
    shots = list(sweep(shooting, ends_of_all(FAULTS, random.Random(SEED))))
    print(f"seed {SEED}\n{table(shots)}\n{distribution(shots)}")
    assert {shot.aim.fault for shot in shots} == set(FAULTS)
    assert {shot.aim.moment for shot in shots} == set(ENDS)
    assert [str(shot.aim) for shot in shots if shot.missed] == []
    assert {str(shot.aim): shot.residue for shot in shots if shot.residue} == {}


def test_one_end_in_five_is_no_kill_and_one_in_forty_is_stopped() -> None:
    kills = (Aim(PROXY, "after inject", at="after inject") for _ in range(10_000))
    chosen = list(islice(with_ends(kills, ends(FAULTS, random.Random(SEED))), 1000))
    assert sum(aim.ends_itself for aim in chosen) == 200
    assert sum(aim.deed == "SIGSTOP for 20 s" for aim in chosen) == 25


def test_how_soon_an_undo_begins_is_told_as_a_distribution() -> None:
    aim = Aim(PROXY, REQUESTED[0])
    shots = [Shot(aim, False, (), 1.0, began_s=seconds) for seconds in (*[0.2] * 98, 0.9, 1.4)]
    told = "100 ends were asked for; the undo began after: 50% <= 0.20 s, 90% <= 0.20 s, 99% <= 1.40 s, "
    assert distribution(shots) == f"{told}the longest 1.40 s; 99.0% within 1 s"
    assert soon_enough([0.2, 1.2]) == 0.5
    assert distribution([]) == "no end was asked for"


@pytest.fixture
def mended(shooting: Range, before: Snapshot) -> Iterator[None]:
    """What a planted bug left of the proxy is put back."""
    fault, aws = RdsProxyThrottle.model_validate(ARGUMENTS[PROXY]), Aws(shooting.target, entry="")
    prior = fault.observe(aws, None)
    yield
    fault.undo(aws, prior)
    assert shooting.differs(before) == []
    assert shooting.open_entries() == []


@OF_ALL
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


@OF_ALL
@pytest.mark.usefixtures("mended")
def test_an_end_that_undoes_nothing_is_found(shooting: Range, before: Snapshot) -> None:
    aim = other_end(PROXY, PAUSE, random.Random(SEED))
    shot = shooting.shoot(aim, before, bug="an end that is asked for undoes nothing")
    assert any("ConnectionBorrowTimeout: 120 -> 1" in line for line in shot.residue), shot.residue
    assert any(line.startswith("exit code 5") for line in shot.residue), shot.residue


@OF_ALL
@pytest.mark.parametrize("bug", ["the undo waits when the end is asked for", "the end that is asked for is seen late"])
def test_an_undo_that_begins_late_is_found(shooting: Range, before: Snapshot, bug: str) -> None:
    aim = other_end(PROXY, PAUSE, random.Random(SEED))
    shot = shooting.shoot(aim, before, bug=bug)
    assert (shot.missed, shot.residue) == (False, ())
    assert soon_enough([shot.began_s or 0.0]) == 0.0


@OF_ALL
def test_an_end_by_somebody_else_is_found(shooting: Range, before: Snapshot) -> None:
    aim = replace(other_end(PROXY, FULL, random.Random(SEED)), deed="SIGTERM")
    shot = shooting.shoot(aim, before)
    assert "ended by ['interrupted'], expected nobody" in shot.residue


@OF_ALL
def test_a_boundary_that_is_never_reached_is_a_miss(shooting: Range, before: Snapshot) -> None:
    shot = shooting.shoot(Aim(PROXY, "before forget", at="before a step that does not exist"), before)
    assert (shot.missed, shot.residue) == (True, ())


@OF_ALL
def test_a_call_that_this_drill_does_not_make_is_aimed_at_earlier(shooting: Range) -> None:
    calls = shooting.rehearse(PROXY).calls
    # One drill looks more often than the next: far beyond what any makes, and half of it is what each does.
    beyond = calls * 3 // 2
    (shot,) = sweep(shooting, [Aim(PROXY, AT_RANDOM_CALL, at=f"before call {beyond}")])
    assert shot.aim.at == f"before call {beyond // 2}"
    assert (shot.killed, shot.residue) == (True, ())


def test_differences_tell_what_came_what_went_and_no_secret() -> None:
    variable = "lambda/worker/function/Configuration/Environment/Variables/KEY"
    before = {"sqs/orders/VisibilityTimeout": "30", variable: "hunter2-hunter2", "sqs/orders/Same": 1}
    after = {"sqs/dead/Name": "dead", variable: "else", "sqs/orders/Same": 1}
    told = differences(before, after)
    assert [line.split(":")[0] for line in told] == [variable, "sqs/dead/Name", "sqs/orders/VisibilityTimeout"]
    assert "hunter2" not in "".join(told)
    assert differences(before, before) == []
