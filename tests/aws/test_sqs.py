"""Queues are found by name in one place, and every page is read. The rest is shown on the sandbox."""

from __future__ import annotations

import pytest
from botocore.stub import Stubber

from tocsin.aws.sqs import dead_letter_queue, source_queues
from tocsin.aws.target import Target
from tocsin.errors import NotFound

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012"


def test_source_queues_are_asked_for_by_the_page(target: Target) -> None:
    with Stubber(target.client("sqs")) as sqs:
        request = {"QueueUrl": f"{URL}/dead", "MaxResults": 1000}
        first = {"queueUrls": [f"{URL}/one"], "NextToken": "more"}
        sqs.add_response("list_dead_letter_source_queues", first, request)
        second = {**request, "NextToken": "more"}
        sqs.add_response("list_dead_letter_source_queues", {"queueUrls": [f"{URL}/two"]}, second)
        assert source_queues(target, f"{URL}/dead") == [f"{URL}/one", f"{URL}/two"]


def test_a_queue_without_a_redrive_policy_has_no_dead_letter_queue(target: Target) -> None:
    with Stubber(target.client("sqs")) as sqs:
        sqs.add_response("get_queue_url", {"QueueUrl": f"{URL}/orders"}, {"QueueName": "orders"})
        asked = {
            "QueueUrl": f"{URL}/orders",
            "AttributeNames": ["RedrivePolicy", "VisibilityTimeout", "MessageRetentionPeriod"],
        }
        sqs.add_response("get_queue_attributes", {"Attributes": {"VisibilityTimeout": "30"}}, asked)
        with pytest.raises(NotFound, match="the queue orders to have a dead-letter queue, found no redrive policy"):
            dead_letter_queue(target, "orders")


def test_a_queue_that_is_not_there_is_named(target: Target) -> None:
    with Stubber(target.client("sqs")) as sqs:
        sqs.add_client_error("get_queue_url", "AWS.SimpleQueueService.NonExistentQueue", "no such queue")
        with pytest.raises(NotFound, match="looking for the queue orders"):
            dead_letter_queue(target, "orders")
