"""What the account really says about the way from an alarm to people, and from a queue to its dead-letter queue."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.drill.conftest import Checkout

from tocsin.alarms.delivery import passes
from tocsin.aws.sns import read_topic
from tocsin.aws.sqs import redrive_times
from tocsin.aws.target import Target
from tocsin.model.events import TopicPath
from tocsin.project.documents import load_system
from tocsin.project.targets import load_target

pytestmark = [pytest.mark.account, pytest.mark.takes(90), pytest.mark.xdist_group("doctor"), pytest.mark.timeout(300)]
POLICY = '{"AlarmName": ["another"]}'


def target(checkout: Checkout) -> Target:
    return replace(load_target(checkout.root, "sandbox"), region="ap-southeast-2")


def test_subscriptions_are_read_as_they_are(checkout: Checkout) -> None:
    sns, sqs = checkout.client("sns"), checkout.client("sqs")
    topic = sns.create_topic(Name="bells")["TopicArn"]
    url = sqs.create_queue(QueueName="pager")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    try:
        assert read_topic(target(checkout), topic, "pager") == TopicPath(topic=topic, subscribed=False)
        subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, ReturnSubscriptionArn=True)
        whole = TopicPath(topic=topic, subscribed=True, confirmed=True)
        assert read_topic(target(checkout), topic, "pager") == whole
        for name, value in (("FilterPolicyScope", "MessageBody"), ("FilterPolicy", POLICY)):
            sns.set_subscription_attributes(
                SubscriptionArn=subscription["SubscriptionArn"], AttributeName=name, AttributeValue=value
            )
        read = read_topic(target(checkout), topic, "pager")
        assert (read.filter_policy, read.filter_scope) == (POLICY, "MessageBody")
        assert passes(read.filter_policy, read.filter_scope, "shop-5xx") is False
    finally:
        sns.delete_topic(TopicArn=topic)
        sqs.delete_queue(QueueUrl=url)
    gone = read_topic(target(checkout), topic, "pager")
    assert (gone.subscribed, gone.detail) == (False, "there is no such topic")


def test_a_message_is_tried_as_long_as_its_source_queue_says(checkout: Checkout) -> None:
    alarms = [alarm.cloudwatch for alarm in load_system(checkout.root, "leave-attendance").alarms.values()]
    # Three receives, each hidden for a minute.
    assert redrive_times(alarms, target(checkout)) == {"itcenter-dev-calendar-sync-dlq": 180}
