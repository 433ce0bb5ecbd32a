# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon SNS: ministack keeps topics and subscriptions; what they may be and what becomes of messages is said here.

**Alarms** publish to topics. The topic's policy and its key are always asked, whether IAM is enforced in this sandbox
or not: an alarm that may not publish rings for nobody. What is answered then are the words that CloudWatch writes into
the alarm's history. https://repost.aws/knowledge-center/cloudwatch-receive-sns-for-alarm-trigger

**Subscribers over HTTP** get nothing until they visited the URL that they were sent, or somebody called
ConfirmSubscription with its token. https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.confirm.html
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs

from tocsin.sandbox.http import App, Message, Receive, Send, send_answer
from tocsin.sandbox.metrics import scope_of_arn
from tocsin.sandbox.service import Asked, ReliedOn
from tocsin.sandbox.services.iam.principals import service_may
from tocsin.sandbox.services.sns import deliveries, policies
from tocsin.sandbox.services.sns.deliveries import Deliveries
from tocsin.sandbox.services.sns.filters import Filter, Filters
from tocsin.sandbox.services.sns.policies import PolicyError
from tocsin.sandbox.services.sns.subscribers import CONFIRMATIONS
from tocsin.sandbox.world import World

Answer = tuple[int, Mapping[str, str], bytes]
"""Of a handler of ministack: status, headers, body."""
Parameters = Mapping[str, Any]

_ALARMS = "cloudwatch.amazonaws.com"
_KEY_ACTIONS = ("kms:GenerateDataKey", "kms:Decrypt")
"""What whoever publishes to an encrypted topic needs of its key.
https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
"""


class Sns:
    """The topics of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "core.iam_actions": {"_param": "body, query_params, fields"},
        "services.kms": {"_resolve_key": "key_id_or_arn"},
        **deliveries.RELIED_ON,
        "services.sns": {
            **deliveries.RELIED_ON["services.sns"],
            "_confirm_subscription": "params",
            "_error": "code, message, status",
            "_get_subscription_attributes": "params",
            "_list_subscriptions": "params",
            "_list_subscriptions_by_topic": "params",
            "_p": "params, key, default",
            "_send_subscription_confirmation": "topic_arn, sub",
            "_set_subscription_attributes": "params",
            "_set_topic_attributes": "params",
            "_sub_arn_to_topic": "",
            "_subscribe": "params",
            "_topics": "",
            "_xml": "status, root_tag, inner",
        },
    }

    signed_for = "sns"
    allowed_by: ClassVar[Mapping[str, str]] = {"PublishBatch": "Publish"}
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html names no PublishBatch"""

    def adapt(self, world: World) -> None:
        """Let messages go the way of AWS, and refuse what would go none."""
        self._world = world
        self._filters = Filters()
        self._parameter = world.ministack.module("core.iam_actions")._param
        self._ministack = world.ministack
        self._sns = world.ministack.module("services.sns")
        self._kms = world.ministack.module("services.kms")
        self._evaluator = world.ministack.module("core.iam_evaluator")
        self._deliveries = Deliveries(world, self._filters)
        replace = world.ministack.replace
        replace(self._sns, "_fanout", self._deliveries.fan_out)
        replace(self._sns, "_send_subscription_confirmation", self._ask_to_confirm)
        self._subscribed = replace(self._sns, "_subscribe", self._subscribe)
        self._confirmed = self._sns._confirm_subscription
        self._shown = replace(self._sns, "_get_subscription_attributes", self._show)
        self._changed = replace(self._sns, "_set_subscription_attributes", self._change)
        self._topic_changed = replace(self._sns, "_set_topic_attributes", self._change_topic)
        for name in ("_list_subscriptions", "_list_subscriptions_by_topic"):
            replace(self._sns, name, self._without_pending(getattr(self._sns, name)))

    async def close(self) -> None:
        """Nothing is delivered any more."""
        await self._deliveries.close()

    def pages(self) -> Mapping[str, App]:
        """Where `SubscribeURL` leads."""
        return {CONFIRMATIONS: self._visited}

    def iam_resource(self, asked: Asked) -> str | None:
        """The topic that a call about tags names by its ARN."""
        return self._parameter(asked.body, asked.query, "ResourceArn") or None

    def notify(self, topic_arn: str, message: str, subject: str, alarm_arn: str) -> str | None:
        """Publish in the name of an alarm; None when that is done, otherwise the error that CloudWatch receives."""
        topic = self._sns._topic_by_arn_any_scope(topic_arn)
        if topic is None:
            return "Topic does not exist (Service: AmazonSNS; Status Code: 404; Error Code: NotFound)"
        with self._ministack.scope(scope_of_arn(topic_arn)):
            refusal = self._refused(topic_arn, topic["attributes"], alarm_arn)
            if refusal is None:
                self._sns._fanout(topic_arn, str(uuid.uuid4()), message, subject)
        return refusal

    def _refused(self, topic_arn: str, attributes: Mapping[str, Any], alarm_arn: str) -> str | None:
        if not self._allows(attributes.get("Policy"), "sns:Publish", topic_arn, alarm_arn):
            return (
                f"Resource: {alarm_arn} is not authorized to perform: SNS:Publish on resource: {topic_arn} "
                "because no resource-based policy allows the SNS:Publish action"
            )
        key = attributes.get("KmsMasterKeyId")
        code = self._key_refusal(key, alarm_arn) if key else None
        return None if code is None else f"null (Service: AWSKMS; Status Code: 400; Error Code: {code})"

    def _key_refusal(self, key_id: str, alarm_arn: str) -> str | None:
        """AWS's error code where an alarm may not use a key; nobody can give it the one that AWS manages."""
        if ":alias/aws/" in f":{key_id}":
            return "AccessDeniedException"
        key = self._kms._resolve_key(key_id)
        if key is None:
            return "NotFoundException"
        if key["KeyState"] != "Enabled":
            return "DisabledException" if key["KeyState"] == "Disabled" else "KMSInvalidStateException"
        allowed = all(self._allows(key.get("Policy"), action, key["Arn"], alarm_arn) for action in _KEY_ACTIONS)
        return None if allowed else "AccessDeniedException"

    def _allows(self, policy: Any, action: str, resource: str, alarm_arn: str) -> bool:
        account, region = scope_of_arn(alarm_arn)
        # The default policy of a topic lets those publish whose source is the topic's own account.
        context = {"aws:sourcearn": alarm_arn, "aws:sourceaccount": account, "aws:sourceowner": account}
        return service_may(self._evaluator, policy, _ALARMS, action, resource, region, context)

    # ------------------------------------------------------------------------------------------ subscriptions

    def _subscribe(self, params: Parameters) -> Answer:
        """https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html"""
        asked = self._sns._p
        topic_arn, protocol, endpoint = (asked(params, name) for name in ("TopicArn", "Protocol", "Endpoint"))
        try:
            policies.check_endpoint(protocol, endpoint)
            for name, value in self._attributes(params):
                policies.check_attribute(name, value, protocol, topic_arn)
        except PolicyError as error:
            return self._refuse(error)
        known = self._subscription_of(topic_arn, protocol, endpoint)
        answer: Answer = self._subscribed(params)
        found = self._subscription_of(topic_arn, protocol, endpoint)
        if answer[0] != 200 or found is None:
            return answer
        if known is not None and not found["confirmed"]:
            self._ask(found)
        told = found["confirmed"] or asked(params, "ReturnSubscriptionArn") == "true"
        arn = found["arn"] if told else "pending confirmation"
        inner = f"<SubscribeResult><SubscriptionArn>{arn}</SubscriptionArn></SubscribeResult>"
        shown: Answer = self._sns._xml(200, "SubscribeResponse", inner)
        return shown

    def _attributes(self, params: Parameters) -> Iterator[tuple[str, str]]:
        number = 1
        while name := self._sns._p(params, f"Attributes.entry.{number}.key"):
            yield name, self._sns._p(params, f"Attributes.entry.{number}.value")
            number += 1

    def _subscription_of(self, topic_arn: str, protocol: str, endpoint: str) -> dict[str, Any] | None:
        topic = self._sns._topic_by_arn_any_scope(topic_arn) or {}
        wanted = (protocol, endpoint)
        return next(
            (one for one in topic.get("subscriptions", ()) if (one["protocol"], one["endpoint"]) == wanted), None
        )

    def _change(self, params: Parameters) -> Answer:
        """https://docs.aws.amazon.com/sns/latest/api/API_SetSubscriptionAttributes.html"""
        asked = self._sns._p
        found = self._subscription(asked(params, "SubscriptionArn"))
        if found is None:
            missing: Answer = self._changed(params)
            return missing
        before = Filter.of(found["attributes"])
        try:
            name, value = asked(params, "AttributeName"), asked(params, "AttributeValue")
            policies.check_attribute(name, value, found["protocol"], found["topic_arn"])
        except PolicyError as error:
            return self._refuse(error)
        answer: Answer = self._changed(params)
        if Filter.of(found["attributes"]) != before:
            self._filters.changed(found["arn"], before, self._world.time.now())
        return answer

    def _change_topic(self, params: Parameters) -> Answer:
        """https://docs.aws.amazon.com/sns/latest/api/API_SetTopicAttributes.html"""
        asked = self._sns._p
        value = asked(params, "AttributeValue")
        if asked(params, "AttributeName") == "DeliveryPolicy" and value:
            try:
                policies.topic_policy(value)
            except PolicyError as error:
                return self._refuse(error)
        answer: Answer = self._topic_changed(params)
        return answer

    def _show(self, params: Parameters) -> Answer:
        """https://docs.aws.amazon.com/sns/latest/api/API_GetSubscriptionAttributes.html"""
        found = self._subscription(self._sns._p(params, "SubscriptionArn"))
        if found is not None and found["protocol"] == "http":
            topic = self._sns._topic_by_arn_any_scope(found["topic_arn"]) or {"attributes": {}}
            said = found["attributes"]
            holds = policies.effective(topic["attributes"].get("DeliveryPolicy"), said.get("DeliveryPolicy"))
            said["EffectiveDeliveryPolicy"] = holds.json
        answer: Answer = self._shown(params)
        return answer

    def _without_pending(self, listed: Any) -> Any:
        """Lists show no ARN of a subscription that is not confirmed."""

        def shown(params: Parameters) -> Answer:
            status, headers, body = listed(params)
            for one in self._all():
                if not one.get("confirmed"):
                    arn = f"<SubscriptionArn>{one['arn']}</SubscriptionArn>"
                    body = body.replace(arn.encode(), b"<SubscriptionArn>PendingConfirmation</SubscriptionArn>")
            return status, headers, body

        return shown

    def _subscription(self, arn: str) -> dict[str, Any] | None:
        topic_arn = self._sns._sub_arn_to_topic.get(arn)
        found: dict[str, Any] | None = self._sns._find_subscription(topic_arn, arn) if topic_arn else None
        return found

    def _all(self) -> list[dict[str, Any]]:
        """The subscriptions of all accounts and regions."""
        topics = list(self._sns._topics._data.values())
        return [one for topic in topics for one in list(topic["subscriptions"])]

    def _refuse(self, error: PolicyError) -> Answer:
        refusal: Answer = self._sns._error("InvalidParameter", f"Invalid parameter: {error}", 400)
        return refusal

    # ------------------------------------------------------------------------------------------ confirmation

    async def _ask_to_confirm(self, topic_arn: str, sub: dict[str, Any]) -> None:
        self._ask(sub)

    def _ask(self, subscription: Mapping[str, Any]) -> None:
        self._deliveries.ask_to_confirm(subscription["topic_arn"], subscription["endpoint"], subscription["token"])

    async def _visited(self, scope: Message, receive: Receive, send: Send) -> None:
        """Somebody visits a `SubscribeURL`, without a signature: only who has the token may."""
        params = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        asked = self._sns._p
        topic_arn, token = asked(params, "TopicArn"), asked(params, "Token")
        if scope["method"] != "GET" or asked(params, "Action") != "ConfirmSubscription" or topic_arn.count(":") != 5:
            what = "Invalid parameter: expected GET with Action=ConfirmSubscription, TopicArn and Token"
            status, headers, body = self._sns._error("InvalidParameter", what, 400)
        else:
            with self._ministack.scope(scope_of_arn(topic_arn)):
                waiting = [one for one in self._all() if token and one.get("token") == token]
                status, headers, body = self._confirmed(params)
            for one in waiting:
                one["attributes"]["ConfirmationWasAuthenticated"] = "false"
        await send_answer(send, status, headers, body)
