"""Queues of Amazon SQS: finding and reading them, and how long a message is tried before it is given up."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tocsin.aws.iam import Arns, Grant
from tocsin.aws.metrics import queue_of_depth
from tocsin.aws.pages import pages
from tocsin.aws.target import Aws, Target, aws_errors
from tocsin.errors import NotFound, TargetError
from tocsin.model.system import Definition, MetricAlarm, System

_PAGE = 1000
_LONGEST_KEPT_S = 14 * 86400
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html"""


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What reading the source queues of dead-letter queues with an alarm needs of IAM."""
    queues = _queues(alarm.cloudwatch for alarm in system.cloudwatch_alarms.values())
    if queues:
        # What a lookup finds is only known in the account; so is which queues a dead-letter queue has.
        named = tuple(arns("sqs", re.sub(r"\$\{\w+\}", "*", queue)) for queue in queues)
        actions = ("sqs:GetQueueUrl", "sqs:ListDeadLetterSourceQueues")
        yield Grant(sid="ReadDeadLetterQueues", actions=actions, resources=named)
        yield Grant(sid="ReadDeadLetterQueues", actions=("sqs:GetQueueAttributes",), resources=(arns("sqs", "*"),))


def _queues(alarms: Iterable[Definition]) -> list[str]:
    found = {queue_of_depth(alarm) for alarm in alarms if isinstance(alarm, MetricAlarm)}
    return sorted(queue for queue in found if queue is not None)


def redrive_times(alarms: Iterable[Definition], target: Target) -> dict[str, float]:
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
            continue  # the estimate stays coarser
        if times:
            found[queue] = min(times)
    return found


def _tried_for(queue: str, target: Target) -> list[float]:
    sources = source_queues(target, queue_url(target, queue))
    read = [queue_attributes(target, source, "RedrivePolicy", "VisibilityTimeout") for source in sources]
    return [
        int(json.loads(source["RedrivePolicy"])["maxReceiveCount"]) * float(source["VisibilityTimeout"])
        for source in read
    ]


def queue_url(target: Target, name: str) -> str:
    """URL of a queue.

    Raises:
        NotFound: there is no such queue.
    """
    with aws_errors(f"looking for the queue {name}"):
        return str(target.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])


def queue_attributes(target: Target, url: str, *names: str) -> Mapping[str, str]:
    """Attributes of the queue at `url`, as far as it has them.

    Raises:
        NotFound: there is no such queue.
    """
    with aws_errors(f"reading {', '.join(names)} of the queue {name_of(url)}"):
        answer = target.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=list(names))
    attributes: Mapping[str, str] = answer.get("Attributes", {})
    return attributes


@dataclass(frozen=True)
class Depth:
    """How many messages a queue holds, about: SQS counts within a minute.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
    """

    visible: int
    hidden: int
    """Held by a consumer, or delayed."""

    @property
    def empty(self) -> bool:
        """Whether there is none at all."""
        return self.visible == self.hidden == 0


_VISIBLE = "ApproximateNumberOfMessages"
_HIDDEN = ("ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")


def depth(target: Target, url: str) -> Depth:
    """How many messages the queue at `url` holds; nothing is received.

    Raises:
        NotFound: there is no such queue.
    """
    read = queue_attributes(target, url, _VISIBLE, *_HIDDEN)
    return Depth(visible=int(read[_VISIBLE]), hidden=sum(int(read.get(name, 0)) for name in _HIDDEN))


@dataclass(frozen=True)
class Redrive:
    """How a queue gives its messages up."""

    source_url: str
    dead_url: str
    visibility_timeout_s: float
    """Production seconds for which a message is hidden after each receive."""
    max_receive_count: int
    kept_for_s: float
    """Production seconds after which a message is gone from the queue, whoever has seen it."""

    @property
    def tried_for_s(self) -> float:
        """Production seconds until a message that nobody can process is in the dead-letter queue."""
        return self.max_receive_count * self.visibility_timeout_s


def redrive_of(target: Target, name: str) -> Redrive:
    """Where a queue sends what nobody can process, and when.

    Raises:
        NotFound: no such queue, or it has no redrive policy.
    """
    url = queue_url(target, name)
    read = queue_attributes(target, url, "RedrivePolicy", "VisibilityTimeout", "MessageRetentionPeriod")
    if "RedrivePolicy" not in read:
        raise NotFound(f"expected the queue {name} to have a dead-letter queue, found no redrive policy")
    policy = json.loads(read["RedrivePolicy"])
    return Redrive(
        source_url=url,
        dead_url=queue_url(target, policy["deadLetterTargetArn"].rsplit(":", 1)[1]),
        visibility_timeout_s=float(read["VisibilityTimeout"]),
        max_receive_count=int(policy["maxReceiveCount"]),
        kept_for_s=float(read.get("MessageRetentionPeriod", _LONGEST_KEPT_S)),
    )


def source_queues(target: Target, url: str) -> list[str]:
    """URLs of the queues whose dead-letter queue the one at `url` is.

    Without a size of its pages SQS lists a thousand, and does not say that there are more.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ListDeadLetterSourceQueues.html
    """
    with aws_errors(f"listing the source queues of {name_of(url)}"):
        found = pages(
            target.client("sqs"), "list_dead_letter_source_queues", PaginationConfig={"PageSize": _PAGE}, QueueUrl=url
        )
        return [source for page in found for source in page.get("queueUrls", [])]


def name_of(url: str) -> str:
    """Name of the queue at `url`."""
    return url.rsplit("/", 1)[1]


def dead_letter_queue(target: Target, name: str) -> str:
    """URL of the dead-letter queue of a queue.

    Raises:
        NotFound: no such queue, or it has no redrive policy.
    """
    return redrive_of(target, name).dead_url


def queue_arns(aws: Aws, name: str) -> tuple[str, ...]:
    """ARNs of a queue and of its dead-letter queue.

    Raises:
        NotFound: no such queue, or it has no redrive policy.
    """
    dead = name_of(dead_letter_queue(aws.target, name))
    return tuple(aws.arn("sqs", queue) for queue in (name, dead))
