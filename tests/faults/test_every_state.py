"""What a service may say of a resource on its way: each value of AWS's own lists is as before, as broken, or neither.

A value that a list gets later fails here: somebody has to say what it means.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import botocore.session
import pytest
from tests.faults.stub.account import StubAws
from tests.faults.stub.bench import FaultBench
from tests.faults.stub.faults import ARGUMENTS, furnish

from tocsin.faults.ecs import is_running
from tocsin.model.events import FaultStage

LISTED: dict[str, tuple[str, str]] = {
    "fis": ("fis", "ExperimentStatus"),
    "elb state": ("elbv2", "TargetHealthStateEnum"),
    "elb reason": ("elbv2", "TargetHealthReasonEnum"),
}
"""Enumerations of botocore's models."""
AS_BEFORE: dict[str, set[str]] = {
    "fis": {"cancelled", "completed", "failed", "stopped"},
    "elb state": {"healthy", "initial", "unavailable", "unhealthy", "unhealthy.draining", "unused"},
    "elb reason": {
        "Elb.InitialHealthChecking",
        "Elb.InternalError",
        "Target.FailedHealthChecks",
        "Target.HealthCheckDisabled",
        "Target.InvalidState",
        "Target.IpUnusable",
        "Target.NotInUse",
        "Target.ResponseCodeMismatch",
        "Target.Timeout",
    },
    "mapping": {"Enabled"},
    "reboot": {"available", "backing-up"},
    "cache": {"available"},
}
"""With which the fault is undone; https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html"""
OTHERWISE: dict[str, set[str]] = {
    "fis": {"initiating", "pending", "running", "stopping"},
    "elb state": {"draining"},
    "elb reason": {"Elb.RegistrationInProgress", "Target.DeregistrationInProgress", "Target.NotRegistered"},
    "mapping": {"Creating", "Deleting", "Disabled", "Disabling", "Enabling", "Updating"},
    # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html
    "reboot": {
        *("configuring-enhanced-monitoring", "configuring-iam-database-auth", "configuring-log-exports", "creating"),
        *("converting-to-vpc", "delete-precheck", "deleting", "failed", "inaccessible-encryption-credentials"),
        *("inaccessible-encryption-credentials-recoverable", "incompatible-network", "incompatible-option-group"),
        *("incompatible-parameters", "incompatible-restore", "insufficient-capacity", "maintenance", "modifying"),
        *("moving-to-vpc", "rebooting", "renaming", "resetting-master-credentials", "restore-error", "starting"),
        *("stopped", "stopping", "storage-config-upgrade", "storage-full", "storage-initialization"),
        *("storage-optimization", "upgrading"),
    },
    "cache": {
        *("creating", "deleted", "deleting", "incompatible-network", "modifying", "rebooting cluster nodes"),
        *("restore-failed", "snapshotting"),
    },
}
"""With which it is not."""
CASES = [(kind, value) for kind in AS_BEFORE for value in sorted(AS_BEFORE[kind] | OTHERWISE[kind])]


def _experiment_is(account: StubAws, value: str) -> None:
    (experiment,) = account.services["fis"].experiments.values()
    experiment.goes(value, value)
    account.services["fis"].stop_experiment = lambda asked: {}


def _target_is(account: StubAws, **health: str) -> None:
    account.services["elbv2"].health["10.0.0.1", 80] = health


def _mapping_is(account: StubAws, value: str) -> None:
    functions = account.services["lambda"]
    functions.mappings[0]["State"] = value
    functions.update_event_source_mapping = lambda asked: {}


KINDS: dict[str, tuple[str, Callable[[StubAws, str], None]]] = {
    "fis": ("ecs_task_cpu_stress", _experiment_is),
    "elb state": ("elb_target_deregistered", lambda account, value: _target_is(account, State=value)),
    "elb reason": (
        "elb_target_deregistered",
        lambda account, value: _target_is(account, State="unused", Reason=value),
    ),
    "mapping": ("lambda_event_source_disabled", _mapping_is),
    "reboot": ("rds_reboot", lambda account, value: account.services["rds"].instances["orders"].goes(value, value)),
    "cache": ("elasticache_reboot", lambda account, value: account.services["elasticache"].group.goes(value, value)),
}
"""Fault, and how what it broke comes to be in a state, for ever."""


@pytest.fixture
def account(stub: StubAws) -> StubAws:
    furnish(stub)
    return stub


@pytest.mark.parametrize("name", LISTED)
def test_every_value_of_the_list_is_tried(name: str) -> None:
    service, shape = LISTED[name]
    listed = set(botocore.session.get_session().get_service_model(service).shape_for(shape).enum)
    assert listed == AS_BEFORE[name] | OTHERWISE[name]
    assert not AS_BEFORE[name] & OTHERWISE[name]


@pytest.mark.parametrize(
    ("name", "service", "operation", "path"),
    [
        ("mapping", "lambda", "GetEventSourceMapping", "State"),
        ("cache", "elasticache", "DescribeCacheClusters", "CacheClusters.CacheClusterStatus"),
    ],
)
def test_every_state_that_is_only_written_in_the_text_is_tried(
    name: str, service: str, operation: str, path: str
) -> None:
    shape = botocore.session.get_session().get_service_model(service).operation_model(operation).output_shape
    for member in path.split("."):
        shape = shape.members[member]
        shape = shape.member if shape.type_name == "list" else shape
    listed = re.findall(r"<code>([^<]+)</code>", shape.documentation)
    assert {text.split(".")[-1] for text in listed} == AS_BEFORE[name] | OTHERWISE[name]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_what_is_not_over_is_not_undone(account: StubAws, life: FaultBench, name: str, value: str) -> None:
    kind, becomes = KINDS[name]
    assert life.inject(kind, **ARGUMENTS[kind]) is FaultStage.EFFECTIVE
    account.clock.sleep(600.0)
    becomes(account, value)
    account.clock.shortest_sleep_s = 15.0
    left = life.process().undo_all(life.open)
    assert (left == []) is (value in AS_BEFORE[name])
    for entry in left:
        assert len(life.reasons(entry).split()) > 3


@pytest.mark.parametrize("value", sorted(AS_BEFORE["fis"] | OTHERWISE["fis"]))
def test_only_an_experiment_that_runs_is_an_effect(account: StubAws, life: FaultBench, value: str) -> None:
    kind, fis = "ecs_task_cpu_stress", account.services["fis"]
    start = fis.start_experiment

    def starts(asked: dict[str, str]) -> dict[str, str]:
        start(asked)
        fis.experiments[asked["clientToken"]].goes(value, value)
        return {}

    fis.start_experiment = starts
    found = life.inject(kind, **ARGUMENTS[kind])
    assert found is (FaultStage.EFFECTIVE if value == "running" else FaultStage.NO_EFFECT)


def test_an_experiment_is_stopped_once_and_waited_for(account: StubAws, life: FaultBench) -> None:
    kind = "ecs_task_cpu_stress"
    life.inject(kind, **ARGUMENTS[kind])
    before = account.clock.now
    assert life.lifecycle.undo_all() == []
    assert account.clock.now - before >= 60
    assert [one.status for one in account.services["fis"].experiments.values()] == ["stopped"]
    assert account.asked.count("fis:StopExperiment") == 1


# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
LAST = (
    *("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"),
    *("DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED", "DELETED"),
)
DESIRED = botocore.session.get_session().get_service_model("ecs").shape_for("DesiredStatus").enum


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("desired", DESIRED)
def test_only_a_task_that_runs_and_is_to_run_counts(last: str, desired: str) -> None:
    assert is_running({"lastStatus": last, "desiredStatus": desired}) is (last == desired == "RUNNING")
