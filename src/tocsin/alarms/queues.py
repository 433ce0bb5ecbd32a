"""What the queues behind alarms say about the time that a message needs to reach a dead-letter queue."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from tocsin.alarms.feasibility import queue_of_depth
from tocsin.errors import TargetError
from tocsin.iam import Arns, Grant
from tocsin.model.system import CompositeAlarm, MetricAlarm, System
from tocsin.target import Target, aws_errors


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What reading the source queues of dead-letter queues with an alarm needs of IAM."""
    queues = _queues(alarm.cloudwatch for alarm in system.cloudwatch_alarms.values())
    if queues:
        # What a lookup finds is only known in the account; so is which queues a dead-letter queue has.
        named = tuple(arns("sqs", re.sub(r"\$\{\w+\}", "*", queue)) for queue in queues)
        actions = ("sqs:GetQueueUrl", "sqs:ListDeadLetterSourceQueues")
        yield Grant(sid="ReadDeadLetterQueues", actions=actions, resources=named)
        yield Grant(sid="ReadDeadLetterQueues", actions=("sqs:GetQueueAttributes",), resources=(arns("sqs", "*"),))


def _queues(alarms: Iterable[MetricAlarm | CompositeAlarm]) -> list[str]:
    found = {queue_of_depth(alarm) for alarm in alarms if isinstance(alarm, MetricAlarm)}
    return sorted(queue for queue in found if queue is not None)


def redrive_times(alarms: Iterable[MetricAlarm | CompositeAlarm], target: Target) -> dict[str, float]:
    """Dead-letter queue -> production seconds for which a message is tried before it gets there, the shortest.

    `maxReceiveCount` receives, each hidden for the visibility time-out of the source queue:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    A queue that is no dead-letter queue, or that cannot be read, is left out: it only makes an estimate finer.
    """
    found: dict[str, float] = {}
    for queue in _queues(alarms):
        try:
            times = _tried_for(queue, target)
        except TargetError:
            continue
        if times:
            found[queue] = min(times)
    return found


def _tried_for(queue: str, target: Target) -> list[float]:
    sqs = target.client("sqs")
    with aws_errors(f"looking for the source queues of {queue}"):
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        sources = sqs.list_dead_letter_source_queues(QueueUrl=url).get("queueUrls", [])
        policies = [
            sqs.get_queue_attributes(QueueUrl=source, AttributeNames=["RedrivePolicy", "VisibilityTimeout"])
            for source in sources
        ]
    return [
        int(json.loads(policy["Attributes"]["RedrivePolicy"])["maxReceiveCount"])
        * float(policy["Attributes"]["VisibilityTimeout"])
        for policy in policies
    ]
