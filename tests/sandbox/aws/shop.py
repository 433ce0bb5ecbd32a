"""A small system with one of everything that needs no database: an HTTP API, functions, queues and a topic."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tocsin.sandbox.account import Account

T = TypeVar("T")

FUNCTION = """
import json
import os
import time

RELEASE = "one"


def handler(event, context):
    if "Records" in event:
        for record in event["Records"]:
            print("order", record["body"])
            if record["body"].startswith("poison"):
                raise ValueError("cannot read this order")
        return None
    request = event.get("requestContext", {}).get("http")
    if request is None:
        return act(event.get("do"), event, context)
    status = {"/teapot": 418, "/unavailable": 503}.get(request["path"], 200)
    if request["path"] in ("/fail", "/die", "/sleep"):
        act(request["path"][1:], event, context)
    return {"statusCode": status, "body": json.dumps({"release": RELEASE, "version": context.function_version})}


def act(what, event, context):
    if what == "fail":
        raise RuntimeError("as asked")
    if what == "die":
        os._exit(3)
    if what == "sleep":
        time.sleep(event.get("seconds", 30))
    print(json.dumps({"said": event.get("say"), "requestId": context.aws_request_id}))
    return {"release": RELEASE, "version": context.function_version, "say": event.get("say")}
"""

ROLE = "arn:aws:iam::123456789012:role/shop"
"""It may do everything."""

DEPLOY = """
import json
from pathlib import Path

ROLE = "arn:aws:iam::123456789012:role/shop"
SERVICES = [f"{name}.amazonaws.com" for name in ("lambda", "rds", "ecs-tasks", "events", "scheduler")]


def deploy(account):
    create_role(account.client("iam"))
    code = account.zip_directory(Path(__file__).parent / "function")
    functions, queues = account.client("lambda"), account.client("sqs")
    for name in ("shop-api", "shop-worker"):
        functions.create_function(
            FunctionName=name, Runtime="python3.11", Role=ROLE, Handler="app.handler", Code={"ZipFile": code}, Timeout=4
        )
    waiting = {"Delay": 0.05, "MaxAttempts": 1200}
    functions.get_waiter("function_updated_v2").wait(FunctionName="shop-api", WaiterConfig=waiting)
    version = functions.publish_version(FunctionName="shop-api")["Version"]
    alias = functions.create_alias(FunctionName="shop-api", Name="live", FunctionVersion=version)
    apis = account.client("apigatewayv2")
    api = apis.create_api(Name="shop", ProtocolType="HTTP")["ApiId"]
    integration = apis.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=alias["AliasArn"], PayloadFormatVersion="2.0"
    )["IntegrationId"]
    apis.create_route(ApiId=api, RouteKey="$default", Target=f"integrations/{integration}")
    apis.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    dead = create_queue(queues, "shop-orders-dlq", {})
    redrive = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 3})
    orders = create_queue(queues, "shop-orders", {"VisibilityTimeout": "60", "RedrivePolicy": redrive})
    functions.create_event_source_mapping(FunctionName="shop-worker", EventSourceArn=orders, BatchSize=1)
    topic = account.client("sns").create_topic(Name="shop-alerts")["TopicArn"]
    inbox = create_queue(queues, "shop-alerts-inbox", {"Policy": policy(Principal={"Service": "sns.amazonaws.com"})})
    account.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=inbox)


def create_role(iam):
    trust = policy(Principal={"Service": SERVICES}, Resource=None)
    iam.create_role(RoleName="shop", AssumeRolePolicyDocument=trust)
    iam.put_role_policy(RoleName="shop", PolicyName="all", PolicyDocument=policy())


def policy(**more):
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"} | more
    return json.dumps({"Version": "2012-10-17", "Statement": {k: v for k, v in statement.items() if v is not None}})


def create_queue(queues, name, attributes):
    url = queues.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
"""


def write_replica(root: Path) -> None:
    """Make a directory a checkout with the replica `shop`."""
    home = root / "replicas" / "shop"
    (home / "function").mkdir(parents=True)
    (home / "deploy.py").write_text(DEPLOY)
    (home / "function" / "app.py").write_text(FUNCTION)


def eventually(look: Callable[[], T], seconds: float = 60) -> T:
    """The first true answer of `look`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not seen within {seconds} s; last: {found!r}"
        time.sleep(0.03)
    return found


@contextmanager
def cut_off(at: tuple[str, int]) -> Iterator[None]:
    """Somebody who is connected is not any more: an outage may be over before anybody asks anew."""
    with socket.create_connection(at, timeout=60) as connection:
        connection.sendall(b"\r\n")  # it has to have been passed on
        yield
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""


@dataclass(frozen=True)
class Shop:
    """The deployed system, as its operators see it."""

    account: Account
    root: Path
    _clients: dict[str, Any] = field(default_factory=dict)
    _inbox: list[dict[str, Any]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.account.client(service)
        return self._clients[service]

    def settle(self, function: str) -> None:
        """Wait until a function takes the next change."""
        waiting = {"Delay": 0.05, "MaxAttempts": 1200}
        self.client("lambda").get_waiter("function_updated_v2").wait(FunctionName=function, WaiterConfig=waiting)

    # -- HTTP

    @property
    def api_id(self) -> str:
        (api,) = (one for one in self.client("apigatewayv2").get_apis()["Items"] if one["Name"] == "shop")
        return str(api["ApiId"])

    def get(self, path: str) -> httpx.Response:
        url = self.client("apigatewayv2").get_api(ApiId=self.api_id)["ApiEndpoint"]
        return httpx.get(url + path, timeout=60)

    # -- metrics and alarms

    def total(self, namespace: str, metric: str, statistic: str = "Sum", **dimensions: str) -> float:
        """A statistic of everything published so far."""
        points = self._points(namespace, metric, statistic, dimensions, period=86400, last_s=3600)
        # A day of the sandbox may have ended meanwhile: its largest and its smallest value are no summands.
        together = {"Maximum": max, "Minimum": min}.get(statistic, sum)
        return float(together([point[statistic] for point in points] or [0.0]))

    def latest(self, namespace: str, metric: str, **dimensions: str) -> float | None:
        """The newest one-minute maximum."""
        points = self._points(namespace, metric, "Maximum", dimensions, period=60, last_s=10)
        return max(points, key=lambda point: point["Timestamp"])["Maximum"] if points else None

    def _points(
        self, namespace: str, metric: str, statistic: str, dimensions: Mapping[str, str], period: int, last_s: float
    ) -> Any:
        now = datetime.now(UTC)
        return self.client("cloudwatch").get_metric_statistics(
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
            StartTime=now - timedelta(seconds=last_s),
            EndTime=now,
            Period=period,
            Statistics=[statistic],
        )["Datapoints"]

    def publish(self, metric: str, *values: float, **dimensions: str) -> None:
        names = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        data = [{"MetricName": metric, "Value": value, "Dimensions": names} for value in values]
        self.client("cloudwatch").put_metric_data(Namespace="Shop", MetricData=data)

    def put_alarm(self, name: str, **changes: Any) -> None:
        """An alarm on `Sum(Shop/<name>) >= 5` of one minute; silence is taken for good."""
        definition: Mapping[str, Any] = {
            "AlarmName": name,
            "Namespace": "Shop",
            "MetricName": name,
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 5,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
            **changes,
        }
        given = {field: value for field, value in definition.items() if value is not None}
        self.client("cloudwatch").put_metric_alarm(**given)

    def describe(self, name: str) -> dict[str, Any]:
        kinds = ["MetricAlarm", "CompositeAlarm"]
        answer = self.client("cloudwatch").describe_alarms(AlarmNames=[name], AlarmTypes=kinds)
        (found,) = (*answer["MetricAlarms"], *answer["CompositeAlarms"])
        return dict(found)

    def state(self, name: str) -> str:
        return str(self.describe(name)["StateValue"])

    def wait_for(self, name: str, state: str) -> None:
        """Wait for a state that stays until somebody publishes something else."""
        eventually(lambda: self.state(name) == state)

    def wait_for_ring(self, name: str) -> None:
        """Wait until an alarm has rung. It may be quiet again: a minute is a second here, and who looks may stand."""
        eventually(lambda: "ALARM" in self.states(name))

    def history(self, name: str, kind: str) -> list[dict[str, Any]]:
        """Items of an alarm's history, oldest first, with `HistoryData` read."""
        kinds = ["MetricAlarm", "CompositeAlarm"]
        asked = {"AlarmName": name, "AlarmTypes": kinds, "HistoryItemType": kind, "MaxRecords": 100}
        items = self.client("cloudwatch").describe_alarm_history(**asked)
        found = sorted(items["AlarmHistoryItems"], key=lambda item: item["Timestamp"])
        return [{**item, "HistoryData": json.loads(item["HistoryData"])} for item in found]

    def states(self, name: str) -> list[str]:
        """The states that an alarm went through."""
        updates = self.history(name, "StateUpdate")
        return [update["HistoryData"]["newState"]["stateValue"] for update in updates]

    @property
    def topic(self) -> str:
        return f"arn:aws:sns:{self.account.region}:{self.account.account_id}:shop-alerts"

    def alerts(self, alarm: str) -> list[dict[str, Any]]:
        """What the topic delivered about one alarm, newest last."""
        queue = "shop-alerts-inbox"
        while messages := self.receive(queue):
            self._inbox.extend(json.loads(json.loads(message["Body"])["Message"]) for message in messages)
            for message in messages:
                self.client("sqs").delete_message(QueueUrl=self.url(queue), ReceiptHandle=message["ReceiptHandle"])
        return sorted((one for one in self._inbox if one["AlarmName"] == alarm), key=lambda one: one["StateChangeTime"])

    # -- queues and functions

    def url(self, queue: str) -> str:
        return str(self.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"])

    def arn(self, queue: str) -> str:
        return f"arn:aws:sqs:{self.account.region}:{self.account.account_id}:{queue}"

    def receive(self, queue: str, **options: Any) -> list[dict[str, Any]]:
        answer = self.client("sqs").receive_message(
            QueueUrl=self.url(queue), MaxNumberOfMessages=10, AttributeNames=["All"], **options
        )
        return list(answer.get("Messages", []))

    def invoke(self, function: str, event: Any, **options: Any) -> dict[str, Any]:
        answer = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event), **options)
        return {**answer, "Payload": json.load(answer["Payload"])}

    def logged(self, function: str, pattern: str) -> list[str]:
        logs = self.client("logs")
        pages = logs.get_paginator("filter_log_events")
        found = pages.paginate(logGroupName=f"/aws/lambda/{function}", filterPattern=f'"{pattern}"')
        try:
            return [event["message"] for page in found for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []  # the log group is made by the first invocation
