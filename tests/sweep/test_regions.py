"""One ledger, two systems in two regions of one sandbox: killed, recovered, and both regions compared."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tests.secret_scan import watched
from tests.sweep.account import Snapshot, differences, read_account
from tests.sweep.harness import BARE, Range

from tocsin.aws.target import Target
from tocsin.faults.dynamodb import DynamodbTableDeny
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.project.places import ledger_path
from tocsin.project.targets import load_target
from tocsin.record.ledger import Ledger

pytestmark = [pytest.mark.sweep, pytest.mark.takes(150), pytest.mark.xdist_group("sweep"), pytest.mark.timeout(600)]

REGIONS = {"near": "us-east-1", "far": "eu-west-1"}
DEPLOY = """
def deploy(account):
    account.client("dynamodb").create_table(
        TableName="orders", BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    sqs = account.client("sqs")
    dead = sqs.create_queue(QueueName="orders-dlq")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = '{"deadLetterTargetArn": "%s", "maxReceiveCount": 1}' % arn
    sqs.create_queue(QueueName="orders", Attributes={"RedrivePolicy": policy})
"""
DENY = {"table": "orders", "actions": ["dynamodb:PutItem"]}


class World:
    """A sandbox with a system in each region; both have a table of the same name."""

    def __init__(self, root: Path) -> None:
        self.range = Range(root)
        (root / "logs").mkdir()
        (root / "systems").mkdir()
        for system, region in REGIONS.items():
            (root / "replicas" / system).mkdir(parents=True)
            (root / "replicas" / system / "deploy.py").write_text(DEPLOY)
            described = {"system": system, "title": system, "region": region, "endpoint": {"url": "http://127.0.0.1:9"}}
            (root / "systems" / f"{system}.yaml").write_text(yaml.safe_dump(described))
            (root / f"{system}.yaml").write_text(yaml.safe_dump(_experiment(system)))
        self.mark = root / "broken"
        for name, last in (("dies", ["kill -9 $PPID"]), ("lives", [])):
            document = _with_more_than_an_undo(self.mark, last)
            (root / f"{name}.yaml").write_text(yaml.safe_dump(document))

    def target(self, system: str) -> Target:
        return replace(load_target(self.range.root, "sandbox"), region=REGIONS[system])

    def account(self) -> Snapshot:
        """Both regions."""
        return {
            f"{system}/{name}": value
            for system in REGIONS
            for name, value in read_account(self.target(system).client).items()
        }

    def kill(self, system: str) -> None:
        """A drill of the system dies in the middle of its fault."""
        experiment = self.range.root / f"{system}.yaml"
        ended = self.range.command("run", str(experiment), at={"after advance injected": "SIGKILL"})
        assert ended.code == -signal.SIGKILL, self.range.log.read_text()

    def break_and_forget(self, system: str) -> None:
        """As a `chaos run` that dies."""
        with closing(Ledger(ledger_path(self.range.root, "sandbox"), "sandbox")) as ledger:
            lifecycle = FaultLifecycle(target=self.target(system), ledger=ledger, drill="chaos-run-1")
            lifecycle.inject(DynamodbTableDeny.model_validate(DENY))


def _experiment(system: str) -> dict[str, object]:
    provider = {"type": "python", "module": "tocsin.faults"}
    act = {**provider, "func": "dynamodb_table_deny", "arguments": DENY}
    return {
        "title": f"Deny {system}",
        "description": "What is killed.",
        "method": [{"type": "action", "name": "break", "provider": act}],
        "rollbacks": [{"type": "action", "name": "undo", "provider": {**provider, "func": "undo"}}],
        "extensions": [{**BARE, "system": system}],
    }


def _with_more_than_an_undo(mark: Path, last: list[str]) -> dict[str, object]:
    """A fault and a program that breaks; the way back has a program and a redrive. The last program may be a death."""

    def shell(name: str, command: str) -> dict[str, object]:
        provider = {"type": "process", "path": "sh", "arguments": ["-c", command]}
        return {"type": "action", "name": name, "provider": provider}

    def ours(name: str, module: str, func: str, **arguments: object) -> dict[str, object]:
        provider = {"type": "python", "module": f"tocsin.{module}", "func": func, "arguments": arguments}
        return {"type": "action", "name": name, "provider": provider}

    programs = [shell("break too", f"touch {mark}"), *(shell("die", command) for command in last)]
    return {
        **_experiment("far"),
        "method": [ours("break", "faults", "dynamodb_table_deny", **DENY), *programs],
        "rollbacks": [
            ours("undo", "faults", "undo"),
            shell("mend", f"rm {mark}"),
            ours("redrive", "procedures", "sqs_redrive", queue="orders"),
        ],
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("regions")
    world = World(root)
    try:
        for system in REGIONS:
            up = world.range.tocsin("sandbox", "up", system, "--time-scale", "600")
            assert up.returncode == 0, up.stderr
        with watched(root):
            yield world
    finally:
        world.range.stop()


@pytest.mark.parametrize("killed", [("far",), ("near", "far")], ids=" and ".join)
def test_what_died_in_two_regions_is_undone_in_both(world: World, killed: tuple[str, ...]) -> None:
    before = world.account()
    # What a drill left keeps a second one away; a `chaos run` asks for nothing.
    for system in killed:
        (world.kill if len(killed) == 1 else world.break_and_forget)(system)
    changed = {line.split("/")[0] for line in differences(before, world.account())}
    assert set(killed) <= changed
    recovered = world.range.tocsin("recover")
    assert recovered.returncode == 0, recovered.stderr
    assert recovered.stdout.count("undone and verified: dynamodb_table_deny on") == len(killed)
    assert differences(before, world.account()) == []
    assert world.range.tocsin("recover").stdout == "nothing to recover on target 'sandbox'\n"


def test_rollbacks_that_a_dead_drill_owed_are_named_and_then_run(world: World) -> None:
    before, sqs = world.account(), world.target("far").client("sqs")
    queue = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="an order")
    # Taken once too often: it is in the dead-letter queue then.
    for _ in range(2):
        sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0)
    assert world.range.command("run", str(world.range.root / "dies.yaml")).code == -signal.SIGKILL
    named = world.range.tocsin("recover")
    assert named.returncode == 5
    assert "undone and verified: dynamodb_table_deny" in named.stdout
    assert "(dies.yaml): mend, redrive: owed since that drill died" in named.stderr
    assert world.mark.exists()
    assert world.range.command("run", str(world.range.root / "lives.yaml")).code == 4
    assert "expected no rollbacks that earlier runs owe, found rollbacks of dies-" in world.range.log.read_text()
    ran = world.range.tocsin("recover", "--rollbacks")
    assert ran.returncode == 0, ran.stderr
    assert "rolled back: redrive" in ran.stdout
    assert not world.mark.exists()
    (message,) = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert message["Body"] == "an order"
    assert world.range.tocsin("recover").stdout == "nothing to recover on target 'sandbox'\n"
    assert differences(before, world.account()) == []


def test_a_drill_that_ran_its_rollbacks_owes_nothing(world: World) -> None:
    ended = world.range.command("run", str(world.range.root / "lives.yaml"))
    assert ended.code in (0, 1, 3, 5), world.range.log.read_text()
    assert not world.mark.exists()
    assert world.range.tocsin("recover").stdout == "nothing to recover on target 'sandbox'\n"
