"""CloudFormation of the sandbox: what a stack makes is there, and what goes wrong is rolled back, as on AWS."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.sandbox.services.awslambda.conftest import Bench
from tests.sandbox.services.cloudformation.conftest import Stack, asked, function

QUEUE = "AWS::SQS::Queue"


def refused(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**request)
    return f"{caught.value.response['Error']['Code']}: {caught.value.response['Error']['Message']}"


def invoked(bench: Bench, name: str) -> Any:
    return json.load(bench.client("lambda").invoke(FunctionName=name, Payload=b"{}")["Payload"])


def timeout(bench: Bench, name: str) -> int:
    return int(bench.client("lambda").get_function_configuration(FunctionName=name)["Timeout"])


def drift(stack: Stack) -> str:
    detection = stack.client.detect_stack_drift(StackName=stack.name)["StackDriftDetectionId"]
    found = stack.client.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
    return str(found["StackDriftStatus"])


def system(bench: Bench, name: str, says: str = "one", **properties: Any) -> dict[str, Any]:
    """What a small product is made of, as Flight Rescheduler is."""
    topics = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    dimensions = [{"Name": "FunctionName", "Value": {"Ref": "Worker"}}]
    return {
        "Dead": {"Type": QUEUE, "Properties": {"QueueName": f"{name}-dead"}},
        "Work": {
            "Type": QUEUE,
            "Properties": {
                "QueueName": f"{name}-work",
                "VisibilityTimeout": "60",
                "RedrivePolicy": {"deadLetterTargetArn": {"Fn::GetAtt": ["Dead", "Arn"]}, "maxReceiveCount": 3},
                "Tags": [{"Key": "team", "Value": "flights"}],
            },
        },
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": f"{name}-topic"}},
        "Inbox": {"Type": QUEUE},
        "InboxPolicy": {
            "Type": "AWS::SQS::QueuePolicy",
            "Properties": {
                "Queues": [{"Ref": "Inbox"}],
                "PolicyDocument": {"Statement": [{**topics, "Resource": {"Fn::GetAtt": ["Inbox", "Arn"]}}]},
            },
        },
        "Subscription": {
            "Type": "AWS::SNS::Subscription",
            "Properties": {
                "TopicArn": {"Ref": "Topic"},
                "Protocol": "sqs",
                "Endpoint": {"Fn::GetAtt": ["Inbox", "Arn"]},
                "FilterPolicy": {"kind": ["alert"]},
                "RawMessageDelivery": "true",
            },
        },
        "Log": {
            "Type": "AWS::Logs::LogGroup",
            "Properties": {"LogGroupName": f"/aws/lambda/{name}", "RetentionInDays": 14},
        },
        "Worker": function(
            bench, says, FunctionName=name, Timeout="10", Environment={"Variables": {"SAYS": says}}, **properties
        ),
        "Source": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::GetAtt": ["Work", "Arn"]},
                "FunctionName": {"Ref": "Worker"},
                "BatchSize": 5,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
            },
        },
        "Hourly": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "ScheduleExpression": "rate(1 hour)",
                "State": "DISABLED",
                "Targets": [{"Id": "worker", "Arn": {"Fn::GetAtt": ["Worker", "Arn"]}}],
            },
        },
        "May": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": {"Ref": "Worker"},
                "Action": "lambda:InvokeFunction",
                "Principal": "events.amazonaws.com",
                "SourceArn": {"Fn::GetAtt": ["Hourly", "Arn"]},
            },
        },
        "Alarm": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "AlarmName": f"{name}-errors",
                "Namespace": "AWS/Lambda",
                "MetricName": "Errors",
                "Dimensions": dimensions,
                "Statistic": "Sum",
                "Period": 60,
                "EvaluationPeriods": 1,
                "Threshold": 1,
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
                "AlarmActions": [{"Ref": "Topic"}],
            },
        },
    }


def test_what_a_stack_makes_works_and_is_gone_with_it(bench: Bench, stack: Stack) -> None:
    outputs = {"Arn": {"Value": {"Fn::GetAtt": ["Worker", "Arn"]}}, "Url": {"Value": {"Ref": "Work"}}}
    assert stack.create(system(bench, stack.name), outputs=outputs) == "CREATE_COMPLETE", stack.reasons()
    functions, sqs, sns = (bench.client(name) for name in ("lambda", "sqs", "sns"))
    assert invoked(bench, stack.name) == "one"
    made = functions.get_function_configuration(FunctionName=stack.name)
    assert (made["Timeout"], made["Environment"]["Variables"]) == (10, {"SAYS": "one"})
    assert stack.outputs()["Arn"] == made["FunctionArn"]
    work = stack.outputs()["Url"]
    assert sqs.get_queue_attributes(QueueUrl=work, AttributeNames=["All"])["Attributes"]["VisibilityTimeout"] == "60"
    assert sqs.list_queue_tags(QueueUrl=work)["Tags"]["team"] == "flights"
    (mapping,) = functions.list_event_source_mappings(FunctionName=stack.name)["EventSourceMappings"]
    assert (mapping["BatchSize"], mapping["FunctionResponseTypes"]) == (5, ["ReportBatchItemFailures"])
    topic = stack.physical()["Topic"]
    for kind in ("alert", "other"):
        attribute = {"kind": {"DataType": "String", "StringValue": kind}}
        sns.publish(TopicArn=topic, Message=kind, MessageAttributes=attribute)
    inbox = stack.physical()["Inbox"]
    (message,) = sqs.receive_message(QueueUrl=inbox, MaxNumberOfMessages=10)["Messages"]
    assert message["Body"] == "alert"
    events = bench.client("events")
    (target,) = events.list_targets_by_rule(Rule=stack.physical()["Hourly"])["Targets"]
    assert target["Arn"] == made["FunctionArn"]
    assert events.describe_rule(Name=stack.physical()["Hourly"])["State"] == "DISABLED"
    (group,) = bench.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{stack.name}")["logGroups"]
    assert group["retentionInDays"] == 14
    stack.delete()
    assert "ResourceNotFoundException" in refused(functions.get_function, FunctionName=stack.name)
    assert not sqs.list_queues(QueueNamePrefix=stack.name).get("QueueUrls")
    assert topic not in str(sns.list_topics()["Topics"])
    assert not bench.client("cloudwatch").describe_alarms(AlarmNamePrefix=stack.name)["MetricAlarms"]
    assert functions.list_event_source_mappings()["EventSourceMappings"] == []


# ------------------------------------------------------------------------------------------------ releases


def test_a_release_changes_what_differs_and_the_previous_template_brings_it_back(bench: Bench, stack: Stack) -> None:
    stack.create(system(bench, stack.name))
    before, told = stack.physical(), len(stack.events())
    assert stack.update(system(bench, stack.name, "two")) == "UPDATE_COMPLETE", stack.reasons()
    assert invoked(bench, stack.name) == "two"
    assert stack.story("Worker", since=told) == ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE"]
    assert stack.story("Work", since=told) == []
    assert stack.story(since=told) == ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE"]
    assert stack.update(system(bench, stack.name)) == "UPDATE_COMPLETE"
    assert invoked(bench, stack.name) == "one"
    assert stack.physical() == before


def test_what_did_not_change_keeps_its_status(bench: Bench, stack: Stack) -> None:
    stack.create(system(bench, stack.name))
    stack.update(system(bench, stack.name, "two"))
    listed = stack.client.list_stack_resources(StackName=stack.name)["StackResourceSummaries"]
    statuses = {one["LogicalResourceId"]: one["ResourceStatus"] for one in listed}
    assert {one for one, status in statuses.items() if status == "UPDATE_COMPLETE"} == {"Worker"}
    assert set(statuses.values()) == {"CREATE_COMPLETE", "UPDATE_COMPLETE"}


def test_the_same_template_changes_nothing_and_what_was_set_by_hand_stays(bench: Bench, stack: Stack) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks.html"""
    stack.create(system(bench, stack.name))
    assert drift(stack) == "IN_SYNC"
    bench.client("lambda").update_function_configuration(FunctionName=stack.name, Timeout=1)
    bench.settle(stack.name)
    again = asked(system(bench, stack.name), {})
    told = refused(stack.client.update_stack, StackName=stack.name, **again)
    assert told == "ValidationError: No updates are to be performed."
    assert timeout(bench, stack.name) == 1
    changed = system(bench, stack.name)
    changed["Dead"]["Properties"]["MessageRetentionPeriod"] = 1209600
    assert stack.update(changed) == "UPDATE_COMPLETE"
    assert timeout(bench, stack.name) == 1
    assert drift(stack) == "DRIFTED"


def test_what_an_update_adds_is_created_and_what_it_drops_is_deleted_after_it(bench: Bench, stack: Stack) -> None:
    queue = {"Type": QUEUE}
    stack.create({"Kept": queue, "Dropped": queue})
    dropped, told = stack.physical()["Dropped"], len(stack.events())
    assert stack.update({"Kept": queue, "Added": queue}) == "UPDATE_COMPLETE"
    assert stack.story("Added", since=told) == ["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"]
    order = [f"{event['LogicalResourceId']} {event['ResourceStatus']}" for event in stack.events()[told:]]
    assert order[-4:] == [
        f"{stack.name} UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        "Dropped DELETE_IN_PROGRESS",
        "Dropped DELETE_COMPLETE",
        f"{stack.name} UPDATE_COMPLETE",
    ]
    assert "NonExistentQueue" in refused(bench.client("sqs").get_queue_attributes, QueueUrl=dropped)
    assert set(stack.physical()) == {"Kept", "Added"}


def test_a_name_that_changes_is_another_resource(bench: Bench, stack: Stack) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sqs-queue.html"""
    stack.create({"Work": {"Type": QUEUE, "Properties": {"QueueName": f"{stack.name}-a"}}})
    told = len(stack.events())
    assert stack.update({"Work": {"Type": QUEUE, "Properties": {"QueueName": f"{stack.name}-b"}}}) == "UPDATE_COMPLETE"
    urls = bench.client("sqs").list_queues(QueueNamePrefix=stack.name)["QueueUrls"]
    assert [url.rsplit("/", 1)[-1] for url in urls] == [f"{stack.name}-b"]
    assert "hence creating one" in str(stack.events()[told:])
    assert stack.story("Work", since=told)[-2:] == ["DELETE_IN_PROGRESS", "DELETE_COMPLETE"]


def test_a_property_that_is_dropped_is_as_aws_has_it_without(bench: Bench, stack: Stack) -> None:
    stack.create(system(bench, stack.name, ReservedConcurrentExecutions=2))
    functions, sqs = bench.client("lambda"), bench.client("sqs")
    assert functions.get_function_concurrency(FunctionName=stack.name)["ReservedConcurrentExecutions"] == 2
    bare = system(bench, stack.name)
    del bare["Worker"]["Properties"]["Timeout"]
    del bare["Worker"]["Properties"]["Environment"]
    for name in ("VisibilityTimeout", "RedrivePolicy", "Tags"):
        del bare["Work"]["Properties"][name]
    assert stack.update(bare) == "UPDATE_COMPLETE", stack.reasons()
    found = functions.get_function_configuration(FunctionName=stack.name)
    assert (found["Timeout"], found.get("Environment", {}).get("Variables", {})) == (3, {})
    assert "ReservedConcurrentExecutions" not in functions.get_function_concurrency(FunctionName=stack.name)
    work = stack.physical()["Work"]
    attributes = sqs.get_queue_attributes(QueueUrl=work, AttributeNames=["All"])["Attributes"]
    assert (attributes["VisibilityTimeout"], attributes.get("RedrivePolicy", "")) == ("30", "")
    assert "team" not in sqs.list_queue_tags(QueueUrl=work).get("Tags", {})


# ------------------------------------------------------------------------------------------------ what fails


def broken(bench: Bench, name: str, says: str = "two") -> dict[str, Any]:
    """A release whose last resource no API takes."""
    resources = system(bench, name, says)
    wrong = {"TopicArn": {"Ref": "Topic"}, "Protocol": "pigeon", "Endpoint": "x"}
    resources["Zz"] = {"Type": "AWS::SNS::Subscription", "DependsOn": "Worker", "Properties": wrong}
    return resources


def test_a_creation_that_fails_is_rolled_back_and_names_the_cause(bench: Bench, stack: Stack) -> None:
    assert stack.create(broken(bench, stack.name)) == "ROLLBACK_COMPLETE"
    (failed,) = (event for event in stack.events() if event["ResourceStatus"] == "CREATE_FAILED")
    assert failed["LogicalResourceId"] == "Zz"
    assert "Resource handler returned message" in failed["ResourceStatusReason"]
    assert "pigeon" in failed["ResourceStatusReason"]
    assert "ResourceNotFound" in refused(bench.client("lambda").get_function, FunctionName=stack.name)
    assert not bench.client("sqs").list_queues(QueueNamePrefix=stack.name).get("QueueUrls")
    once_more = asked({"Q": {"Type": QUEUE}}, {})
    assert "AlreadyExistsException" in refused(stack.client.create_stack, StackName=stack.name, **once_more)
    told = refused(stack.client.update_stack, StackName=stack.name, **once_more)
    assert "is in ROLLBACK_COMPLETE state" in told


def test_an_update_that_fails_is_rolled_back_to_what_ran_before(bench: Bench, stack: Stack) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/stack-failure-options.html"""
    stack.create(system(bench, stack.name))
    before, told = stack.physical(), len(stack.events())
    assert stack.update(broken(bench, stack.name)) == "UPDATE_ROLLBACK_COMPLETE"
    assert invoked(bench, stack.name) == "one"
    assert stack.physical() == before
    assert "pigeon" in stack.reasons()
    assert stack.story("Zz", since=told)[:2] == ["CREATE_IN_PROGRESS", "CREATE_FAILED"]
    assert stack.story(since=told) == [
        "UPDATE_IN_PROGRESS",
        "UPDATE_ROLLBACK_IN_PROGRESS",
        "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
        "UPDATE_ROLLBACK_COMPLETE",
    ]
    assert json.loads(json.dumps(stack.client.get_template(StackName=stack.name)["TemplateBody"]))[
        "Resources"
    ].keys() == (system(bench, stack.name).keys())


def test_half_a_change_of_a_function_is_taken_back(bench: Bench, stack: Stack) -> None:
    """Its code was changed before its configuration was refused."""
    stack.create(system(bench, stack.name))
    assert stack.update(system(bench, stack.name, "two", MemorySize=1)) == "UPDATE_ROLLBACK_COMPLETE"
    assert invoked(bench, stack.name) == "one"
    assert "MemorySize" in stack.reasons() or "memorySize" in stack.reasons()


def test_without_rollback_it_stays_failed_until_it_is_rolled_back(bench: Bench, stack: Stack) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_RollbackStack.html"""
    stack.create(system(bench, stack.name))
    assert stack.update(broken(bench, stack.name), DisableRollback=True) == "UPDATE_FAILED"
    assert invoked(bench, stack.name) == "two"
    stack.client.rollback_stack(StackName=stack.name)
    assert stack.ended() == "UPDATE_ROLLBACK_COMPLETE"
    assert invoked(bench, stack.name) == "one"


def test_rollback_stack_refuses_a_stack_that_is_well(bench: Bench, stack: Stack) -> None:
    """The command of a runbook that wants the previous version; it is no way there."""
    stack.create({"Q": {"Type": QUEUE}})
    stack.update({"Q": {"Type": QUEUE, "Properties": {"DelaySeconds": 1}}})
    assert stack.described()["StackStatus"] == "UPDATE_COMPLETE"
    assert "ValidationError" in refused(stack.client.rollback_stack, StackName=stack.name)
    assert "ValidationError" in refused(stack.client.continue_update_rollback, StackName=stack.name)


def test_a_name_that_is_taken_fails_and_what_has_it_stays(bench: Bench, stack: Stack) -> None:
    taken = bench.queue()
    assert stack.create({"Q": {"Type": QUEUE, "Properties": {"QueueName": taken}}}) == "ROLLBACK_COMPLETE"
    assert f"identifier '{taken}' already exists" in stack.reasons()
    assert bench.url(taken)


def test_what_is_gone_already_is_no_reason_not_to_delete_a_stack(bench: Bench, stack: Stack) -> None:
    stack.create(system(bench, stack.name))
    bench.client("lambda").delete_function(FunctionName=stack.name)
    bench.client("sns").delete_topic(TopicArn=stack.physical()["Topic"])
    stack.delete()


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_type_that_is_not_there_is_refused_by_name_and_nothing_is_made(bench: Bench, stack: Stack) -> None:
    template = asked({"Q": {"Type": QUEUE}, "Fleet": {"Type": "AWS::GameLift::Fleet"}}, {})
    told = refused(stack.client.create_stack, StackName=stack.name, **template)
    assert told == "ValidationError: Template format error: Unrecognized resource types: [AWS::GameLift::Fleet]"
    assert "does not exist" in refused(stack.client.describe_stacks, StackName=stack.name)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"Colour": "red"}, "extraneous key [Colour] is not permitted"),
        ({"VisibilityTimeout": "soon"}, "VisibilityTimeout"),
        ({"VisibilityTimeout": 99999}, "VisibilityTimeout"),
    ],
)
def test_a_property_that_no_queue_has_fails_it(bench: Bench, stack: Stack, properties: Any, said: str) -> None:
    assert stack.create({"Q": {"Type": QUEUE, "Properties": properties}}) == "ROLLBACK_COMPLETE"
    assert said in stack.reasons()
    assert not bench.client("sqs").list_queues(QueueNamePrefix=stack.name).get("QueueUrls")


# ------------------------------------------------------------------------------------------------ change sets


def test_a_change_set_tells_what_an_update_would_do_and_does_it(bench: Bench, stack: Stack) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-changesets.html"""
    stack.create(system(bench, stack.name))
    changed = system(bench, stack.name, "two")
    changed["Work"]["Properties"]["QueueName"] = f"{stack.name}-other"
    changed["More"] = {"Type": QUEUE}
    which = {"StackName": stack.name, "ChangeSetName": "release"}
    stack.client.create_change_set(**which, **asked(changed, {}))
    described = stack.client.describe_change_set(**which)
    changes = {one["ResourceChange"]["LogicalResourceId"]: one["ResourceChange"] for one in described["Changes"]}
    told = {name: (change["Action"], change.get("Replacement")) for name, change in changes.items()}
    assert told["Worker"] == ("Modify", "False")
    assert told["Work"] == ("Modify", "True")
    assert told["More"] == ("Add", None)
    assert "Topic" not in told
    assert invoked(bench, stack.name) == "one"
    stack.client.execute_change_set(**which)
    assert stack.ended() == "UPDATE_COMPLETE", stack.reasons()
    assert invoked(bench, stack.name) == "two"
    assert stack.story("More") == ["CREATE_IN_PROGRESS", "CREATE_IN_PROGRESS", "CREATE_COMPLETE"]


def test_a_change_set_without_changes_fails_and_can_be_deleted(bench: Bench, stack: Stack) -> None:
    stack.create({"Q": {"Type": QUEUE}})
    which = {"StackName": stack.name, "ChangeSetName": "nothing"}
    stack.client.create_change_set(**which, **asked({"Q": {"Type": QUEUE}}, {}))
    described = stack.client.describe_change_set(**which)
    assert described["Status"] == "FAILED"
    assert "didn't contain changes" in described["StatusReason"]
    stack.client.delete_change_set(**which)
    assert stack.client.list_change_sets(StackName=stack.name)["Summaries"] == []


# ------------------------------------------------------------------------------------------------ templates


def test_parameters_conditions_and_functions_are_answered(bench: Bench, stack: Stack) -> None:
    resources = {
        "Q": {
            "Type": QUEUE,
            "Properties": {
                "QueueName": {"Fn::Sub": "${AWS::StackName}-${Stage}"},
                "DelaySeconds": {"Fn::If": ["Live", 5, {"Ref": "AWS::NoValue"}]},
            },
        },
        "OnlyLive": {"Type": QUEUE, "Condition": "Live"},
    }
    more: dict[str, Any] = {
        "parameters": {"Stage": {"Type": "String", "Default": "dev"}, "Secret": {"Type": "String", "NoEcho": True}},
        "conditions": {"Live": {"Fn::Equals": [{"Ref": "Stage"}, "prod"]}},
        "outputs": {
            "Joined": {"Value": {"Fn::Join": ["/", ["a", {"Fn::GetAtt": ["Q", "QueueName"]}]]}},
            "Shared": {"Value": {"Ref": "Q"}, "Export": {"Name": f"{stack.name}-url"}},
        },
    }
    secret = {"ParameterKey": "Secret", "ParameterValue": "not-told"}
    assert stack.create(resources, Parameters=[secret], **more) == "CREATE_COMPLETE", stack.reasons()
    assert stack.outputs()["Joined"] == f"a/{stack.name}-dev"
    assert set(stack.physical()) == {"Q"}
    assert "not-told" not in str(stack.described())
    (export,) = (one for one in stack.client.list_exports()["Exports"] if one["Name"] == f"{stack.name}-url")
    assert export["Value"] == stack.physical()["Q"]
    live = [{"ParameterKey": "Stage", "ParameterValue": "prod"}, {"ParameterKey": "Secret", "UsePreviousValue": True}]
    assert stack.update(resources, Parameters=live, **more) == "UPDATE_COMPLETE", stack.reasons()
    assert set(stack.physical()) == {"Q", "OnlyLive"}


def test_events_are_paged_newest_first(bench: Bench, stack: Stack) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStackEvents.html"""
    stack.create({f"P{number}": {"Type": "AWS::CloudFormation::WaitConditionHandle"} for number in range(50)})
    first = stack.client.describe_stack_events(StackName=stack.name)
    assert first["StackEvents"][0]["ResourceStatus"] == "CREATE_COMPLETE"
    assert first["StackEvents"][0]["LogicalResourceId"] == stack.name
    rest = stack.client.describe_stack_events(StackName=stack.name, NextToken=first["NextToken"])["StackEvents"]
    assert rest[-1]["ResourceStatusReason"] == "User Initiated"


def test_an_export_that_is_imported_stays(bench: Bench, stack: Stack) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-exports.html"""
    outputs = {"Url": {"Value": {"Ref": "Q"}, "Export": {"Name": f"{stack.name}-url"}}}
    assert stack.create({"Q": {"Type": QUEUE}}, outputs=outputs) == "CREATE_COMPLETE"
    other = Stack(bench, f"{stack.name}-other")
    imported = {"Fn::ImportValue": f"{stack.name}-url"}
    assert other.create({"Q": {"Type": QUEUE}}, outputs={"Of": {"Value": imported}}) == "CREATE_COMPLETE"
    assert other.outputs()["Of"] == stack.physical()["Q"]
    assert stack.update({"Q": {"Type": QUEUE}}) == "UPDATE_ROLLBACK_COMPLETE"
    assert f"cannot be deleted as it is in use by {other.name}" in stack.reasons()
    assert f"imported by stack {other.name}" in refused(stack.client.delete_stack, StackName=stack.name)
    other.delete()
    assert stack.update({"Q": {"Type": QUEUE}}) == "UPDATE_COMPLETE", stack.reasons()
    assert f"{stack.name}-url" not in str(stack.client.list_exports()["Exports"])


# ------------------------------------------------------------------------------------------------ more types


def test_a_version_is_published_and_an_alias_leads_to_it(bench: Bench, stack: Stack) -> None:
    live = {"FunctionName": {"Ref": "F"}, "FunctionVersion": {"Fn::GetAtt": ["V1", "Version"]}, "Name": "live"}
    version = {"Type": "AWS::Lambda::Version", "Properties": {"FunctionName": {"Ref": "F"}}}
    may = {"FunctionName": {"Ref": "Live"}, "Action": "lambda:InvokeFunction", "Principal": "sns.amazonaws.com"}
    resources = {
        "F": function(bench, "one", FunctionName=stack.name),
        "V1": version,
        "Live": {"Type": "AWS::Lambda::Alias", "Properties": live},
        "May": {"Type": "AWS::Lambda::Permission", "Properties": may},
    }
    assert stack.create(resources) == "CREATE_COMPLETE", stack.reasons()
    resources["F"] = function(bench, "two", FunctionName=stack.name)
    resources["V2"] = version
    stack.update(resources)
    assert (invoked(bench, stack.name), invoked(bench, f"{stack.name}:live")) == ("two", "one")
    live["FunctionVersion"] = {"Fn::GetAtt": ["V2", "Version"]}
    assert stack.update(resources) == "UPDATE_COMPLETE", stack.reasons()
    assert invoked(bench, f"{stack.name}:live") == "two"
    assert stack.physical()["Live"].endswith(f":{stack.name}:live")
    said = bench.client("lambda").get_policy(FunctionName=stack.name, Qualifier="live")["Policy"]
    assert stack.physical()["May"] in said


def test_roles_secrets_buckets_tables_and_policies_are_made_changed_and_removed(bench: Bench, stack: Stack) -> None:
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    send = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
    publish = {"Effect": "Allow", "Principal": "*", "Action": "sns:Publish", "Resource": {"Ref": "Topic"}}
    key = {"AttributeName": "id"}
    policy = {"PolicyName": "send", "Roles": [{"Ref": "Role"}], "PolicyDocument": {"Statement": [send]}}
    resources: dict[str, Any] = {
        "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": {"Statement": [trust]}}},
        "Policy": {"Type": "AWS::IAM::Policy", "Properties": policy},
        "Secret": {"Type": "AWS::SecretsManager::Secret", "Properties": {"Name": stack.name, "SecretString": "a"}},
        "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": f"{stack.name}-bucket"}},
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "Properties": {
                "AttributeDefinitions": [{**key, "AttributeType": "S"}],
                "KeySchema": [{**key, "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST",
            },
        },
        "Topic": {"Type": "AWS::SNS::Topic"},
        "TopicPolicy": {
            "Type": "AWS::SNS::TopicPolicy",
            "Properties": {"Topics": [{"Ref": "Topic"}], "PolicyDocument": {"Statement": [publish]}},
        },
    }
    assert stack.create(resources) == "CREATE_COMPLETE", stack.reasons()
    iam, secrets, sns = (bench.client(name) for name in ("iam", "secretsmanager", "sns"))
    made = stack.physical()
    assert iam.list_role_policies(RoleName=made["Role"])["PolicyNames"] == ["send"]
    bench.client("s3").put_object(Bucket=made["Bucket"], Key="k", Body=b"b")
    bench.client("s3").delete_object(Bucket=made["Bucket"], Key="k")
    bench.client("dynamodb").put_item(TableName=made["Table"], Item={"id": {"S": "1"}})
    topic = sns.get_topic_attributes(TopicArn=made["Topic"])["Attributes"]
    assert json.loads(topic["Policy"])["Statement"][0]["Principal"] == "*"
    resources["Secret"]["Properties"]["SecretString"] = "b"
    policy["PolicyName"] = "also-send"
    del resources["TopicPolicy"]
    assert stack.update(resources) == "UPDATE_COMPLETE", stack.reasons()
    assert secrets.get_secret_value(SecretId=stack.name)["SecretString"] == "b"
    assert iam.list_role_policies(RoleName=made["Role"])["PolicyNames"] == ["also-send"]
    assert "__default_policy_ID" in sns.get_topic_attributes(TopicArn=made["Topic"])["Attributes"]["Policy"]
    stack.delete()
    assert "NoSuchEntity" in refused(iam.get_role, RoleName=made["Role"])
    assert made["Table"] not in bench.client("dynamodb").list_tables()["TableNames"]


def test_an_alarm_of_a_release_is_back_when_that_is_rolled_back(bench: Bench, stack: Stack) -> None:
    stack.create(system(bench, stack.name))
    wrong = broken(bench, stack.name)
    wrong["Alarm"]["Properties"]["Threshold"] = "5"
    wrong["Zz"]["DependsOn"] = ["Alarm", "Worker", "Hourly", "Source"]
    wrong["Hourly"]["Properties"]["State"] = "ENABLED"
    wrong["Source"]["Properties"]["BatchSize"] = 1
    assert stack.update(wrong) == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.story("Alarm")[-4:] == ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE"] * 2
    (alarm,) = bench.client("cloudwatch").describe_alarms(AlarmNames=[f"{stack.name}-errors"])["MetricAlarms"]
    assert alarm["Threshold"] == 1
    assert bench.client("events").describe_rule(Name=stack.physical()["Hourly"])["State"] == "DISABLED"
    mapping = bench.client("lambda").get_event_source_mapping(UUID=stack.physical()["Source"])
    assert mapping["BatchSize"] == 5


def test_a_rollback_that_fails_goes_on_when_it_is_told_to(bench: Bench, stack: Stack) -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ContinueUpdateRollback.html"""
    stack.create(system(bench, stack.name))
    wrong = broken(bench, stack.name)
    assert stack.update(wrong, DisableRollback=True) == "UPDATE_FAILED"
    bench.client("lambda").delete_function(FunctionName=stack.name)
    stack.client.rollback_stack(StackName=stack.name)
    assert stack.ended() == "UPDATE_ROLLBACK_FAILED"
    assert "[Worker]" in stack.described()["StackStatusReason"]
    stack.client.continue_update_rollback(StackName=stack.name, ResourcesToSkip=["Worker"])
    assert stack.ended() == "UPDATE_ROLLBACK_COMPLETE"
