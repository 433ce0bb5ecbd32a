"""The metrics of `AWS/SNS`, by `TopicName`. Pure.

https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html

The page does not say whether a topic without failures publishes zeros: nothing that is zero is published here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tocsin.alarms.cloudwatch import metric_key
from tocsin.sandbox.metrics import MetricStore

_NAMESPACE = "AWS/SNS"


class Count(StrEnum):
    """What is counted of a topic."""

    PUBLISHED = "NumberOfMessagesPublished"
    DELIVERED = "NumberOfNotificationsDelivered"
    FAILED = "NumberOfNotificationsFailed"
    """of HTTP: every attempt that failed; of others: once, when SNS gives up"""
    FILTERED_OUT = "NumberOfNotificationsFilteredOut"
    REDRIVEN = "NumberOfNotificationsRedrivenToDlq"
    NOT_REDRIVEN = "NumberOfNotificationsFailedToRedriveToDlq"


@dataclass(frozen=True)
class TopicMetrics:
    """What is published of one topic, in its own account and region."""

    store: MetricStore
    topic_arn: str

    def count(self, what: str) -> None:
        """One more; `what` is one of `Count`, or a reason why a filter rejected."""
        self._put(what, 1.0, "Count")

    def published(self, size: int) -> None:
        """A message of so many bytes was published."""
        self.count(Count.PUBLISHED)
        self._put("PublishSize", float(size), "Bytes")

    def _put(self, name: str, value: float, unit: str) -> None:
        region, account, topic = self.topic_arn.split(":")[3:6]
        key = metric_key(_NAMESPACE, name, {"TopicName": topic})
        self.store.put((account, region), key, value, unit)
