"""Documented procedures as Chaos Toolkit actions: what people do after the cause is mended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tocsin.errors import TargetError
from tocsin.faults.session import target_of
from tocsin.faults.sqs import dead_letter_queue
from tocsin.target import Target, aws_errors

Configuration = Mapping[str, Any]


def sqs_redrive(queue: str, timeout_s: float = 600.0, configuration: Configuration | None = None) -> str:
    """Move everything in a queue's dead-letter queue back to it, and wait for the end of the move.

    Mend the cause first: messages that fail again come back. `timeout_s` is production time.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html

    Raises:
        NotFound: no such queue, or it has no dead-letter queue.
        TargetError: the move failed, or did not end in time.
    """
    target = target_of(configuration)
    client = target.client("sqs")
    with aws_errors(f"redriving the dead-letter queue of {queue}"):
        url = dead_letter_queue(target, queue)
        arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        client.start_message_move_task(SourceArn=arn)
    task = _await_move(client, arn, target, timeout_s)
    if task["Status"] != "COMPLETED":
        reason = task.get("FailureReason", "no reason given")
        raise TargetError(f"expected the redrive of {queue} to complete, found {task['Status']}: {reason}")
    return f"{task.get('ApproximateNumberOfMessagesMoved', 0)} messages moved back to {queue}"


def _await_move(client: Any, arn: str, target: Target, timeout_s: float) -> Mapping[str, Any]:
    deadline = time.monotonic() + max(timeout_s / target.scale, 5.0)
    while True:
        with aws_errors("reading the state of the redrive"):
            tasks = client.list_message_move_tasks(SourceArn=arn, MaxResults=1)["Results"]
        latest: Mapping[str, Any] = tasks[0] if tasks else {"Status": "UNKNOWN"}
        if latest["Status"] not in ("RUNNING", "UNKNOWN") or time.monotonic() > deadline:
            return latest
        time.sleep(max(0.1, 1.0 / target.scale))


__all__ = ["sqs_redrive"]
