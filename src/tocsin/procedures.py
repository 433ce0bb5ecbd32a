"""Documented procedures as Chaos Toolkit actions: what people do after the cause is mended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.errors import TargetError
from tocsin.faults.base import Aws
from tocsin.faults.session import target_of
from tocsin.faults.sqs import dead_letter_queue, queue_arns, queue_url
from tocsin.iam import Arns, Grant
from tocsin.target import Target, aws_errors

Configuration = Mapping[str, Any]
_MOVE_WALL_S = 10.0
"""A move of a few messages takes real seconds on every clock."""


def sqs_redrive(queue: str, timeout_s: float = 900.0, configuration: Configuration | None = None) -> str:
    """Move everything in a queue's dead-letter queue back to it, until nothing more arrives there.

    Mend the cause first: messages that fail again come back. A message whose last attempt failed just before the
    mend reaches the dead-letter queue only when its visibility time-out is over, so one redrive leaves it behind;
    and one that fails again comes back only after all its attempts. This one ends when the dead-letter queue has
    stayed empty for as long as either can take. `timeout_s` is production time.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html

    Raises:
        NotFound: no such queue, or it has no dead-letter queue.
        TargetError: a move failed, or messages keep coming back.
    """
    target = target_of(configuration)
    queues = _find(target, queue)
    deadline = time.monotonic() + max(timeout_s / target.scale, _MOVE_WALL_S)
    empty_since, moved = time.monotonic(), 0
    while time.monotonic() - empty_since < queues.comes_back_within_s(moved) / target.scale:
        if time.monotonic() > deadline:
            raise TargetError(
                f"expected the dead-letter queue of {queue} to stay empty, found messages again after {moved} were "
                "moved back: the cause is not mended"
            )
        if _depth(target, queues.dead_url):
            moved += _move(target, queue, queues.dead_arn)
            empty_since = time.monotonic()
        time.sleep(max(0.1, 1.0 / target.scale))
    return f"{moved} messages moved back to {queue}"


@dataclass(frozen=True)
class _Queues:
    dead_url: str
    dead_arn: str
    visibility_timeout_s: float
    max_receive_count: int

    def comes_back_within_s(self, moved: int) -> float:
        """Production seconds in which a message may still arrive in the dead-letter queue."""
        attempts = self.max_receive_count + 1 if moved else 1
        return attempts * self.visibility_timeout_s


def _find(target: Target, queue: str) -> _Queues:
    dead_url = dead_letter_queue(target, queue)
    client = target.client("sqs")
    with aws_errors(f"reading the attributes of {queue}"):
        source = client.get_queue_attributes(
            QueueUrl=queue_url(target, queue), AttributeNames=["VisibilityTimeout", "RedrivePolicy"]
        )["Attributes"]
        dead = client.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
    return _Queues(
        dead_url=dead_url,
        dead_arn=dead["Attributes"]["QueueArn"],
        visibility_timeout_s=float(source["VisibilityTimeout"]),
        max_receive_count=int(json.loads(source["RedrivePolicy"])["maxReceiveCount"]),
    )


def _depth(target: Target, url: str) -> int:
    with aws_errors("reading the depth of the dead-letter queue"):
        answer = target.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def _move(target: Target, queue: str, dead_arn: str) -> int:
    """Start one move and wait for its end; number of messages moved."""
    client = target.client("sqs")
    with aws_errors(f"redriving the dead-letter queue of {queue}"):
        client.start_message_move_task(SourceArn=dead_arn)
    deadline = time.monotonic() + max(600.0 / target.scale, _MOVE_WALL_S)
    while True:
        with aws_errors("reading the state of the redrive"):
            tasks = client.list_message_move_tasks(SourceArn=dead_arn, MaxResults=1)["Results"]
        status = tasks[0]["Status"] if tasks else "UNKNOWN"
        if status == "COMPLETED":
            return int(tasks[0].get("ApproximateNumberOfMessagesMoved", 0))
        if status not in ("RUNNING", "UNKNOWN") or time.monotonic() > deadline:
            reason = tasks[0].get("FailureReason", "no reason given") if tasks else "it was never listed"
            raise TargetError(f"expected the redrive of {queue} to complete, found {status}: {reason}")
        time.sleep(max(0.1, 1.0 / target.scale))


def _redrive_grant(arguments: Mapping[str, Any], arns: Arns) -> Grant:
    """Moving is done with the caller's own permissions on both queues; only the account names the dead-letter queue.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
    """
    actions = ("GetQueueUrl", "GetQueueAttributes", "StartMessageMoveTask", "ListMessageMoveTasks")
    moving = ("ReceiveMessage", "DeleteMessage", "SendMessage")
    return Grant(
        sid="Procedures",
        actions=tuple(f"sqs:{action}" for action in (*actions, *moving)),
        resources=(arns("sqs", "*"),),
    )


GRANTS: Mapping[str, Callable[[Mapping[str, Any], Arns], Grant]] = {"sqs_redrive": _redrive_grant}
"""What each procedure needs of IAM with these arguments."""

ARNS: Mapping[str, Callable[[Mapping[str, Any], Aws], tuple[str, ...]]] = {
    "sqs_redrive": lambda arguments, aws: queue_arns(aws, arguments["queue"]),
}
"""ARNs of what each procedure works on, asked of the account."""

__all__ = ["sqs_redrive"]
