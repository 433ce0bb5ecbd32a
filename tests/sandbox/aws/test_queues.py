"""Queues of the sandbox: scaled time, redrive, dead letters, the worker behind an event source mapping."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import Shop, eventually
from tests.sandbox.aws.test_functions import lambda_counts, reserved

_numbers = count()


@pytest.fixture
def queue(shop: Shop) -> Iterator[str]:
    """A queue that nobody else reads."""
    name = f"shelf-{next(_numbers)}"
    url = shop.client("sqs").create_queue(QueueName=name)["QueueUrl"]
    yield name
    shop.client("sqs").delete_queue(QueueUrl=url)


def send(shop: Shop, queue: str, *bodies: str) -> list[str]:
    client, url = shop.client("sqs"), shop.url(queue)
    return [client.send_message(QueueUrl=url, MessageBody=body)["MessageId"] for body in bodies]


def attribute(shop: Shop, queue: str, name: str) -> str:
    answer = shop.client("sqs").get_queue_attributes(QueueUrl=shop.url(queue), AttributeNames=[name])
    return str(answer["Attributes"][name])


def depth(shop: Shop, queue: str) -> int:
    return int(attribute(shop, queue, "ApproximateNumberOfMessages"))


def metric(shop: Shop, queue: str, name: str) -> float | None:
    return shop.latest("AWS/SQS", name, QueueName=queue)


# ------------------------------------------------------------------------------------------------ time


def test_visibility_is_said_in_production_time_and_passes_in_scaled_time(shop: Shop, queue: str) -> None:
    client, url = shop.client("sqs"), shop.url(queue)
    client.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "120"})
    assert attribute(shop, queue, "VisibilityTimeout") == "120"
    send(shop, queue, "once")
    started = time.monotonic()
    (first,) = shop.receive(queue)
    # Two production minutes are two wall seconds: not sooner, and long before two minutes.
    (second,) = eventually(lambda: shop.receive(queue))
    assert time.monotonic() - started > 1.5
    assert first["MessageId"] == second["MessageId"]
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"


def test_a_long_poll_is_scaled_and_sees_a_message_that_arrives(shop: Shop, queue: str) -> None:
    assert shop.receive(queue, WaitTimeSeconds=20) == []
    send(shop, queue, "now")
    assert len(shop.receive(queue, WaitTimeSeconds=20)) == 1


def test_a_changed_visibility_is_scaled(shop: Shop, queue: str) -> None:
    send(shop, queue, "later")
    (message,) = shop.receive(queue, VisibilityTimeout=43200)
    assert shop.receive(queue) == []
    shop.client("sqs").change_message_visibility(
        QueueUrl=shop.url(queue), ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=60
    )
    eventually(lambda: shop.receive(queue), seconds=30)  # half of an unscaled minute


# ------------------------------------------------------------------------------------------------ metrics


def test_metrics_of_a_queue(shop: Shop, queue: str) -> None:
    send(shop, queue, "a", "b", "c")
    (taken, *_) = shop.client("sqs").receive_message(QueueUrl=shop.url(queue), VisibilityTimeout=43200)["Messages"]
    eventually(lambda: metric(shop, queue, "ApproximateNumberOfMessagesVisible") == 2)
    eventually(lambda: metric(shop, queue, "ApproximateNumberOfMessagesNotVisible") == 1)
    shop.client("sqs").delete_message(QueueUrl=shop.url(queue), ReceiptHandle=taken["ReceiptHandle"])
    eventually(lambda: metric(shop, queue, "ApproximateNumberOfMessagesNotVisible") == 0)
    counted = {
        name: shop.total("AWS/SQS", f"NumberOfMessages{name}", QueueName=queue)
        for name in ("Sent", "Received", "Deleted")
    }
    assert counted == {"Sent": 3, "Received": 1, "Deleted": 1}


def test_the_age_of_the_oldest_message_passes_over_what_was_received_three_times(shop: Shop, queue: str) -> None:
    send(shop, queue, "stubborn")
    # In production seconds: a message of a wall second is a minute old.
    eventually(lambda: (metric(shop, queue, "ApproximateAgeOfOldestMessage") or 0) >= 60)
    for _ in range(3):
        assert shop.receive(queue, VisibilityTimeout=0)
    eventually(lambda: metric(shop, queue, "ApproximateAgeOfOldestMessage") == 0)
    assert metric(shop, queue, "ApproximateNumberOfMessagesVisible") == 1


# ------------------------------------------------------------------------------------------------ the worker


def test_the_worker_takes_orders(shop: Shop) -> None:
    before = lambda_counts(shop, "shop-worker")
    send(shop, "shop-orders", "bread", "milk")
    eventually(lambda: {"order bread", "order milk"} <= set(shop.logged("shop-worker", "order ")))
    eventually(lambda: lambda_counts(shop, "shop-worker")["Invocations"] - before["Invocations"] == 2)
    assert lambda_counts(shop, "shop-worker")["Errors"] == before["Errors"]
    eventually(lambda: depth(shop, "shop-orders") == 0)


def test_poison_goes_to_the_dead_letters_after_three_receives_and_comes_back_by_a_move(shop: Shop) -> None:
    client = shop.client("sqs")
    before = lambda_counts(shop, "shop-worker")
    (sent,) = send(shop, "shop-orders", "poison")
    eventually(lambda: depth(shop, "shop-orders-dlq") == 1)
    failed = lambda_counts(shop, "shop-worker")
    assert failed["Errors"] - before["Errors"] == 3
    (dead,) = shop.receive("shop-orders-dlq", VisibilityTimeout=0)
    assert (dead["MessageId"], dead["Body"]) == (sent, "poison")
    assert dead["Attributes"]["DeadLetterQueueSourceArn"] == shop.arn("shop-orders")

    # Moved back without a repair it comes again, as a new message.
    started = client.start_message_move_task(SourceArn=shop.arn("shop-orders-dlq"))
    assert started["TaskHandle"]

    def task() -> dict[str, object]:
        (found,) = client.list_message_move_tasks(SourceArn=shop.arn("shop-orders-dlq"))["Results"]
        return dict(found)

    eventually(lambda: task()["Status"] == "COMPLETED")
    assert task()["ApproximateNumberOfMessagesMoved"] == task()["ApproximateNumberOfMessagesToMove"] == 1
    assert "TaskHandle" not in task()
    eventually(lambda: lambda_counts(shop, "shop-worker")["Errors"] - before["Errors"] == 6)
    (again,) = eventually(lambda: shop.receive("shop-orders-dlq"))
    assert again["MessageId"] != sent
    client.delete_message(QueueUrl=shop.url("shop-orders-dlq"), ReceiptHandle=again["ReceiptHandle"])


def test_a_throttled_worker_leaves_the_message_until_it_may_work_again(shop: Shop) -> None:
    before = lambda_counts(shop, "shop-worker")
    with reserved(shop, "shop-worker", 0):
        send(shop, "shop-orders", "patience")
        eventually(lambda: lambda_counts(shop, "shop-worker")["Throttles"] > before["Throttles"])
        assert lambda_counts(shop, "shop-worker")["Invocations"] == before["Invocations"]
    eventually(lambda: shop.logged("shop-worker", "patience") or depth(shop, "shop-orders-dlq"))
    for dead in shop.receive("shop-orders-dlq"):  # for whoever counts dead letters after us
        shop.client("sqs").delete_message(QueueUrl=shop.url("shop-orders-dlq"), ReceiptHandle=dead["ReceiptHandle"])


def test_a_disabled_event_source_mapping_takes_nothing(shop: Shop) -> None:
    client = shop.client("lambda")
    (mapping,) = client.list_event_source_mappings(FunctionName="shop-worker")["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    eventually(lambda: client.get_event_source_mapping(UUID=mapping["UUID"])["State"] == "Disabled")
    send(shop, "shop-orders", "waiting")
    eventually(lambda: metric(shop, "shop-orders", "ApproximateNumberOfMessagesVisible") == 1)
    eventually(lambda: (metric(shop, "shop-orders", "ApproximateAgeOfOldestMessage") or 0) > 60)
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    eventually(lambda: shop.logged("shop-worker", "waiting"))


# ------------------------------------------------------------------------------------------------ moving messages


@pytest.fixture
def dead_letters(shop: Shop, queue: str) -> Iterator[str]:
    """The dead-letter queue of `queue`, with three messages of unknown origin."""
    name = f"{queue}-dlq"
    client = shop.client("sqs")
    url = client.create_queue(QueueName=name)["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": shop.arn(name), "maxReceiveCount": 3})
    client.set_queue_attributes(QueueUrl=shop.url(queue), Attributes={"RedrivePolicy": policy})
    send(shop, name, "x", "y", "z")
    yield name
    client.delete_queue(QueueUrl=url)


def test_a_move_to_a_destination_gives_new_ids(shop: Shop, queue: str, dead_letters: str) -> None:
    old = {message["MessageId"] for message in shop.receive(dead_letters, VisibilityTimeout=0)}
    shop.client("sqs").start_message_move_task(SourceArn=shop.arn(dead_letters), DestinationArn=shop.arn(queue))
    eventually(lambda: depth(shop, queue) == 3)
    moved = shop.receive(queue)
    assert {message["Body"] for message in moved} == {"x", "y", "z"}
    assert not old & {message["MessageId"] for message in moved}
    assert {message["Attributes"]["ApproximateReceiveCount"] for message in moved} == {"1"}


def test_a_move_can_be_cancelled(shop: Shop, dead_letters: str) -> None:
    client, arn = shop.client("sqs"), shop.arn(dead_letters)
    url = shop.url(dead_letters)
    for _ in range(120):
        client.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": str(n)} for n in range(10)])
    destination = client.create_queue(QueueName=f"{dead_letters}-target")["QueueUrl"]
    target = shop.arn(f"{dead_letters}-target")
    # One message a production second is six batches of ten in a wall second: 120 of them take twenty seconds.
    handle = client.start_message_move_task(SourceArn=arn, DestinationArn=target, MaxNumberOfMessagesPerSecond=1)
    with pytest.raises(ClientError, match="already a task running"):
        client.start_message_move_task(SourceArn=arn, DestinationArn=target)
    cancelled = client.cancel_message_move_task(TaskHandle=handle["TaskHandle"])
    assert cancelled["ApproximateNumberOfMessagesMoved"] < 1203
    (task,) = client.list_message_move_tasks(SourceArn=arn)["Results"]
    assert task["Status"] in ("CANCELLING", "CANCELLED")
    with pytest.raises(ClientError) as caught:
        client.cancel_message_move_task(TaskHandle=handle["TaskHandle"])
    assert "ResourceNotFound" in caught.value.response["Error"]["Code"]
    client.delete_queue(QueueUrl=destination)


def test_a_move_of_messages_that_came_from_nowhere_fails(shop: Shop, dead_letters: str) -> None:
    client = shop.client("sqs")
    client.start_message_move_task(SourceArn=shop.arn(dead_letters))

    def failed() -> bool:
        (task,) = client.list_message_move_tasks(SourceArn=shop.arn(dead_letters))["Results"]
        return bool(task["Status"] == "FAILED" and task["FailureReason"] == "CouldNotDetermineMessageSource")

    eventually(failed)
    assert depth(shop, dead_letters) == 3


@pytest.mark.parametrize(
    ("source", "code"), [("shop-orders", "InvalidParameterValue"), ("nobody", "ResourceNotFoundException")]
)
def test_what_cannot_be_moved_is_refused(shop: Shop, source: str, code: str) -> None:
    with pytest.raises(ClientError) as caught:
        shop.client("sqs").start_message_move_task(SourceArn=shop.arn(source))
    assert code in caught.value.response["Error"]["Code"]


def test_a_used_receipt_handle_is_refused(shop: Shop, queue: str) -> None:
    send(shop, queue, "once")
    (message,) = shop.receive(queue)
    client, url = shop.client("sqs"), shop.url(queue)
    client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    with pytest.raises(ClientError, match="ReceiptHandleIsInvalid"):
        client.delete_message(QueueUrl=url, ReceiptHandle="nonsense")
