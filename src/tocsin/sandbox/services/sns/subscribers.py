"""Subscribers over HTTP: what SNS posts to them, and what their answers mean.

https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.prepare.html
https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx

from tocsin.sandbox.services.sns.policies import is_loopback

TIMEOUT_S = 15.0
"""Real seconds until a request that nobody answers has failed."""
CONFIRMATIONS = "/_sns/"
"""Beginning of the paths of `SubscribeURL`, beside the AWS API: it is visited without a signature."""


class DeliveryFailedError(Exception):
    """A subscriber did not take a message."""

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again
        """Whether it is tried again: errors of the server are, errors of the client never."""


@dataclass(frozen=True)
class Post:
    """One message to one endpoint."""

    endpoint: str
    body: str
    headers: Mapping[str, str]


def notification(topic_arn: str, subscription_arn: str, message_id: str, raw: bool) -> dict[str, str]:
    """The headers of a notification."""
    said = {**_headers("Notification", topic_arn, message_id), "x-amz-sns-subscription-arn": subscription_arn}
    return {**said, "x-amz-sns-rawdelivery": "true"} if raw else said


def confirmation(endpoint_url: str, topic_arn: str, endpoint: str, token: str) -> Post:
    """The request to confirm a subscription; `endpoint_url` is where the sandbox answers."""
    query = urlencode({"Action": "ConfirmSubscription", "TopicArn": topic_arn, "Token": token})
    message_id = str(uuid.uuid4())
    body = {
        "Type": "SubscriptionConfirmation",
        "MessageId": message_id,
        "Token": token,
        "TopicArn": topic_arn,
        "Message": f"You have chosen to subscribe to the topic {topic_arn}.\n"
        "To confirm the subscription, visit the SubscribeURL included in this message.",
        "SubscribeURL": f"{endpoint_url}{CONFIRMATIONS}?{query}",
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        "SignatureVersion": "1",
        "Signature": "FAKE",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-fake.pem",
    }
    return Post(endpoint, json.dumps(body), _headers("SubscriptionConfirmation", topic_arn, message_id))


def _headers(kind: str, topic_arn: str, message_id: str) -> dict[str, str]:
    return {
        "x-amz-sns-message-type": kind,
        "x-amz-sns-message-id": message_id,
        "x-amz-sns-topic-arn": topic_arn,
        "User-Agent": "Amazon Simple Notification Service Agent",
    }


class Poster:
    """Posts to endpoints on loopback, and nowhere else: no proxy is used, no redirect followed."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        self._client = httpx.AsyncClient(trust_env=False, limits=limits, timeout=TIMEOUT_S, follow_redirects=False)

    async def send(self, post: Post, content_type: str) -> None:
        """Post once. "A status code outside the range of 200-4xx" is tried again; 4xx is an error of the client.

        Raises:
            DeliveryFailedError: no answer, or one that says no.
        """
        if not is_loopback(post.endpoint):  # a template let it through
            raise DeliveryFailedError(f"the sandbox delivers to http endpoints on loopback only: {post.endpoint}")
        headers = {**post.headers, "Content-Type": content_type}
        try:
            answer = await self._client.post(post.endpoint, content=post.body.encode(), headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DeliveryFailedError(f"{post.endpoint} did not answer: {error!r}", again=True) from None
        if not 200 <= answer.status_code < 400:
            again = not 400 <= answer.status_code < 500
            raise DeliveryFailedError(f"{post.endpoint} answered {answer.status_code}", again=again)

    async def close(self) -> None:
        """Break every connection."""
        await self._client.aclose()
