"""The way from a topic to the notification queue, read as it is. What the sandbox can show is in tests/sandbox/aws."""

from __future__ import annotations

from typing import Any

from botocore.stub import Stubber

from tocsin.alarms.delivery import obstacle
from tocsin.aws.sns import read_topic, topics_of
from tocsin.aws.target import Target
from tocsin.model.events import TopicPath

TOPIC = "arn:aws:sns:eu-west-1:123456789012:bells"
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:oncall"
CONFIRMED = f"{TOPIC}:00000000-0000-0000-0000-000000000000"


def subscription(endpoint: str = QUEUE, arn: str = CONFIRMED, protocol: str = "sqs") -> dict[str, Any]:
    return {"SubscriptionArn": arn, "Owner": "123456789012", "Protocol": protocol, "Endpoint": endpoint}


def read(target: Target, *pages: list[dict[str, Any]], attributes: dict[str, str] | None = None) -> TopicPath:
    with Stubber(target.client("sns")) as sns:
        for number, page in enumerate(pages, start=1):
            more = {"NextToken": str(number)} if number < len(pages) else {}
            request = {"TopicArn": TOPIC} | ({"NextToken": str(number - 1)} if number > 1 else {})
            sns.add_response("list_subscriptions_by_topic", {"Subscriptions": page, **more}, request)
        if attributes is not None:
            answer = {"Attributes": attributes}
            sns.add_response("get_subscription_attributes", answer, {"SubscriptionArn": CONFIRMED})
        path = read_topic(target, TOPIC, "oncall")
        sns.assert_no_pending_responses()
    return path


def test_a_subscription_on_the_second_page_is_found(target: Target) -> None:
    mail = subscription("ops@example.org", protocol="email")
    path = read(target, [mail] * 100, [subscription()], attributes={"PendingConfirmation": "false"})
    assert (path.subscribed, path.confirmed) == (True, True)
    assert obstacle(path, "shop-5xx", "oncall") is None


def test_a_subscription_that_nobody_confirmed_is_none(target: Target) -> None:
    path = read(target, [subscription(arn="PendingConfirmation")])
    assert path == TopicPath(topic=TOPIC, subscribed=True, confirmed=False)
    found = obstacle(path, "shop-5xx", "oncall")
    assert found is not None
    assert (found.words, found.certain) == ("the subscription of oncall to bells is not confirmed", True)


def test_the_attribute_says_so_too(target: Target) -> None:
    assert read(target, [subscription()], attributes={"PendingConfirmation": "true"}).confirmed is False


def test_a_queue_of_the_same_name_elsewhere_is_another_queue(target: Target) -> None:
    others = [QUEUE.replace("eu-west-1", "us-east-1"), QUEUE.replace("123456789012", "999999999999")]
    assert read(target, [subscription(other) for other in others]).subscribed is False


def test_what_may_not_be_read_is_not_known(target: Target) -> None:
    with Stubber(target.client("sns")) as sns:
        sns.add_client_error("list_subscriptions_by_topic", "AuthorizationError", http_status_code=403)
        path = read_topic(target, TOPIC, "oncall")
    found = obstacle(path, "shop-5xx", "oncall")
    assert path.subscribed is None
    assert found is not None
    assert not found.certain
    assert "AuthorizationError" in found.words


def test_of_the_actions_of_an_alarm_only_topics_tell_people() -> None:
    assert topics_of(["arn:aws:automate:eu-west-1:ec2:reboot", TOPIC]) == (TOPIC,)
