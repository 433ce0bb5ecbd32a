"""What Tocsin asks of a target beside the calls that every emulator has: each is tried on the shop, by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tests.second_target.emulators import Emulator
from tests.second_target.shop import ALARM, DEAD, ONCALL, ORDERS, PACKER, map_queue
from tests.sweep.account import SERVICES, read_account

_GROUNDS = json.dumps({"version": "1.0", "recentDatapoints": [1.0], "threshold": 1.0})


class Missing(Exception):
    """It was answered, and not with what AWS answers."""


def read_history(emulator: Emulator) -> None:
    """A transition is in the alarm's history."""
    _set(emulator, "ALARM")
    if not _history(emulator):
        raise Missing("no transition")


def read_grounds(emulator: Emulator) -> None:
    """The history says on which datapoints an alarm changed."""
    _set(emulator, "ALARM")
    if not any("stateReasonData" in json.loads(item["HistoryData"])["newState"] for item in _history(emulator)):
        raise Missing("no stateReasonData")


def read_fine_times(emulator: Emulator) -> None:
    """Two states within a second have two times."""
    times = set()
    for state in ("ALARM", "OK", "ALARM", "OK"):
        _set(emulator, state)
        described = emulator.client("cloudwatch").describe_alarms(AlarmNames=[ALARM["AlarmName"]])
        times.add(described["MetricAlarms"][0]["StateUpdatedTimestamp"])
    if not any(at.microsecond for at in times):
        raise Missing("whole seconds")


def read_queue_metrics(emulator: Emulator) -> None:
    """A queue that is used has metrics, on which an alarm could be evaluated."""
    sqs = emulator.client("sqs")
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=DEAD)["QueueUrl"], MessageBody="lost")
    _until(lambda: emulator.client("cloudwatch").list_metrics(Namespace="AWS/SQS")["Metrics"], "no metric", emulator)


def tell_people(emulator: Emulator) -> dict[str, Any]:
    """An alarm's action reaches the queue that is subscribed to its topic; gives what was told."""
    _set(emulator, "ALARM")
    sqs = emulator.client("sqs")
    url = sqs.get_queue_url(QueueName=ONCALL)["QueueUrl"]
    (message,) = _until(lambda: sqs.receive_message(QueueUrl=url).get("Messages"), "no notification", emulator)
    told: dict[str, Any] = json.loads(json.loads(message["Body"])["Message"])
    return told


def tell_which(emulator: Emulator) -> None:
    """A notification says of which alarm it is, beyond its name."""
    if "AlarmArn" not in tell_people(emulator):
        raise Missing("no AlarmArn")


def read_mutes(emulator: Emulator) -> None:
    """Whether a rule mutes the alarm's actions."""
    emulator.client("cloudwatch").list_alarm_mute_rules(AlarmName=ALARM["AlarmName"])


def read_sources(emulator: Emulator) -> None:
    """Which queues give up their messages to the dead letters."""
    sqs = emulator.client("sqs")
    if not sqs.list_dead_letter_source_queues(QueueUrl=sqs.get_queue_url(QueueName=DEAD)["QueueUrl"])["queueUrls"]:
        raise Missing("no queue")


def ask_iam(emulator: Emulator) -> None:
    """What a user may do, as the dry run asks."""
    user = emulator.client("iam").create_user(UserName="drills")["User"]["Arn"]
    asked = {"PolicySourceArn": user, "ActionNames": ["sqs:SendMessage"]}
    if not emulator.client("iam").simulate_principal_policy(**asked)["EvaluationResults"]:
        raise Missing("no result")


def run_function(emulator: Emulator) -> None:
    """A function takes a message from its queue."""
    sqs = emulator.client("sqs")
    url = sqs.get_queue_url(QueueName=ORDERS)["QueueUrl"]
    map_queue(emulator)
    sqs.send_message(QueueUrl=url, MessageBody="an order")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def done() -> bool:
        left = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return all(int(left[name]) == 0 for name in names)

    _until(done, "not taken", emulator)


def list_provisioned(emulator: Emulator) -> None:
    """What of a function's concurrency is provisioned, as `lambda_reserved_concurrency` reads it."""
    emulator.client("lambda").list_provisioned_concurrency_configs(FunctionName=PACKER)


def list_stress(emulator: Emulator) -> None:
    """AWS FIS, by which `ecs_task_cpu_stress` is done."""
    emulator.client("fis").list_experiment_templates()


def fail_over(emulator: Emulator) -> None:
    """What `elasticache_failover` asks for: refused for a group that is not there, by that name."""
    client = emulator.client("elasticache")
    try:
        client.test_failover(ReplicationGroupId="none", NodeGroupId="0001")
    except client.exceptions.ReplicationGroupNotFoundFault:
        return
    raise Missing("no ReplicationGroupNotFoundFault")


def read_service(service: str, emulator: Emulator) -> None:
    """Everything that the comparison of whole accounts reads of a service."""
    read_account(emulator.client, {service})


def _set(emulator: Emulator, state: str) -> None:
    name = str(ALARM["AlarmName"])
    emulator.client("cloudwatch").set_alarm_state(
        AlarmName=name, StateValue=state, StateReason="tried", StateReasonData=_GROUNDS
    )


def _history(emulator: Emulator) -> list[Mapping[str, Any]]:
    asked = {"AlarmName": ALARM["AlarmName"], "HistoryItemType": "StateUpdate"}
    found: list[Mapping[str, Any]] = emulator.client("cloudwatch").describe_alarm_history(**asked)["AlarmHistoryItems"]
    return found


def _until(look: Callable[[], Any], what: str, emulator: Emulator) -> Any:
    """What the first look that finds anything finds."""
    deadline = time.monotonic() + emulator.patience_s
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Missing(what)
        time.sleep(0.1)
    return found


NEEDS: Mapping[str, Callable[[Emulator], object]] = {
    "DescribeAlarmHistory": read_history,
    "grounds in an alarm's history": read_grounds,
    "times finer than a second": read_fine_times,
    "metrics of queues": read_queue_metrics,
    "actions of alarms": tell_people,
    "AlarmArn in notifications": tell_which,
    "ListAlarmMuteRules": read_mutes,
    "ListDeadLetterSourceQueues": read_sources,
    "SimulatePrincipalPolicy": ask_iam,
    "functions without Docker": run_function,
    "ListProvisionedConcurrencyConfigs": list_provisioned,
    "AWS FIS": list_stress,
    "TestFailover": fail_over,
}
"""By the name that the tables have; each on a shop that is new."""
READS: Mapping[str, Callable[[Emulator], object]] = {
    f"reading {service}": partial(read_service, service) for service in SERVICES
}
"""These change nothing: one shop does for all."""
