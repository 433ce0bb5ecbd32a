# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon SQS: queues in production time, their metrics, redrive and move tasks.

ministack keeps the queues and answers the API. What a queue waits for is divided by the time scale here, messages are
taken out under one lock, and what ministack has not is added: `StartMessageMoveTask` and its kin, dead-letter sources,
and metrics.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tocsin.alarms.cloudwatch import MetricKey
from tocsin.sandbox.metrics import scope_of_arn
from tocsin.sandbox.ministack import expect
from tocsin.sandbox.service import Asked, ReliedOn
from tocsin.sandbox.world import World

POLL_S = 0.02
"""Real seconds between two looks at a queue of a long poll"""
_DEDUPLICATION_S = 300
_MOVE_BATCH = 10
_KEPT_MOVES = 10


@dataclass
class MoveTask:
    """One `StartMessageMoveTask`."""

    handle: str
    source_arn: str
    destination_arn: str | None
    rate: int | None
    to_move: int
    started: float = field(default_factory=time.time)
    moved: int = 0
    status: str = "RUNNING"
    failure: str | None = None

    def describe(self) -> dict[str, Any]:
        """The entry of `ListMessageMoveTasks`."""
        entry: dict[str, Any] = {
            "Status": self.status,
            "SourceArn": self.source_arn,
            "ApproximateNumberOfMessagesMoved": self.moved,
            "ApproximateNumberOfMessagesToMove": self.to_move,
            "StartedTimestamp": int(self.started * 1000),
        }
        optional = {
            "TaskHandle": self.handle if self.status == "RUNNING" else None,
            "DestinationArn": self.destination_arn,
            "MaxNumberOfMessagesPerSecond": self.rate,
            "FailureReason": self.failure,
        }
        return entry | {name: value for name, value in optional.items() if value is not None}


class Sqs:
    """The queues of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "core.concurrency": {"esm_wake": ""},
        "core.iam_actions": {"_param": "body, query_params, fields"},
        "services.sqs": {
            "_queues": "",
            "_queues_lock": "",
            "_HANDLERS": "",
            "_Err": "",
            "_DEDUP_WINDOW_S": "",
            "_get_q": "url, action",
            "_queue_by_arn": "arn",
            "_act_create_queue": "data, _u",
            "_act_delete_queue": "data, qurl",
            "_act_send_message": "data, qurl",
            "_act_receive_message": "data, qurl",
            "_act_delete_message": "data, qurl",
            "_act_delete_message_batch": "data, qurl",
            "_act_change_visibility": "data, qurl",
            "_collect_msgs": "q, max_n, vis_timeout",
            "_dlq_sweep": "q",
            "_expire_retained": "q",
            "_receive_messages_for_esm": "queue_url, max_number",
            "_delete_messages_for_esm": "queue_url, receipt_handles",
            "queue_delay": "q",
        },
    }
    signed_for = "sqs"
    allowed_by: ClassVar[Mapping[str, str]] = {
        "SendMessageBatch": "SendMessage",
        "DeleteMessageBatch": "DeleteMessage",
        "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
    }
    """A policy that names a batch by itself allows nothing.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    """

    def adapt(self, world: World) -> None:
        """Let queues run in production time."""
        self._ministack = world.ministack
        self._clock = world.clock
        self._store = world.store
        self._moves: dict[str, list[MoveTask]] = {}
        self._wake = world.ministack.module("core.concurrency").esm_wake
        self._parameter = world.ministack.module("core.iam_actions")._param
        self._sqs = sqs = world.ministack.module("services.sqs")
        # Handlers run on the event loop, event source pollers in threads. ministack replaces the list of messages
        # from both, which loses a message that arrives meanwhile; here all removals are in place and under one lock.
        sqs._queues_lock = threading.RLock()
        sqs._DEDUP_WINDOW_S = self._clock.wall(_DEDUPLICATION_S)
        replace = world.ministack.replace
        self._send = replace(sqs, "_act_send_message", self._send_message)
        self._receive = replace(sqs, "_act_receive_message", self._receive_message)
        self._collect = replace(sqs, "_collect_msgs", self._collect_messages)
        self._visibility = replace(sqs, "_act_change_visibility", self._change_visibility)
        self._delay = replace(sqs, "queue_delay", self._queue_delay)
        sqs._act_delete_message = self._delete_message
        sqs._act_delete_message_batch = self._delete_message_batch
        sqs._delete_messages_for_esm = self._delete_messages
        sqs._dlq_sweep = self._sweep
        sqs._expire_retained = self._expire
        sqs._HANDLERS |= {
            "SendMessage": self._send_message,
            "ReceiveMessage": self._receive_message,
            "DeleteMessage": self._delete_message,
            "DeleteMessageBatch": self._delete_message_batch,
            "ChangeMessageVisibility": self._change_visibility,
            "StartMessageMoveTask": self._start_move,
            "ListMessageMoveTasks": self._list_moves,
            "CancelMessageMoveTask": self._cancel_move,
            "ListDeadLetterSourceQueues": self._list_sources,
        }

    async def try_out(self) -> None:
        """A message is sent, received and deleted."""
        sqs = self._sqs
        with self._ministack.scope(("000000000001", "us-east-1")):
            url = sqs._act_create_queue({"QueueName": "self-test"}, "")["QueueUrl"]
            sqs._act_send_message({"QueueUrl": url, "MessageBody": "m", "DelaySeconds": 0}, url)
            received = await sqs._HANDLERS["ReceiveMessage"]({"QueueUrl": url}, url)
            expect(self, "a received SQS message has a receipt handle", "Messages" in received)
            visible_in = sqs._queues[url]["messages"][0]["visible_at"] - time.time()
            expect(self, "visibility is divided by the time scale", visible_in <= self._clock.wall(30) + 0.01)
            sqs._act_delete_message({"QueueUrl": url, "ReceiptHandle": received["Messages"][0]["ReceiptHandle"]}, url)
            expect(self, "a deleted SQS message is gone", not sqs._queues[url]["messages"])
            sqs._act_delete_queue({"QueueUrl": url}, url)

    def iam_resource(self, asked: Asked) -> str | None:
        """Of the operations on a move task: its source."""
        return self._parameter(asked.body, asked.query, "SourceArn") or None

    async def publish(self, wall: float) -> None:
        """Publish the gauges of all queues."""
        now = time.time()
        for _, queue in list(self._sqs._queues._data.items()):
            scope = scope_of_arn(queue["attributes"]["QueueArn"])
            messages = list(queue["messages"])
            visible = [message for message in messages if message.get("visible_at", 0) <= now]
            delayed = sum(
                message.get("visible_at", 0) > now and not message.get("receive_count") for message in messages
            )
            # AWS leaves out messages received three times or more, so that a poison message does not hide the rest.
            ages = [now - message.get("sent_at", now) for message in messages if message.get("receive_count", 0) < 3]
            for metric, value, unit in (
                ("ApproximateNumberOfMessagesVisible", float(len(visible)), "Count"),
                ("ApproximateNumberOfMessagesNotVisible", float(len(messages) - len(visible) - delayed), "Count"),
                ("ApproximateNumberOfMessagesDelayed", float(delayed), "Count"),
                ("ApproximateAgeOfOldestMessage", self._clock.production(max(ages, default=0.0)), "Seconds"),
            ):
                key = MetricKey("AWS/SQS", metric, (("QueueName", queue["name"]),))
                self._store.put(scope, key, value, unit, wall=wall)

    def _count_messages(self, queue: dict[str, Any], metric: str, count: int = 1) -> None:
        key = MetricKey("AWS/SQS", metric, (("QueueName", queue["name"]),))
        self._store.put(scope_of_arn(queue["attributes"]["QueueArn"]), key, float(count), "Count")

    def _send_message(self, data: dict[str, Any], url: str) -> Any:
        answer = self._send(data, url)
        queue = self._sqs._get_q(data.get("QueueUrl", url))
        for message in reversed(queue["messages"]):
            if message["id"] == answer["MessageId"]:
                message["visible_at"] = message["sent_at"] + self._clock.wall(
                    message["visible_at"] - message["sent_at"]
                )
                break
        self._count_messages(queue, "NumberOfMessagesSent")
        return answer

    async def _receive_message(self, data: dict[str, Any], url: str) -> Any:
        """ReceiveMessage; a long poll is divided by the time scale like everything else a queue waits for."""
        queue = self._sqs._get_q(data.get("QueueUrl", url))
        wait = data.get("WaitTimeSeconds")
        if wait is None:
            wait = queue["attributes"].get("ReceiveMessageWaitTimeSeconds", "0")
        deadline = time.monotonic() + self._clock.wall(float(wait))
        at_once = {**data, "WaitTimeSeconds": 0}
        answer = await self._receive(at_once, url)
        while not answer and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)
            answer = await self._receive(at_once, url)
        return answer

    def _collect_messages(self, queue: dict[str, Any], count: int, visibility_s: float) -> Any:
        with self._sqs._queues_lock:
            found = self._collect(queue, count, self._clock.wall(visibility_s))
        if found:
            self._count_messages(queue, "NumberOfMessagesReceived", len(found))
        return found

    def _change_visibility(self, data: dict[str, Any], url: str) -> Any:
        answer = self._visibility(data, url)
        queue = self._sqs._get_q(data.get("QueueUrl", url))
        timeout_s = float(data.get("VisibilityTimeout", 30))
        for message in queue["messages"]:
            if message["receipt_handle"] == data.get("ReceiptHandle"):
                message["visible_at"] = time.time() + self._clock.wall(timeout_s)
        return answer

    def _queue_delay(self, queue: dict[str, Any]) -> float:
        return self._clock.wall(float(self._delay(queue)))

    def _remove(self, queue: dict[str, Any], doomed: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Take messages out of a queue in place; senders append without a lock."""
        with self._sqs._queues_lock:
            messages = queue["messages"]
            taken = [(index, message) for index, message in enumerate(messages) if doomed(message)]
            for index, _ in reversed(taken):
                del messages[index]
        return [message for _, message in taken]

    def _delete_message(self, data: dict[str, Any], url: str) -> Any:
        queue = self._sqs._get_q(data.get("QueueUrl", url), "sqs:DeleteMessage")
        handle = data.get("ReceiptHandle", "")
        if not handle:
            raise self._sqs._Err("MissingParameter", "The request must contain the parameter ReceiptHandle.")
        if not self._remove(queue, lambda message: message.get("receipt_handle") == handle):
            raise self._sqs._Err("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        self._count_messages(queue, "NumberOfMessagesDeleted")
        return {}

    def _delete_message_batch(self, data: dict[str, Any], url: str) -> Any:
        successful: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for entry in data.get("Entries", []):
            one = {"QueueUrl": data.get("QueueUrl", url), "ReceiptHandle": entry.get("ReceiptHandle", "")}
            try:
                self._delete_message(one, url)
                successful.append({"Id": entry.get("Id", "")})
            except self._sqs._Err as error:
                failed.append(
                    {"Id": entry.get("Id", ""), "Code": error.code, "Message": error.message, "SenderFault": True}
                )
        return {"Successful": successful, "Failed": failed}

    def _delete_messages(self, queue_url: str, handles: set[str]) -> None:
        queue = self._sqs._get_q(queue_url)
        removed = self._remove(queue, lambda message: message.get("receipt_handle") in handles)
        if removed:
            self._count_messages(queue, "NumberOfMessagesDeleted", len(removed))

    def _expire(self, queue: dict[str, Any]) -> None:
        retention_s = float(queue["attributes"].get("MessageRetentionPeriod", "345600"))
        oldest = time.time() - self._clock.wall(retention_s)
        self._remove(queue, lambda message: message.get("enqueued_at", message.get("sent_at", oldest + 1)) <= oldest)

    def _sweep(self, queue: dict[str, Any]) -> None:
        """Move messages that were received too often to the dead-letter queue."""
        policy = _redrive_policy(queue)
        dead_letters = self._sqs._queue_by_arn(policy.get("deadLetterTargetArn", ""))
        if dead_letters is None:
            return
        now, limit = time.time(), int(policy.get("maxReceiveCount", 0))
        for message in self._remove(
            queue,
            lambda message: message.get("receive_count", 0) >= limit > 0 and message.get("visible_at", 0) <= now,
        ):
            system = {
                "DeadLetterQueueSourceArn": queue["attributes"]["QueueArn"],
                **(message.get("sys") or {}),
            }
            dead_letters["messages"].append(
                {**message, "receipt_handle": None, "visible_at": now, "sys": system}
                | ({"enqueued_at": now} if dead_letters.get("is_fifo") else {})
            )
            self._wake.set()

    # ------------------------------------------------------------------------------------------ redrive

    def _list_sources(self, data: dict[str, Any], url: str) -> dict[str, Any]:
        arn = self._sqs._get_q(data.get("QueueUrl", url))["attributes"]["QueueArn"]
        policies = {found: _redrive_policy(queue) for found, queue in self._sqs._queues.items()}
        return {"queueUrls": [found for found, policy in policies.items() if policy.get("deadLetterTargetArn") == arn]}

    def _start_move(self, data: dict[str, Any], _url: str) -> Any:
        source_arn, destination_arn = data.get("SourceArn", ""), data.get("DestinationArn")
        source = self._queue(source_arn, "source")
        if destination_arn:
            self._queue(destination_arn, "destination")
        feeders = (_redrive_policy(queue) for queue in self._sqs._queues.values())
        if not any(policy.get("deadLetterTargetArn") == source_arn for policy in feeders):
            raise self._sqs._Err("InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
        tasks = self._moves.setdefault(source_arn, [])
        if any(task.status == "RUNNING" for task in tasks):
            raise self._sqs._Err(
                "UnsupportedOperation", "There is already a task running. Only one active task is allowed."
            )
        handle = base64.b64encode(json.dumps({"taskId": str(uuid.uuid4()), "sourceArn": source_arn}).encode())
        task = MoveTask(
            handle.decode(),
            source_arn,
            destination_arn,
            data.get("MaxNumberOfMessagesPerSecond"),
            len(source["messages"]),
        )
        tasks.insert(0, task)
        del tasks[_KEPT_MOVES:]
        self._ministack.in_background(self._move(task, source))
        return {"TaskHandle": task.handle}

    async def _move(self, task: MoveTask, source: dict[str, Any]) -> None:
        pause_s = self._clock.wall(_MOVE_BATCH / task.rate) if task.rate else 0.001
        while task.status == "RUNNING":
            now = time.time()
            waiting = [message for message in source["messages"] if message.get("visible_at", 0) <= now]
            if not waiting:
                task.status = "COMPLETED"
                return
            for message in waiting[:_MOVE_BATCH]:
                if task.status == "RUNNING":
                    self._move_message(task, source, message)
            await asyncio.sleep(pause_s)

    def _move_message(self, task: MoveTask, source: dict[str, Any], message: dict[str, Any]) -> None:
        system = dict(message.get("sys") or {})
        arn = task.destination_arn or system.pop("DeadLetterQueueSourceArn", "")
        destination = self._sqs._queue_by_arn(arn) if arn else None
        if destination is None:
            task.status = "FAILED"
            task.failure = "AWS.SimpleQueueService.NonExistentQueue" if arn else "CouldNotDetermineMessageSource"
            return
        if not self._remove(source, lambda candidate: candidate is message):
            return
        now = time.time()
        system.pop("DeadLetterQueueSourceArn", None)
        destination["messages"].append(
            {
                **message,
                "id": str(uuid.uuid4()),
                "receipt_handle": None,
                "receive_count": 0,
                "first_receive_at": None,
                "sent_at": now,
                "visible_at": now,
                "sys": {**system, "SentTimestamp": str(int(now * 1000))},
            }
        )
        task.moved += 1
        self._wake.set()

    def _list_moves(self, data: dict[str, Any], _url: str) -> Any:
        self._queue(data.get("SourceArn", ""), "source")
        tasks = self._moves.get(data["SourceArn"], [])
        return {"Results": [task.describe() for task in tasks[: int(data.get("MaxResults") or 1)]]}

    def _cancel_move(self, data: dict[str, Any], _url: str) -> Any:
        for task in (task for tasks in self._moves.values() for task in tasks):
            if task.handle == data.get("TaskHandle") and task.status == "RUNNING":
                task.status = "CANCELLED"
                return {"ApproximateNumberOfMessagesMoved": task.moved}
        raise self._sqs._Err("ResourceNotFoundException", "Task does not exist.", 404)

    def _queue(self, arn: str, role: str) -> dict[str, Any]:
        queue: dict[str, Any] | None = self._sqs._queue_by_arn(arn)
        if queue is None:
            raise self._sqs._Err(
                "ResourceNotFoundException", f"The resource that you specified for the {role} doesn't exist.", 404
            )
        return queue


def _redrive_policy(queue: Mapping[str, Any]) -> dict[str, Any]:
    """The redrive policy of a queue; empty when it has none, or one that cannot be read."""
    try:
        policy = json.loads(queue["attributes"].get("RedrivePolicy") or "null")
    except ValueError:
        return {}
    return policy if isinstance(policy, dict) else {}
