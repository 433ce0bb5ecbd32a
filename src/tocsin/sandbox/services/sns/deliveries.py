# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""From a topic to its subscribers: filters, attempts, retries, dead letters, and the metrics of all of it.

https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html
https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html

A queue or a function that is there takes a message at once: only HTTP has retries here.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from tocsin.sandbox.metrics import scope_of_arn
from tocsin.sandbox.service import ReliedOn
from tocsin.sandbox.services.iam.principals import service_may
from tocsin.sandbox.services.sns import policies, subscribers
from tocsin.sandbox.services.sns.filters import Filter, Filters, why_rejected
from tocsin.sandbox.services.sns.metrics import Count, TopicMetrics
from tocsin.sandbox.services.sns.subscribers import DeliveryFailedError, Post, Poster
from tocsin.sandbox.world import World

RELIED_ON: ReliedOn = {
    "services.lambda_svc": {
        "_get_func_record_for_ref": "function_ref",
        "_get_base_func_record_for_ref": "function_ref",
    },
    "services.sns": {
        "_build_envelope": "topic_arn, msg_id, message, subject, message_attributes, raw",
        "_deliver_to_lambda": "endpoint, envelope, topic_arn, sub_arn, msg_id, raw_message, message_attributes",
        "_fanout": "topic_arn, msg_id, message, subject, message_structure, message_attributes, "
        "message_group_id, message_dedup_id",
        "_find_subscription": "topic_arn, sub_arn",
        "_matches_filter_policy": "sub, message_attributes, message",
        "_message_payload_size": "message, attrs",
        "_resolve_message_for_protocol": "message, message_structure, protocol",
        "_topic_by_arn_any_scope": "topic_arn",
    },
    "services.sqs": {
        "_queue_by_arn": "arn",
        "_act_send_message": "data, qurl",
        "_enforce_queue_policy": "q, iam_action",
        "_Err": "",
    },
    "core.iam_evaluator": {
        "EvalContext": "principal_arn, principal_type, principal_account, action, resource_arn, region, source_ip, "
        "secure_transport, request_tags, tag_keys, service_context, principal_keys",
        "evaluate_resource_policy": "doc, ctx, service, named_only, direct_only",
    },
}

_PRINCIPAL = "sns.amazonaws.com"
_MOST_RAW_ATTRIBUTES = 10
_delivering: contextvars.ContextVar[bool] = contextvars.ContextVar("_delivering", default=False)
"""Whether a queue is sent to in the name of SNS, which its policy was asked about."""
_logger = logging.getLogger("tocsin.sandbox")


@dataclass(frozen=True)
class Message:
    """What was published."""

    topic_arn: str
    identity: str
    text: str
    subject: str
    structure: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    deduplication: str = ""


@dataclass(frozen=True)
class Notification:
    """A message as one subscription gets it."""

    message: Message
    subscription_arn: str
    protocol: str
    endpoint: str
    text: str
    """for its protocol"""
    envelope: str
    """what is delivered: the text itself, where delivery is raw"""
    raw: bool

    @property
    def queue_message(self) -> dict[str, Any]:
        """What is sent to a queue; a raw one keeps the attributes of the message."""
        said: dict[str, Any] = {"MessageBody": self.envelope}
        if self.raw and self.message.attributes:
            said["MessageAttributes"] = dict(self.message.attributes)
        if self.message.group:
            said["MessageGroupId"] = self.message.group
        if self.message.deduplication:
            said["MessageDeduplicationId"] = self.message.deduplication
        return said


class Deliveries:
    """Those of one sandbox."""

    def __init__(self, world: World, filters: Filters) -> None:
        self._world = world
        self._filters = filters
        self._ministack = world.ministack
        self._sns = world.ministack.module("services.sns")
        self._sqs = world.ministack.module("services.sqs")
        self._lambda = world.ministack.module("services.lambda_svc")
        self._evaluator = world.ministack.module("core.iam_evaluator")
        self._poster = Poster()
        self._under_way: set[asyncio.Task[None]] = set()
        self._their_look = world.ministack.replace(self._sqs, "_enforce_queue_policy", self._look)

    def fan_out(
        self,
        topic_arn: str,
        msg_id: str,
        message: str,
        subject: str,
        message_structure: str = "",
        message_attributes: Mapping[str, Any] | None = None,
        message_group_id: str = "",
        message_dedup_id: str = "",
    ) -> None:
        """In the place of ministack's: everything that is published comes through here. Callable in every thread."""
        found = Message(
            *(topic_arn, msg_id, message, subject, message_structure),
            attributes=message_attributes or {},
            group=message_group_id,
            deduplication=message_dedup_id,
        )
        # SNS delivers in its own name, not in that of the caller whom the present context holds.
        contextvars.Context().run(self._publish, found)

    def _publish(self, message: Message) -> None:
        with self._ministack.scope(scope_of_arn(message.topic_arn)):
            topic = self._sns._topic_by_arn_any_scope(message.topic_arn)
            if topic is None:
                return
            metrics = self._metrics(message.topic_arn)
            metrics.published(self._sns._message_payload_size(message.text, message.attributes))
            for subscription in list(topic["subscriptions"]):
                if subscription.get("confirmed"):
                    self._offer(metrics, message, subscription)

    def _offer(self, metrics: TopicMetrics, message: Message, subscription: Mapping[str, Any]) -> None:
        protocol = subscription.get("protocol", "")
        text = self._sns._resolve_message_for_protocol(message.text, message.structure, protocol)
        said = subscription.get("attributes") or {}
        decides = self._filters.in_effect(subscription["arn"], Filter.of(said), self._world.time.now())
        if not self._sns._matches_filter_policy({"attributes": decides.attributes}, message.attributes, text):
            metrics.count(Count.FILTERED_OUT)
            metrics.count(why_rejected(decides.scope, message.attributes, text))
            return
        raw = str(said.get("RawMessageDelivery", "false")).lower() == "true"
        envelope = self._sns._build_envelope(
            message.topic_arn, message.identity, text, message.subject, message.attributes, raw
        )
        endpoint = subscription.get("endpoint", "")
        self._deliver(Notification(message, subscription["arn"], protocol, endpoint, text, envelope, raw))

    def _deliver(self, one: Notification) -> None:
        if one.protocol in ("http", "https"):
            self._in_background(self._post(one))
            return
        metrics = self._metrics(one.message.topic_arn)
        try:
            if one.protocol == "sqs":
                self._send(one.message.topic_arn, one.endpoint, one)
            elif one.protocol == "lambda":
                self._invoke(one)
            elif not one.protocol.startswith("email"):  # a template let it through
                raise DeliveryFailedError(f"the sandbox does not deliver to {one.protocol}")
        except DeliveryFailedError as error:
            metrics.count(Count.FAILED)
            self._bury(one, error)
        else:
            metrics.count(Count.DELIVERED)

    # ------------------------------------------------------------------------------------------ HTTP

    async def _post(self, one: Notification) -> None:
        """All attempts; a subscription that is gone meanwhile gets no more of them."""
        metrics = self._metrics(one.message.topic_arn)
        headers = subscribers.notification(
            one.message.topic_arn, one.subscription_arn, one.message.identity, raw=one.raw
        )
        post = Post(one.endpoint, one.envelope, headers)
        policy = self._policy(one.message.topic_arn, one.subscription_arn)
        for wait_s in (0.0, *policy.retry.waits()):
            await asyncio.sleep(self._world.clock.wall(wait_s))
            if self._subscription(one.message.topic_arn, one.subscription_arn) is None:
                return
            try:
                await self._poster.send(post, policy.content_type)
            except DeliveryFailedError as error:
                metrics.count(Count.FAILED)
                failed = error
                if not error.again:
                    break
            else:
                metrics.count(Count.DELIVERED)
                return
        self._bury(one, failed)

    def ask_to_confirm(self, topic_arn: str, endpoint: str, token: str) -> None:
        """Send a subscriber over HTTP the message that it must answer; in the event loop or in another thread."""
        self._in_background(self._ask(topic_arn, endpoint, token))

    async def _ask(self, topic_arn: str, endpoint: str, token: str) -> None:
        """Tried again as any notification; one that is never taken is lost: the subscription stays pending."""
        post = subscribers.confirmation(self._world.endpoint_url, topic_arn, endpoint, token)
        policy = self._policy(topic_arn, "")
        for wait_s in (0.0, *policy.retry.waits()):
            await asyncio.sleep(self._world.clock.wall(wait_s))
            try:
                await self._poster.send(post, policies.CONTENT_TYPE)
            except DeliveryFailedError as error:
                _logger.warning("topic %s: no confirmation by %s: %s", topic_arn, endpoint, error)
                if not error.again:
                    return
            else:
                return

    def _policy(self, topic_arn: str, subscription_arn: str) -> policies.DeliveryPolicy:
        with self._ministack.scope(scope_of_arn(topic_arn)):
            topic = self._sns._topic_by_arn_any_scope(topic_arn) or {}
        subscription = self._subscription(topic_arn, subscription_arn) or {}
        return policies.effective(
            (topic.get("attributes") or {}).get("DeliveryPolicy"),
            (subscription.get("attributes") or {}).get("DeliveryPolicy"),
        )

    def _subscription(self, topic_arn: str, subscription_arn: str) -> Mapping[str, Any] | None:
        with self._ministack.scope(scope_of_arn(topic_arn)):
            found: Mapping[str, Any] | None = self._sns._find_subscription(topic_arn, subscription_arn)
        return found

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._world.loop.call_soon_threadsafe(self._begin, work, context=contextvars.Context())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._world.loop.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _logger.error("a notification was lost", exc_info=task.exception())

    async def close(self) -> None:
        """Nothing is tried any more."""
        for task in self._under_way:
            task.cancel()
        await self._poster.close()

    # ------------------------------------------------------------------------------------------ queues and functions

    def _send(self, topic_arn: str, queue_arn: str, one: Notification) -> None:
        """Put it into a queue whose policy lets the topic. Raises DeliveryFailedError."""
        queue = self._sqs._queue_by_arn(queue_arn)
        if queue is None:
            raise DeliveryFailedError(f"the queue {queue_arn} does not exist")
        self._check(queue["attributes"].get("Policy"), "sqs:SendMessage", queue_arn, topic_arn)
        message = one.queue_message
        # https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html: such a message is discarded
        if len(message.get("MessageAttributes", {})) > _MOST_RAW_ATTRIBUTES:
            raise DeliveryFailedError(f"a raw message to {queue_arn} has more than {_MOST_RAW_ATTRIBUTES} attributes")
        delivering = _delivering.set(True)
        try:
            with self._ministack.scope(scope_of_arn(queue_arn)):
                self._sqs._act_send_message({"QueueUrl": queue["url"], **message}, queue["url"])
        except self._sqs._Err as error:
            raise DeliveryFailedError(f"the queue {queue_arn} did not take it: {error}") from None
        finally:
            _delivering.reset(delivering)

    def _look(self, q: Any, iam_action: str) -> None:
        """ministack looks into a queue's policy once more, for a caller who is not SNS and tells no topic."""
        if not _delivering.get():
            self._their_look(q, iam_action)

    def _invoke(self, one: Notification) -> None:
        """Hand it to Lambda, which takes it before the function runs. Raises DeliveryFailedError.

        https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
        """
        with self._ministack.scope(scope_of_arn(one.endpoint)):
            record, _, _ = self._lambda._get_func_record_for_ref(one.endpoint)
            owner, _, _ = self._lambda._get_base_func_record_for_ref(one.endpoint)
            if not record or not owner:
                raise DeliveryFailedError(f"the function {one.endpoint} does not exist")
            self._check(owner.get("policy"), "lambda:InvokeFunction", one.endpoint, one.message.topic_arn)
            self._sns._deliver_to_lambda(
                *(one.endpoint, self._event(one), one.message.topic_arn, one.subscription_arn),
                *(one.message.identity, one.text, dict(one.message.attributes)),
            )

    def _event(self, one: Notification) -> str:
        """A function gets the whole notification, whatever `RawMessageDelivery` says: it is for queues and HTTP."""
        said = one.message
        envelope: str = self._sns._build_envelope(
            said.topic_arn, said.identity, one.text, said.subject, said.attributes, False
        )
        return envelope

    def _check(self, policy: Any, action: str, resource: str, topic_arn: str) -> None:
        account, region = scope_of_arn(topic_arn)
        # Policies of older samples have a condition on `aws:SourceOwner`.
        context = {"aws:sourcearn": topic_arn, "aws:sourceaccount": account, "aws:sourceowner": account}
        if not policy or not service_may(self._evaluator, policy, _PRINCIPAL, action, resource, region, context):
            raise DeliveryFailedError(f"no policy of {resource} allows {action} to {_PRINCIPAL} for {topic_arn}")

    # ------------------------------------------------------------------------------------------ dead letters

    def _bury(self, one: Notification, why: DeliveryFailedError) -> None:
        """Put it into the dead-letter queue of the subscription, as it is then.

        What is there is what the subscriber would have got; AWS does not say that it adds anything.
        """
        topic_arn = one.message.topic_arn
        _logger.warning("topic %s: gave up on %s: %s", topic_arn, one.endpoint, why)
        said = (self._subscription(topic_arn, one.subscription_arn) or {}).get("attributes") or {}
        redrive = said.get("RedrivePolicy")
        if not redrive:
            return
        metrics = self._metrics(topic_arn)
        try:
            text = redrive if isinstance(redrive, str) else json.dumps(redrive)
            self._send(topic_arn, policies.dead_letter_queue(text, topic_arn), one)
        except (DeliveryFailedError, policies.PolicyError) as error:
            _logger.warning("topic %s: no dead letter: %s", topic_arn, error)
            metrics.count(Count.NOT_REDRIVEN)
        else:
            metrics.count(Count.REDRIVEN)

    def _metrics(self, topic_arn: str) -> TopicMetrics:
        return TopicMetrics(self._world.store, topic_arn)
