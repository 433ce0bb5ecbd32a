"""EventBridge of the sandbox: from a bus by a rule to a target, or to its dead-letter queue."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import Shop, eventually

_numbers = count()

PATTERN = {"source": ["shop"], "detail-type": ["ordered"]}


@dataclass
class Bench:
    """Rules, queues and buses of one test, and the means to use them."""

    shop: Shop
    name: str = field(default_factory=lambda: f"events-{next(_numbers)}")

    @property
    def client(self) -> Any:
        return self.shop.client("events")

    def queue(self, suffix: str = "", allowed: str = "events.amazonaws.com", **attributes: str) -> str:
        """A queue into which a service may send; "" for `allowed`: nobody."""
        queue = f"{self.name}{suffix}"
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": allowed},
            "Action": "sqs:SendMessage",
            "Resource": self.shop.arn(queue),
        }
        policy = {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]})} if allowed else {}
        self.shop.client("sqs").create_queue(QueueName=queue, Attributes={**policy, **attributes})
        return queue

    def rule(self, arn: str, bus: str = "default", name: str = "", **rule: Any) -> str:
        """A rule with one target; `target` in `rule` is what it has besides."""
        target, name = rule.pop("target", {}), name or self.name
        asked = {"EventPattern": json.dumps(PATTERN)} if "ScheduleExpression" not in rule else {}
        made = self.client.put_rule(Name=name, EventBusName=bus, **{**asked, **rule})
        self.client.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "1", "Arn": arn, **target}])
        return str(made["RuleArn"])

    def put(self, detail: Any = None, bus: str = "default", source: str = "shop") -> str:
        """Put one event; its id."""
        entry = {"Source": source, "DetailType": "ordered", "Detail": json.dumps(detail or {"n": 1})}
        answer = self.client.put_events(Entries=[{**entry, "EventBusName": bus}])
        assert answer["FailedEntryCount"] == 0
        return str(answer["Entries"][0]["EventId"])

    def take(self, queue: str) -> list[dict[str, Any]]:
        """The messages that are in a queue now; they are deleted."""
        found = self.shop.receive(queue, MessageAttributeNames=["All"])
        for message in found:
            self.shop.client("sqs").delete_message(
                QueueUrl=self.shop.url(queue), ReceiptHandle=message["ReceiptHandle"]
            )
        return found

    def bodies(self, queue: str) -> list[Any]:
        return [json.loads(message["Body"]) for message in self.take(queue)]

    def dead(self, queue: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The one dead letter in a queue: the event, and the message attributes."""
        (message,) = eventually(lambda: self.take(queue))
        return json.loads(message["Body"]), {
            name: value["StringValue"] for name, value in message["MessageAttributes"].items()
        }

    def metric(self, name: str, **dimensions: str) -> float:
        return self.shop.total("AWS/Events", name, **(dimensions or {"RuleName": self.name}))

    def clean(self) -> None:
        for bus in self.client.list_event_buses()["EventBuses"]:
            for rule in self.client.list_rules(EventBusName=bus["Name"], NamePrefix=self.name)["Rules"]:
                names = {"Rule": rule["Name"], "EventBusName": bus["Name"]}
                ids = [target["Id"] for target in self.client.list_targets_by_rule(**names)["Targets"]]
                self.client.remove_targets(**names, Ids=ids)
                self.client.delete_rule(Name=rule["Name"], EventBusName=bus["Name"])
            if bus["Name"].startswith(self.name):
                self.client.delete_event_bus(Name=bus["Name"])
        for url in self.shop.client("sqs").list_queues(QueueNamePrefix=self.name).get("QueueUrls", []):
            self.shop.client("sqs").delete_queue(QueueUrl=url)


@pytest.fixture
def bench(shop: Shop) -> Iterator[Bench]:
    bench = Bench(shop)
    yield bench
    bench.clean()


def dead_letters(bench: Bench, suffix: str = "-dead", **policy: Any) -> dict[str, Any]:
    """What a target has besides, to have its dead letters in a queue."""
    return {"DeadLetterConfig": {"Arn": bench.shop.arn(bench.queue(suffix))}, **policy}


# ------------------------------------------------------------------------------------------------ delivery


def test_an_event_reaches_the_queue_of_the_rules_that_it_matches(bench: Bench) -> None:
    queue = bench.queue()
    bench.rule(bench.shop.arn(queue))
    bench.put(source="elsewhere")
    identity = bench.put({"order": 7})
    (event,) = eventually(lambda: bench.bodies(queue))
    assert event["id"] == identity
    assert (event["source"], event["detail-type"], event["detail"]) == ("shop", "ordered", {"order": 7})
    assert (event["account"], event["region"]) == (bench.shop.account.account_id, bench.shop.account.region)
    assert (event["version"], event["resources"]) == ("0", [])
    assert datetime.fromisoformat(event["time"]) > datetime.now(UTC) - timedelta(minutes=1)


def test_events_come_in_the_order_in_which_they_were_put(bench: Bench) -> None:
    queue = bench.queue(".fifo", FifoQueue="true", ContentBasedDeduplication="true")
    bench.rule(bench.shop.arn(queue), target={"SqsParameters": {"MessageGroupId": "orders"}})
    for number in range(5):
        bench.put({"n": number + 1})
    seen: list[int] = []
    eventually(lambda: len(seen.extend(event["detail"]["n"] for event in bench.bodies(queue)) or seen) == 5)
    assert seen == [1, 2, 3, 4, 5]


def test_a_target_gets_what_its_input_says(bench: Bench) -> None:
    constant, part, template = (bench.queue(suffix) for suffix in ("-constant", "-part", "-template"))
    transformer = {"InputPathsMap": {"n": "$.detail.n"}, "InputTemplate": '{"n": <n>, "rule": <aws.events.rule-name>}'}
    bench.rule(bench.shop.arn(constant), target={"Input": '{"constant": true}'})
    bench.client.put_targets(
        Rule=bench.name,
        Targets=[
            {"Id": "2", "Arn": bench.shop.arn(part), "InputPath": "$.detail"},
            {"Id": "3", "Arn": bench.shop.arn(template), "InputTransformer": transformer},
        ],
    )
    bench.put({"n": 8})
    assert eventually(lambda: bench.bodies(constant)) == [{"constant": True}]
    assert eventually(lambda: bench.bodies(part)) == [{"n": 8}]
    assert eventually(lambda: bench.bodies(template)) == [{"n": 8, "rule": bench.name}]


def test_a_function_runs_with_the_event_once_it_may_be_invoked_by_the_rule(bench: Bench) -> None:
    functions = bench.shop.client("lambda")
    function = functions.get_function(FunctionName="shop-worker")["Configuration"]["FunctionArn"]
    rule = bench.rule(function, target={"Input": json.dumps({"say": bench.name}), **dead_letters(bench)})
    bench.put()
    _, attributes = bench.dead(f"{bench.name}-dead")
    assert (attributes["ERROR_CODE"], attributes["RETRY_ATTEMPTS"]) == ("NO_PERMISSIONS", "0")
    functions.add_permission(
        FunctionName="shop-worker",
        StatementId=bench.name,
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )
    try:
        bench.put()
        eventually(lambda: len(bench.shop.logged("shop-worker", bench.name)) == 1)
    finally:
        functions.remove_permission(FunctionName="shop-worker", StatementId=bench.name)


def test_a_permission_for_another_rule_is_none(bench: Bench) -> None:
    functions = bench.shop.client("lambda")
    function = functions.get_function(FunctionName="shop-worker")["Configuration"]["FunctionArn"]
    rule = bench.rule(function, target=dead_letters(bench))
    functions.add_permission(
        FunctionName="shop-worker",
        StatementId=bench.name,
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=f"{rule}-other",
    )
    try:
        bench.put()
        assert bench.dead(f"{bench.name}-dead")[1]["ERROR_CODE"] == "NO_PERMISSIONS"
    finally:
        functions.remove_permission(FunctionName="shop-worker", StatementId=bench.name)


def test_a_topic_takes_events_when_its_policy_lets_eventbridge_without_a_condition(bench: Bench) -> None:
    topics, inbox = bench.shop.client("sns"), bench.queue("-inbox", allowed="sns.amazonaws.com")
    topic = topics.create_topic(Name=bench.name)["TopicArn"]
    topics.subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=bench.shop.arn(inbox), Attributes={"RawMessageDelivery": "true"}
    )
    rule = bench.rule(topic, target=dead_letters(bench))
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
    }

    def allow(**more: Any) -> None:
        document = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, **more}]})
        topics.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=document)

    try:
        bench.put({"policy": "default"})
        assert bench.dead(f"{bench.name}-dead")[1]["ERROR_CODE"] == "NO_PERMISSIONS"
        allow(Condition={"ArnEquals": {"aws:SourceArn": rule}})
        bench.put({"policy": "condition"})
        assert bench.dead(f"{bench.name}-dead")[0]["detail"] == {"policy": "condition"}
        allow()
        bench.put({"policy": "plain"})
        assert [event["detail"] for event in eventually(lambda: bench.bodies(inbox))] == [{"policy": "plain"}]
    finally:
        topics.delete_topic(TopicArn=topic)


def test_a_log_group_takes_events_when_a_resource_policy_lets_it(bench: Bench) -> None:
    logs, group = bench.shop.client("logs"), f"/aws/events/{bench.name}"
    logs.create_log_group(logGroupName=group)
    arn = f"arn:aws:logs:{bench.shop.account.region}:{bench.shop.account.account_id}:log-group:{group}"
    bench.rule(arn, target=dead_letters(bench))
    bench.put({"policy": "none"})
    assert bench.dead(f"{bench.name}-dead")[1]["ERROR_CODE"] == "NO_PERMISSIONS"
    services = ["events.amazonaws.com", "delivery.logs.amazonaws.com"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": services},
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": f"{arn}:*",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    logs.put_resource_policy(policyName=bench.name, policyDocument=document)
    try:
        bench.put({"policy": "there"})
        (event,) = eventually(lambda: logs.filter_log_events(logGroupName=group)["events"])
        assert json.loads(event["message"])["detail"] == {"policy": "there"}
    finally:
        logs.delete_resource_policy(policyName=bench.name)
        logs.delete_log_group(logGroupName=group)


def test_a_disabled_rule_does_nothing(bench: Bench) -> None:
    queue = bench.queue()
    bench.rule(bench.shop.arn(queue))
    bench.client.disable_rule(Name=bench.name)
    bench.put({"n": "off"})
    bench.client.enable_rule(Name=bench.name)
    bench.put({"n": "on"})
    assert [event["detail"] for event in eventually(lambda: bench.bodies(queue))] == [{"n": "on"}]
    assert bench.metric("TriggeredRules") == 1


def test_rules_of_a_stack_deliver_by_the_policies_of_the_stack(bench: Bench) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": {"Fn::GetAtt": ["Inbox", "Arn"]},
        "Condition": {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": ["Ordered", "Arn"]}}},
    }
    inbox = {"Id": "1", "Arn": {"Fn::GetAtt": ["Inbox", "Arn"]}}
    worker = {"Fn::Sub": "arn:aws:lambda:${AWS::Region}:${AWS::AccountId}:function:shop-worker"}
    resources = {
        "Inbox": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": bench.name}},
        "InboxPolicy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [{"Ref": "Inbox"}],
                "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]},
            },
        },
        "Ordered": {
            "Type": "AWS::Events::Rule",
            "Properties": {"EventPattern": {"source": [bench.name]}, "Targets": [inbox]},
        },
        "Often": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "ScheduleExpression": "rate(1 minute)",
                "Targets": [{"Id": "1", "Arn": worker, "Input": json.dumps({"say": bench.name})}],
            },
        },
        "MayOften": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": "shop-worker",
                "Action": "lambda:InvokeFunction",
                "Principal": "events.amazonaws.com",
                "SourceArn": {"Fn::GetAtt": ["Often", "Arn"]},
            },
        },
    }
    stacks = bench.shop.client("cloudformation")
    stacks.create_stack(StackName=bench.name, TemplateBody=json.dumps({"Resources": resources}))
    try:
        eventually(
            lambda: stacks.describe_stacks(StackName=bench.name)["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"
        )
        bench.put(source=bench.name)
        assert [event["source"] for event in eventually(lambda: bench.bodies(bench.name))] == [bench.name]
        eventually(lambda: len(bench.shop.logged("shop-worker", bench.name)) >= 2)
    finally:
        stacks.delete_stack(StackName=bench.name)
        eventually(lambda: bench.name not in str(bench.client.list_rules()["Rules"]))


# ------------------------------------------------------------------------------------------------ failures


def test_a_dead_letter_is_the_event_with_the_reason_beside_it(bench: Bench) -> None:
    rule = bench.rule(bench.shop.arn(f"{bench.name}-gone"), target={"Input": "{}", **dead_letters(bench)})
    identity = bench.put({"order": 7})
    event, attributes = bench.dead(f"{bench.name}-dead")
    assert (event["id"], event["detail"]) == (identity, {"order": 7})
    assert attributes.pop("ERROR_MESSAGE").startswith("The specified queue does not exist")
    assert attributes == {
        "RULE_ARN": rule,
        "TARGET_ARN": bench.shop.arn(f"{bench.name}-gone"),
        "ERROR_CODE": "NO_RESOURCE",
        "RETRY_ATTEMPTS": "0",
    }


def test_a_queue_without_a_policy_takes_nothing_neither_as_target_nor_for_dead_letters(bench: Bench) -> None:
    closed = bench.queue("-closed", allowed="")
    bench.rule(bench.shop.arn(closed), target={"DeadLetterConfig": {"Arn": bench.shop.arn(closed)}})
    bench.put()
    eventually(lambda: bench.metric("InvocationsFailedToBeSentToDlq") == 1)
    assert bench.take(closed) == []
    assert bench.metric("FailedInvocations") == 1
    assert bench.metric("InvocationsSentToDlq") == 0


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


class Hook:
    """A third party over HTTP, which answers what it is told to."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.asked: list[bytes] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.asked.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(hook.answers.pop(0) if hook.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"


def destination(bench: Bench, hook: Hook) -> dict[str, str]:
    """ARN and role of an API destination that is the hook."""
    key = {"ApiKeyAuthParameters": {"ApiKeyName": "x-api-key", "ApiKeyValue": "k"}}
    connection = bench.client.create_connection(Name=bench.name, AuthorizationType="API_KEY", AuthParameters=key)
    made = bench.client.create_api_destination(
        Name=bench.name,
        ConnectionArn=connection["ConnectionArn"],
        InvocationEndpoint=hook.url,
        HttpMethod="POST",
    )
    return {"Arn": made["ApiDestinationArn"], "RoleArn": "arn:aws:iam::123456789012:role/shop"}


def test_an_api_destination_that_has_a_bad_moment_is_tried_again(bench: Bench, hook: Hook) -> None:
    hook.answers = [503, 429]
    target = destination(bench, hook)
    bench.rule(target["Arn"], target={"RoleArn": target["RoleArn"], **dead_letters(bench)})
    bench.put({"order": 7})
    eventually(lambda: bench.metric("SuccessfulInvocationAttempts") == 1)
    assert [json.loads(body)["detail"] for body in hook.asked] == [{"order": 7}] * 3
    assert bench.metric("InvocationAttempts") == 3
    assert bench.metric("RetryInvocationAttempts") == 2
    assert (bench.metric("Invocations"), bench.metric("FailedInvocations")) == (1, 0)


@pytest.mark.parametrize(
    ("answer", "policy", "code", "retries", "condition"),
    [
        (503, {"MaximumRetryAttempts": 2}, "ERROR_FROM_TARGET", "2", "MaximumRetryAttempts"),
        (429, {"MaximumRetryAttempts": 0}, "THROTTLING", "0", "MaximumRetryAttempts"),
        (400, {"MaximumRetryAttempts": 2}, "ERROR_FROM_TARGET", "0", None),
    ],
)
def test_how_often_it_is_tried_is_what_the_target_says(
    bench: Bench, hook: Hook, answer: int, policy: dict[str, int], code: str, retries: str, condition: str | None
) -> None:
    hook.answers = [answer] * 9
    target = destination(bench, hook)
    bench.rule(target["Arn"], target={"RoleArn": target["RoleArn"], **dead_letters(bench, RetryPolicy=policy)})
    bench.put()
    _, attributes = bench.dead(f"{bench.name}-dead")
    assert (attributes["ERROR_CODE"], attributes["RETRY_ATTEMPTS"]) == (code, retries)
    assert attributes.get("EXHAUSTED_RETRY_CONDITION") == condition
    assert len(hook.asked) == int(retries) + 1


def test_an_event_is_given_up_when_it_is_too_old_in_production_time(bench: Bench, hook: Hook) -> None:
    hook.answers = [503] * 99
    target = destination(bench, hook)
    policy = {"MaximumEventAgeInSeconds": 120}
    bench.rule(target["Arn"], target={"RoleArn": target["RoleArn"], **dead_letters(bench, RetryPolicy=policy)})
    started = time.monotonic()
    bench.put()
    _, attributes = bench.dead(f"{bench.name}-dead")
    # Two production minutes are two seconds on the wall: not sooner, and seen long before two minutes.
    assert time.monotonic() - started > 1.9
    assert attributes["EXHAUSTED_RETRY_CONDITION"] == "MaximumEventAgeInSeconds"


def test_the_age_of_a_replayed_event_counts_from_its_replay(bench: Bench, hook: Hook) -> None:
    bus = f"{bench.name}-bus"
    source = bench.client.create_event_bus(Name=bus)["EventBusArn"]
    archive = bench.client.create_archive(ArchiveName=bench.name, EventSourceArn=source)["ArchiveArn"]
    bench.put(bus=bus)
    # More than the five minutes of production for which it may be tried.
    time.sleep(5.2)
    hook.answers = [503]
    target = destination(bench, hook)
    policy = {"MaximumEventAgeInSeconds": 300}
    bench.rule(target["Arn"], bus=bus, target={"RoleArn": target["RoleArn"], "RetryPolicy": policy})
    now = datetime.now(UTC)
    bench.client.start_replay(
        ReplayName=bench.name,
        EventSourceArn=archive,
        EventStartTime=now - timedelta(minutes=30),
        EventEndTime=now,
        Destination={"Arn": source},
    )
    eventually(lambda: len(hook.asked) == 2)
    bench.client.delete_archive(ArchiveName=bench.name)


# ------------------------------------------------------------------------------------------------ buses


def test_a_custom_bus_has_rules_and_metrics_of_its_own(bench: Bench) -> None:
    queue, bus = bench.queue(), f"{bench.name}-bus"
    bench.client.create_event_bus(Name=bus)
    rule = bench.rule(bench.shop.arn(queue), bus=bus)
    assert rule.endswith(f":rule/{bus}/{bench.name}")
    bench.put({"on": "default"})
    bench.put({"on": "custom"}, bus=bus)
    assert [event["detail"] for event in eventually(lambda: bench.bodies(queue))] == [{"on": "custom"}]
    of_rule = {"EventBusName": bus, "RuleName": bench.name}
    eventually(lambda: bench.metric("Invocations", **of_rule) == 1)
    assert bench.metric("MatchedEvents", EventBusName=bus) == 1
    assert bench.metric("Invocations") == 0


def test_an_event_goes_on_to_another_bus_and_not_round_in_circles(bench: Bench) -> None:
    queue, bus = bench.queue(), f"{bench.name}-bus"
    arn = bench.client.create_event_bus(Name=bus)["EventBusArn"]
    bench.rule(arn)
    bench.rule(bench.shop.arn(queue), bus=bus, name=f"{bench.name}-there")
    bench.rule(arn.replace(f"event-bus/{bus}", "event-bus/default"), bus=bus, name=f"{bench.name}-back")
    identity = bench.put({"order": 7})
    (event,) = eventually(lambda: bench.bodies(queue))
    assert (event["id"], event["detail"]) == (identity, {"order": 7})
    assert eventually(lambda: bench.metric("DeadLetterInvocations")) == 1
    assert bench.take(queue) == []


# ------------------------------------------------------------------------------------------------ time


def test_a_rate_is_production_time_and_a_disabled_rule_does_not_run(bench: Bench) -> None:
    queue = bench.queue()
    started = time.monotonic()
    rule = bench.rule(bench.shop.arn(queue), ScheduleExpression="rate(1 minute)")
    events: list[Any] = []
    eventually(lambda: len(events.extend(bench.bodies(queue)) or events) >= 3)
    # Three production minutes are three seconds on the wall.
    assert time.monotonic() - started > 1.9
    assert {(event["source"], event["detail-type"]) for event in events} == {("aws.events", "Scheduled Event")}
    assert events[0]["resources"] == [rule]
    bench.client.disable_rule(Name=bench.name)
    # What ran before that may still be on its way.
    ran = bench.metric("TriggeredRules")
    eventually(lambda: len(events.extend(bench.bodies(queue)) or events) == ran)
    time.sleep(2.2)
    assert (bench.bodies(queue), bench.metric("TriggeredRules")) == ([], ran)


def test_a_cron_is_read_on_the_calendar_of_production(bench: Bench) -> None:
    queue = bench.queue()
    started = time.monotonic()
    bench.rule(bench.shop.arn(queue), ScheduleExpression="cron(0/2 * * * ? *)")
    events: list[Any] = []
    eventually(lambda: len(events.extend(bench.bodies(queue)) or events) >= 2)
    # Every two production minutes: two seconds on the wall.
    assert time.monotonic() - started > 1.9


# ------------------------------------------------------------------------------------------------ archives


def test_a_replay_delivers_archived_events_to_the_rules_that_were_chosen(bench: Bench) -> None:
    live, chosen, bus = bench.queue("-live"), bench.queue("-chosen"), f"{bench.name}-bus"
    source = bench.client.create_event_bus(Name=bus)["EventBusArn"]
    live_only = {"EventPattern": json.dumps({**PATTERN, "replay-name": [{"exists": False}]})}
    bench.rule(bench.shop.arn(live), bus=bus, name=f"{bench.name}-live", **live_only)
    rule = bench.rule(bench.shop.arn(chosen), bus=bus, name=f"{bench.name}-chosen")
    pattern = json.dumps({"detail": {"n": [{"numeric": [">", 1]}]}})
    archive = bench.client.create_archive(ArchiveName=bench.name, EventSourceArn=source, EventPattern=pattern)
    ids = [bench.put({"n": number}, bus=bus) for number in (1, 2, 3)]
    for queue in (live, chosen):
        got: list[Any] = []
        eventually(lambda queue=queue, got=got: len(got.extend(bench.bodies(queue)) or got) == 3)
    now = datetime.now(UTC)
    bench.client.start_replay(
        ReplayName=bench.name,
        EventSourceArn=archive["ArchiveArn"],
        EventStartTime=now - timedelta(minutes=5),
        EventEndTime=now + timedelta(minutes=5),
        Destination={"Arn": source, "FilterArns": [rule]},
    )
    replayed: list[Any] = []
    eventually(lambda: len(replayed.extend(bench.bodies(chosen)) or replayed) == 2)
    assert [event["id"] for event in replayed] == ids[1:]
    assert {event["replay-name"] for event in replayed} == {bench.name}
    assert bench.bodies(live) == []
    described = eventually(
        lambda: (found := bench.client.describe_replay(ReplayName=bench.name))["State"] == "COMPLETED" and found
    )
    assert described["EventLastReplayedTime"] is not None
    assert bench.client.describe_archive(ArchiveName=bench.name)["EventCount"] == 2
    bench.client.delete_archive(ArchiveName=bench.name)


# ------------------------------------------------------------------------------------------------ the API


def test_entries_fail_one_by_one(bench: Bench) -> None:
    good = {"Source": "shop", "DetailType": "ordered", "Detail": "{}"}
    bad = [{**good, "Detail": "no json"}, {**good, "Source": "aws.s3"}, {"Source": "shop", "Detail": "{}"}]
    answer = bench.client.put_events(Entries=[good, *bad])
    assert answer["FailedEntryCount"] == 3
    assert [entry.get("ErrorCode") for entry in answer["Entries"]] == [
        None,
        "MalformedDetail",
        "NotAuthorizedForSourceException",
        "InvalidArgument",
    ]


def refused(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**request)
    return f"{error.value.response['Error']['Code']}: {error.value.response['Error']['Message']}"


def test_what_the_sandbox_does_not_do_is_refused_by_name(bench: Bench) -> None:
    bench.rule(bench.shop.arn(bench.queue()))
    arn = "arn:aws:states:eu-central-1:123456789012:stateMachine:s"
    said = refused(bench.client.put_targets, Rule=bench.name, Targets=[{"Id": "s", "Arn": arn}])
    assert said.startswith("ValidationException: The sandbox does not deliver to states, but to lambda, logs, sns, sqs")
    many = [{"Id": str(number), "Arn": bench.shop.arn(bench.name)} for number in range(6)]
    assert "LimitExceededException" in refused(bench.client.put_targets, Rule=bench.name, Targets=many)
    assert "since it has targets" in refused(bench.client.delete_rule, Name=bench.name)
    assert "ResourceNotFoundException" in refused(bench.client.disable_rule, Name="nobody")
    assert "must be specified" in refused(bench.client.put_rule, Name=bench.name)


def test_metrics_are_seen_through_get_metric_data(bench: Bench) -> None:
    queue = bench.queue()
    bench.rule(bench.shop.arn(queue), target=dead_letters(bench))
    bench.client.put_targets(
        Rule=bench.name,
        Targets=[{"Id": "2", "Arn": bench.shop.arn("gone"), **dead_letters(bench)}],
    )
    for _ in range(3):
        bench.put()
    # The two targets do not wait for each other.
    eventually(lambda: bench.metric("InvocationsSentToDlq") == bench.metric("SuccessfulInvocationAttempts") == 3)
    names = (
        "MatchedEvents",
        "TriggeredRules",
        "InvocationAttempts",
        "SuccessfulInvocationAttempts",
        "Invocations",
        "FailedInvocations",
        "InvocationsSentToDlq",
    )
    queries = [
        {
            "Id": f"m{number}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/Events",
                    "MetricName": name,
                    "Dimensions": [{"Name": "RuleName", "Value": bench.name}],
                },
                "Period": 3600,
                "Stat": "Sum",
            },
        }
        for number, name in enumerate(names)
    ]
    now = datetime.now(UTC)
    answer = bench.shop.client("cloudwatch").get_metric_data(
        MetricDataQueries=queries, StartTime=now - timedelta(minutes=10), EndTime=now
    )
    sums = {names[int(one["Id"][1:])]: sum(one["Values"]) for one in answer["MetricDataResults"]}
    assert sums == {
        "MatchedEvents": 3,
        "TriggeredRules": 3,
        "InvocationAttempts": 6,
        "SuccessfulInvocationAttempts": 3,
        "Invocations": 6,
        "FailedInvocations": 3,
        "InvocationsSentToDlq": 3,
    }
    latency = bench.shop.total("AWS/Events", "IngestiontoInvocationStartLatency", "Maximum", RuleName=bench.name)
    assert 0 < latency < 60_000
