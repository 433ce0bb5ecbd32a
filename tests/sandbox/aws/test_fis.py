"""FIS as the sandbox has it: processor time that is really used, seen in CloudWatch; and the fault that asks for it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.fleet import CLUSTER, Fleet
from tests.sandbox.aws.shop import Shop, eventually

from tocsin.faults.fis import EcsTaskCpuStress
from tocsin.faults.lifecycle import FaultLifecycle, recover
from tocsin.model.events import FaultStage
from tocsin.record.ledger import Ledger
from tocsin.sandbox import control
from tocsin.sandbox.parts import supervise

ROLE = "arn:aws:iam::123456789012:role/fis"


def template(**changes: Any) -> dict[str, Any]:
    target = {
        "resourceType": "aws:ecs:task",
        "parameters": {"cluster": CLUSTER, "service": "none"},
        "selectionMode": "ALL",
    }
    action = {
        "actionId": "aws:ecs:task-cpu-stress",
        "parameters": {"duration": "PT1M"},
        "targets": {"Tasks": "tasks"},
    }
    return {
        "clientToken": "t",
        "description": "of a test",
        "roleArn": ROLE,
        "stopConditions": [{"source": "none"}],
        "targets": {"tasks": target},
        "actions": {"stress": {**action, **changes}},
    }


def burners(shop: Shop) -> int:
    """Processes of this sandbox, and of no other one on this machine, that do nothing but burn."""
    found = 0
    for process in supervise.processes(control.directory(shop.root)):
        with suppress(psutil.Error):  # it has ended meanwhile
            found += any("time.process_time() >= share" in word for word in process.cmdline())
    return found


def processor_seconds(service: Fleet) -> float:
    """What the first task reads of itself at its metadata endpoint."""
    task = service.tasks()[0]["taskArn"].rsplit("/", 1)[1]
    url = f"{service.shop.account.target.endpoint_url}/_tocsin/ecs/v4/{task}/task/stats"
    containers = httpx.get(url).raise_for_status().json()
    return float(sum(one["cpu_stats"]["cpu_usage"]["total_usage"] for one in containers.values()) / 1e9)


@pytest.fixture
def service(fleet: Fleet) -> Fleet:
    fleet.create(fleet.define(), desired=2)
    fleet.wait_until_steady()
    return fleet


def test_stress_is_seen_in_cloudwatch_and_ends_with_the_fault(service: Fleet, tmp_path: Path) -> None:
    shop = service.shop
    fis = shop.client("fis")
    of_others = {one["id"] for one in fis.list_experiments()["experiments"]}
    ledger = Ledger(tmp_path / "ledger.sqlite", "sandbox")
    lifecycle = FaultLifecycle(target=shop.account.target, ledger=ledger, drill="d")
    fault = EcsTaskCpuStress(cluster=CLUSTER, service=service.name, role=ROLE, duration=3600)
    by = {"ClusterName": CLUSTER, "ServiceName": service.name}
    assert lifecycle.inject(fault) is FaultStage.EFFECTIVE
    assert burners(shop) == 2
    eventually(lambda: (shop.latest("AWS/ECS", "CPUUtilization", **by) or 0) > 70)
    before = processor_seconds(service)
    eventually(lambda: processor_seconds(service) > before)
    # As when the process that injected was killed.
    assert len(recover(shop.account.target, ledger)) == 1
    assert eventually(lambda: burners(shop) == 0)
    assert lifecycle.undo_all(ledger.entries()) == []
    assert fis.list_experiment_templates()["experimentTemplates"] == []
    ours = [one for one in fis.list_experiments()["experiments"] if one["id"] not in of_others]
    assert [one["state"]["status"] for one in ours] == ["stopped"]


def test_an_experiment_ends_after_its_duration_and_with_the_task(service: Fleet) -> None:
    fis = service.client("fis")
    arn = service.tasks()[0]["taskArn"]
    definition = template()
    definition["targets"]["tasks"] = {
        "resourceType": "aws:ecs:task",
        "resourceArns": [arn],
        "selectionMode": "COUNT(1)",
    }
    made = fis.create_experiment_template(**definition)["experimentTemplate"]["id"]
    started = fis.start_experiment(clientToken="a", experimentTemplateId=made)["experiment"]["id"]
    assert eventually(lambda: burners(service.shop) == 1)
    service.client("ecs").stop_task(cluster=CLUSTER, task=arn)
    assert eventually(lambda: burners(service.shop) == 0)

    def status() -> str:
        return str(fis.get_experiment(id=started)["experiment"]["state"]["status"])

    assert eventually(lambda: status() == "completed")
    fis.delete_experiment_template(id=made)


def test_nobody_to_stress_is_a_failed_experiment(shop: Shop) -> None:
    fis = shop.client("fis")
    made = fis.create_experiment_template(**template())["experimentTemplate"]["id"]
    started = fis.start_experiment(clientToken="b", experimentTemplateId=made)["experiment"]["id"]

    def state() -> dict[str, Any]:
        return dict(fis.get_experiment(id=started)["experiment"]["state"])

    eventually(lambda: state()["status"] == "failed")
    assert state()["reason"] == "Target resolution returned empty set"
    fis.delete_experiment_template(id=made)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actionId": "aws:ec2:stop-instances"}, "no action aws:ec2:stop-instances"),
        ({"parameters": {"duration": "12m"}}, "duration such as PT12M"),
        ({"targets": {"Tasks": "others"}}, "needs a target of Tasks"),
    ],
)
def test_what_the_sandbox_does_not_have_is_refused(shop: Shop, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ClientError, match=said) as caught:
        shop.client("fis").create_experiment_template(**template(**changes))
    assert caught.value.response["Error"]["Code"] == "ValidationException"
