"""Each message of a queue that drills empty is looked at once, and none is lost, whatever becomes of its deletion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.stubbed import Error, Request, Stubbed

from tocsin.aws.inbox import Inbox, Message, sent_at
from tocsin.aws.target import Target
from tocsin.errors import TargetError

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/oncall"


@dataclass
class Queue:
    """What is in it is visible; `keeps` are those whose deletion fails, `ends` is how a call of it does."""

    held: list[str]
    keeps: set[str] = field(default_factory=set)
    ends: Error | None = None
    lost: bool = False

    def receive(self, asked: Request) -> Mapping[str, Any]:
        attributes = {"SentTimestamp": "1700000000500"}
        some = self.held[: asked["MaxNumberOfMessages"]]
        return {"Messages": [{"MessageId": one, "ReceiptHandle": one, "Attributes": attributes} for one in some]}

    def delete(self, asked: Request) -> Mapping[str, Any]:
        if self.ends is not None and not self.lost:
            raise self.ends
        named = {entry["ReceiptHandle"]: entry["Id"] for entry in asked["Entries"]}
        self.held = [one for one in self.held if one not in named or one in self.keeps]
        if self.ends is not None:
            raise self.ends
        kept = self.keeps & named.keys()
        failed = [{"Id": named[one], "SenderFault": False, "Code": "InternalError"} for one in sorted(kept)]
        return {"Successful": [], "Failed": failed}


@dataclass
class Reader:
    """An inbox on that queue, and what it gave."""

    queue: Queue
    read: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        target = Target("none", "eu-west-1", access_key_id="x", secret_access_key="x")
        self.api = Stubbed(target)
        self.api.answers("sqs", "GetQueueUrl", {"QueueUrl": URL})
        self.api.answers("sqs", "ReceiveMessage", self.queue.receive)
        self.api.answers("sqs", "DeleteMessageBatch", self.queue.delete)
        self.inbox = Inbox(target, "oncall")

    def take(self) -> int:
        return self.inbox.take(self._look)

    def _look(self, message: Message) -> None:
        assert sent_at(message) == 1700000000.5
        self.read.append(message["MessageId"])


def test_every_message_is_read_and_deleted() -> None:
    reader = Reader(Queue([str(n) for n in range(13)]))
    assert [reader.take(), reader.take(), reader.take()] == [10, 3, 0]
    assert reader.read == [str(n) for n in range(13)]
    assert reader.queue.held == []
    assert [asked["WaitTimeSeconds"] for asked in reader.api.calls("ReceiveMessage")] == [1, 1, 1]


def test_what_is_not_deleted_comes_again_and_is_read_once() -> None:
    reader = Reader(Queue(["a", "b"], keeps={"a"}))
    assert [reader.take(), reader.take()] == [2, 1]
    reader.queue.keeps.clear()
    assert [reader.take(), reader.take()] == [1, 0]
    assert reader.read == ["a", "b"]
    assert reader.queue.held == []


@pytest.mark.parametrize("lost", [True, False], ids=("done without an answer", "not done"))
def test_a_deletion_that_is_not_answered_takes_nothing_along_that_nobody_saw(lost: bool) -> None:
    reader = Reader(Queue(["a", "b"], ends=Error("InternalFailure", status=500), lost=lost))
    with pytest.raises(TargetError, match="deleting what was read of the queue oncall"):
        reader.take()
    reader.queue.ends = None
    assert reader.take() == (0 if lost else 2)
    assert reader.read == ["a", "b"]
    assert reader.queue.held == []


def test_what_could_not_be_looked_at_is_not_deleted() -> None:
    reader = Reader(Queue(["a"]))

    def fail(message: Message) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        reader.inbox.take(fail)
    assert reader.take() == 1
    assert reader.read == ["a"]
