"""A tiny system in an emulator: a queue and its dead letters, the function that reads it, an alarm, whom it tells."""

from __future__ import annotations

import io
import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests import warm
from tests.second_target.emulators import ACCOUNT, KEYS, REGION, Emulator

ORDERS, DEAD, ONCALL, TOPIC, PACKER = "shop-orders", "shop-orders-dead", "shop-oncall", "shop-pages", "shop-packer"
ALARM: dict[str, Any] = {
    "AlarmName": "shop-dead-orders",
    "Namespace": "AWS/SQS",
    "MetricName": "ApproximateNumberOfMessagesVisible",
    "Dimensions": [{"Name": "QueueName", "Value": DEAD}],
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 1.0,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
}
SYSTEM: dict[str, Any] = {
    "system": "shop",
    "title": "Shop",
    "region": REGION,
    "lookups": {"pages": {"topic": TOPIC}},
    "endpoint": {"url": "the shop"},
    "notifications": {"queue": ONCALL},
    "canaries": {"file": "synthetics/shop.py", "every": "30s"},
    "alarms": {"dead-orders": {"title": "Orders nobody took", "cloudwatch": {**ALARM, "AlarmActions": ["${pages}"]}}},
    "test_data": {
        "kinds": {
            "orders": {
                "title": "orders of nobody",
                "written_by": ["canaries"],
                "tag": "channel=drill",
                "mark": "drill",
                "counted_apart": "reports take the channel web only",
                "cleanup": "synthetics/shop.py:remove_orders",
            }
        }
    },
}
CANARIES = """
def canary_home(api):
    with api.step("home"):
        api.get("/")

def remove_orders(api):
    with api.step("list"):
        api.get("/")
"""
POISON = "no order"
_HANDLER = f"""
def handler(event, context):
    if any(record["body"] == {POISON!r} for record in event["Records"]):
        raise ValueError("cannot be packed")
"""


def experiment(title: str, fault: str, arguments: dict[str, Any], expect: dict[str, Any]) -> str:
    """The text of an experiment with one fault; JSON is YAML."""
    provider = {"type": "python", "module": "tocsin.faults"}
    method = {"type": "action", "name": fault, "provider": {**provider, "func": fault, "arguments": arguments}}
    undo = {"type": "action", "name": "undo", "provider": {**provider, "func": "undo"}}
    block = {"name": "tocsin", "system": "shop", "load": None, "expect": {"recovery": {"within": "5m"}, **expect}}
    whole = {"title": title, "description": title, "method": [method], "rollbacks": [undo], "extensions": [block]}
    return json.dumps(whole)


NOBODY_PACKS = experiment(
    "Nobody packs",
    "lambda_event_source_disabled",
    {"function": PACKER, "queue": ORDERS},
    {"quiet": ["dead-orders"]},
)


def write(root: Path, target: str, url: str, shop: str, scale: float = 1, **experiments: str) -> None:
    """A project: a target of that name at an emulator's URL, the system whose endpoint is `shop`, experiments."""
    where = f'account = "{ACCOUNT}"\nregion = "{REGION}"\nendpoint_url = "{url}"\nscale = {scale}\n'
    files = {
        "tocsin.toml": f"[targets.{target}]\n{where}",
        "systems/shop.yaml": json.dumps({**SYSTEM, "endpoint": {"url": shop}}),
        "synthetics/shop.py": CANARIES,
        **{f"experiments/{name.replace('_', '-')}.yaml": text for name, text in experiments.items()},
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def environment() -> dict[str, str]:
    """In which Tocsin is called: with the keys of the emulator, and lines that are not cut."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, **KEYS, "COLUMNS": "300"}


def tocsin(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """One command, in a process of its own; `variables` are more of its environment, or others."""
    return warm.python("-m", "tocsin.cli", *arguments, cwd=root, env={**environment(), **variables})


@contextmanager
def open_shop() -> Iterator[str]:
    """The URL of a shop that is always open."""

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def deploy(emulator: Emulator, *, mapped: bool = True) -> None:
    """What the system file names. With `mapped` the function reads the queue; else somebody stands in for it."""
    arns = _make_queues(emulator)
    sns, cloudwatch = emulator.client("sns"), emulator.client("cloudwatch")
    topic = sns.create_topic(Name=TOPIC)["TopicArn"]
    _let_send(emulator, topic, arns[ONCALL])
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arns[ONCALL])
    cloudwatch.put_metric_alarm(**ALARM, AlarmActions=[topic])
    cloudwatch.set_alarm_state(AlarmName=ALARM["AlarmName"], StateValue="OK", StateReason="deployed")
    emulator.client("lambda").create_function(
        FunctionName=PACKER,
        Runtime="python3.12",
        Role=_role(emulator),
        Handler="packer.handler",
        Code={"ZipFile": _package()},
        Environment={"Variables": {"PACKER_KEY": "kept-in-the-shop"}},
    )
    # ministack tells for a moment that it is being made, as AWS does.
    for made in ("function_active_v2", "function_updated_v2"):
        emulator.client("lambda").get_waiter(made).wait(FunctionName=PACKER, WaiterConfig={"Delay": 1})
    if mapped:
        map_queue(emulator)


def map_queue(emulator: Emulator) -> None:
    """From now on the function reads the orders, where the emulator runs functions."""
    sqs = emulator.client("sqs")
    source = _arn(sqs, sqs.get_queue_url(QueueName=ORDERS)["QueueUrl"])
    emulator.client("lambda").create_event_source_mapping(FunctionName=PACKER, EventSourceArn=source, BatchSize=1)


def _make_queues(emulator: Emulator) -> dict[str, str]:
    """Their ARNs by name. A message is tried three times, a second each."""
    sqs = emulator.client("sqs")
    arns = {name: _arn(sqs, sqs.create_queue(QueueName=name)["QueueUrl"]) for name in (DEAD, ONCALL)}
    redrive = json.dumps({"deadLetterTargetArn": arns[DEAD], "maxReceiveCount": 3})
    tried = {"RedrivePolicy": redrive, "VisibilityTimeout": "1"}
    return {**arns, ORDERS: _arn(sqs, sqs.create_queue(QueueName=ORDERS, Attributes=tried)["QueueUrl"])}


def _arn(sqs: Any, url: str) -> str:
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def _let_send(emulator: Emulator, topic: str, queue: str) -> None:
    sends = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [sends]})
    sqs = emulator.client("sqs")
    url = sqs.get_queue_url(QueueName=ONCALL)["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})


def _role(emulator: Emulator) -> str:
    """moto looks whether it is there."""
    assumes = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [assumes]})
    role = emulator.client("iam").create_role(RoleName="packer", AssumeRolePolicyDocument=policy)
    return str(role["Role"]["Arn"])


def _package() -> bytes:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("packer.py", _HANDLER)
    return code.getvalue()
