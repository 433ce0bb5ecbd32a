"""Types of Amazon SQS and Amazon SNS.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_SQS.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_SNS.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tocsin.sandbox.services.cloudformation.functions import tag_map
from tocsin.sandbox.services.cloudformation.requests import ResourceFailed, as_text, flag
from tocsin.sandbox.services.cloudformation.resources import (
    Part,
    Properties,
    Resource,
    ResourceType,
    changed,
    given,
)

_QUEUE: Mapping[str, Any] = {
    "ContentBasedDeduplication": False,
    "DeduplicationScope": "queue",
    "DelaySeconds": 0,
    "FifoThroughputLimit": "perQueue",
    "KmsDataKeyReusePeriodSeconds": 300,
    "KmsMasterKeyId": "",
    "MaximumMessageSize": 1048576,
    "MessageRetentionPeriod": 345600,
    "ReceiveMessageWaitTimeSeconds": 0,
    "RedriveAllowPolicy": "",
    "RedrivePolicy": "",
    "SqsManagedSseEnabled": True,
    "VisibilityTimeout": 30,
}
"""Property -> what it is in a template that has it no more.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
"""


def _texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {name: as_text(value) for name, value in attributes.items()}


def _queue_name(resource: Resource, properties: Properties) -> str:
    fifo = flag(properties.get("FifoQueue") or False)
    if properties.get("QueueName"):
        return str(properties["QueueName"])
    return resource.generated(75 if fifo else 80) + (".fifo" if fifo else "")


def _find_queue(resource: Resource, properties: Properties) -> str | None:
    name = _queue_name(resource, properties)
    try:
        resource.call("sqs", "GetQueueUrl", QueueName=name)
    except ResourceFailed as failed:
        if failed.code == "NotFound":
            return None
        raise
    return name


def _create_queue(resource: Resource, properties: Properties) -> str:
    attributes = _texts(given(properties, _QUEUE))
    if flag(properties.get("FifoQueue") or False):
        attributes["FifoQueue"] = "true"
    name = _queue_name(resource, properties)
    return str(resource.call("sqs", "CreateQueue", QueueName=name, Attributes=attributes)["QueueUrl"])


def _put_queue(resource: Resource, new: Properties, old: Properties) -> None:
    attributes = _texts(changed(new, old, _QUEUE))
    resource.call("sqs", "SetQueueAttributes", QueueUrl=resource.physical_id, Attributes=attributes)


def _put_queue_tags(resource: Resource, new: Properties, old: Properties) -> None:
    wanted, had = tag_map(new), tag_map(old)
    if gone := sorted(had.keys() - wanted.keys()):
        resource.call("sqs", "UntagQueue", QueueUrl=resource.physical_id, TagKeys=gone)
    if wanted:
        resource.call("sqs", "TagQueue", QueueUrl=resource.physical_id, Tags=wanted)


def _delete_queue(resource: Resource, properties: Properties) -> None:
    del properties
    resource.call("sqs", "DeleteQueue", QueueUrl=resource.physical_id)


def _queue_attributes(resource: Resource, properties: Properties) -> Mapping[str, Any]:
    del properties
    name = resource.physical_id.rsplit("/", 1)[-1]
    return {"Arn": resource.arn("sqs", name), "QueueName": name, "QueueUrl": resource.physical_id}


QUEUE = ResourceType(
    "AWS::SQS::Queue",
    create=_create_queue,
    delete=_delete_queue,
    attributes=_queue_attributes,
    replaces=("QueueName", "FifoQueue"),
    parts=(Part(tuple(_QUEUE), _put_queue, made=True), Part(("Tags",), _put_queue_tags)),
    find=_find_queue,
)


# ------------------------------------------------------------------------------------------------ policies of both


def _create_policy(resource: Resource, properties: Properties) -> str:
    del properties
    return resource.generated(128)


def _put_queue_policy(resource: Resource, new: Properties, old: Properties) -> None:
    for url in _left(old, new, "Queues"):
        resource.call("sqs", "SetQueueAttributes", QueueUrl=url, Attributes={"Policy": ""})
    for url in new["Queues"]:
        policy = {"Policy": as_text(new["PolicyDocument"])}
        resource.call("sqs", "SetQueueAttributes", QueueUrl=url, Attributes=policy)


def _left(old: Properties, new: Properties, name: str) -> Iterator[str]:
    """Those of a list that the new template no longer has."""
    return (str(one) for one in old.get(name) or () if one not in (new.get(name) or ()))


def _delete_queue_policy(resource: Resource, properties: Properties) -> None:
    for url in properties["Queues"]:
        resource.call("sqs", "SetQueueAttributes", QueueUrl=url, Attributes={"Policy": ""})


QUEUE_POLICY = ResourceType(
    "AWS::SQS::QueuePolicy",
    create=_create_policy,
    delete=_delete_queue_policy,
    attributes=lambda resource, _: {"Id": resource.physical_id},
    required=("PolicyDocument", "Queues"),
    parts=(Part(("PolicyDocument", "Queues"), _put_queue_policy),),
)


def _put_topic_policy(resource: Resource, new: Properties, old: Properties) -> None:
    for arn in _left(old, new, "Topics"):
        _topic_attribute(resource, arn, "Policy", _default_policy(resource, arn))
    for arn in new["Topics"]:
        _topic_attribute(resource, arn, "Policy", new["PolicyDocument"])


def _delete_topic_policy(resource: Resource, properties: Properties) -> None:
    for arn in properties["Topics"]:
        _topic_attribute(resource, arn, "Policy", _default_policy(resource, arn))


def _topic_attribute(resource: Resource, arn: str, name: str, value: Any) -> None:
    resource.call("sns", "SetTopicAttributes", TopicArn=arn, AttributeName=name, AttributeValue=as_text(value))


_OF_OWNER = (
    "Publish",
    "RemovePermission",
    "SetTopicAttributes",
    "DeleteTopic",
    "ListSubscriptionsByTopic",
    "GetTopicAttributes",
    "AddPermission",
    "Subscribe",
)


def _default_policy(resource: Resource, arn: str) -> Mapping[str, Any]:
    """That of a topic without another one: its account may use it.

    https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
    """
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [f"SNS:{action}" for action in _OF_OWNER],
        "Resource": arn,
        "Condition": {"StringEquals": {"AWS:SourceOwner": resource.account}},
    }
    return {"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]}


TOPIC_POLICY = ResourceType(
    "AWS::SNS::TopicPolicy",
    create=_create_policy,
    delete=_delete_topic_policy,
    attributes=lambda resource, _: {"Id": resource.physical_id},
    required=("PolicyDocument", "Topics"),
    parts=(Part(("PolicyDocument", "Topics"), _put_topic_policy),),
)


# ------------------------------------------------------------------------------------------------ topics

_TOPIC: Mapping[str, Any] = {
    "ContentBasedDeduplication": False,
    "DisplayName": "",
    "KmsMasterKeyId": "",
    "SignatureVersion": "1",
    "TracingConfig": "PassThrough",
}


def _topic_name(resource: Resource, properties: Properties) -> str:
    fifo = flag(properties.get("FifoTopic") or False)
    if properties.get("TopicName"):
        return str(properties["TopicName"])
    return resource.generated(250) + (".fifo" if fifo else "")


def _find_topic(resource: Resource, properties: Properties) -> str | None:
    arn = resource.arn("sns", _topic_name(resource, properties))
    try:
        resource.call("sns", "GetTopicAttributes", TopicArn=arn)
    except ResourceFailed as failed:
        if failed.code == "NotFound":
            return None
        raise
    return arn


def _create_topic(resource: Resource, properties: Properties) -> str:
    attributes = _texts(given(properties, _TOPIC))
    if flag(properties.get("FifoTopic") or False):
        attributes["FifoTopic"] = "true"
    name = _topic_name(resource, properties)
    return str(resource.call("sns", "CreateTopic", Name=name, Attributes=attributes)["TopicArn"])


def _put_topic(resource: Resource, new: Properties, old: Properties) -> None:
    for name, value in changed(new, old, _TOPIC).items():
        if new.get(name) != old.get(name):
            _topic_attribute(resource, resource.physical_id, name, value)


def _put_topic_tags(resource: Resource, new: Properties, old: Properties) -> None:
    arn, wanted, had = resource.physical_id, tag_map(new), tag_map(old)
    if gone := sorted(had.keys() - wanted.keys()):
        resource.call("sns", "UntagResource", ResourceArn=arn, TagKeys=gone)
    if wanted:
        tags = [{"Key": key, "Value": value} for key, value in wanted.items()]
        resource.call("sns", "TagResource", ResourceArn=arn, Tags=tags)


def _put_subscriptions(resource: Resource, new: Properties, old: Properties) -> None:
    """Those in the template of the topic; others of the topic stay."""
    wanted, had = ({(one["Protocol"], one["Endpoint"]) for one in p.get("Subscription") or ()} for p in (new, old))
    for protocol, endpoint in sorted(wanted - had):
        resource.call("sns", "Subscribe", TopicArn=resource.physical_id, Protocol=protocol, Endpoint=endpoint)
    if not had - wanted:
        return
    listed = resource.call("sns", "ListSubscriptionsByTopic", TopicArn=resource.physical_id)["Subscriptions"]
    for one in listed:
        if (one["Protocol"], one["Endpoint"]) in had - wanted and one["SubscriptionArn"].startswith("arn:"):
            resource.call("sns", "Unsubscribe", SubscriptionArn=one["SubscriptionArn"])


def _delete_topic(resource: Resource, properties: Properties) -> None:
    del properties
    resource.call("sns", "DeleteTopic", TopicArn=resource.physical_id)


def _topic_attributes(resource: Resource, properties: Properties) -> Mapping[str, Any]:
    del properties
    return {"TopicArn": resource.physical_id, "TopicName": resource.physical_id.rsplit(":", 1)[-1]}


TOPIC = ResourceType(
    "AWS::SNS::Topic",
    create=_create_topic,
    delete=_delete_topic,
    attributes=_topic_attributes,
    replaces=("TopicName", "FifoTopic"),
    parts=(
        Part(tuple(_TOPIC), _put_topic, made=True),
        Part(("Subscription",), _put_subscriptions),
        Part(("Tags",), _put_topic_tags),
    ),
    find=_find_topic,
)


# ------------------------------------------------------------------------------------------------ subscriptions

_SUBSCRIPTION: Mapping[str, Any] = {
    "DeliveryPolicy": "{}",
    "FilterPolicy": "{}",
    "FilterPolicyScope": "MessageAttributes",
    "RawMessageDelivery": False,
    "RedrivePolicy": "{}",
    "SubscriptionRoleArn": "",
}


def _subscribe(resource: Resource, properties: Properties) -> str:
    asked = given(properties, ("TopicArn", "Protocol", "Endpoint"))
    attributes = _texts(given(properties, _SUBSCRIPTION))
    answer = resource.call("sns", "Subscribe", **asked, Attributes=attributes, ReturnSubscriptionArn=True)
    return str(answer["SubscriptionArn"])


def _put_subscription(resource: Resource, new: Properties, old: Properties) -> None:
    for name, value in changed(new, old, _SUBSCRIPTION).items():
        if new.get(name) != old.get(name):
            asked = {"AttributeName": name, "AttributeValue": as_text(value)}
            resource.call("sns", "SetSubscriptionAttributes", SubscriptionArn=resource.physical_id, **asked)


def _unsubscribe(resource: Resource, properties: Properties) -> None:
    del properties
    resource.call("sns", "Unsubscribe", SubscriptionArn=resource.physical_id)


SUBSCRIPTION = ResourceType(
    "AWS::SNS::Subscription",
    create=_subscribe,
    delete=_unsubscribe,
    attributes=lambda resource, _: {"Arn": resource.physical_id},
    required=("TopicArn", "Protocol"),
    replaces=("TopicArn", "Protocol", "Endpoint"),
    parts=(Part(tuple(_SUBSCRIPTION), _put_subscription, made=True),),
)

TYPES = (QUEUE, QUEUE_POLICY, TOPIC, TOPIC_POLICY, SUBSCRIPTION)
