# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Handing a text to a target: a function, a queue, a topic or a log group.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-targets.html
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from tocsin.sandbox.ministack import Ministack
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.awslambda.asynchronous import Asynchronous
from tocsin.sandbox.services.events.deadletters import Attributes, DeliveryError, ErrorCode
from tocsin.sandbox.services.events.permissions import Permissions, Sender

RELIED_ON: ReliedOn = {
    "services.cloudwatch_logs": {
        "_log_groups": "",
        "_resource_policies": "",
        "_create_log_stream": "data",
        "_put_log_events": "data",
    },
    "services.lambda_svc": {
        "_get_func_record_for_ref": "function_ref",
        "_get_base_func_record_for_ref": "function_ref",
    },
    "services.sns": {
        "_topic_by_arn_any_scope": "topic_arn",
        "publish_internal": "topic_arn, message, subject, message_structure, message_attributes, message_group_id, "
        "message_deduplication_id",
        "SnsPublishError": "code, message",
    },
    "services.sqs": {"_queue_by_arn": "arn", "_act_send_message": "data, qurl", "_Err": ""},
}

Send = Callable[[Sender, Mapping[str, Any], str], None]


class Targets:
    """The targets that need nothing of EventBridge itself."""

    def __init__(self, ministack: Ministack, permissions: Permissions, queue: Asynchronous) -> None:
        """`queue` is that of the functions: Lambda takes the events of a rule asynchronously."""
        self._permissions = permissions
        self._functions = queue
        self._lambda = ministack.module("services.lambda_svc")
        self._logs = ministack.module("services.cloudwatch_logs")
        self._sns = ministack.module("services.sns")
        self._sqs = ministack.module("services.sqs")
        self._by_service: Mapping[str, Send] = {
            "lambda": self._invoke,
            "logs": self._log,
            "sns": self._publish,
            "sqs": self._queue,
        }

    @property
    def services(self) -> frozenset[str]:
        """Service names in the ARNs of what can be a target."""
        return frozenset(self._by_service)

    def send(self, sender: Sender, target: Mapping[str, Any], text: str) -> None:
        """Hand `text` to a target, in the account and region of the sender.

        Raises:
            DeliveryError: it did not take it.
        """
        service, region, account = target["Arn"].split(":")[2:5]
        if (account, region) != sender.scope:
            raise DeliveryError(
                ErrorCode.NO_RESOURCE, f"{target['Arn']} is not in the account and region of {sender.arn}"
            )
        self._by_service[service](sender, target, text)

    def bury(self, sender: Sender, queue_arn: str, body: str, attributes: Attributes) -> None:
        """Put a dead letter into a queue.

        Raises:
            DeliveryError: it is no standard queue, or the sender may not.
        """
        if queue_arn.endswith(".fifo"):
            raise DeliveryError(ErrorCode.INVALID_PARAMETER, f"a dead-letter queue is a standard queue: {queue_arn}")
        self._send_message(sender, queue_arn, {"MessageBody": body, "MessageAttributes": attributes})

    def _invoke(self, sender: Sender, target: Mapping[str, Any], text: str) -> None:
        """Lambda takes the event and answers before the function runs: what that does is no matter of the rule."""
        arn = target["Arn"]
        record, _, _ = self._lambda._get_func_record_for_ref(arn)
        owner, _, _ = self._lambda._get_base_func_record_for_ref(arn)
        if not record or not owner:
            raise DeliveryError(ErrorCode.NO_RESOURCE, f"Function not found: {arn}")
        self._permissions.check(sender, "lambda:InvokeFunction", arn, owner.get("policy"))
        try:
            event = json.loads(text)
        except ValueError:
            raise DeliveryError(ErrorCode.INVALID_JSON, "Could not parse request body into json") from None
        self._functions.take(arn, event)

    def _queue(self, sender: Sender, target: Mapping[str, Any], text: str) -> None:
        group = (target.get("SqsParameters") or {}).get("MessageGroupId")
        self._send_message(sender, target["Arn"], {"MessageBody": text, **({"MessageGroupId": group} if group else {})})

    def _send_message(self, sender: Sender, arn: str, message: Mapping[str, Any]) -> None:
        queue = self._sqs._queue_by_arn(arn)
        if queue is None:
            raise DeliveryError(ErrorCode.NO_RESOURCE, f"The specified queue does not exist: {arn}")
        self._permissions.check(sender, "sqs:SendMessage", arn, queue["attributes"].get("Policy"))
        try:
            self._sqs._act_send_message({"QueueUrl": queue["url"], **message}, queue["url"])
        except self._sqs._Err as error:
            raise DeliveryError(ErrorCode.INVALID_PARAMETER, str(error)) from None

    def _publish(self, sender: Sender, target: Mapping[str, Any], text: str) -> None:
        """A topic is not told the rule: conditions in its policy never hold for EventBridge."""
        arn = target["Arn"]
        topic = self._sns._topic_by_arn_any_scope(arn)
        if topic is None:
            raise DeliveryError(ErrorCode.NO_RESOURCE, f"Topic does not exist: {arn}")
        self._permissions.check(sender, "sns:Publish", arn, topic["attributes"].get("Policy"), told=False)
        try:
            self._sns.publish_internal(arn, text)
        except self._sns.SnsPublishError as error:
            raise DeliveryError(ErrorCode.INVALID_PARAMETER, str(error)) from None

    def _log(self, sender: Sender, target: Mapping[str, Any], text: str) -> None:
        """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-cloudwatchlogs-permissions"""
        group = target["Arn"].split(":log-group:", 1)[-1].removesuffix(":*")
        found = self._logs._log_groups.get(group)
        if found is None:
            raise DeliveryError(ErrorCode.NO_RESOURCE, f"The specified log group does not exist: {group}")
        stream = str(uuid.uuid5(uuid.NAMESPACE_URL, sender.arn))
        resource = f"{target['Arn'].removesuffix(':*')}:log-stream:{stream}"
        policies = [policy.get("policyDocument") for policy in list(self._logs._resource_policies.values())]
        self._permissions.check(sender, "logs:PutLogEvents", resource, *policies)
        if stream not in found["streams"]:
            self._logs._create_log_stream({"logGroupName": group, "logStreamName": stream})
        self._logs._put_log_events(
            {"logGroupName": group, "logStreamName": stream, "logEvents": [_log_event(text, time.time())]}
        )


def _log_event(text: str, now: float) -> dict[str, Any]:
    """A template of exactly `timestamp` and `message` says both; anything else is the message.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-target-cloudwatch-logs.html
    """
    whole = {"timestamp": int(now * 1000), "message": text}
    try:
        told = json.loads(text)
    except ValueError:
        return whole
    if not isinstance(told, dict) or set(told) != {"timestamp", "message"}:
        return whole
    timestamp = told["timestamp"]
    return {
        "timestamp": timestamp if isinstance(timestamp, int) else whole["timestamp"],
        "message": str(told["message"]),
    }
