"""Every fault of the registry on the running sandbox: seen, undone, and the AWS API tells the same as before."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.drill.conftest import Checkout
from tests.drill.fault_table import ARGUMENTS, BUCKET, DATA, ROLE, SERVICE, STAGE, TABLE, door, inside, settle

from tocsin.faults.base import AnyFault
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.registry import FAULTS, fault_class
from tocsin.model.events import FaultStage
from tocsin.project.targets import load_target
from tocsin.record.ledger import Ledger

pytestmark = [pytest.mark.account, pytest.mark.takes(100), pytest.mark.xdist_group("faults")]

MADE_BY_FAULTS = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'tocsin%'),
       (SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tocsin%'),
       (SELECT count(*) FROM pg_class WHERE relname LIKE 'tocsin%')
"""
DOOR = "door of the third party"
Describe = Callable[[Callable[[str], Any]], Any]
ACCOUNT: dict[str, Describe] = {
    "alias": lambda client: _without_metadata(
        client("lambda").get_alias(FunctionName=f"{STAGE}-clockIn", Name="provisioned"), "RevisionId"
    ),
    "clock-in": lambda client: _function(client, f"{STAGE}-clockIn"),
    "worker": lambda client: _function(client, f"{STAGE}-calendarSyncWorker"),
    "concurrency": lambda client: (
        client("lambda").get_function_concurrency(FunctionName=f"{STAGE}-clockIn").get("ReservedConcurrentExecutions")
    ),
    "provisioned": lambda client: [
        (c["FunctionArn"], c["RequestedProvisionedConcurrentExecutions"], c["Status"])
        for c in client("lambda").list_provisioned_concurrency_configs(FunctionName=f"{STAGE}-clockIn")[
            "ProvisionedConcurrencyConfigs"
        ]
    ],
    "versions of the worker": lambda client: [
        v["Version"]
        for v in client("lambda").list_versions_by_function(FunctionName=f"{STAGE}-calendarSyncWorker")["Versions"]
    ],
    "mapping": lambda client: [
        (m["UUID"], m["State"], m["BatchSize"])
        for m in client("lambda").list_event_source_mappings()["EventSourceMappings"]
    ],
    "proxy": lambda client: client("rds").describe_db_proxy_target_groups(DBProxyName="itcenter-dev-proxy")[
        "TargetGroups"
    ][0]["ConnectionPoolConfig"],
    "queue": lambda client: _attributes(client, "itcenter-dev-calendar-sync"),
    "dead-letter queue": lambda client: _attributes(client, "itcenter-dev-calendar-sync-dlq"),
    "policies of the role": lambda client: client("iam").list_role_policies(RoleName=ROLE)["PolicyNames"],
    "policy of the bucket": lambda client: _answer(client("s3").get_bucket_policy, Bucket=BUCKET),
    "policy of the table": lambda client: _answer(
        client("dynamodb").get_resource_policy,
        ResourceArn=client("dynamodb").describe_table(TableName=TABLE)["Table"]["TableArn"],
    ),
    "release of the service": lambda client: _service(client)["taskDefinition"],
    "desired count": lambda client: _service(client)["desiredCount"],
    "deployment of the service": lambda client: _service(client)["deploymentConfiguration"],
    "task definitions": lambda client: [
        client("ecs").list_task_definitions(status=status)["taskDefinitionArns"] for status in ("ACTIVE", "INACTIVE")
    ],
    "targets": lambda client: [
        one["Target"]
        for group in client("elbv2").describe_target_groups()["TargetGroups"]
        for one in client("elbv2").describe_target_health(TargetGroupArn=group["TargetGroupArn"])[
            "TargetHealthDescriptions"
        ]
        if one["TargetHealth"]["State"] != "draining"
    ],
    "experiments of FIS": lambda client: [
        client("fis").list_experiment_templates()["experimentTemplates"],
        [one["id"] for one in client("fis").list_experiments()["experiments"] if one["state"]["status"] == "running"],
    ],
    "scaling": lambda client: [
        one["SuspendedState"]
        for one in client("application-autoscaling").describe_scalable_targets(ServiceNamespace="ecs")[
            "ScalableTargets"
        ]
    ],
    "database": lambda client: client("rds").describe_db_instances(DBInstanceIdentifier=DATA)["DBInstances"][0][
        "DBInstanceStatus"
    ],
    "databases": lambda client: [
        [one["DBInstanceIdentifier"] for one in client("rds").describe_db_instances()["DBInstances"]],
        [one["DBSnapshotIdentifier"] for one in client("rds").describe_db_snapshots()["DBSnapshots"]],
    ],
    "inside the database": lambda client: inside(
        json.loads(client("secretsmanager").get_secret_value(SecretId=DATA)["SecretString"]), MADE_BY_FAULTS
    ),
    "cache": lambda client: [
        (one["CacheClusterId"], one["CacheClusterStatus"])
        for one in client("elasticache").describe_cache_clusters()["CacheClusters"]
    ],
    "schedules": lambda client: client("scheduler").list_schedules()["Schedules"],
}


def _without_metadata(answer: dict[str, Any], *more: str) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in ("ResponseMetadata", *more)}


def _answer(call: Callable[..., Any], **request: Any) -> Any:
    """The policy; or the code of the error, where there is none."""
    try:
        return call(**request)["Policy"]
    except ClientError as error:
        return error.response["Error"]["Code"]


def _function(client: Callable[[str], Any], name: str) -> dict[str, Any]:
    # These two change with every update, also with one that puts everything back; empty texts come and go.
    answer = client("lambda").get_function_configuration(FunctionName=name)
    return {key: value for key, value in _without_metadata(answer, "RevisionId", "LastModified").items() if value != ""}


def _service(client: Callable[[str], Any]) -> dict[str, Any]:
    found: dict[str, Any] = client("ecs").describe_services(cluster=SERVICE, services=[SERVICE])["services"][0]
    return found


def _attributes(client: Callable[[str], Any], name: str) -> dict[str, str]:
    sqs = client("sqs")
    found: dict[str, str] = sqs.get_queue_attributes(
        QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"], AttributeNames=["All"]
    )["Attributes"]
    return {key: value for key, value in found.items() if key != "LastModifiedTimestamp"}


class Bench:
    def __init__(self, checkout: Checkout, directory: Path) -> None:
        found = load_target(checkout.root, "sandbox")
        self.target = replace(found, region="ap-southeast-2")
        self.client = self.target.client
        self.ledger = Ledger(directory / "ledger.sqlite", "sandbox")
        self.lifecycle = FaultLifecycle(target=self.target, ledger=self.ledger, drill="d")
        settle(self.client("ecs"))

    def account(self) -> dict[str, Any]:
        return {name: self.seen(name) for name in (*ACCOUNT, DOOR)}

    def is_as(self, before: dict[str, Any]) -> bool:
        """Whether the account is as it was, when AWS is done with what it still does on its own."""
        deadline = time.monotonic() + 60
        if waited_for := [name for name, now in self.account().items() if now != before[name]]:
            while any(self.seen(name) != before[name] for name in waited_for) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert self.account() == before
        return True

    def seen(self, name: str) -> Any:
        """One part of the account: the whole of it takes forty calls."""
        return door(self.target) if name == DOOR else ACCOUNT[name](self.client)


@pytest.fixture
def bench(checkout: Checkout, tmp_path: Path) -> Bench:
    return Bench(checkout, tmp_path)


def test_the_table_names_every_fault() -> None:
    assert ARGUMENTS.keys() == FAULTS.keys()


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_fault_is_seen_and_its_undo_leaves_no_trace(bench: Bench, kind: str) -> None:
    fault: AnyFault = fault_class(kind).model_validate(ARGUMENTS[kind])
    before = bench.account()
    assert bench.lifecycle.inject(fault) is FaultStage.EFFECTIVE
    # What AWS mends by itself may be mended by now.
    assert fault.heals or bench.account() != before
    assert bench.lifecycle.undo_all() == []
    assert bench.is_as(before)
    assert bench.ledger.entries(only_open=True) == []


@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_undoing_twice_changes_nothing(bench: Bench, kind: str) -> None:
    """As after a crash between the undo and its last line in the ledger."""
    before = bench.account()
    bench.lifecycle.inject(fault_class(kind).model_validate(ARGUMENTS[kind]))
    entries = bench.ledger.entries()
    assert bench.lifecycle.undo_all(entries) == []
    assert bench.lifecycle.undo_all(entries) == []
    assert bench.is_as(before)


def test_the_ledger_holds_no_secret(bench: Bench) -> None:
    function = f"{STAGE}-calendarSyncWorker"
    variables = bench.client("lambda").get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    fault = fault_class("lambda_environment_credential").model_validate(ARGUMENTS["lambda_environment_credential"])
    bench.lifecycle.inject(fault)
    try:
        written = bench.ledger.path.read_bytes()
        assert variables["GRAPH_CLIENT_SECRET"].encode() not in written
    finally:
        assert bench.lifecycle.undo_all() == []
