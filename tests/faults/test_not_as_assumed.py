"""What is not as a fault assumes is refused in words, before anything is written down; and what AWS leaves out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.faults.stub.account import StubAws
from tests.faults.stub.bench import FaultBench
from tests.faults.stub.faults import ARGUMENTS, furnish

from tocsin.errors import Incomplete, NotFound, Refused, TargetError
from tocsin.faults.rds import DbInstanceState, RdsStop
from tocsin.model.events import FaultStage


@pytest.fixture
def account(stub: StubAws) -> StubAws:
    furnish(stub)
    return stub


Spoil = Callable[[Any], None]


def instance_is(status: str) -> Spoil:
    return lambda services: services["rds"].instances["orders"].goes(status, status)


def latest(**fields: Any) -> Spoil:
    def spoil(services: Any) -> None:
        found = services["lambda"].latest
        found |= fields
        for name in [name for name, value in fields.items() if value is None]:
            del found[name]

    return spoil


def of_service(**fields: Any) -> Spoil:
    return lambda services: services["ecs"].service.update(fields)


def of_instance(**fields: Any) -> Spoil:
    return lambda services: services["rds"].set.update(fields)


def parameters(group: str, status: str) -> dict[str, str]:
    return {"DBParameterGroupName": group, "ParameterApplyStatus": status}


REFUSED: dict[str, tuple[str, Spoil, str]] = {
    "stopped": ("rds_stop", instance_is("stopped"), "to be available, found it stopped"),
    "optimising": ("rds_reboot", instance_is("storage-optimization"), "to be available, found it storage-opt"),
    "modified": ("rds_reboot", instance_is("modifying"), "to be available, found it modifying"),
    "a primary": (
        "rds_stop",
        of_instance(ReadReplicaDBInstanceIdentifiers=["copy", "other"]),
        "one that AWS stops, found that it has read replicas (copy, other)",
    ),
    "a primary of a cluster": (
        "rds_stop",
        of_instance(ReadReplicaDBInstanceIdentifiers=[], ReadReplicaDBClusterIdentifiers=["copies"]),
        "has read replicas (copies)",
    ),
    "a replica": (
        "rds_stop",
        of_instance(ReadReplicaSourceDBInstanceIdentifier="main"),
        "found that it is a read replica of main",
    ),
    "a replica of a cluster": (
        "rds_stop",
        of_instance(ReadReplicaSourceDBClusterIdentifier="main"),
        "found that it is a read replica of main",
    ),
    "a member": (
        "rds_stop",
        of_instance(DBClusterIdentifier="aurora", Engine="aurora-postgresql", MultiAZ=False),
        "member of the cluster aurora, which is stopped as a whole",
    ),
    "SQL Server": ("rds_stop", of_instance(Engine="sqlserver-se", MultiAZ=True), "found SQL Server in Multi-AZ"),
    "no standby": (
        "rds_reboot",
        of_instance(Engine="postgres", MultiAZ=False),
        "it in a single zone, without the standby",
    ),
    "stopped by RDS Custom": (
        "rds_stop",
        of_instance(Engine="custom-oracle-ee", MultiAZ=False),
        "one that AWS stops, found the engine custom-oracle-ee of RDS Custom",
    ),
    "rebooted by RDS Custom": (
        "rds_reboot",
        of_instance(Engine="custom-sqlserver-se", MultiAZ=False),
        "one that AWS reboots, found the engine custom-sqlserver-se of RDS Custom",
    ),
    "parameters wait for the reboot": (
        "rds_reboot",
        of_instance(DBParameterGroups=[parameters("base", "in-sync"), parameters("tuned", "pending-reboot")]),
        "have all of its parameters in force, found that those of tuned wait for a reboot",
    ),
    "parameters wait for the start": (
        "rds_stop",
        of_instance(DBParameterGroups=[parameters("tuned", "pending-reboot")]),
        "found that those of tuned wait for a reboot",
    ),
    "a copy of RDS Custom": ("rds_restore_rehearsal", of_instance(Engine="custom-oracle-ee"), "of RDS Custom"),
    "a copy of a member": (
        "rds_restore_rehearsal",
        of_instance(Engine="aurora-postgresql", DBClusterIdentifier="aurora"),
        "found that it is a member of the cluster aurora",
    ),
    "a copy of what is stopped": ("rds_restore_rehearsal", instance_is("stopped"), "restores, found it stopped"),
    "too big": ("lambda_bad_release", latest(CodeSize=50_000_001), "at most 50 MB, found 50000001 bytes"),
    "an image": (
        "lambda_bad_release",
        latest(PackageType="Image", Handler=None, Runtime=None),
        "with a handler, found the package type Image",
    ),
    "being enabled": (
        "lambda_event_source_disabled",
        lambda services: services["lambda"].mappings[0].update(State="Enabling"),
        "Enabled or Disabled, found it Enabling",
    ),
    "being provisioned": (
        "lambda_reserved_concurrency",
        lambda services: services["lambda"].provision("live", 2, allocated=1),
        "the 2 provisioned instances of desk:live to be there, found 1",
    ),
    "not to be had": (
        "lambda_reserved_concurrency",
        lambda services: setattr(services["lambda"], "unreserved", 120),
        "50 more that can be reserved for desk, found 120",
    ),
    "deployed by CodeDeploy": (
        "ecs_bad_release",
        of_service(deploymentController={"type": "CODE_DEPLOY"}),
        "deployment controller CODE_DEPLOY",
    ),
    "blue and green": (
        "ecs_bad_release",
        lambda services: services["ecs"].service["deploymentConfiguration"].update(strategy="BLUE_GREEN"),
        "deployed by rolling updates, found the deployment strategy BLUE_GREEN",
    ),
    "a revision that was deregistered": (
        "ecs_bad_release",
        lambda services: (
            services["ecs"].definitions[services["ecs"].service["taskDefinition"]].update(status="INACTIVE")
        ),
        "the task definition till:1 of the ECS service shop/till to be ACTIVE, found it INACTIVE",
    ),
    "no module": (
        "lambda_bad_release",
        latest(Handler="bootstrap", Runtime="provided.al2023"),
        "a module and a function, found 'bootstrap' of provided.al2023",
    ),
    "one on each instance": ("ecs_scale", of_service(schedulingStrategy="DAEMON"), "scheduling strategy DAEMON"),
    "no failover": (
        "elasticache_failover",
        lambda services: services["elasticache"].set.update(AutomaticFailover="disabled"),
        "to be enabled, found disabled",
    ),
    "cluster mode": (
        "elasticache_reboot",
        lambda services: services["elasticache"].set.update(ClusterEnabled=True),
        "to be off, found it on",
    ),
    "a cache with parameters that wait": (
        "elasticache_reboot",
        lambda services: services["elasticache"].of_nodes.update(
            CacheParameterGroup={"CacheParameterGroupName": "tuned", "CacheNodeIdsToReboot": ["0001"]}
        ),
        "found that some of cache-001, cache-002 wait for a reboot",
    ),
    "a busy cache": (
        "elasticache_reboot",
        lambda services: services["elasticache"].group.goes("modifying", "available"),
        "available, modifying",
    ),
}
ARGUMENTS_OF = {
    "no standby": {"instance": "orders", "failover": True},
    "not to be had": {"function": "desk", "reserved": 50},
}
POSSIBLE: dict[str, tuple[str, dict[str, Any], Spoil]] = {
    "in Multi-AZ": ("rds_stop", {}, of_instance(Engine="postgres", MultiAZ=True, ReadReplicaDBInstanceIdentifiers=[])),
    "SQL Server in one zone": ("rds_stop", {}, of_instance(Engine="sqlserver-se", MultiAZ=False)),
    "with a standby": ("rds_reboot", {"failover": True}, of_instance(Engine="postgres", MultiAZ=True)),
    "a primary": ("rds_reboot", {}, of_instance(MultiAZ=False, ReadReplicaDBInstanceIdentifiers=["copy"])),
    "with its parameters": ("rds_reboot", {}, of_instance(DBParameterGroups=[parameters("base", "in-sync")])),
}
"""What AWS does stop, and reboot, though it looks like the others."""


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_the_ledger_entry(account: StubAws, life: FaultBench, case: str) -> None:
    kind, spoil, words = REFUSED[case]
    spoil(account.services)
    with pytest.raises(Refused) as refused:
        life.inject(kind, **ARGUMENTS_OF.get(case, ARGUMENTS[kind]))
    assert words in str(refused.value)
    assert str(refused.value).endswith("Nothing was changed.")
    assert life.lifecycle.refusal is refused.value
    assert life.ledger.entries() == []
    assert {one.split(":")[1][:4] for one in account.asked} <= {"Desc", "List", "GetF", "GetA", "GetE"}


@pytest.mark.parametrize("case", POSSIBLE)
def test_what_aws_does_is_not_refused(account: StubAws, life: FaultBench, case: str) -> None:
    kind, more, spoil = POSSIBLE[case]
    spoil(account.services)
    assert life.inject(kind, **ARGUMENTS[kind], **more) is FaultStage.EFFECTIVE
    assert life.lifecycle.undo_all() == []
    assert account.services["rds"].instances["orders"].status == "available"


def test_a_container_that_is_not_there_is_told_before_the_ledger_entry(account: StubAws, life: FaultBench) -> None:
    with pytest.raises(TargetError, match=r"expected a container 'desk' .* found: till"):
        life.inject("ecs_bad_release", cluster="shop", service="till", container="desk")
    assert life.ledger.entries() == []


def test_what_is_not_there_is_not_copied(account: StubAws, life: FaultBench) -> None:
    with pytest.raises(NotFound, match="expected DB instance bills, found none"):
        life.inject("rds_restore_rehearsal", **{**ARGUMENTS["rds_restore_rehearsal"], "instance": "bills"})
    assert life.ledger.entries() == []


def test_where_the_zones_are_not_told_nothing_fails_over(account: StubAws, life: FaultBench) -> None:
    with pytest.raises(Incomplete, match="says 'MultiAZ'"):
        life.inject("rds_reboot", instance="orders", failover=True)
    assert life.ledger.entries() == []


def test_an_instance_that_was_stopped_before_is_not_started_by_an_entry_of_an_older_version(
    account: StubAws, life: FaultBench
) -> None:
    account.services["rds"].instances["orders"].goes("stopped", "stopped")
    fault = RdsStop(instance="orders")
    life.ledger.intend("old", fault.kind, fault.resource, fault, DbInstanceState(status="stopped"))
    assert life.lifecycle.undo_all(life.open) == []
    assert "rds:StartDBInstance" not in account.asked


def test_an_environment_that_cannot_be_decrypted_is_not_taken_for_an_empty_one(
    account: StubAws, life: FaultBench
) -> None:
    told = {"ErrorCode": "AccessDeniedException", "Message": "not allowed to kms:Decrypt"}
    account.services["lambda"].latest["Environment"] = {"Error": told}
    for kind in ("lambda_environment_credential", "endpoint_override"):
        with pytest.raises(TargetError, match=r"found AccessDeniedException: not allowed .* Allow kms:Decrypt"):
            life.inject(kind, **ARGUMENTS[kind])
    assert life.ledger.entries() == []


def test_an_environment_that_cannot_be_decrypted_any_more_is_left_and_named(account: StubAws, life: FaultBench) -> None:
    kind = "lambda_environment_credential"
    assert life.inject(kind, **ARGUMENTS[kind]) is FaultStage.EFFECTIVE
    held = account.services["lambda"].latest["Environment"]
    account.services["lambda"].latest["Environment"] = {"Error": {"ErrorCode": "KMSDisabled", "Message": "no key"}}
    (left,) = life.lifecycle.undo_all()
    assert "found KMSDisabled: no key" in life.why(left)
    account.services["lambda"].latest["Environment"] = held
    assert life.lifecycle.undo_all() == []
    assert account.services["lambda"].latest["Environment"]["Variables"]["PASSWORD"] == "a-long-password"


def test_a_source_without_an_arn_is_named_and_another_is_found_beside_it(account: StubAws, life: FaultBench) -> None:
    mappings = account.services["lambda"].mappings
    mappings.insert(0, {"UUID": "0a1b2c3d-0000-4000-8000-000000000002", "State": "Enabled", "Topics": ["payments"]})
    assert life.inject("lambda_event_source_disabled", function="desk", queue="orders") is FaultStage.EFFECTIVE
    assert life.lifecycle.undo_all() == []
    with pytest.raises(TargetError, match=r"found mappings from: payments, orders"):
        life.inject("lambda_event_source_disabled", function="desk", queue="bills")


def test_a_service_that_says_nothing_of_its_deployments_is_released_and_rolled_back(
    account: StubAws, life: FaultBench
) -> None:
    del account.services["ecs"].service["deploymentConfiguration"]
    before = account.services["ecs"].service["taskDefinition"]
    assert life.inject("ecs_bad_release", cluster="shop", service="till") is FaultStage.EFFECTIVE
    assert account.services["ecs"].service["taskDefinition"] != before
    assert life.lifecycle.undo_all() == []
    assert account.services["ecs"].service["taskDefinition"] == before


def test_provisioned_concurrency_is_there_again_only_when_it_is_allocated(account: StubAws, life: FaultBench) -> None:
    functions = account.services["lambda"]
    assert life.inject("lambda_reserved_concurrency", function="desk") is FaultStage.EFFECTIVE
    slow = functions.provision
    functions.provision = lambda qualifier, count: slow(qualifier, count, allocated=0)
    (left,) = life.lifecycle.undo_all()
    assert "provisioned is {'1': 0, 'live': 0}, not {'1': 1, 'live': 2}" in left.detail + life.why(left)
    slow("live", 2)
    (left,) = life.process().undo_all(life.open)  # half of it is no drift
    slow("1", 1)
    assert life.process().undo_all(life.open) == []
