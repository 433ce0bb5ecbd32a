"""A queue of the drills' own, which they empty: that of the pager, and those of taps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tocsin.aws.sqs import queue_url
from tocsin.aws.target import Target, aws_errors

MESSAGES_A_CALL = 10
"""The most that ReceiveMessage gives, and DeleteMessageBatch takes.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
"""
LONG_POLL_S = 1
"""A short poll asks some of SQS's servers, and may find nothing where there is something.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
"""

Message = Mapping[str, Any]


class Inbox:
    """Gives each message once, and loses none.

    A message is looked at before it is deleted: a deletion that was made, although its answer was lost, takes nothing
    along that nobody saw. What was not deleted, and what SQS delivers twice, comes again, and is only deleted then.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues-at-least-once-delivery.html
    """

    def __init__(self, target: Target, queue: str) -> None:
        """Find the queue of that name.

        Raises:
            NotFound: there is none.
            TargetError: SQS did not answer.
        """
        self._target = target
        self._queue = queue
        self._url = queue_url(target, queue)
        self._seen: set[str] = set()

    def take(self, look: Callable[[Message], None], wait_s: int = LONG_POLL_S) -> int:
        """Receive some, have those looked at that are new, and delete all; how many came.

        Raises:
            TargetError: SQS did not answer. What it gave before was looked at.
        """
        sqs = self._target.client("sqs")
        with aws_errors(f"reading the queue {self._queue}"):
            answer = sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=MESSAGES_A_CALL,
                AttributeNames=["SentTimestamp"],
                MessageAttributeNames=["All"],
                WaitTimeSeconds=wait_s,
            )
        messages: list[Message] = answer.get("Messages", [])
        for message in messages:
            if message["MessageId"] not in self._seen:
                look(message)
                self._seen.add(message["MessageId"])
        if messages:
            # Which of them are told as failed does not matter: those come again.
            handles = [
                {"Id": str(number), "ReceiptHandle": one["ReceiptHandle"]} for number, one in enumerate(messages)
            ]
            with aws_errors(f"deleting what was read of the queue {self._queue}"):
                sqs.delete_message_batch(QueueUrl=self._url, Entries=handles)
        return len(messages)


def sent_at(message: Message) -> float:
    """When SQS got it, in epoch seconds."""
    return float(message["Attributes"]["SentTimestamp"]) / 1000
