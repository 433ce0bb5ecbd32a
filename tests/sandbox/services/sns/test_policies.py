"""https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html: phases, limits and defaults."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tocsin.sandbox.services.sns import policies
from tocsin.sandbox.services.sns.policies import DeliveryPolicy, PolicyError, RetryPolicy

TOPIC = "arn:aws:sns:eu-west-1:123456789012:alerts"
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:dead"


def test_without_a_policy_there_are_three_retries_twenty_seconds_apart() -> None:
    assert policies.effective(None, None).retry.waits() == (20.0, 20.0, 20.0)
    assert RetryPolicy.of({}) == RetryPolicy()


def test_the_phases_of_the_pages_own_example_but_for_its_length() -> None:
    """The page's has 35 retries 60 seconds apart at the end."""
    said = {"minDelayTarget": 1, "maxDelayTarget": 60, "numRetries": 18, "numNoDelayRetries": 3}
    waits = RetryPolicy.of(
        {**said, "numMinDelayRetries": 2, "numMaxDelayRetries": 3, "backoffFunction": "exponential"}
    ).waits()
    assert len(waits) == 18
    assert waits[:5] == (0.0, 0.0, 0.0, 1.0, 1.0)
    assert (waits[5], waits[14]) == (1.0, 60.0)
    assert list(waits[5:15]) == sorted(waits[5:15])
    assert waits[15:] == (60.0, 60.0, 60.0)


def test_the_policy_of_the_page_as_it_is_is_taken() -> None:
    said = {"minDelayTarget": 1, "maxDelayTarget": 60, "numRetries": 50, "numNoDelayRetries": 3}
    more = {"numMinDelayRetries": 2, "numMaxDelayRetries": 35, "backoffFunction": "exponential"}
    assert len(RetryPolicy.of({**said, **more}).waits()) == 50


@pytest.mark.parametrize("function", ["linear", "arithmetic", "geometric", "exponential"])
def test_every_function_grows_from_the_shortest_to_the_longest(function: str) -> None:
    """The page's picture: 10 retries from 5 to 260 seconds."""
    said = {"minDelayTarget": 5, "maxDelayTarget": 260, "numRetries": 10, "backoffFunction": function}
    waits = RetryPolicy.of(said).waits()
    assert (waits[0], round(waits[-1], 6), len(waits)) == (5.0, 260.0, 10)
    assert list(waits) == sorted(waits)


def test_linear_steps_are_even() -> None:
    said = {"minDelayTarget": 10, "maxDelayTarget": 30, "numRetries": 3}
    assert RetryPolicy.of(said).waits() == (10.0, 20.0, 30.0)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"numRetries": 101}, "numRetries"),
        ({"numRetries": "3"}, "numRetries"),
        ({"numRetries": True}, "numRetries"),
        ({"minDelayTarget": 0}, "minDelayTarget"),
        ({"minDelayTarget": 30}, "minDelayTarget"),
        ({"maxDelayTarget": 3601}, "maxDelayTarget"),
        ({"numRetries": 1, "numNoDelayRetries": 2}, "numRetries"),
        ({"backoffFunction": "quadratic"}, "backoffFunction"),
        ({"numRetries": 100, "maxDelayTarget": 60, "minDelayTarget": 60}, "3600 seconds"),
        ({"retries": 3}, "retries"),
    ],
)
def test_what_is_out_of_its_limits_is_named(said: dict[str, Any], named: str) -> None:
    with pytest.raises(PolicyError, match=named):
        policies.subscription_policy(json.dumps({"healthyRetryPolicy": said}))


@pytest.mark.parametrize("text", ["[]", "{", '{"healthyRetryPolicy": 3}', '{"http": {}}'])
def test_a_policy_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(PolicyError):
        policies.subscription_policy(text)


def test_throttling_is_refused_by_name_and_null_is_no_throttling() -> None:
    with pytest.raises(PolicyError, match="throttlePolicy: the sandbox neither throttles"):
        policies.subscription_policy('{"throttlePolicy": {"maxReceivesPerSecond": 10}}')
    assert policies.subscription_policy('{"throttlePolicy": null}') == DeliveryPolicy()


def test_a_subscription_overrides_its_topic_unless_the_topic_says_no() -> None:
    topic = {"defaultHealthyRetryPolicy": {"numRetries": 7}, "defaultRequestPolicy": {"headerContentType": "a/b"}}
    own = json.dumps({"healthyRetryPolicy": {"numRetries": 1}})
    said = json.dumps({"http": topic})
    strict = json.dumps({"http": {**topic, "disableSubscriptionOverrides": True}})
    assert policies.effective(said, None) == DeliveryPolicy(RetryPolicy(retries=7), "a/b")
    assert policies.effective(said, own).retry.retries == 1
    assert policies.effective(strict, own).retry.retries == 7


def test_a_stored_policy_that_is_none_leaves_the_default() -> None:
    """A template may have let it through."""
    assert policies.effective("{", None) == DeliveryPolicy()
    assert policies.effective(None, "{") == DeliveryPolicy()


@pytest.mark.parametrize(
    ("arn", "named"),
    [
        ("dead", "must be the ARN of a queue"),
        ("arn:aws:sns:eu-west-1:123456789012:dead", "must be the ARN of a queue"),
        ("arn:aws:sqs:eu-west-2:123456789012:dead", "account and region"),
        ("arn:aws:sqs:eu-west-1:210987654321:dead", "account and region"),
        (f"{QUEUE}.fifo", "FIFO"),
    ],
)
def test_a_dead_letter_queue_is_of_the_same_account_region_and_type(arn: str, named: str) -> None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html"""
    with pytest.raises(PolicyError, match=named):
        policies.dead_letter_queue(json.dumps({"deadLetterTargetArn": arn}), TOPIC)
    assert policies.dead_letter_queue(json.dumps({"deadLetterTargetArn": QUEUE}), TOPIC) == QUEUE


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://example.com/",
        "http://127.0.0.1.example.com/",
        "http://example.com@evil.example/",
        "http://10.0.0.1/",
        "https://127.0.0.1/",
        "http://127.0.0.1:99999/",
        "127.0.0.1:80",
    ],
)
def test_nothing_but_loopback_is_reached(endpoint: str) -> None:
    assert not policies.is_loopback(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:8080/x", "http://localhost/", "http://[::1]:80/", "http://u:p@127.0.0.1/"]
)
def test_loopback_is_reached(endpoint: str) -> None:
    policies.check_endpoint("http", endpoint)


@pytest.mark.parametrize("protocol", ["https", "sms", "application", "firehose"])
def test_other_protocols_are_refused_by_name(protocol: str) -> None:
    with pytest.raises(PolicyError, match=r"^Protocol: the sandbox .*"):
        policies.check_endpoint(protocol, "https://127.0.0.1/")
