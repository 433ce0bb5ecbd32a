"""Answers that are lost on the way: AWS did what it was asked for, and whoever asked does not know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from tests.aws_weather import LOST, Weather
from tests.sandbox.aws.shop import Shop, eventually

from tocsin.aws.sqs import depth
from tocsin.aws.target import Target
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.sqs import SqsPoisonMessage
from tocsin.model.events import FaultStage
from tocsin.record.ledger import Ledger

QUEUE, DEAD = "shop-orders", "shop-orders-dlq"
_numbers = count()


@pytest.fixture
def weather(shop: Shop) -> Iterator[Weather]:
    keys = shop.account.target.session.get_credentials()
    with Weather(str(shop.account.target.endpoint_url), keys) as weather:
        yield weather


def behind(weather: Weather, target: Target) -> Target:
    return replace(target, name=f"behind-{next(_numbers)}", endpoint_url=weather.url)


def test_a_message_that_was_sent_twice_dies_twice_and_is_removed_twice(
    shop: Shop, weather: Weather, tmp_path: Path
) -> None:
    target, dead = behind(weather, shop.account.target), shop.url(DEAD)
    shop.client("sqs").send_message(QueueUrl=dead, MessageBody="somebody's")
    ledger = Ledger(tmp_path / "ledger.sqlite", target.name)
    lifecycle = FaultLifecycle(target=target, ledger=ledger, drill="d")
    weather.falls("SendMessage", LOST, times=1)
    assert lifecycle.inject(SqsPoisonMessage(queue=QUEUE, body="poison")) is FaultStage.EFFECTIVE
    assert weather.errors == ["SendMessage"]
    eventually(lambda: depth(target, dead).visible == 3)  # the worker chokes on both
    assert lifecycle.undo_all() == []
    assert depth(target, shop.url(QUEUE)).empty
    (left,) = eventually(lambda: shop.receive(DEAD))
    assert left["Body"] == "somebody's"
    shop.client("sqs").delete_message(QueueUrl=dead, ReceiptHandle=left["ReceiptHandle"])
    ledger.close()
