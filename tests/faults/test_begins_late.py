"""What AWS has taken and does not show yet is not mended: an undo that looks once would find nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from tests.faults.stub.account import StubAws
from tests.faults.stub.bench import FaultBench
from tests.faults.stub.faults import ARGUMENTS, furnish

from tocsin.errors import Refused
from tocsin.faults.registry import FAULTS

Answering = Callable[[dict[str, Any]], Any]
LATE_S = 10.0
READS = {
    "ecs_stop_tasks": ("ecs", ("list_tasks", "describe_tasks", "describe_services")),
    "ecs_task_cpu_stress": ("fis", ("list_experiments",)),
    "elasticache_failover": ("elasticache", ("describe_replication_groups", "describe_cache_clusters")),
    "elasticache_reboot": ("elasticache", ("describe_replication_groups", "describe_cache_clusters")),
    "rds_reboot": ("rds", ("describe_db_instances",)),
    "rds_stop": ("rds", ("describe_db_instances",)),
}
"""Faults whose undo only looks, or acts by what it sees; their reads are for a while those of before."""


@pytest.fixture
def account(stub: StubAws) -> StubAws:
    furnish(stub)
    return stub


def answer_as_before(account: StubAws, kind: str) -> None:
    """From now on, for some seconds, the reads of a fault are answered with the state of now."""
    name, reads = READS[kind]
    service, until = account.services[name], account.clock.now + LATE_S
    old = deepcopy(service, {id(account.clock): account.clock})
    for read in reads:
        setattr(service, read, _late(account, until, getattr(old, read), getattr(service, read)))


def _late(account: StubAws, until: float, before: Answering, now: Answering) -> Answering:
    return lambda asked: (before if account.clock.now < until else now)(asked)


def is_as_before(account: StubAws, kind: str) -> bool:
    """Whether everything is there again, without a wait: as whoever is told `verified` will find it."""
    name, _ = READS[kind]
    service = account.services[name]
    things = {
        "ecs": lambda: [one["lastStatus"] for one in map(service._shown, service.tasks)].count("RUNNING") == 2,
        "fis": lambda: all(one.status == "stopped" for one in service.experiments.values()),
        "elasticache": lambda: {service.group.status, *(one.status for one in service.nodes.values())} == {"available"},
        "rds": lambda: service.instances["orders"].status == "available",
    }
    return things[name]()


def test_every_fault_that_only_looks_is_tried() -> None:
    assert {kind for kind, fault in FAULTS.items() if fault.begins_within_s > 0} == READS.keys()
    assert {kind for kind, fault in FAULTS.items() if fault.heals} <= READS.keys()


@pytest.mark.parametrize("kind", READS)
def test_what_is_not_shown_yet_is_waited_for(account: StubAws, life: FaultBench, kind: str) -> None:
    """The drill ends in the moment in which AWS has taken the call."""

    def over(seconds: float) -> None:
        raise Refused("interrupted", "the end was asked for")

    life.lifecycle.wait = over
    answer_as_before(account, kind)
    with pytest.raises(Refused, match="the end was asked for"):
        life.inject(kind, **ARGUMENTS[kind])
    assert life.lifecycle.undo_all() == []
    assert is_as_before(account, kind)


def test_a_fault_of_long_ago_is_undone_without_a_wait(account: StubAws, life: FaultBench) -> None:
    life.inject("elasticache_reboot", **ARGUMENTS["elasticache_reboot"])
    account.clock.now += 600.0
    before = account.clock.now
    assert life.process().undo_all(life.open) == []
    assert account.clock.now == before
