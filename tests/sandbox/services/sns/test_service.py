"""SNS of the sandbox: from a topic by its subscriptions to who takes a message, or to the dead-letter queue."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import eventually
from tests.sandbox.services.awslambda.conftest import MINUTE_S, Bench
from tests.sandbox.services.sns.receiver import Receiver, receiver

AT_ONCE = {"DeliveryPolicy": json.dumps({"healthyRetryPolicy": {"numRetries": 2, "numNoDelayRetries": 2}})}
NOW = {"DataType": "String", "StringValue": "now"}


def total(bench: Bench, topic: str, name: str) -> float:
    """Of everything published so far, by the topic's name."""
    now = datetime.now(UTC)
    dimensions = [{"Name": "TopicName", "Value": topic.rsplit(":", 1)[-1]}]
    wanted = {"Namespace": "AWS/SNS", "MetricName": f"NumberOf{name}", "Dimensions": dimensions}
    query = {"Id": "all", "MetricStat": {"Metric": wanted, "Period": 86400, "Stat": "Sum"}}
    (found,) = bench.client("cloudwatch").get_metric_data(
        MetricDataQueries=[query], StartTime=now - timedelta(hours=1), EndTime=now
    )["MetricDataResults"]
    return float(sum(found["Values"]))


def subscribe(bench: Bench, topic: str, endpoint: str, protocol: str = "sqs", **attributes: str) -> str:
    return str(
        bench.client("sns").subscribe(
            TopicArn=topic, Protocol=protocol, Endpoint=endpoint, Attributes=attributes, ReturnSubscriptionArn=True
        )["SubscriptionArn"]
    )


def to_dead_letters(bench: Bench, queue: str) -> dict[str, str]:
    return {"RedrivePolicy": json.dumps({"deadLetterTargetArn": bench.arn(queue)})}


def without_policy(bench: Bench) -> str:
    """A queue into which no topic may send."""
    queue = bench.queue()
    bench.client("sqs").set_queue_attributes(QueueUrl=bench.url(queue), Attributes={"Policy": ""})
    return queue


def refused(call: Any, **asked: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    assert caught.value.response["Error"]["Code"] == "InvalidParameter"
    return str(caught.value.response["Error"]["Message"])


@contextmanager
def subscribed(bench: Bench, topic: str, *statuses: int, **attributes: str) -> Iterator[tuple[Receiver, str]]:
    """A confirmed subscriber over HTTP, that answers notifications with these statuses first."""
    with receiver(*statuses) as found:
        arn = subscribe(bench, topic, found.url, "http", **attributes)
        eventually(lambda: found.confirmations)
        token = found.confirmations[0]["Token"]
        bench.client("sns").confirm_subscription(TopicArn=topic, Token=token)
        try:
            yield found, arn
        finally:
            bench.client("sns").unsubscribe(SubscriptionArn=arn)


# ------------------------------------------------------------------------------------------------ queues


def test_a_message_is_published_delivered_and_counted(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html"""
    topic, queue = bench.topic(), bench.queue()
    subscribe(bench, topic, bench.arn(queue))
    bench.client("sns").publish(TopicArn=topic, Message="m", Subject="s")
    (message,) = bench.messages(queue)
    assert json.loads(message["Body"])["Message"] == "m"
    assert [total(bench, topic, f"{name}") for name in ("MessagesPublished", "NotificationsDelivered")] == [1, 1]
    names = {one["MetricName"] for one in bench.client("cloudwatch").list_metrics(Namespace="AWS/SNS")["Metrics"]}
    assert "PublishSize" in names
    assert total(bench, topic, "NotificationsFailed") == 0


def test_what_a_topic_sends_counts_as_sent_to_the_queue(bench: Bench) -> None:
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"""
    topic, queue = bench.topic(), bench.queue()
    subscribe(bench, topic, bench.arn(queue))
    bench.client("sns").publish(TopicArn=topic, Message="m")
    assert bench.total("AWS/SQS", "NumberOfMessagesSent", QueueName=queue) == 1


def test_a_raw_message_keeps_its_attributes(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-large-payload-raw-message-delivery.html"""
    topic, queue = bench.topic(), bench.queue()
    subscribe(bench, topic, bench.arn(queue), RawMessageDelivery="true")
    bench.client("sns").publish(TopicArn=topic, Message="m", MessageAttributes={"when": NOW})
    (message,) = bench.messages(queue)
    assert (message["Body"], message["MessageAttributes"]["when"]["StringValue"]) == ("m", "now")


def test_a_raw_message_with_more_than_ten_attributes_is_not_delivered(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html"""
    topic, queue = bench.topic(), bench.queue()
    subscribe(bench, topic, bench.arn(queue), RawMessageDelivery="true")
    attributes = {f"a{number}": NOW for number in range(11)}
    bench.client("sns").publish(TopicArn=topic, Message="m", MessageAttributes=attributes)
    assert total(bench, topic, "NotificationsFailed") == 1
    assert bench.messages(queue) == []


def test_a_message_of_a_fifo_topic_keeps_its_group_and_comes_once(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/fifo-message-delivery.html"""
    name = f"topic-{time.time_ns()}.fifo"
    topic = bench.client("sns").create_topic(Name=name, Attributes={"FifoTopic": "true"})["TopicArn"]
    queue = bench.queue(FifoQueue="true")
    subscribe(bench, topic, bench.arn(queue))
    for _ in range(2):
        bench.client("sns").publish(TopicArn=topic, Message="m", MessageGroupId="g", MessageDeduplicationId="same")
    (message,) = bench.receive(queue, VisibilityTimeout=0)
    assert message["Attributes"]["MessageGroupId"] == "g"


def test_a_queue_that_lets_no_topic_is_an_error_of_the_client_and_its_dead_letter_is_kept(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html"""
    topic, queue, dead = bench.topic(), without_policy(bench), bench.queue()
    subscribe(bench, topic, bench.arn(queue), **to_dead_letters(bench, dead))
    bench.client("sns").publish(TopicArn=topic, Message="m")
    (letter,) = bench.messages(dead)
    assert json.loads(letter["Body"])["Message"] == "m"
    assert bench.messages(queue) == []
    assert [total(bench, topic, f"Notifications{name}") for name in ("Failed", "RedrivenToDlq", "Delivered")] == [
        1,
        1,
        0,
    ]


def test_a_queue_that_is_gone_is_an_error_of_the_client(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html"""
    topic, queue, dead = bench.topic(), bench.queue(), bench.queue()
    subscribe(bench, topic, bench.arn(queue), RawMessageDelivery="true", **to_dead_letters(bench, dead))
    bench.client("sqs").delete_queue(QueueUrl=bench.url(queue))
    bench.client("sns").publish(TopicArn=topic, Message="m", MessageAttributes={"when": NOW})
    (letter,) = bench.messages(dead)
    assert (letter["Body"], letter["MessageAttributes"]["when"]["StringValue"]) == ("m", "now")


def test_without_a_dead_letter_queue_the_message_is_lost(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html"""
    topic = bench.topic()
    subscribe(bench, topic, bench.arn(without_policy(bench)))
    bench.client("sns").publish(TopicArn=topic, Message="m")
    assert total(bench, topic, "NotificationsFailed") == 1
    assert total(bench, topic, "NotificationsRedrivenToDlq") == 0


def test_a_dead_letter_queue_needs_a_policy_of_its_own(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-configure-dead-letter-queue.html"""
    topic, queue, dead = bench.topic(), without_policy(bench), without_policy(bench)
    subscribe(bench, topic, bench.arn(queue), **to_dead_letters(bench, dead))
    bench.client("sns").publish(TopicArn=topic, Message="m")
    assert bench.messages(dead) == []
    assert total(bench, topic, "NotificationsFailedToRedriveToDlq") == 1
    assert total(bench, topic, "NotificationsRedrivenToDlq") == 0


def test_a_policy_for_another_topic_is_none(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html"""
    topic, other, queue = bench.topic(), bench.topic(), bench.queue()
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": bench.arn(queue),
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    bench.client("sqs").set_queue_attributes(QueueUrl=bench.url(queue), Attributes={"Policy": policy})
    for one in (topic, other):
        subscribe(bench, one, bench.arn(queue), RawMessageDelivery="true")
        bench.client("sns").publish(TopicArn=one, Message=one)
    assert [message["Body"] for message in bench.messages(queue)] == [topic]


def test_a_denial_of_everybody_but_the_topic_lets_the_topic(bench: Bench) -> None:
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-security-best-practices.html"""
    topic, other, queue = bench.topic(), bench.topic(), bench.queue()
    statement = {"Action": "sqs:SendMessage", "Resource": bench.arn(queue), "Principal": "*"}
    elsewhere = {"Condition": {"ArnNotEquals": {"aws:SourceArn": topic}}}
    statements = [{**statement, "Effect": "Allow"}, {**statement, "Effect": "Deny", **elsewhere}]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    bench.client("sqs").set_queue_attributes(QueueUrl=bench.url(queue), Attributes={"Policy": policy})
    for one in (topic, other):
        subscribe(bench, one, bench.arn(queue), RawMessageDelivery="true")
        bench.client("sns").publish(TopicArn=one, Message=one)
    assert [message["Body"] for message in bench.messages(queue)] == [topic]


# ------------------------------------------------------------------------------------------------ functions


def test_a_function_runs_once_it_may_be_invoked_by_the_topic(bench: Bench) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html"""
    topic, dead, function = bench.topic(), bench.queue(), bench.function()
    subscribe(bench, topic, function.arn, "lambda", **to_dead_letters(bench, dead))
    bench.client("sns").publish(TopicArn=topic, Message="early")
    assert len(bench.messages(dead)) == 1
    bench.client("lambda").add_permission(
        FunctionName=function.name,
        StatementId="topic",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=topic,
    )
    bench.client("sns").publish(TopicArn=topic, Message="now")
    eventually(function.ran)
    ((event,),) = (function.events(one) for one in function.ran())
    assert event["Records"][0]["Sns"]["Message"] == "now"
    assert total(bench, topic, "NotificationsDelivered") == 1


def test_a_function_that_is_gone_is_an_error_of_the_client(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html"""
    topic, dead = bench.topic(), bench.queue()
    gone = f"arn:aws:lambda:{bench.account.region}:{bench.account.account_id}:function:gone"
    subscribe(bench, topic, gone, "lambda", **to_dead_letters(bench, dead))
    bench.client("sns").publish(TopicArn=topic, Message="m")
    assert len(bench.messages(dead)) == 1


# ------------------------------------------------------------------------------------------------ filters


def test_a_change_of_a_filter_takes_effect_late(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html"""
    sns, topic, queue = bench.client("sns"), bench.topic(), bench.queue()
    arn = subscribe(bench, topic, bench.arn(queue), RawMessageDelivery="true")
    changed = time.monotonic()
    black_hole = json.dumps({"when": ["never"]})
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="FilterPolicy", AttributeValue=black_hole)
    assert sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["FilterPolicy"] == black_hole

    def filtered() -> bool:
        sns.publish(TopicArn=topic, Message="m", MessageAttributes={"when": NOW})
        return total(bench, topic, "NotificationsFilteredOut") > 0

    eventually(filtered)
    assert time.monotonic() - changed >= 15 * MINUTE_S - 0.05
    assert total(bench, topic, "NotificationsFilteredOut-MessageAttributes") == 1
    delivered = total(bench, topic, "NotificationsDelivered")
    assert delivered == total(bench, topic, "MessagesPublished") - 1


def test_a_filter_that_a_subscription_begins_with_holds_at_once(bench: Bench) -> None:
    topic, queue = bench.topic(), bench.queue()
    subscribe(bench, topic, bench.arn(queue), FilterPolicy=json.dumps({"when": ["never"]}))
    bench.client("sns").publish(TopicArn=topic, Message="m")
    assert bench.messages(queue) == []
    assert total(bench, topic, "NotificationsFilteredOut-NoMessageAttributes") == 1


# ------------------------------------------------------------------------------------------------ HTTP


def test_a_subscriber_gets_nothing_before_it_visits_the_url(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.confirm.html"""
    sns, topic = bench.client("sns"), bench.topic()
    with receiver() as pager:
        answer = sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=pager.url)
        assert answer["SubscriptionArn"] == "pending confirmation"
        (listed,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        assert listed["SubscriptionArn"] == "PendingConfirmation"
        eventually(lambda: pager.confirmations)
        (asked,) = pager.confirmations
        assert (asked["Type"], asked["TopicArn"]) == ("SubscriptionConfirmation", topic)
        sns.publish(TopicArn=topic, Message="early")
        assert total(bench, topic, "NotificationsDelivered") == 0
        with pytest.raises(HTTPError):
            urllib.request.urlopen(asked["SubscribeURL"].replace(asked["Token"], "guess"))
        with urllib.request.urlopen(asked["SubscribeURL"]) as confirmed:
            assert b"<SubscriptionArn>arn:" in confirmed.read()
        (listed,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        shown = sns.get_subscription_attributes(SubscriptionArn=listed["SubscriptionArn"])["Attributes"]
        assert (shown["PendingConfirmation"], shown["ConfirmationWasAuthenticated"]) == ("false", "false")
        sns.publish(TopicArn=topic, Message="now")
        eventually(lambda: pager.got)
        assert pager.messages == ["now"]


def test_nothing_but_a_confirmation_is_open_to_who_has_no_key(bench: Bench) -> None:
    for query in ("Action=ListTopics", "Action=Unsubscribe&SubscriptionArn=x", ""):
        with pytest.raises(HTTPError) as caught:
            urllib.request.urlopen(f"{bench.account.endpoint_url}/_sns/?{query}")
        assert caught.value.code == 400


def test_a_notification_has_the_headers_of_the_page(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html"""
    topic = bench.topic()
    with subscribed(bench, topic) as (pager, arn):
        answer = bench.client("sns").publish(TopicArn=topic, Message="m")
        eventually(lambda: pager.got)
        ((headers, body),) = pager.got
    assert headers["x-amz-sns-message-type"] == "Notification"
    assert headers["x-amz-sns-message-id"] == answer["MessageId"] == json.loads(body)["MessageId"]
    assert (headers["x-amz-sns-topic-arn"], headers["x-amz-sns-subscription-arn"]) == (topic, arn)
    assert headers["content-type"] == "text/plain; charset=UTF-8"


def test_a_server_that_fails_is_tried_again_and_each_attempt_counts(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html"""
    topic, dead = bench.topic(), bench.queue()
    with subscribed(bench, topic, 500, 503, **AT_ONCE, **to_dead_letters(bench, dead)) as (pager, _):
        bench.client("sns").publish(TopicArn=topic, Message="m")
        eventually(lambda: total(bench, topic, "NotificationsDelivered") == 1)
        assert pager.messages == ["m", "m", "m"]
        assert len({headers["x-amz-sns-message-id"] for headers, _ in pager.got}) == 1
    assert total(bench, topic, "NotificationsFailed") == 2
    assert bench.messages(dead) == []


def test_by_default_the_retries_are_twenty_seconds_apart(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html"""
    topic = bench.topic()
    with subscribed(bench, topic, 500, 500, 500) as (pager, _):
        began = time.monotonic()
        bench.client("sns").publish(TopicArn=topic, Message="m")
        eventually(lambda: len(pager.got) == 4, seconds=30)  # half of what three unscaled waits would take
        assert time.monotonic() - began >= MINUTE_S


def test_after_the_last_retry_the_message_is_in_the_dead_letter_queue(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html"""
    topic, dead = bench.topic(), bench.queue()
    with subscribed(bench, topic, *[500] * 9, **AT_ONCE, **to_dead_letters(bench, dead)) as (pager, _):
        bench.client("sns").publish(TopicArn=topic, Message="m")
        (letter,) = eventually(lambda: bench.messages(dead))
        assert len(pager.got) == 3
    assert json.loads(letter["Body"])["Message"] == "m"
    eventually(lambda: total(bench, topic, "NotificationsRedrivenToDlq") == 1)
    assert total(bench, topic, "NotificationsFailed") == 3


def test_an_error_of_the_client_is_not_tried_again(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html"""
    topic, dead = bench.topic(), bench.queue()
    with subscribed(bench, topic, 403, **AT_ONCE, **to_dead_letters(bench, dead)) as (pager, _):
        bench.client("sns").publish(TopicArn=topic, Message="m")
        eventually(lambda: bench.messages(dead))
        assert len(pager.got) == 1


def test_an_endpoint_that_nobody_listens_at_is_tried_again(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.prepare.html"""
    topic, dead = bench.topic(), bench.queue()
    with receiver() as pager:
        subscribe(bench, topic, pager.url, "http", **AT_ONCE, **to_dead_letters(bench, dead))
        eventually(lambda: pager.confirmations)
        bench.client("sns").confirm_subscription(TopicArn=topic, Token=pager.confirmations[0]["Token"])
    # Nobody else of this machine is given the port meanwhile.
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", urlsplit(pager.url).port))
        bench.client("sns").publish(TopicArn=topic, Message="m")
        eventually(lambda: bench.messages(dead))
    assert total(bench, topic, "NotificationsFailed") == 3


def test_a_topic_sets_the_policy_of_its_subscriptions(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/api/API_SetTopicAttributes.html"""
    sns, topic, dead = bench.client("sns"), bench.topic(), bench.queue()
    policy = {"http": {"defaultHealthyRetryPolicy": {"numRetries": 1, "numNoDelayRetries": 1}}}
    sns.set_topic_attributes(TopicArn=topic, AttributeName="DeliveryPolicy", AttributeValue=json.dumps(policy))
    with subscribed(bench, topic, *[500] * 9, **to_dead_letters(bench, dead)) as (pager, arn):
        shown = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]["EffectiveDeliveryPolicy"]
        assert json.loads(shown)["healthyRetryPolicy"]["numRetries"] == 1
        sns.publish(TopicArn=topic, Message="m")
        eventually(lambda: bench.messages(dead))
        assert len(pager.got) == 2


def test_a_subscriber_of_a_template_is_asked_to_confirm(bench: Bench) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-sns-subscription.html"""
    topic = bench.topic()
    with receiver() as pager:
        properties = {"TopicArn": topic, "Protocol": "http", "Endpoint": pager.url}
        template = {"Resources": {"Pager": {"Type": "AWS::SNS::Subscription", "Properties": properties}}}
        name = topic.rsplit(":", 1)[-1]
        bench.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
        eventually(lambda: pager.confirmations)
        with urllib.request.urlopen(pager.confirmations[0]["SubscribeURL"]):
            bench.client("sns").publish(TopicArn=topic, Message="m")
        eventually(lambda: pager.got)


# ------------------------------------------------------------------------------------------------ what is refused


def test_what_the_sandbox_does_not_deliver_to_is_refused_by_name(bench: Bench) -> None:
    sns, topic = bench.client("sns"), bench.topic()
    for protocol, endpoint, said in (
        ("https", "https://127.0.0.1/", "subscribe an http endpoint on loopback"),
        ("http", "http://example.com/", "loopback only"),
        ("sms", "+15550100", "not to sms"),
        ("firehose", "arn:aws:firehose:eu-west-1:123456789012:deliverystream/x", "not to firehose"),
    ):
        assert said in refused(sns.subscribe, TopicArn=topic, Protocol=protocol, Endpoint=endpoint)
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DeliveryPolicy", '{"healthyRetryPolicy": {"numRetries": 3}}', "only http and https have one"),
        ("RedrivePolicy", '{"deadLetterTargetArn": "dead"}', "must be the ARN of a queue"),
        ("RedrivePolicy", "{", "failed to parse JSON"),
        ("FilterPolicy", "[]", "expected a JSON object"),
        ("FilterPolicyScope", "Body", "FilterPolicyScope must be"),
        ("RawMessageDelivery", "yes", "RawMessageDelivery must be"),
        ("SubscriptionRoleArn", "arn:aws:iam::123456789012:role/r", "for Firehose"),
    ],
)
def test_an_attribute_that_would_do_nothing_is_refused(bench: Bench, name: str, value: str, said: str) -> None:
    """https://docs.aws.amazon.com/sns/latest/api/API_SetSubscriptionAttributes.html"""
    sns, topic, queue = bench.client("sns"), bench.topic(), bench.arn(bench.queue())
    asked = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": queue, "Attributes": {name: value}}
    assert said in refused(sns.subscribe, **asked)
    arn = subscribe(bench, topic, queue)
    change = {"SubscriptionArn": arn, "AttributeName": name, "AttributeValue": value}
    assert said in refused(sns.set_subscription_attributes, **change)


def test_a_delivery_policy_of_a_topic_is_looked_at(bench: Bench) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html"""
    policy = json.dumps({"http": {"defaultHealthyRetryPolicy": {"numRetries": 101}}})
    change = {"TopicArn": bench.topic(), "AttributeName": "DeliveryPolicy", "AttributeValue": policy}
    assert "numRetries must be from 0 to 100" in refused(bench.client("sns").set_topic_attributes, **change)
