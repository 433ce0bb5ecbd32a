"""EventBridge Scheduler of the sandbox: one-time and recurring schedules, and the calls that they make."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import Shop, eventually

_numbers = count()

ROLE = "arn:aws:iam::123456789012:role/shop"
"""Need not exist: this sandbox enforces no IAM."""


@dataclass
class Bench:
    """A schedule and a queue of one test."""

    shop: Shop
    name: str

    @property
    def client(self) -> Any:
        return self.shop.client("scheduler")

    def create(self, expression: str, arn: str = "", given: str | None = None, **more: Any) -> None:
        target = {"Arn": arn or self.shop.arn(self.name), "RoleArn": ROLE, **more.pop("target", {})}
        if given is not None:
            target["Input"] = given
        self.client.create_schedule(
            Name=self.name,
            ScheduleExpression=expression,
            **{"FlexibleTimeWindow": {"Mode": "OFF"}, **more},
            Target=target,
        )

    def bodies(self) -> list[str]:
        """The messages that are in the queue now; they are deleted."""
        found = self.shop.receive(self.name, MessageAttributeNames=["All"])
        for message in found:
            self.shop.client("sqs").delete_message(
                QueueUrl=self.shop.url(self.name), ReceiptHandle=message["ReceiptHandle"]
            )
        return [message["Body"] for message in found]

    def there(self) -> bool:
        return any(one["Name"] == self.name for one in self.client.list_schedules()["Schedules"])


@pytest.fixture
def bench(shop: Shop) -> Iterator[Bench]:
    bench = Bench(shop, f"schedule-{next(_numbers)}")
    shop.client("sqs").create_queue(QueueName=bench.name)
    yield bench
    if bench.there():
        bench.client.delete_schedule(Name=bench.name)
    shop.client("sqs").delete_queue(QueueUrl=shop.url(bench.name))


def at(after_s: float) -> str:
    return f"at({datetime.now(UTC) + timedelta(seconds=after_s):%Y-%m-%dT%H:%M:%S})"


def test_a_one_time_schedule_is_invoked_at_its_wall_clock_time_and_deleted_where_it_asks_for_it(bench: Bench) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    bench.create(f"at({moment:%Y-%m-%dT%H:%M:%S})", given="now", ActionAfterCompletion="DELETE")
    came = bench.bodies()
    assert came == [] or datetime.now(UTC) >= moment
    assert (came or eventually(bench.bodies)) == ["now"]
    assert datetime.now(UTC) >= moment
    eventually(lambda: not bench.there())


def test_without_that_wish_it_stays_and_is_not_invoked_again(bench: Bench) -> None:
    bench.create(at(0), given="once")
    assert eventually(bench.bodies) == ["once"]
    time.sleep(0.5)
    assert bench.bodies() == []
    assert bench.there()


def test_a_rate_begins_at_once_and_passes_in_production_time(bench: Bench) -> None:
    started = time.monotonic()
    bench.create("rate(1 minute)", given="<aws.scheduler.attempt-number> <aws.scheduler.schedule-arn>")
    seen = list(eventually(bench.bodies))
    eventually(lambda: len(seen.extend(bench.bodies()) or seen) >= 3)
    assert set(seen) == {f"1 {bench.client.get_schedule(Name=bench.name)['Arn']}"}
    # Two production minutes after the first one: two seconds on the wall.
    assert time.monotonic() - started > 1.8


def test_a_schedule_that_is_off_or_over_is_not_invoked(bench: Bench) -> None:
    bench.create("rate(1 minute)", given="off", State="DISABLED")
    time.sleep(1.2)
    assert bench.bodies() == []
    bench.client.update_schedule(
        Name=bench.name,
        ScheduleExpression="rate(1 minute)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": bench.shop.arn(bench.name), "RoleArn": ROLE, "Input": "over"},
        EndDate=datetime.now(UTC) - timedelta(minutes=1),
        ActionAfterCompletion="DELETE",
    )
    eventually(lambda: not bench.there())
    assert bench.bodies() == []


def test_a_flexible_window_is_production_time(bench: Bench) -> None:
    bench.create(at(0), given="late", FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 3})
    # At most three seconds on the wall.
    assert eventually(bench.bodies, seconds=20) == ["late"]


def test_without_an_input_the_target_gets_a_notification(bench: Bench) -> None:
    bench.create(at(0))
    (body,) = eventually(bench.bodies)
    said = json.loads(body)
    assert (said["source"], said["detail-type"], said["detail"]) == ("aws.scheduler", "Scheduled Event", "{}")
    assert said["resources"] == [bench.client.get_schedule(Name=bench.name)["Arn"]]


def test_an_event_bus_gets_the_input_as_the_detail_of_an_event(bench: Bench) -> None:
    events, bus = bench.shop.client("events"), f"arn:aws:events:{bench.shop.account.region}:123456789012"
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    bench.shop.client("sqs").set_queue_attributes(
        QueueUrl=bench.shop.url(bench.name), Attributes={"Policy": json.dumps({"Statement": [allowed]})}
    )
    account = bench.shop.account.account_id
    bus = bus.replace("123456789012", account) + ":event-bus/default"
    events.put_rule(Name=bench.name, EventPattern=json.dumps({"source": [bench.name]}))
    events.put_targets(Rule=bench.name, Targets=[{"Id": "1", "Arn": bench.shop.arn(bench.name)}])
    try:
        parameters = {"DetailType": "planned", "Source": bench.name}
        bench.create(at(0), arn=bus, given='{"n": 1}', target={"EventBridgeParameters": parameters})
        (body,) = eventually(bench.bodies)
        assert (json.loads(body)["detail-type"], json.loads(body)["detail"]) == ("planned", {"n": 1})
    finally:
        events.remove_targets(Rule=bench.name, Ids=["1"])
        events.delete_rule(Name=bench.name)


def test_a_universal_target_calls_an_operation_by_the_names_of_the_sdk_for_java(bench: Bench) -> None:
    functions = bench.shop.client("lambda")
    functions.put_function_concurrency(FunctionName="shop-worker", ReservedConcurrentExecutions=0)
    bench.create(
        at(0),
        arn="arn:aws:scheduler:::aws-sdk:lambda:putFunctionConcurrency",
        given='{"FunctionName": "shop-worker", "ReservedConcurrentExecutions": 7}',
        ActionAfterCompletion="DELETE",
    )
    try:
        eventually(
            lambda: functions.get_function_concurrency(FunctionName="shop-worker")["ReservedConcurrentExecutions"] == 7
        )
        eventually(lambda: not bench.there())
    finally:
        functions.delete_function_concurrency(FunctionName="shop-worker")


def test_a_call_that_is_refused_for_good_becomes_a_dead_letter(bench: Bench) -> None:
    bench.create(
        at(0),
        arn="arn:aws:scheduler:::aws-sdk:lambda:putFunctionConcurrency",
        given='{"FunctionName": "nobody", "ReservedConcurrentExecutions": 7}',
        target={"DeadLetterConfig": {"Arn": bench.shop.arn(bench.name)}},
    )
    (message,) = eventually(lambda: bench.shop.receive(bench.name, MessageAttributeNames=["All"]))
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert json.loads(message["Body"])["FunctionName"] == "nobody"
    assert attributes["SCHEDULE_ARN"] == bench.client.get_schedule(Name=bench.name)["Arn"]
    assert attributes["TARGET_ARN"].endswith(":putFunctionConcurrency")
    assert (attributes["ERROR_CODE"], attributes["RETRY_ATTEMPTS"]) == ("ResourceNotFoundException", "0")
    assert attributes["IS_PAYLOAD_TRUNCATED"] == "false"
    assert {"EXECUTION_ID", "SCHEDULED_TIME", "ERROR_MESSAGE"} < set(attributes)
    dropped = bench.shop.total("AWS/Scheduler", "InvocationDroppedCount", ScheduleGroup="default")
    assert dropped >= 1


@pytest.mark.parametrize(
    ("expression", "arn", "said"),
    [
        ("rate(1 minutes)", "", "Invalid Schedule Expression"),
        ("at(tomorrow)", "", "Invalid Schedule Expression"),
        ("rate(1 minute)", "arn:aws:ecs:eu-central-1:123456789012:cluster/c", "schedules do not reach ecs"),
        ("rate(1 minute)", "arn:aws:scheduler:::aws-sdk:rds:describeDBInstances", "only reads"),
    ],
)
def test_what_is_refused_is_refused_by_name(bench: Bench, expression: str, arn: str, said: str) -> None:
    with pytest.raises(ClientError, match=said):
        bench.create(expression, arn=arn)
