"""Activities of the set-up "returns brought back", whose undo no ledger knows and a probe of the experiment shows."""

from __future__ import annotations

from typing import Any

from tocsin.faults.session import target_of


def put_aside(configuration: dict[str, Any]) -> str:
    """Let what was brought back fail once, so that it lies aside again: the rollback of a redrive."""
    sqs, seen = target_of(configuration).client("sqs"), 0
    url = sqs.get_queue_url(QueueName="bell-returns")["QueueUrl"]
    # Received once it may be received no more: the next call finds nothing, and moves it.
    while messages := sqs.receive_message(QueueUrl=url, VisibilityTimeout=0, MaxNumberOfMessages=10).get("Messages"):
        seen += len(messages)
    return f"{seen} put aside"


def put_nothing_aside(configuration: dict[str, Any]) -> str:
    """The same, by somebody who only says so."""
    target_of(configuration).client("sqs").get_queue_url(QueueName="bell-returns")
    return "1 put aside"


def count_aside(configuration: dict[str, Any]) -> int:
    """How many returns lie aside."""
    sqs = target_of(configuration).client("sqs")
    url = sqs.get_queue_url(QueueName="bell-returns-aside")["QueueUrl"]
    read = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(read["Attributes"]["ApproximateNumberOfMessages"])
