"""Documented procedures on the running sandbox."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.drill.conftest import Checkout, wait_for

from tocsin.errors import NotFound, TargetError
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.session import CONFIGURATION_KEY
from tocsin.procedures.sqs import sqs_redrive
from tocsin.project.targets import load_target
from tocsin.record.ledger import Ledger

pytestmark = [pytest.mark.drill, pytest.mark.takes(260), pytest.mark.xdist_group("drills")]

QUEUE = "itcenter-dev-calendar-sync"


@pytest.fixture
def configuration(checkout: Checkout, tmp_path: Path) -> dict[str, Any]:
    target = replace(load_target(checkout.root, "sandbox"), region="ap-southeast-2")
    ledger = Ledger(tmp_path / "ledger.sqlite", "sandbox")
    return {CONFIGURATION_KEY: FaultLifecycle(target=target, ledger=ledger, drill="d")}


def test_an_empty_dead_letter_queue_is_redriven_at_once(configuration: dict[str, Any]) -> None:
    assert sqs_redrive(QUEUE, configuration=configuration) == f"0 messages moved back to {QUEUE}"


def test_a_redrive_before_the_cause_is_mended_does_not_pretend(
    checkout: Checkout, configuration: dict[str, Any]
) -> None:
    """The message is one that nobody can process: it comes back as often as it is moved."""
    sqs = checkout.client("sqs")
    source, dead = (sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in (QUEUE, f"{QUEUE}-dlq"))
    sqs.send_message(QueueUrl=source, MessageBody="not a calendar message")
    checkout.left = True
    wait_for("the message to die", lambda: _depth(sqs, dead) == 1)
    try:
        with pytest.raises(TargetError, match="the cause is not mended"):
            sqs_redrive(QUEUE, timeout_s=60, configuration=configuration)
    finally:
        found: list[Any] = []
        wait_for("the message to come back", lambda: found.extend(_take(sqs, dead)) or bool(found))


def _depth(sqs: Any, url: str) -> int:
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def _take(sqs: Any, url: str) -> list[Any]:
    messages: list[Any] = sqs.receive_message(QueueUrl=url).get("Messages", [])
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return messages


def test_a_queue_without_a_dead_letter_queue_is_named(configuration: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="itcenter-dev-oncall to have a dead-letter queue"):
        sqs_redrive("itcenter-dev-oncall", configuration=configuration)
