"""Procedures on SQS queues."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from tocsin.aws import keys
from tocsin.aws.again import asked_again
from tocsin.aws.declared import Arguments, Declared
from tocsin.aws.iam import Arns, Grant
from tocsin.aws.sqs import dead_letter_queue, name_of, queue_arns, queue_attributes, queue_url, redrive_of
from tocsin.aws.target import Aws, Target, aws_errors
from tocsin.errors import TargetError
from tocsin.faults.session import Configuration, target_of

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
    while True:
        # The last look begins when the time is over: what came while nobody could look is not overlooked.
        looked = time.monotonic()
        if asked_again(partial(_depth, target, queues.dead_url), deadline - looked):
            if looked > deadline:
                raise TargetError(
                    f"expected the dead-letter queue of {queue} to stay empty, found messages again after {moved} were "
                    "moved back: the cause is not mended"
                )
            moved += _move(target, queue, queues.dead_arn)
            empty_since = time.monotonic()
        elif looked - empty_since >= queues.comes_back_within_s(moved) / target.scale:
            break
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
    source = queue_attributes(target, queue_url(target, queue), "VisibilityTimeout", "RedrivePolicy")
    return _Queues(
        dead_url=dead_url,
        dead_arn=queue_attributes(target, dead_url, "QueueArn")["QueueArn"],
        visibility_timeout_s=float(source["VisibilityTimeout"]),
        max_receive_count=int(json.loads(source["RedrivePolicy"])["maxReceiveCount"]),
    )


def _depth(target: Target, url: str) -> int:
    return int(queue_attributes(target, url, "ApproximateNumberOfMessages")["ApproximateNumberOfMessages"])


def _move(target: Target, queue: str, dead_arn: str) -> int:
    """Start one move and wait for its end; number of messages moved."""
    with aws_errors(f"redriving the dead-letter queue of {queue}"):
        target.client("sqs").start_message_move_task(SourceArn=dead_arn)
    deadline = time.monotonic() + max(600.0 / target.scale, _MOVE_WALL_S)
    while True:
        tasks = asked_again(partial(_tasks, target, dead_arn), deadline - time.monotonic())
        status = tasks[0]["Status"] if tasks else "UNKNOWN"
        if status == "COMPLETED":
            return int(tasks[0].get("ApproximateNumberOfMessagesMoved", 0))
        if status not in ("RUNNING", "UNKNOWN") or time.monotonic() > deadline:
            reason = tasks[0].get("FailureReason", "no reason given") if tasks else "it was never listed"
            raise TargetError(f"expected the redrive of {queue} to complete, found {status}: {reason}")
        time.sleep(max(0.1, 1.0 / target.scale))


def _tasks(target: Target, dead_arn: str) -> list[dict[str, Any]]:
    """The last move from a dead-letter queue, if there was one."""
    with aws_errors("reading the state of the redrive"):
        answer = target.client("sqs").list_message_move_tasks(SourceArn=dead_arn, MaxResults=1)
    found: list[dict[str, Any]] = answer["Results"]
    return found


def _grant(arguments: Arguments, arns: Arns) -> Grant:
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


def _changed(arguments: Arguments, aws: Aws) -> tuple[str, ...]:
    return queue_arns(aws, arguments["queue"])


def _key_grants(arguments: Arguments, aws: Aws) -> Iterator[Grant]:
    """Messages are decrypted in the one queue and encrypted in the other, with the caller's rights.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html
    """
    redrive = redrive_of(aws.target, arguments["queue"])
    yield from keys.of_queue(aws.target, name_of(redrive.dead_url), keys.RECEIVING)
    yield from keys.of_queue(aws.target, arguments["queue"], keys.SENDING)


def _reads(arguments: Arguments, aws: Aws) -> None:
    queues = _find(aws.target, arguments["queue"])
    _depth(aws.target, queues.dead_url)
    _tasks(aws.target, queues.dead_arn)


SQS_REDRIVE = Declared(sqs_redrive, grant=_grant, key_grants=_key_grants, reads=_reads, changes=_changed)
