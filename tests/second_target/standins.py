"""Who does in a test what an emulator does not do: evaluate an alarm, run a function without Docker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event, Thread

from tests.second_target.emulators import Emulator
from tests.second_target.shop import ALARM, DEAD, ORDERS

_EVERY_S = 0.1


@contextmanager
def standing_in(*works: Callable[[], None]) -> Iterator[None]:
    """Each is done again and again, in a thread of its own, as long as this lasts.

    Raises:
        Exception: what the first of them raised, at the end.
    """
    stop, failed = Event(), list[Exception]()

    def repeat(work: Callable[[], None]) -> None:
        while not stop.wait(_EVERY_S):
            try:
                work()
            except Exception as error:  # told below: nobody reads what a thread raises
                failed.append(error)
                return

    threads = [Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def evaluator(emulator: Emulator) -> Callable[[], None]:
    """CloudWatch: looks at the depth of the dead letters, and sets the alarm's state with the grounds that it gives."""
    sqs, cloudwatch = emulator.client("sqs"), emulator.client("cloudwatch")
    url = sqs.get_queue_url(QueueName=DEAD)["QueueUrl"]
    state = "OK"

    def evaluate() -> None:
        nonlocal state
        name = "ApproximateNumberOfMessages"
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])
        depth = float(found["Attributes"][name])
        now = "ALARM" if depth >= ALARM["Threshold"] else "OK"
        if now == state:
            return
        state = now
        cloudwatch.set_alarm_state(
            AlarmName=ALARM["AlarmName"],
            StateValue=now,
            StateReason=f"Threshold Crossed: 1 datapoint [{depth}]",
            StateReasonData=json.dumps(_grounds(depth)),
        )

    return evaluate


def _grounds(depth: float) -> dict[str, object]:
    at = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+0000")
    return {
        "version": "1.0",
        "queryDate": at,
        "statistic": ALARM["Statistic"],
        "period": ALARM["Period"],
        "recentDatapoints": [depth],
        "threshold": ALARM["Threshold"],
        "evaluatedDatapoints": [{"timestamp": at, "sampleCount": 1.0, "value": depth}],
    }


def packer(emulator: Emulator) -> Callable[[], None]:
    """The function: takes from the queue what it cannot do, and never says that it is done."""
    sqs = emulator.client("sqs")
    url = sqs.get_queue_url(QueueName=ORDERS)["QueueUrl"]

    def pack() -> None:
        sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1)

    return pack
