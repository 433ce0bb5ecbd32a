"""An account full of other people's things: whatever a drill does to its own, nothing of theirs is changed.

A thousand alarms, ninety HTTP APIs, user pools and queues with backlogs, also in the queues that a fault works on. The
faults are injected and undone with the credentials of an assumed role, and afterwards the whole account, as the API
tells it, is compared with before: every setting, and every message with how often it was received.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.second_target.conftest import group
from tests.second_target.emulators import ACCOUNT, KEYS, REGION, Emulator
from tests.second_target.shop import ALARM, ORDERS, PACKER, deploy
from tests.sweep.account import SERVICES, Snapshot, differences, read_account, read_messages

from tocsin.aws.cloudwatch import alarm_states
from tocsin.aws.lookups import user_pool_id
from tocsin.aws.target import Target
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.registry import fault_class
from tocsin.model.events import FaultStage
from tocsin.record.ledger import Ledger

ALARMS = [f"theirs-{number:04}" for number in range(1000)]
APIS = [f"theirs-{number:02}" for number in range(90)]
POOLS = [f"theirs-{number:02}" for number in range(65)]
BACKLOG = 12
"""Messages of others in each queue: more than one call brings."""
RETURNS, DEAD = "shop-returns", "shop-returns-dead"
"""Where the poison is put, beside messages that nobody reads meanwhile."""
QUEUES = ["theirs-mail", "theirs-bills"]
ROLE = f"arn:aws:iam::{ACCOUNT}:role/drills"
HERE = SERVICES.keys() - {"application-autoscaling", "fis"}
"""Services that this emulator has."""
MAX_RECEIVES = 5
FAULTS: dict[str, dict[str, Any]] = {
    "lambda_environment_credential": {"function": PACKER, "variable": "PACKER_KEY"},
    "lambda_event_source_disabled": {"function": PACKER, "queue": ORDERS},
    "sqs_poison_message": {"queue": RETURNS},
}
"""Of what the tiny system has, all that this emulator can break and mend; it obeys no policies."""


@dataclass(frozen=True)
class Crowd:
    """The account, and how it was before."""

    emulator: Emulator
    target: Target
    settings: Snapshot
    messages: Snapshot
    """how often each was received by others"""

    def changed(self) -> list[str]:
        """What is not as it was, by name."""
        # Messages first: to look at them changes how many are hidden.
        settings = read_account(self.emulator.client, services=HERE)
        messages = read_messages(self.emulator.client("sqs"), (*QUEUES, RETURNS, DEAD))
        return differences(self.settings, settings) + differences(self.messages, self.at_most(messages))

    def at_most(self, messages: Snapshot) -> Snapshot:
        """Where the poison was looked for, a message may have been received as often as leaves its consumers two.

        In the dead-letter queue nobody counts: nothing goes on from there.
        """
        return {path: self._as_before(path, counts) for path, counts in messages.items()}

    def _as_before(self, path: str, counts: tuple[int, ...]) -> tuple[int, ...]:
        before = self.messages.get(path)
        if before is None or len(before) != len(counts):
            return counts
        spare = {RETURNS: MAX_RECEIVES - 2, DEAD: MAX_RECEIVES * BACKLOG}.get(path.split("/")[1], 0)
        return before if all(was <= now <= was + spare for was, now in zip(before, counts, strict=True)) else counts


@pytest.fixture
def crowd(emulators: Callable[[str], Emulator]) -> Crowd:
    """Made anew for each test."""
    emulator = emulators("ministack")
    deploy(emulator)
    _take_returns(emulator)
    emulator.client("iam").create_role(RoleName="drills", AssumeRolePolicyDocument=json.dumps(_TRUST))
    _make_theirs(emulator)
    target = Target(
        name="crowded",
        region=REGION,
        account=ACCOUNT,
        role_arn=ROLE,
        endpoint_url=emulator.url,
        access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        scale=60.0,
    )
    assert ":assumed-role/drills/" in target.client("sts").get_caller_identity()["Arn"]
    messages = {
        f"sqs/{queue}/messages/{body}": (received,)
        for queue in (*QUEUES, RETURNS, DEAD)
        for body, received in _backlog(queue).items()
    }
    return Crowd(emulator, target, read_account(emulator.client, services=HERE), messages)


_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}],
}


def _take_returns(emulator: Emulator) -> None:
    sqs = emulator.client("sqs")
    sqs.create_queue(QueueName=DEAD)
    dead = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{DEAD}"
    redrive = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": MAX_RECEIVES})
    sqs.create_queue(QueueName=RETURNS, Attributes={"RedrivePolicy": redrive, "VisibilityTimeout": "1"})


def _make_theirs(emulator: Emulator) -> None:
    cloudwatch, apis = emulator.client("cloudwatch"), emulator.client("apigatewayv2")
    cognito, sqs = emulator.client("cognito-idp"), emulator.client("sqs")
    with ThreadPoolExecutor(4) as threads:
        made = [
            *(threads.submit(cloudwatch.put_metric_alarm, **{**ALARM, "AlarmName": name}) for name in ALARMS),
            *(threads.submit(apis.create_api, Name=name, ProtocolType="HTTP") for name in APIS),
            *(threads.submit(cognito.create_user_pool, PoolName=name) for name in POOLS),
        ]
        for one in made:
            one.result()
    for queue in QUEUES:
        sqs.create_queue(QueueName=queue, Attributes={"VisibilityTimeout": "0"})
    for queue in (*QUEUES, RETURNS, DEAD):
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        for body in _backlog(queue):
            sqs.send_message(QueueUrl=url, MessageBody=body)


def _backlog(queue: str) -> Mapping[str, int]:
    """Body -> how often it was received."""
    return {f"{queue} of a customer, {number}": 0 for number in range(BACKLOG)}


def harmed(crowd: Crowd, folder: Path, kind: str) -> None:
    """Inject a fault, see it, and undo it, as a drill does."""
    ledger = Ledger(folder / f"{kind}.sqlite", crowd.target.name)
    lifecycle = FaultLifecycle(target=crowd.target, ledger=ledger, drill=kind)
    try:
        fault = fault_class(kind).model_validate(FAULTS[kind])
        if kind == "sqs_poison_message":
            _interrupted(lifecycle, fault)
        else:
            assert lifecycle.inject(fault) is FaultStage.EFFECTIVE, kind
        assert lifecycle.undo_all() == [], lifecycle.reasons
    finally:
        ledger.close()


def _interrupted(lifecycle: FaultLifecycle, fault: Any) -> None:
    """Nobody reads the queue here: the poison is looked for among the messages of others."""

    def ends(seconds: float) -> None:
        raise InterruptedError("the drill is ended")

    lifecycle.wait = ends
    with pytest.raises(InterruptedError):
        lifecycle.inject(fault)


@group("ministack")
@pytest.mark.drill
@pytest.mark.timeout(300)
def test_nothing_of_somebody_elses_is_changed(crowd: Crowd, tmp_path: Path) -> None:
    states = alarm_states(ALARMS, crowd.target)
    assert len(states) == len(ALARMS)
    assert user_pool_id(POOLS[-1], crowd.target)
    for kind in FAULTS:
        harmed(crowd, tmp_path, kind)
    assert crowd.changed() == []


@group("ministack")
@pytest.mark.drill
@pytest.mark.timeout(300)
def test_what_a_drill_must_not_do_is_told_by_name(crowd: Crowd) -> None:
    """A fault that takes a message of somebody, one that reads a mail, an undo that writes somebody's alarm."""
    sqs = crowd.emulator.client("sqs")
    returns, mail = (sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in (RETURNS, QUEUES[0]))
    (taken,) = sqs.receive_message(QueueUrl=returns)["Messages"]
    sqs.delete_message(QueueUrl=returns, ReceiptHandle=taken["ReceiptHandle"])
    (read,) = sqs.receive_message(QueueUrl=mail)["Messages"]
    crowd.emulator.client("cloudwatch").put_metric_alarm(**{**ALARM, "AlarmName": ALARMS[500], "Threshold": 2.0})
    told = crowd.changed()
    assert f"cloudwatch/MetricAlarms/{ALARMS[500]}/Threshold: 1.0 -> 2.0" in told
    assert f"sqs/{RETURNS}/messages/{taken['Body']}: (0,) -> absent" in told
    assert f"sqs/{QUEUES[0]}/messages/{read['Body']}: (0,) -> (1,)" in told
    assert f"sqs/{RETURNS}/ApproximateNumberOfMessages: '12' -> '11'" in told
    assert len(told) == 4
