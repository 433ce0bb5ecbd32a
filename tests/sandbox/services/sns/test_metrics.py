"""https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html: metrics of topics, by their name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tocsin.alarms.cloudwatch import MetricKey
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.services.sns.filters import Rejected
from tocsin.sandbox.services.sns.metrics import Count, TopicMetrics


@dataclass
class Published:
    found: list[tuple[Scope, MetricKey, float, str]] = field(default_factory=list)

    def put(self, scope: Scope, key: MetricKey, value: float, unit: str = "None", **_: Any) -> None:
        self.found.append((scope, key, value, unit))


def test_a_metric_is_named_by_the_topic_and_is_where_the_topic_is() -> None:
    published = Published()
    TopicMetrics(published, "arn:aws:sns:eu-west-1:210987654321:alerts").published(17)
    where, dimensions = ("210987654321", "eu-west-1"), (("TopicName", "alerts"),)
    assert published.found == [
        (where, MetricKey("AWS/SNS", "NumberOfMessagesPublished", dimensions), 1.0, "Count"),
        (where, MetricKey("AWS/SNS", "PublishSize", dimensions), 17.0, "Bytes"),
    ]


def test_the_names_are_those_of_the_page() -> None:
    assert {*Count, *Rejected} == {
        "NumberOfMessagesPublished",
        "NumberOfNotificationsDelivered",
        "NumberOfNotificationsFailed",
        "NumberOfNotificationsFilteredOut",
        "NumberOfNotificationsFilteredOut-MessageAttributes",
        "NumberOfNotificationsFilteredOut-NoMessageAttributes",
        "NumberOfNotificationsFilteredOut-InvalidAttributes",
        "NumberOfNotificationsFilteredOut-MessageBody",
        "NumberOfNotificationsFilteredOut-InvalidMessageBody",
        "NumberOfNotificationsRedrivenToDlq",
        "NumberOfNotificationsFailedToRedriveToDlq",
    }
