"""Queues: messages that are hidden while somebody holds them, and given up when they were received too often."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from tests.faults.stub.clock import Clock
from tests.faults.stub.errors import Asked, StubError

_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/"


@dataclass
class Message:
    """One message; `receives` as ApproximateReceiveCount tells it."""

    id: str
    body: str
    attributes: dict[str, Any]
    visible_at: float
    receives: int = 0
    handle: str = ""


@dataclass
class Queue:
    """One queue and what is in it."""

    name: str
    attributes: dict[str, str]
    messages: list[Message] = field(default_factory=list)


class Sqs:
    """`poor` is how many short polls answer nothing before one does: they ask only some of the servers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self.queues: dict[str, Queue] = {}
        self.poor = 0
        self._short = 0

    def make(self, name: str, **attributes: str) -> Queue:
        """A queue; `dead` names its dead-letter queue, `receives` is its maxReceiveCount."""
        dead = attributes.pop("dead", None)
        if dead is not None:
            arn = f"arn:aws:sqs:eu-west-1:123456789012:{dead}"
            policy = {"deadLetterTargetArn": arn, "maxReceiveCount": int(attributes.pop("receives"))}
            attributes["RedrivePolicy"] = json.dumps(policy)
        attributes = {"VisibilityTimeout": "30", "MessageRetentionPeriod": "345600", **attributes}
        self.queues[name] = Queue(name, attributes)
        return self.queues[name]

    def put(self, queue: str, body: str, attributes: dict[str, Any] | None = None) -> Message:
        """A message, sent by whomever."""
        number = next(self._numbers)
        message = Message(f"m-{number}", body, attributes or {}, self._clock.now)
        self.queues[queue].messages.append(message)
        return message

    def take(self, queue: Queue, most: int, hold_s: float) -> list[Message]:
        """Receive up to so many messages; those that were received too often go to the dead letters instead."""
        policy = json.loads(queue.attributes.get("RedrivePolicy", "null"))
        taken: list[Message] = []
        for message in [one for one in queue.messages if one.visible_at <= self._clock.now]:
            if policy is not None and message.receives >= policy["maxReceiveCount"]:
                queue.messages.remove(message)
                dead = self.queues[policy["deadLetterTargetArn"].rsplit(":", 1)[1]]
                dead.messages.append(message)
            elif len(taken) < most:
                message.receives += 1
                message.handle = f"{message.id}-{message.receives}"
                message.visible_at = self._clock.until(hold_s)
                taken.append(message)
        return taken

    # ------------------------------------------------------------------------------------------------ the API

    def get_queue_url(self, asked: Asked) -> Asked:
        self._named(asked["QueueName"])
        return {"QueueUrl": _URL + asked["QueueName"]}

    def get_queue_attributes(self, asked: Asked) -> Asked:
        queue = self._at(asked)
        visible = sum(one.visible_at <= self._clock.now for one in queue.messages)
        counts = {
            "ApproximateNumberOfMessages": visible,
            "ApproximateNumberOfMessagesNotVisible": len(queue.messages) - visible,
            "ApproximateNumberOfMessagesDelayed": 0,
        }
        every = {**queue.attributes, **{name: str(count) for name, count in counts.items()}}
        return {"Attributes": {name: value for name, value in every.items() if name in asked["AttributeNames"]}}

    def send_message(self, asked: Asked) -> Asked:
        queue = self._at(asked)
        if queue.name.endswith(".fifo") and "MessageGroupId" not in asked:
            raise StubError("MissingParameter", "The request must contain the parameter MessageGroupId.")
        return {"MessageId": self.put(queue.name, asked["MessageBody"], asked.get("MessageAttributes")).id}

    def receive_message(self, asked: Asked) -> Asked:
        queue, wait_s = self._at(asked), asked.get("WaitTimeSeconds", 0)
        if not wait_s and self.poor:
            self._short += 1
            if self._short % (self.poor + 1):
                return {}
        most = asked.get("MaxNumberOfMessages", 1)
        hold_s = float(asked.get("VisibilityTimeout", queue.attributes["VisibilityTimeout"]))
        taken = self.take(queue, most, hold_s)
        if not taken and wait_s:
            self._clock.sleep(wait_s / self._clock.scale)
            taken = self.take(queue, most, hold_s)
        messages = [
            {"MessageId": m.id, "Body": m.body, "ReceiptHandle": m.handle, "MessageAttributes": m.attributes}
            for m in taken
        ]
        return {"Messages": messages} if messages else {}

    def change_message_visibility(self, asked: Asked) -> None:
        message = self._held(self._at(asked), asked)
        if message.visible_at <= self._clock.now:
            raise StubError("MessageNotInflight")
        message.visible_at = self._clock.until(asked["VisibilityTimeout"])

    def delete_message(self, asked: Asked) -> None:
        queue = self._at(asked)
        queue.messages.remove(self._held(queue, asked))

    def _held(self, queue: Queue, asked: Asked) -> Message:
        for message in queue.messages:
            if message.handle == asked["ReceiptHandle"]:
                return message
        raise StubError("ReceiptHandleIsInvalid")

    def _at(self, asked: Asked) -> Queue:
        return self._named(asked["QueueUrl"].removeprefix(_URL))

    def _named(self, name: str) -> Queue:
        if name not in self.queues:
            raise StubError("AWS.SimpleQueueService.NonExistentQueue")
        return self.queues[name]
