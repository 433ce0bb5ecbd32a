"""Asynchronous invocation in a running sandbox: who sends events, what becomes of them, and what is counted."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import eventually
from tests.sandbox.services.awslambda.conftest import MINUTE_S, Bench, Function, start
from tests.secret_scan import watched

from tocsin.sandbox import control

DROPPED, RECEIVED = "AsyncEventsDropped", "AsyncEventsReceived"


def letter(bench: Bench, queue: str) -> dict[str, Any]:
    """The only message in a queue, when it has come."""
    (message,) = eventually(lambda: bench.messages(queue))
    return dict(message)


def record(bench: Bench, queue: str) -> dict[str, Any]:
    """The only invocation record in a queue, when it has come."""
    return dict(json.loads(letter(bench, queue)["Body"]))


def test_a_function_that_fails_twice(bench: Bench) -> None:
    function, inbox = bench.function(fails=2), bench.queue()
    function.configure(DestinationConfig={"OnSuccess": {"Destination": bench.arn(inbox)}})
    request_id = function.send({"order": 7})
    assert record(bench, inbox) | {"timestamp": ""} == {
        "version": "1.0",
        "timestamp": "",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{function.arn}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 3,
        },
        "requestPayload": {"order": 7},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"run": 3},
    }
    assert function.events(request_id) == [{"order": 7}] * 3
    assert [function.sum(name) for name in ("Invocations", "Errors", RECEIVED, DROPPED)] == [3, 2, 1, 0]
    # At its three runs it was 0, 1 and 3 minutes old, and what the runs take.
    assert function.sum("AsyncEventAge") >= 4 * 60_000
    assert function.bench.total("AWS/Lambda", "AsyncEventAge", "SampleCount", FunctionName=function.name) == 3


def test_the_waits_before_the_retries(bench: Bench) -> None:
    """One minute and two, in production time."""
    function, dead = bench.function(fails=3), bench.queue()
    bench.client("lambda").update_function_configuration(
        FunctionName=function.name, DeadLetterConfig={"TargetArn": bench.arn(dead)}
    )
    function.send({})
    letter(bench, dead)
    logs = bench.client("logs")
    found = logs.filter_log_events(logGroupName=f"/aws/lambda/{function.name}", filterPattern='"START"')["events"]
    first, second, third = sorted(event["timestamp"] / 1000 for event in found)
    assert second - first >= MINUTE_S - 0.001
    assert third - second >= 2 * MINUTE_S - 0.001


def test_a_function_that_always_fails(bench: Bench) -> None:
    dead, inbox = bench.queue(), bench.queue()
    function = bench.function(fails=9, dead_letters=bench.arn(dead))
    function.configure(DestinationConfig={"OnFailure": {"Destination": bench.arn(inbox)}})
    request_id = function.send({"order": 7})
    found = record(bench, inbox)
    trace = found["responsePayload"].pop("stackTrace")
    assert 'raise RuntimeError("as asked")' in "".join(trace)
    assert found | {"timestamp": ""} == {
        "version": "1.0",
        "timestamp": "",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{function.arn}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": {"order": 7},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "as asked", "errorType": "RuntimeError"},
    }
    message = letter(bench, dead)
    assert json.loads(message["Body"]) == {"order": 7}
    assert message["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": request_id},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "as asked"},
    }
    eventually(lambda: function.sum(DROPPED) == 1)
    assert [function.sum(name) for name in ("Invocations", "Errors", RECEIVED)] == [3, 3, 1]
    assert bench.total("AWS/SQS", "NumberOfMessagesSent", QueueName=dead) == 1


def test_the_configuration_is_that_of_the_qualifier(bench: Bench) -> None:
    dead = bench.queue()
    function = bench.function(fails=9, dead_letters=bench.arn(dead))
    client = bench.client("lambda")
    version = client.publish_version(FunctionName=function.name)["Version"]
    client.create_alias(FunctionName=function.name, Name="live", FunctionVersion=version)
    function.configure(MaximumRetryAttempts=1)
    function.configure(Qualifier="live", MaximumRetryAttempts=0)
    wanted = {
        function.send({}): 2,
        function.send({}, Qualifier="$LATEST"): 2,
        function.send({}, Qualifier="live"): 1,
        # The dead-letter queue is that of the function, the configuration is not.
        function.send({}, Qualifier=version): 3,
    }
    eventually(lambda: len(bench.messages(dead)) == 4)
    assert function.ran() == wanted


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"MaximumRetryAttempts": 3}, "'3' at 'maximumRetryAttempts'.*less than or equal to 2"),
        ({"MaximumEventAgeInSeconds": 21601}, "'21601' at 'maximumEventAgeInSeconds'.*less than or equal to 21600"),
    ],
)
def test_a_configuration_out_of_bounds_is_refused(bench: Bench, wrong: dict[str, int], named: str) -> None:
    function = bench.function()
    with pytest.raises(ClientError, match=named):
        function.configure(**wrong)


def test_an_update_of_the_configuration_keeps_the_rest(bench: Bench) -> None:
    function, client = bench.function(), bench.client("lambda")
    with pytest.raises(client.exceptions.ResourceNotFoundException, match="EventInvokeConfig"):
        client.update_function_event_invoke_config(FunctionName=function.name, MaximumRetryAttempts=1)
    function.configure(MaximumEventAgeInSeconds=100, DestinationConfig={"OnSuccess": {"Destination": function.arn}})
    client.update_function_event_invoke_config(FunctionName=function.name, MaximumRetryAttempts=1)
    found = client.get_function_event_invoke_config(FunctionName=function.name)
    assert (found["MaximumRetryAttempts"], found["MaximumEventAgeInSeconds"]) == (1, 100)
    assert found["DestinationConfig"]["OnSuccess"] == {"Destination": function.arn}


# ------------------------------------------------------------------------------------------------ throttles


def test_a_throttled_event_is_kept(bench: Bench) -> None:
    dead = bench.queue()
    function = bench.function(dead_letters=bench.arn(dead))
    function.reserve(1)
    with function.held():
        sent = [function.send({"order": number}) for number in range(4)]
        eventually(lambda: len(function.ran()) == 1)
        eventually(lambda: function.sum("Throttles") > 3)
        assert len(function.ran()) == 1
    eventually(lambda: function.sum("Invocations") == 4)
    assert function.ran() == dict.fromkeys(sent, 1)
    assert [function.sum(name) for name in ("Errors", RECEIVED, DROPPED)] == [0, 4, 0]
    assert bench.messages(dead) == []


def test_a_throttled_event_is_dropped_when_it_is_too_old(bench: Bench) -> None:
    dead, inbox = bench.queue(), bench.queue()
    function = bench.function(dead_letters=bench.arn(dead))
    function.reserve(1)
    function.configure(MaximumEventAgeInSeconds=60, DestinationConfig={"OnFailure": {"Destination": bench.arn(inbox)}})
    with function.held():
        first = function.send({"order": 1})
        eventually(lambda: function.ran() == {first: 1})
        second = function.send({"order": 2})
        found = record(bench, inbox)
    assert found["requestContext"] == {
        "requestId": second,
        "functionArn": f"{function.arn}:$LATEST",
        "condition": "EventAgeExceeded",
        "approximateInvokeCount": 0,
    }
    message = letter(bench, dead)
    assert json.loads(message["Body"]) == {"order": 2}
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes == {"RequestID": second, "ErrorCode": "429", "ErrorMessage": "Rate Exceeded."}
    eventually(lambda: function.sum(DROPPED) == 1)
    assert function.ran() == {first: 1}


def test_an_event_that_waits_runs_what_is_there_then(bench: Bench) -> None:
    """Not what was there when it was sent: a rollback helps the events that wait."""
    function, inbox, client = bench.function(), bench.queue(), bench.client("lambda")
    versions = []
    for description in ("bad", "good"):
        client.update_function_configuration(FunctionName=function.name, Description=description)
        bench.settle(function.name)
        versions.append(client.publish_version(FunctionName=function.name)["Version"])
    client.create_alias(FunctionName=function.name, Name="live", FunctionVersion=versions[0])
    function.configure(Qualifier="live", DestinationConfig={"OnSuccess": {"Destination": bench.arn(inbox)}})
    function.reserve(1)
    with function.held():
        first = function.send({})
        eventually(lambda: function.ran() == {first: 1})
        second = function.send({}, Qualifier="live")
        eventually(lambda: function.sum("Throttles") > 0)
        client.update_alias(FunctionName=function.name, Name="live", FunctionVersion=versions[1])
    found = record(bench, inbox)
    assert (found["requestContext"]["requestId"], found["requestContext"]["functionArn"]) == (
        second,
        f"{function.arn}:live",
    )
    assert found["responseContext"]["executedVersion"] == versions[1]


def test_an_event_whose_function_is_deleted_is_dropped(bench: Bench) -> None:
    function = bench.function()
    function.reserve(1)
    with function.held():
        first = function.send({})
        eventually(lambda: function.ran() == {first: 1})
        function.send({})
        eventually(lambda: function.sum("Throttles") > 0)
        bench.client("lambda").delete_function(FunctionName=function.name)
        eventually(lambda: function.sum(DROPPED) == 1)


def test_zero_reserved_concurrency_drops_at_once(bench: Bench) -> None:
    """Without any retries, as AWS documents: what was sent meanwhile is in the dead-letter queue, and nowhere else."""
    dead, inbox = bench.queue(), bench.queue()
    function = bench.function(dead_letters=bench.arn(dead))
    function.configure(DestinationConfig={"OnFailure": {"Destination": bench.arn(inbox)}})
    function.reserve(0)
    lost = function.send({"order": 1})
    found = record(bench, inbox)
    assert (found["requestContext"]["requestId"], found["requestContext"]["condition"]) == (
        lost,
        "ZeroReservedConcurrency",
    )
    assert json.loads(letter(bench, dead)["Body"]) == {"order": 1}
    bench.client("lambda").delete_function_concurrency(FunctionName=function.name)
    kept = function.send({"order": 2})
    eventually(lambda: function.ran() == {kept: 1})
    assert [function.sum(name) for name in (RECEIVED, DROPPED)] == [2, 1]


# ------------------------------------------------------------------------------------------------ sources


def let_topics(function: Function, **qualifier: str) -> None:
    """Topics may invoke it."""
    allowed = {"Action": "lambda:InvokeFunction", "Principal": "sns.amazonaws.com"}
    client = function.bench.client("lambda")
    client.add_permission(FunctionName=function.name, StatementId="topics", **allowed, **qualifier)


def by_topic(function: Function, say: str) -> None:
    sns, topic = function.bench.client("sns"), function.bench.topic()
    let_topics(function)
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function.arn)
    sns.publish(TopicArn=topic, Message=say)


def by_bucket(function: Function, say: str) -> None:
    s3, bucket = function.bench.client("s3"), function.bench.bucket()
    function.bench.client("lambda").add_permission(
        FunctionName=function.name,
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn=f"arn:aws:s3:::{bucket}",
    )
    wanted = {"LambdaFunctionArn": function.arn, "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [wanted]}
    )
    s3.put_object(Bucket=bucket, Key=say, Body=b"")


def by_rule(function: Function, say: str) -> None:
    events = function.bench.client("events")
    rule = events.put_rule(Name=say, EventPattern=json.dumps({"source": [say]}))["RuleArn"]
    function.bench.client("lambda").add_permission(
        FunctionName=function.name,
        StatementId="events",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )
    events.put_targets(Rule=say, Targets=[{"Id": "1", "Arn": function.arn}])
    events.put_events(Entries=[{"Source": say, "DetailType": "test", "Detail": "{}"}])


def by_log_group(function: Function, say: str) -> None:
    logs, group = function.bench.client("logs"), f"/group/{function.name}"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="stream")
    logs.put_subscription_filter(logGroupName=group, filterName="all", filterPattern=say, destinationArn=function.arn)
    for message in ("nothing", f"word {say} word"):
        event = {"timestamp": int(time.time() * 1000), "message": message}
        logs.put_log_events(logGroupName=group, logStreamName="stream", logEvents=[event])


def told(event: dict[str, Any]) -> str:
    """An event as text; what a log group sends is packed."""
    packed = event.get("awslogs", {}).get("data")
    return gzip.decompress(base64.b64decode(packed)).decode() if packed else json.dumps(event)


@pytest.mark.parametrize("send", [by_topic, by_bucket, by_rule, by_log_group])
def test_whoever_sends_it_an_event_is_retried(bench: Bench, send: Callable[[Function, str], None]) -> None:
    dead = bench.queue()
    function = bench.function(fails=9, dead_letters=bench.arn(dead))
    say = f"{send.__name__}-{function.name}".replace("_", "-")
    send(function, say)
    message = letter(bench, dead)
    request_id = message["MessageAttributes"]["RequestID"]["StringValue"]
    assert function.ran() == {request_id: 3}
    assert say in told(json.loads(message["Body"]))
    assert function.events(request_id) == [json.loads(message["Body"])] * 3
    assert function.sum(RECEIVED) == 1


def test_a_retry_of_an_alias_runs_what_the_alias_points_to(bench: Bench) -> None:
    dead = bench.queue()
    function = bench.function(fails=9, dead_letters=bench.arn(dead))
    client = bench.client("lambda")
    version = client.publish_version(FunctionName=function.name)["Version"]
    alias = client.create_alias(FunctionName=function.name, Name="live", FunctionVersion=version)["AliasArn"]
    function.configure(Qualifier="live", MaximumRetryAttempts=0)
    topic = bench.topic()
    let_topics(function, Qualifier="live")
    bench.client("sns").subscribe(TopicArn=topic, Protocol="lambda", Endpoint=alias)
    bench.client("sns").publish(TopicArn=topic, Message="m")
    letter(bench, dead)
    assert list(function.ran().values()) == [1]


def test_a_custom_resource_is_retried(bench: Bench) -> None:
    function = bench.function(fails=9)
    template = {
        "Resources": {
            "Migration": {"Type": "Custom::It", "Properties": {"ServiceToken": function.arn, "ServiceTimeout": "1"}}
        }
    }
    bench.client("cloudformation").create_stack(StackName=function.name, TemplateBody=json.dumps(template))
    eventually(lambda: list(function.ran().values()) == [3])
    (request_id,) = function.ran()
    assert function.events(request_id)[0]["RequestType"] == "Create"


def test_a_synchronous_invocation_is_not_retried(bench: Bench) -> None:
    function = bench.function(fails=9)
    assert bench.invoke(function.name, {})["FunctionError"] == "Unhandled"
    assert list(function.ran().values()) == [1]
    assert function.sum(RECEIVED) == 0


# ------------------------------------------------------------------------------------------------ destinations


def test_a_function_is_a_destination(bench: Bench) -> None:
    function, other = bench.function(), bench.function()
    function.configure(DestinationConfig={"OnSuccess": {"Destination": other.arn}})
    request_id = function.send({})
    eventually(other.ran)
    ((record,),) = (other.events(one) for one in other.ran())
    assert record["requestContext"]["requestId"] == request_id


def test_a_topic_is_a_destination(bench: Bench) -> None:
    function, topic, inbox = bench.function(), bench.topic(), bench.queue()
    bench.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=bench.arn(inbox))
    function.configure(DestinationConfig={"OnSuccess": {"Destination": topic}})
    request_id = function.send({})
    assert json.loads(record(bench, inbox)["Message"])["requestContext"]["requestId"] == request_id


def test_a_topic_is_a_dead_letter_queue(bench: Bench) -> None:
    topic, inbox = bench.topic(), bench.queue()
    bench.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=bench.arn(inbox))
    function = bench.function(fails=9, dead_letters=topic)
    function.configure(MaximumRetryAttempts=0)
    request_id = function.send({"order": 7})
    found = record(bench, inbox)
    assert json.loads(found["Message"]) == {"order": 7}
    assert found["MessageAttributes"]["RequestID"]["Value"] == request_id


def test_an_event_bus_is_a_destination(bench: Bench) -> None:
    function, inbox, events = bench.function(fails=9), bench.queue(), bench.client("events")
    bus = f"bus-{function.name}"
    bus_arn = events.create_event_bus(Name=bus)["EventBusArn"]
    rule = events.put_rule(Name=bus, EventBusName=bus, EventPattern=json.dumps({"source": ["lambda"]}))["RuleArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": bench.arn(inbox),
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    bench.client("sqs").set_queue_attributes(QueueUrl=bench.url(inbox), Attributes={"Policy": policy})
    events.put_targets(Rule=bus, EventBusName=bus, Targets=[{"Id": "1", "Arn": bench.arn(inbox)}])
    function.configure(MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": bus_arn}})
    request_id = function.send({})
    event = record(bench, inbox)
    assert event["detail-type"] == "Lambda Function Invocation Result - Failure"
    assert event["resources"] == [bus_arn, f"{function.arn}:$LATEST"]
    assert event["detail"]["requestContext"]["requestId"] == request_id


def test_a_bucket_is_a_destination(bench: Bench) -> None:
    function, bucket, s3 = bench.function(fails=9), bench.bucket(), bench.client("s3")
    function.configure(
        MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}}
    )
    request_id = function.send({})
    (found,) = eventually(lambda: s3.list_objects_v2(Bucket=bucket).get("Contents", []))
    assert found["Key"].startswith(f"aws/lambda/async/{function.name}/")
    body = json.load(s3.get_object(Bucket=bucket, Key=found["Key"])["Body"])
    assert body["requestContext"]["requestId"] == request_id


@pytest.mark.parametrize("attributes", [{}, {"FifoQueue": "true"}])
def test_what_cannot_be_sent_is_counted(bench: Bench, attributes: dict[str, str]) -> None:
    """A queue that was deleted, and a FIFO queue, which Lambda cannot send to."""
    gone = bench.queue(**attributes)
    function = bench.function(fails=9, dead_letters=bench.arn(gone))
    function.configure(MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": bench.arn(gone)}})
    if not attributes:
        bench.client("sqs").delete_queue(QueueUrl=bench.url(gone))
    function.send({})
    eventually(lambda: function.sum(DROPPED) == 1)
    assert [function.sum(name) for name in ("DestinationDeliveryFailures", "DeadLetterErrors")] == [1, 1]


def test_the_execution_role_must_be_allowed_to_send(tmp_path: Path) -> None:
    """And events that wait do not hold up the end of a sandbox."""
    try:
        with watched(tmp_path):
            bench = start(tmp_path)
            iam = bench.client("iam")
            iam.delete_role_policy(RoleName="bench", PolicyName="all")
            dead, inbox = bench.queue(), bench.queue()
            function = bench.function(fails=9, dead_letters=bench.arn(dead))
            function.configure(
                MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": bench.arn(inbox)}}
            )
            function.send({})
            eventually(lambda: function.sum(DROPPED) == 1)
            assert [function.sum(name) for name in ("DestinationDeliveryFailures", "DeadLetterErrors")] == [1, 1]
            assert bench.messages(dead) == bench.messages(inbox) == []
            allow = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
            policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
            iam.put_role_policy(RoleName="bench", PolicyName="send", PolicyDocument=policy)
            request_id = function.send({})
            assert record(bench, inbox)["requestContext"]["requestId"] == request_id
            letter(bench, dead)
            function.configure(MaximumRetryAttempts=2)
            waiting = function.send({})
            eventually(lambda: function.events(waiting))
    finally:
        report = control.down(tmp_path)
    assert report.processes_killed == 0
