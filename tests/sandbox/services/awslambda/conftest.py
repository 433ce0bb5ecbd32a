"""A sandbox without a system, in which production time passes fast, and functions made for one test."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.sandbox.aws.shop import Shop
from tests.secret_scan import watched

from tocsin.sandbox import control

SCALE = 300
MINUTE_S = 60 / SCALE
"""A production minute on the wall."""

CODE = """
import json
import os
import time
from pathlib import Path


def handler(event, context):
    runs = Path(os.environ["RUNS"]) / context.aws_request_id
    with runs.open("a") as file:
        file.write(json.dumps(event) + "\\n")
    number = len(runs.read_text().splitlines())
    while Path(os.environ["HOLD"]).exists():
        time.sleep(0.01)
    if number <= int(os.environ["FAILS"]):
        raise RuntimeError("as asked")
    return {"run": number}
"""

_numbers = count()


@dataclass(frozen=True)
class Function:
    """A function that fails as often as it is told to, for each event anew."""

    bench: Shop
    name: str
    runs: Path
    """a file for each request id, with a line for each run: the event"""

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:{self.bench.account.region}:{self.bench.account.account_id}:function:{self.name}"

    def send(self, event: Any, **options: Any) -> str:
        """Invoke asynchronously; returns the request id of the answer."""
        answer = self.bench.client("lambda").invoke(
            FunctionName=self.name, InvocationType="Event", Payload=json.dumps(event), **options
        )
        assert answer["StatusCode"] == 202
        return str(answer["ResponseMetadata"]["RequestId"])

    def events(self, request_id: str) -> list[Any]:
        """What the function got under one request id, run by run."""
        file = self.runs / request_id
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def ran(self) -> dict[str, int]:
        """Request id -> how often the function ran under it."""
        return {file.name: len(self.events(file.name)) for file in self.runs.iterdir()}

    def sum(self, metric: str) -> float:
        """Of everything published so far."""
        now = datetime.now(UTC)
        wanted = {
            "Namespace": "AWS/Lambda",
            "MetricName": metric,
            "Dimensions": [{"Name": "FunctionName", "Value": self.name}],
        }
        query = {"Id": "all", "MetricStat": {"Metric": wanted, "Period": 86400, "Stat": "Sum"}}
        (found,) = self.bench.client("cloudwatch").get_metric_data(
            MetricDataQueries=[query], StartTime=now - timedelta(hours=1), EndTime=now
        )["MetricDataResults"]
        return float(sum(found["Values"]))

    def configure(self, **options: Any) -> None:
        """The event invoke configuration."""
        self.bench.client("lambda").put_function_event_invoke_config(FunctionName=self.name, **options)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Runs that begin meanwhile do not end before this does."""
        hold = self.runs.with_suffix(".hold")
        hold.touch()
        try:
            yield
        finally:
            hold.unlink()

    def reserve(self, concurrency: int) -> None:
        self.bench.client("lambda").put_function_concurrency(
            FunctionName=self.name, ReservedConcurrentExecutions=concurrency
        )


DEPLOY = """
import json

ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
TRUST = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}


def deploy(account):
    iam = account.client("iam")
    iam.create_role(RoleName="bench", AssumeRolePolicyDocument=json.dumps({"Statement": TRUST}))
    iam.put_role_policy(RoleName="bench", PolicyName="all", PolicyDocument=json.dumps({"Statement": ALL}))
"""
"""A role of functions that may do everything."""


@dataclass(frozen=True)
class Bench(Shop):
    """A sandbox in which every test makes what it needs, under names of its own."""

    role: str = "arn:aws:iam::123456789012:role/bench"
    _made: dict[str, str] = field(default_factory=dict)

    def function(self, *, fails: int = 0, dead_letters: str | None = None) -> Function:
        """Make a function: how many runs of each event fail, ARN of its dead-letter queue."""
        name = f"function-{next(_numbers)}"
        runs = self.root / "runs" / name
        runs.mkdir(parents=True)
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("app.py", CODE)
        variables = {"RUNS": str(runs), "FAILS": str(fails), "HOLD": str(runs.with_suffix(".hold"))}
        self.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.11",
            Role=self.role,
            Handler="app.handler",
            Code={"ZipFile": code.getvalue()},
            Timeout=60,
            Environment={"Variables": variables},
            **({"DeadLetterConfig": {"TargetArn": dead_letters}} if dead_letters else {}),
        )
        self.settle(name)
        return Function(self, name, runs)

    def settle(self, function: str) -> None:
        """Wait until a function takes the next change."""
        waiting = {"Delay": 0.02, "MaxAttempts": 3000}
        self.client("lambda").get_waiter("function_updated_v2").wait(FunctionName=function, WaiterConfig=waiting)

    def queue(self, **attributes: str) -> str:
        """Make a queue that topics may send to; returns its name."""
        name = f"queue-{next(_numbers)}" + (".fifo" if "FifoQueue" in attributes else "")
        topics = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = json.dumps({"Statement": [{**topics, "Resource": "*"}]})
        self.client("sqs").create_queue(QueueName=name, Attributes={"Policy": policy, **attributes})
        return name

    def topic(self) -> str:
        """Make a topic; returns its ARN."""
        return str(self.client("sns").create_topic(Name=f"topic-{next(_numbers)}")["TopicArn"])

    def bucket(self) -> str:
        name = f"bucket-{next(_numbers)}"
        self.client("s3").create_bucket(Bucket=name)
        return name

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """What is in a queue; it stays there."""
        return self.receive(queue, VisibilityTimeout=0, MessageAttributeNames=["All"])


def start(root: Path, scale: float = SCALE) -> Bench:
    """A sandbox of its own; whoever starts it takes it down."""
    home = root / "replicas" / "bench"
    home.mkdir(parents=True)
    (home / "deploy.py").write_text(DEPLOY)
    return Bench(control.up("bench", root, time_scale=scale).account, root)


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("bench")
    try:
        with watched(root):
            yield start(root)
    finally:
        control.down(root)
