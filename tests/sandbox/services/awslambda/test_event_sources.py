"""Queues that functions read, in a running sandbox: partial failures, throttles, how much at once, what is refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import eventually
from tests.sandbox.services.awslambda.conftest import Bench

CODE = """
import json
import os
import time
from pathlib import Path


def handler(event, context):
    home = Path(os.environ["PLACE"])
    records = event["Records"]
    line = json.dumps([[record["body"], record["attributes"]["ApproximateReceiveCount"]] for record in records])
    with (home / "runs").open("a") as file:
        file.write(line + "\\n")
    while (home / "hold").exists():
        time.sleep(0.01)
    answer = (home / "answer").read_text()
    for record in records:
        answer = answer.replace(f"id of {record['body']}", record["messageId"])
    return json.loads(answer)
"""
"""It answers what the file says, and does not end while it is held."""
REPORTING = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
HALF_A_DAY_S = 43_200
"""The longest visibility time-out; a machine that stands still for two minutes has not seen it end."""

_numbers = count()


@dataclass(frozen=True)
class Worker:
    """A function, the queue that it reads, and the dead letters of that queue: a message is dead after two receives."""

    bench: Bench
    name: str
    home: Path

    @property
    def queue(self) -> str:
        return self.name

    @property
    def dead(self) -> str:
        return f"{self.name}-dead"

    def send(self, *bodies: str) -> None:
        client, url = self.bench.client("sqs"), self.bench.url(self.queue)
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        assert len(client.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == len(bodies)

    def read(self, **options: Any) -> str:
        """Let the function read the queue from now on; returns the UUID of the mapping."""
        arn = self.bench.arn(self.queue)
        mapped = self.bench.client("lambda").create_event_source_mapping(
            FunctionName=self.name, EventSourceArn=arn, **options
        )
        return str(mapped["UUID"])

    def reserve(self, concurrency: int) -> None:
        self.bench.client("lambda").put_function_concurrency(
            FunctionName=self.name, ReservedConcurrentExecutions=concurrency
        )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Runs that begin meanwhile do not end before this does."""
        hold = self.home / "hold"
        hold.touch()
        try:
            yield
        finally:
            hold.unlink()

    @property
    def runs(self) -> list[list[list[str]]]:
        """Run by run, the body and the receive count of each message."""
        file = self.home / "runs"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def sum(self, metric: str) -> float:
        """Of everything published so far."""
        return self.bench.total("AWS/Lambda", metric, FunctionName=self.name)

    def most(self, metric: str) -> float:
        """The largest value ever published."""
        now = datetime.now(UTC)
        points = self.bench.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName=metric,
            Dimensions=[{"Name": "FunctionName", "Value": self.name}],
            StartTime=now - timedelta(hours=1),
            EndTime=now,
            Period=86400,
            Statistics=["Maximum"],
        )["Datapoints"]
        return float(max(point["Maximum"] for point in points))

    @property
    def deleted(self) -> float:
        return self.bench.total("AWS/SQS", "NumberOfMessagesDeleted", QueueName=self.queue)

    def dead_letters(self) -> list[str]:
        """Bodies of the dead letters, which stay where they are."""
        return sorted(message["Body"] for message in self.bench.messages(self.dead))

    def is_empty(self) -> bool:
        """Nothing in its queue, hidden messages counted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = self.bench.url(self.queue)
        found = self.bench.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return all(int(found[name]) == 0 for name in names)


def worker(bench: Bench, *, answer: str = "null", visibility_s: int = 60, timeout_s: int = 60) -> Worker:
    name = f"worker-{next(_numbers)}"
    home = bench.root / "workers" / name
    home.mkdir(parents=True)
    (home / "answer").write_text(answer)
    queues = bench.client("sqs")
    queues.create_queue(QueueName=f"{name}-dead")
    redrive = json.dumps({"deadLetterTargetArn": bench.arn(f"{name}-dead"), "maxReceiveCount": 2})
    queues.create_queue(QueueName=name, Attributes={"VisibilityTimeout": str(visibility_s), "RedrivePolicy": redrive})
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", CODE)
    bench.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.11",
        Role=bench.role,
        Handler="app.handler",
        Code={"ZipFile": code.getvalue()},
        Timeout=timeout_s,
        Environment={"Variables": {"PLACE": str(home)}},
    )
    bench.settle(name)
    return Worker(bench, name, home)


# ------------------------------------------------------------------------------------------------ partial failures


def test_only_the_message_that_is_named_comes_again(bench: Bench) -> None:
    at_work = worker(bench, answer='{"batchItemFailures": [{"itemIdentifier": "id of b"}]}')
    at_work.send("a", "b", "c")
    at_work.read(**REPORTING)
    assert eventually(at_work.dead_letters) == ["b"]
    assert at_work.runs == [[["a", "1"], ["b", "1"], ["c", "1"]], [["b", "2"]]]
    assert (at_work.sum("Invocations"), at_work.sum("Errors"), at_work.deleted) == (2, 0, 2)


@pytest.mark.parametrize(
    "answer",
    [
        '{"batchItemFailures": [{"itemIdentifier": ""}]}',
        '{"batchItemFailures": [{"itemIdentifier": "id of a"}, {"itemIdentifier": "of nobody"}]}',
        '{"batchItemFailures": [{"messageId": "id of a"}]}',
        '"done"',
    ],
    ids=["empty", "unknown", "another key", "no object"],
)
def test_the_whole_batch_comes_again_when_the_answer_names_nobody(bench: Bench, answer: str) -> None:
    at_work = worker(bench, answer=answer)
    at_work.send("a", "b")
    at_work.read(**REPORTING)
    eventually(lambda: at_work.dead_letters() == ["a", "b"])
    assert (at_work.sum("Errors"), at_work.deleted) == (0, 0)


@pytest.mark.parametrize(
    ("answer", "options"),
    [
        ("null", REPORTING),
        ("{}", REPORTING),
        ('{"batchItemFailures": []}', REPORTING),
        ('{"batchItemFailures": [{"itemIdentifier": "id of a"}]}', {}),
    ],
    ids=["null", "no key", "empty list", "not asked for"],
)
def test_the_whole_batch_is_done(bench: Bench, answer: str, options: dict[str, Any]) -> None:
    at_work = worker(bench, answer=answer)
    at_work.send("a", "b")
    at_work.read(**options)
    eventually(at_work.is_empty)
    assert at_work.runs == [[["a", "1"], ["b", "1"]]]
    assert (at_work.deleted, at_work.dead_letters()) == (2, [])


# ------------------------------------------------------------------------------------------------ throttles


def test_throttled_batches_run_before_their_messages_have_to_be_let_go(bench: Bench) -> None:
    at_work = worker(bench, visibility_s=HALF_A_DAY_S)
    at_work.reserve(1)
    with at_work.held():
        at_work.send("a", "b", "c")
        at_work.read(BatchSize=1)
        eventually(lambda: at_work.sum("Throttles") >= 4 and at_work.runs)
        assert len(at_work.runs) == 1
    eventually(at_work.is_empty)
    assert sorted(at_work.runs) == [[["a", "1"]], [["b", "1"]], [["c", "1"]]]
    assert (at_work.sum("Invocations"), at_work.sum("Errors"), at_work.dead_letters()) == (3, 0, [])


def test_who_is_throttled_for_two_visibility_time_outs_is_dead(bench: Bench) -> None:
    at_work = worker(bench)
    at_work.reserve(1)
    with at_work.held():
        at_work.send("slow")
        at_work.read(BatchSize=1)
        eventually(lambda: at_work.runs)
        at_work.send("next")
        (letter,) = eventually(lambda: bench.messages(at_work.dead))
        # It was let go twice, and is read here for the third time.
        assert (letter["Body"], letter["Attributes"]["ApproximateReceiveCount"]) == ("next", "3")
        assert at_work.runs == [[["slow", "1"]]]
    eventually(at_work.is_empty)
    assert at_work.deleted == 1


def test_without_any_concurrency_all_are_throttled_and_none_is_an_error(bench: Bench) -> None:
    at_work = worker(bench)
    at_work.reserve(0)
    at_work.send("a", "b")
    at_work.read(BatchSize=2)
    eventually(lambda: at_work.dead_letters() == ["a", "b"])
    # At 0, 1, 3, 7, 15 and 31 s of each of two time-outs of a minute.
    assert at_work.sum("Throttles") == 12
    assert (at_work.runs, at_work.sum("Invocations"), at_work.sum("Errors")) == ([], 0, 0)


def test_a_mapping_that_is_disabled_lets_go_what_was_throttled(bench: Bench) -> None:
    at_work, functions = worker(bench, visibility_s=HALF_A_DAY_S), bench.client("lambda")
    at_work.reserve(0)
    at_work.send("a")
    mapping = at_work.read()
    eventually(lambda: at_work.sum("Throttles"))
    functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    eventually(lambda: functions.get_event_source_mapping(UUID=mapping)["LastProcessingResult"] == "FAILED")
    at_work.reserve(5)
    assert at_work.runs == []


@pytest.mark.parametrize(("options", "most"), [({"ScalingConfig": {"MaximumConcurrency": 2}}, 2), ({}, 5)])
def test_how_many_batches_run_at_once(bench: Bench, options: dict[str, Any], most: int) -> None:
    at_work = worker(bench)
    at_work.send(*"abcdefg")
    with at_work.held():
        at_work.read(BatchSize=1, **options)
        eventually(lambda: len(at_work.runs) == most)
    eventually(at_work.is_empty)
    assert len(at_work.runs) == 7
    assert at_work.most("ConcurrentExecutions") == most
    assert (at_work.sum("Throttles"), at_work.dead_letters()) == (0, [])


# ------------------------------------------------------------------------------------------------ what is refused

TOO_SLOW = "Queue visibility timeout: 60 seconds is less than Function timeout: 61 seconds"


def test_a_function_that_may_work_longer_than_messages_are_hidden_is_refused(bench: Bench) -> None:
    slow, functions = worker(bench, timeout_s=61), bench.client("lambda")
    with pytest.raises(ClientError, match=TOO_SLOW) as caught:
        slow.read()
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
    as_long = worker(bench, timeout_s=60)
    mapping = as_long.read()
    functions.update_event_source_mapping(UUID=mapping, BatchSize=5)
    functions.update_function_configuration(FunctionName=as_long.name, Timeout=61)
    with pytest.raises(ClientError, match=TOO_SLOW):
        functions.update_event_source_mapping(UUID=mapping, BatchSize=6)
    assert functions.get_event_source_mapping(UUID=mapping)["BatchSize"] == 5


def test_a_queue_that_is_not_there_is_refused(bench: Bench) -> None:
    name = worker(bench).name
    with pytest.raises(ClientError, match=r"AWS\.SimpleQueueService\.NonExistentQueue"):
        bench.client("lambda").create_event_source_mapping(FunctionName=name, EventSourceArn=bench.arn("nowhere"))


def test_a_template_is_refused_as_well(bench: Bench) -> None:
    slow, stacks = worker(bench, timeout_s=61), bench.client("cloudformation")
    mapping = {"FunctionName": slow.name, "EventSourceArn": bench.arn(slow.queue)}
    template = {"Resources": {"Mapping": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": mapping}}}
    stacks.create_stack(StackName=slow.name, TemplateBody=json.dumps(template))

    def reasons() -> list[str]:
        events = stacks.describe_stack_events(StackName=slow.name)["StackEvents"]
        return [event["ResourceStatusReason"] for event in events if event["ResourceStatus"] == "CREATE_FAILED"]

    assert TOO_SLOW in " ".join(eventually(reasons))
    assert bench.client("lambda").list_event_source_mappings(FunctionName=slow.name)["EventSourceMappings"] == []
