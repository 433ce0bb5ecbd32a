"""Subscriptions of Amazon SNS topics, read in one way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tocsin.aws.pages import listed
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import NotFound, TargetError
from tocsin.model.events import TopicPath


def read_topic(target: Target, topic: str, queue: str) -> TopicPath:
    """The way from a topic to the target's queue of that name, as far as SNS tells it.

    The one reader: what doctor finds before a drill and what a drill records are the same. Never raises: what cannot
    be read is told as not known.
    """
    sns = target.client("sns")
    try:
        with aws_errors(f"reading the subscriptions of {topic}"):
            subscriptions = listed(sns, "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic)
            found = next((one for one in subscriptions if _is_queue(one, target, queue)), None)
    except NotFound:
        return TopicPath(topic=topic, subscribed=False, detail="there is no such topic")
    except TargetError as error:
        return TopicPath(topic=topic, detail=str(error))
    if found is None:
        return TopicPath(topic=topic, subscribed=False)
    arn = found["SubscriptionArn"]
    if not arn.startswith("arn:"):
        # In place of an ARN stands "PendingConfirmation".
        return TopicPath(topic=topic, subscribed=True, confirmed=False)
    try:
        with aws_errors(f"reading the subscription {arn}"):
            attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    except TargetError as error:
        return TopicPath(topic=topic, subscribed=True, detail=str(error))
    return TopicPath(
        topic=topic,
        subscribed=True,
        confirmed=attributes.get("PendingConfirmation", "false") == "false",
        filter_policy=attributes.get("FilterPolicy") or None,
        filter_scope=attributes.get("FilterPolicyScope") or "MessageAttributes",
    )


def _is_queue(subscription: Mapping[str, str], target: Target, queue: str) -> bool:
    """Another account, or another region, may have a queue of the same name."""
    if subscription["Protocol"] != "sqs":
        return False
    *_, region, account, name = subscription["Endpoint"].split(":")
    return (region, name) == (target.region, queue) and target.account in (None, account)


def http_subscribers(target: Target, topic: str) -> list[str]:
    """The URLs of those who confirmed that they want what is published to a topic (an ARN), over HTTP or HTTPS.

    A URL may be a secret, as that of a webhook: keep it in memory.

    Raises:
        NotFound: no such topic.
        TargetError: the account did not say.
    """
    with aws_errors(f"reading the subscriptions of {topic}"):
        found = listed(target.client("sns"), "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic)
        # In place of an ARN stands "PendingConfirmation".
        return [
            one["Endpoint"]
            for one in found
            if one["Protocol"] in ("http", "https") and one["SubscriptionArn"].startswith("arn:")
        ]


def topics_of(actions: Iterable[str]) -> tuple[str, ...]:
    """Those of an alarm's actions that are SNS topics."""
    return tuple(arn for arn in actions if arn.split(":")[2] == "sns")
