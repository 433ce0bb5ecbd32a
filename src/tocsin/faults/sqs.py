"""Faults of Amazon SQS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from tocsin.errors import NotFound
from tocsin.faults.base import Aws, Fault, State
from tocsin.iam import Arns
from tocsin.target import Target, aws_errors

_MARK = "tocsin"
"""Message attribute that tells our messages from all others; kept when SQS moves a message to the DLQ."""
_HOLD_S = 30
"""Visibility time-out of a look through a queue, in production seconds."""


class PoisonState(State):
    """Messages of ours that are in the dead-letter queue."""

    in_dead_letter_queue: int


class SqsPoisonMessage(Fault[PoisonState]):
    """Send messages that no consumer can process; they end in the dead-letter queue.

    The undo deletes exactly these messages, found by their attribute; it never purges. The effect is seen when they
    arrive in the dead-letter queue, after `maxReceiveCount` times the visibility time-out. No schedule can end it: no
    single call finds them, and there they hurt nobody.
    """

    kind: ClassVar[str] = "sqs_poison_message"
    state: ClassVar[type[State]] = PoisonState
    summary: ClassVar[str] = "send messages that no consumer can process"
    aws_service: ClassVar[str] = "sqs"
    permissions: ClassVar[tuple[str, ...]] = (
        "sqs:GetQueueUrl",
        "sqs:GetQueueAttributes",
        "sqs:SendMessage",
        "sqs:ReceiveMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
    )
    effect_within_s: ClassVar[float] = 900.0

    queue: str = Field(description="name of the source queue")
    count: int = Field(default=1, ge=1, le=100)
    body: str = Field(default='{"tocsin": "poison"}', description="what the consumer chokes on")

    @property
    def resource(self) -> str:
        return f"queue {self.queue}"

    def arns(self, aws: Aws) -> tuple[str, ...]:
        return queue_arns(aws, self.queue)

    def scope(self, action: str, arns: Arns) -> tuple[str, ...]:
        # Only the account knows the name of the dead-letter queue.
        return (arns("sqs", self.queue if action == "sqs:SendMessage" else "*"),)

    def observe(self, aws: Aws, prior: PoisonState | None) -> PoisonState:
        if prior is None:
            # Nothing of ours can be there before the entry exists; but the dead-letter queue must.
            dead_letter_queue(aws.target, self.queue)
            return PoisonState(in_dead_letter_queue=0)
        return PoisonState(in_dead_letter_queue=len(self._peek(aws)))

    def _peek(self, aws: Aws) -> set[str]:
        """Ids of our messages in the dead-letter queue; nothing is hidden from other readers."""
        client = aws.client("sqs")
        url = dead_letter_queue(aws.target, self.queue)
        found: set[str] = set()
        with aws_errors(f"looking into the dead-letter queue of {self.queue}"):
            for _ in range(1 + self.count // 10):
                found |= {m["MessageId"] for m in _receive(client, url, hold_s=0) if _is_ours(m, aws.entry)}
        return found

    def broken(self, prior: PoisonState) -> PoisonState:
        return PoisonState(in_dead_letter_queue=self.count)

    def inject(self, aws: Aws, prior: PoisonState) -> None:
        client = aws.client("sqs")
        url = queue_url(aws.target, self.queue)
        with aws_errors(f"sending to {self.resource}"):
            for _ in range(self.count):
                client.send_message(
                    QueueUrl=url,
                    MessageBody=self.body,
                    MessageAttributes={_MARK: {"DataType": "String", "StringValue": aws.entry}},
                )

    def undo(self, aws: Aws, prior: PoisonState) -> None:
        # A message that a consumer holds right now is invisible: look again until a whole visibility time-out of
        # both queues has passed without one of ours.
        # The source queue only when the dead-letter queue does not hold them all: every look at it counts as a
        # receive of its other messages too.
        source, dead = queue_url(aws.target, self.queue), dead_letter_queue(aws.target, self.queue)
        patience = self._visibility_timeout(aws, source) / aws.target.scale + 0.5
        quiet_since, deleted = time.monotonic(), 0
        while deleted < self.count and time.monotonic() - quiet_since < patience:
            now_deleted = self._delete_ours(aws, dead) or self._delete_ours(aws, source)
            if now_deleted:
                deleted, quiet_since = deleted + now_deleted, time.monotonic()
            else:
                time.sleep(0.1)

    def _visibility_timeout(self, aws: Aws, url: str) -> float:
        with aws_errors(f"reading the attributes of {self.resource}"):
            answer = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])
        return float(answer["Attributes"]["VisibilityTimeout"])

    def _delete_ours(self, aws: Aws, url: str) -> int:
        client = aws.client("sqs")
        deleted = 0
        with aws_errors(f"removing our messages from {self.resource}"):
            for message in _sweep(client, url):
                if _is_ours(message, aws.entry):
                    client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    deleted += 1
                else:
                    client.change_message_visibility(
                        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                    )
        return deleted


def queue_url(target: Target, name: str) -> str:
    """URL of a queue.

    Raises:
        NotFound: there is no such queue.
    """
    with aws_errors(f"looking for the queue {name}"):
        return str(target.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])


def dead_letter_queue(target: Target, name: str) -> str:
    """URL of the dead-letter queue of a queue.

    Raises:
        NotFound: no such queue, or it has no redrive policy.
    """
    with aws_errors(f"reading the redrive policy of {name}"):
        answer = target.client("sqs").get_queue_attributes(
            QueueUrl=queue_url(target, name), AttributeNames=["RedrivePolicy"]
        )
    policy = answer.get("Attributes", {}).get("RedrivePolicy")
    if policy is None:
        raise NotFound(f"expected the queue {name} to have a dead-letter queue, found no redrive policy")
    return queue_url(target, json.loads(policy)["deadLetterTargetArn"].rsplit(":", 1)[1])


def queue_arns(aws: Aws, name: str) -> tuple[str, ...]:
    """ARNs of a queue and of its dead-letter queue.

    Raises:
        NotFound: no such queue, or it has no redrive policy.
    """
    dead = dead_letter_queue(aws.target, name).rsplit("/", 1)[1]
    return tuple(aws.arn("sqs", queue) for queue in (name, dead))


def _receive(client: Any, url: str, hold_s: int) -> list[dict[str, Any]]:
    answer = client.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=hold_s, MessageAttributeNames=[_MARK]
    )
    messages: list[dict[str, Any]] = answer.get("Messages", [])
    return messages


def _sweep(client: Any, url: str) -> Iterator[dict[str, Any]]:
    """Each visible message once: held while we look, so that no message is seen twice."""
    held: list[dict[str, Any]] = []
    while batch := _receive(client, url, hold_s=_HOLD_S):
        held.extend(batch)
    yield from held


def _is_ours(message: dict[str, Any], entry: str) -> bool:
    attribute = message.get("MessageAttributes", {}).get(_MARK, {})
    return bool(attribute.get("StringValue") == entry)
