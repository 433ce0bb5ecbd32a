"""Faults of ECS and Elastic Load Balancing, seen where a user sees them: in what the load balancer answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.sandbox.aws.fleet import CLUSTER, Fleet
from tests.sandbox.aws.shop import eventually

from tocsin.aws.target import Target
from tocsin.errors import NotFound, ResidueLeft, TargetError
from tocsin.faults.ecs import EcsBadRelease, EcsScale, EcsStopTasks
from tocsin.faults.elb import ElbTargetDeregistered
from tocsin.faults.lifecycle import FaultLifecycle, recover
from tocsin.model.events import FaultStage
from tocsin.record.ledger import Ledger

TRIES = 5
"""A machine that stands still while a task is replaced has seen nothing: it is asked again."""
ALONE = {"minimumHealthyPercent": 0, "maximumPercent": 100}
"""A deployment that stops the old task before it starts the new one: a bad release is an outage."""


class Bench:
    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self.fleet = fleet
        self.target: Target = fleet.shop.account.target
        self.ledger = Ledger(directory / "ledger.sqlite", "sandbox")
        self.lifecycle = FaultLifecycle(target=self.target, ledger=self.ledger, drill="d")
        self.inject = self.lifecycle.inject

    @property
    def on(self) -> dict[str, str]:
        return {"cluster": CLUSTER, "service": self.fleet.name}

    def recover(self) -> None:
        """In another process, after the one that injected was killed."""
        assert len(recover(self.target, self.ledger)) == 1

    def answering(self) -> set[int]:
        """Process ids behind the load balancer."""
        return {self.fleet.get().json()["pid"] for _ in range(4)}

    def status(self) -> int:
        return self.fleet.get().status_code

    def own_task_definitions(self) -> list[str]:
        ecs = self.fleet.client("ecs")
        return [
            arn
            for status in ("ACTIVE", "INACTIVE")
            for arn in ecs.list_task_definitions(familyPrefix="tocsin-", status=status)["taskDefinitionArns"]
        ]


@pytest.fixture
def bench(fleet: Fleet, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(fleet, tmp_path)
    yield bench
    bench.ledger.close()


# ------------------------------------------------------------------------------------------------ stopped tasks


def test_stopped_tasks_are_missed_and_replaced(bench: Bench) -> None:
    fleet = bench.fleet
    fleet.balance()
    fleet.create(fleet.define())
    fleet.wait_until_steady()
    oldest, other = fleet.tasks()
    assert bench.inject(EcsStopTasks(**bench.on)) is FaultStage.EFFECTIVE
    entry = bench.ledger.entries()[-1]
    ended = fleet.stopped(oldest["taskArn"])
    assert ended["stoppedReason"] == f"tocsin {entry.id}"
    assert other["taskArn"] in {task["taskArn"] for task in fleet.tasks()}
    assert bench.lifecycle.undo_all() == []
    assert bench.lifecycle.undo_all([entry]) == []
    assert fleet.service["runningCount"] == 2

    everything = fleet.tasks()
    assert bench.inject(EcsStopTasks(**bench.on, percent=100)) is FaultStage.EFFECTIVE
    # The first that replaces them may serve already: that none was left is what stays to be seen.
    reason = f"tocsin {bench.ledger.entries()[-1].id}"
    assert [fleet.stopped(task["taskArn"])["stoppedReason"] for task in everything] == [reason] * 2
    bench.recover()
    fleet.wait_until_healthy(2)
    assert len(bench.answering()) == 2


def test_a_service_without_tasks_has_none_to_lose(bench: Bench) -> None:
    bench.fleet.create(bench.fleet.define(), desired=0)
    assert bench.inject(EcsStopTasks(**bench.on, percent=50)) is FaultStage.NO_EFFECT
    assert bench.lifecycle.undo_all() == []


def residue(bench: Bench) -> str:
    """What a recovery says that it leaves; empty when it leaves nothing."""
    try:
        recover(bench.target, bench.ledger)
    except ResidueLeft as left:
        return str(left)
    return ""


def test_a_task_that_is_not_replaced_is_residue(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.fleet.create(bench.fleet.define(), desired=1)
    bench.fleet.wait_until_steady()
    for _ in range(TRIES):
        assert bench.inject(EcsStopTasks(**bench.on)) is FaultStage.EFFECTIVE
        with monkeypatch.context() as patch:
            patch.setattr(EcsStopTasks, "effect_within_s", 0.0)
            if "not_replaced is 1, not 0" in residue(bench):
                break
        bench.fleet.wait_until_steady()
    else:
        pytest.fail(f"in {TRIES} tries the machine never looked before the task was replaced")
    bench.recover()


@pytest.mark.parametrize(
    ("count", "percent", "running", "stopped"),
    [(None, None, 3, 1), (2, None, 3, 2), (5, None, 3, 3), (None, 50, 3, 2), (None, 100, 3, 3), (None, 1, 0, 0)],
)
def test_so_many_tasks_are_stopped(count: int | None, percent: int | None, running: int, stopped: int) -> None:
    assert EcsStopTasks(cluster="c", service="s", count=count, percent=percent).number(running) == stopped


def test_a_count_and_a_percentage_are_one_too_many() -> None:
    with pytest.raises(ValidationError, match="expected `count` or `percent`, found both: 1 and 50"):
        EcsStopTasks(cluster="c", service="s", count=1, percent=50)


def test_what_is_not_there_is_not_found(bench: Bench) -> None:
    with pytest.raises(NotFound, match="expected the ECS service fleet/no-such to be ACTIVE"):
        bench.inject(EcsScale(cluster=CLUSTER, service="no-such", desired=0))
    assert bench.ledger.entries() == []


# ------------------------------------------------------------------------------------------------ bad releases


def test_a_bad_release_is_an_outage_until_it_is_rolled_back(bench: Bench) -> None:
    fleet = bench.fleet
    fleet.balance()
    good = fleet.define(environment={"RELEASE": "good"})
    fleet.create(good, desired=1, deploymentConfiguration=ALONE)
    fleet.wait_until_steady()
    assert bench.inject(EcsBadRelease(**bench.on)) is FaultStage.EFFECTIVE
    entry = bench.ledger.entries()[-1]
    assert eventually(lambda: bench.status() == 503)
    assert f"/tocsin-{entry.id}:" in fleet.service["taskDefinition"]
    bench.recover()
    eventually(lambda: bench.status() == 200)
    assert fleet.get().json()["release"] == "good"
    assert fleet.service["taskDefinition"] == good
    assert bench.own_task_definitions() == []
    assert bench.lifecycle.undo_all([entry]) == []


def test_the_circuit_breaker_may_be_faster_than_the_undo(bench: Bench) -> None:
    fleet = bench.fleet
    good = fleet.define()
    fleet.create(good, desired=1)
    fleet.wait_until_steady()
    before = fleet.service["deploymentConfiguration"]
    assert bench.inject(EcsBadRelease(**bench.on, how="image", circuit_breaker=True)) is FaultStage.EFFECTIVE
    assert fleet.service["deploymentConfiguration"]["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    eventually(lambda: fleet.service["taskDefinition"] == good)
    assert "CannotPullContainerError" in fleet.tasks("STOPPED")[0]["stoppedReason"]
    assert bench.lifecycle.undo_all() == []
    assert fleet.service["taskDefinition"] == good
    assert fleet.service["deploymentConfiguration"] == before
    assert bench.own_task_definitions() == []


def test_what_somebody_else_deploys_meanwhile_is_left_alone(bench: Bench) -> None:
    fleet = bench.fleet
    fleet.create(good := fleet.define(), desired=1)
    assert bench.inject(EcsBadRelease(**bench.on)) is FaultStage.EFFECTIVE
    fleet.update(taskDefinition=(theirs := fleet.define()))
    (left,) = bench.lifecycle.undo_all()
    assert bench.lifecycle.stages[left.id] is FaultStage.DRIFTED
    assert fleet.service["taskDefinition"] == theirs
    # They agree that the release of before is the right one.
    fleet.update(taskDefinition=good)
    bench.recover()
    assert bench.own_task_definitions() == []


def test_a_container_that_is_not_there_cannot_be_spoilt(bench: Bench) -> None:
    good = bench.fleet.define()
    bench.fleet.create(good, desired=0)
    with pytest.raises(TargetError, match=r"expected a container 'db' in the task definition .* found: web"):
        bench.inject(EcsBadRelease(**bench.on, container="db"))
    assert bench.lifecycle.undo_all() == []
    assert bench.fleet.service["taskDefinition"] == good


# ------------------------------------------------------------------------------------------------ desired count


def _scalable(fleet: Fleet) -> dict[str, Any]:
    (target,) = fleet.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[f"service/{CLUSTER}/{fleet.name}"]
    )["ScalableTargets"]
    return dict(target)


def test_scaled_in_without_auto_scaling_that_answers(bench: Bench) -> None:
    fleet = bench.fleet
    fleet.balance()
    fleet.create(fleet.define())
    fleet.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ResourceId=f"service/{CLUSTER}/{fleet.name}",
        ScalableDimension="ecs:service:DesiredCount",
        MinCapacity=1,
        MaxCapacity=4,
        SuspendedState={"ScheduledScalingSuspended": True},
    )
    fleet.wait_until_steady()
    before = _scalable(fleet)
    assert bench.inject(EcsScale(**bench.on, desired=0)) is FaultStage.EFFECTIVE
    assert set(_scalable(fleet)["SuspendedState"].values()) == {True}
    eventually(lambda: bench.status() == 503)
    bench.recover()
    assert _scalable(fleet) == before
    assert fleet.service["desiredCount"] == 2
    eventually(lambda: bench.status() == 200)


def test_a_service_that_nothing_scales_is_scaled_all_the_same(bench: Bench) -> None:
    bench.fleet.create(bench.fleet.define(), desired=0)
    assert bench.inject(EcsScale(**bench.on, desired=0)) is FaultStage.NO_EFFECT
    assert bench.inject(EcsScale(**bench.on, desired=1)) is FaultStage.EFFECTIVE
    bench.fleet.update(desiredCount=2)
    assert [bench.lifecycle.stages[entry.id] for entry in bench.lifecycle.undo_all()] == [FaultStage.DRIFTED] * 2
    bench.fleet.update(desiredCount=0)
    assert len(recover(bench.target, bench.ledger)) == 2


# ------------------------------------------------------------------------------------------------ targets


def test_a_deregistered_target_gets_no_requests_until_it_is_registered_again(bench: Bench) -> None:
    fleet = bench.fleet
    fleet.balance()
    fleet.create(fleet.define())
    fleet.wait_until_steady()
    before = bench.answering()
    fault = ElbTargetDeregistered(target_group=fleet.name, **bench.on)
    assert bench.inject(fault) is FaultStage.EFFECTIVE
    entry = bench.ledger.entries()[-1]
    assert len(bench.answering()) == 1
    bench.recover()
    assert bench.lifecycle.undo_all([entry]) == []
    fleet.wait_until_healthy(2)
    assert bench.answering() == before


def test_a_target_whose_task_was_replaced_is_not_registered_again(bench: Bench) -> None:
    fleet = bench.fleet
    fleet.balance()
    fleet.create(fleet.define(), desired=1)
    fleet.wait_until_steady()
    (task,) = fleet.tasks()
    dead = task["containers"][0]["networkBindings"][0]["hostPort"]
    assert bench.inject(ElbTargetDeregistered(target_group=fleet.name, **bench.on)) is FaultStage.EFFECTIVE
    assert bench.status() == 503
    fleet.client("ecs").stop_task(cluster=CLUSTER, task=task["taskArn"])
    fleet.stopped(task["taskArn"])
    bench.recover()
    fleet.wait_until_healthy(1)
    assert dead not in fleet.health()
    assert bench.status() == 200


def test_targets_that_cannot_be_taken_are_told(bench: Bench) -> None:
    group, elb = bench.fleet.balance(), bench.fleet.client("elbv2")
    with pytest.raises(TargetError, match=r"expected 1 healthy targets in the target group .*, found: none"):
        bench.inject(ElbTargetDeregistered(target_group=bench.fleet.name))
    bench.fleet.create(bench.fleet.define(), desired=0)
    port = int(bench.target.endpoint_url.rsplit(":", 1)[1])  # type: ignore[union-attr]
    elb.modify_target_group(TargetGroupArn=group, Matcher={"HttpCode": "200-499"})
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": port}])
    bench.fleet.wait_until_healthy(1)
    with pytest.raises(TargetError, match=f"found 127.0.0.1:{port}, which is none"):
        bench.inject(ElbTargetDeregistered(target_group=bench.fleet.name, **bench.on))
    assert bench.ledger.entries() == []
    with pytest.raises(ValidationError, match="expected `cluster` and `service`, or neither"):
        ElbTargetDeregistered(target_group="g", cluster=CLUSTER)
