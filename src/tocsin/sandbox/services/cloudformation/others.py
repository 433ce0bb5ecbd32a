"""Types of Amazon EventBridge and CloudWatch Logs.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-events-rule.html
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-logs-loggroup.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin.sandbox.services.cloudformation.functions import tag_map
from tocsin.sandbox.services.cloudformation.requests import ResourceFailed, as_text
from tocsin.sandbox.services.cloudformation.resources import Part, Properties, Resource, ResourceType, given

_RULE = ("Description", "EventPattern", "RoleArn", "ScheduleExpression", "State")
_DEFAULT_BUS = "default"


def _bus(properties: Properties) -> str:
    return str(properties.get("EventBusName") or _DEFAULT_BUS)


def _rule_name(resource: Resource) -> str:
    """The physical id of a rule of another bus than the default one is `bus|name`."""
    return resource.physical_id.rsplit("|", 1)[-1]


def _put_rule_named(resource: Resource, name: str, properties: Properties) -> None:
    asked = {key: as_text(value) for key, value in given(properties, _RULE).items()}
    resource.call("events", "PutRule", Name=name, EventBusName=_bus(properties), **asked)


def _find_rule(resource: Resource, properties: Properties) -> str | None:
    name = resource.name(properties.get("Name"), 64)
    try:
        resource.call("events", "DescribeRule", Name=name, EventBusName=_bus(properties))
    except ResourceFailed as failed:
        if failed.code == "NotFound":
            return None
        raise
    return name


def _create_rule(resource: Resource, properties: Properties) -> str:
    name = resource.name(properties.get("Name"), 64)
    _put_rule_named(resource, name, properties)
    bus = _bus(properties)
    return name if bus == _DEFAULT_BUS else f"{bus}|{name}"


def _put_rule(resource: Resource, new: Properties, old: Properties) -> None:
    """PutRule replaces the whole rule: what it is not told is removed.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
    """
    del old
    _put_rule_named(resource, _rule_name(resource), new)


def _put_targets(resource: Resource, new: Properties, old: Properties) -> None:
    which = {"Rule": _rule_name(resource), "EventBusName": _bus(new)}
    wanted = list(new.get("Targets") or ())
    kept = {str(target.get("Id")) for target in wanted}
    gone = [str(target["Id"]) for target in old.get("Targets") or () if str(target["Id"]) not in kept]
    if gone:
        resource.call("events", "RemoveTargets", **which, Ids=gone)
    if wanted:
        failed = resource.call("events", "PutTargets", **which, Targets=wanted).get("FailedEntries")
        if failed:
            raise ResourceFailed(str(failed[0].get("ErrorMessage")), "InvalidRequest")


def _put_rule_tags(resource: Resource, new: Properties, old: Properties) -> None:
    arn, wanted, had = _rule_arn(resource, new), tag_map(new), tag_map(old)
    if gone := sorted(had.keys() - wanted.keys()):
        resource.call("events", "UntagResource", ResourceARN=arn, TagKeys=gone)
    if wanted:
        tags = [{"Key": key, "Value": value} for key, value in wanted.items()]
        resource.call("events", "TagResource", ResourceARN=arn, Tags=tags)


def _rule_arn(resource: Resource, properties: Properties) -> str:
    which = {"Name": _rule_name(resource), "EventBusName": _bus(properties)}
    return str(resource.call("events", "DescribeRule", **which)["Arn"])


def _delete_rule(resource: Resource, properties: Properties) -> None:
    which = {"EventBusName": _bus(properties)}
    targets = resource.call("events", "ListTargetsByRule", Rule=_rule_name(resource), **which)["Targets"]
    if targets:
        ids = [target["Id"] for target in targets]
        resource.call("events", "RemoveTargets", Rule=_rule_name(resource), Ids=ids, **which)
    resource.call("events", "DeleteRule", Name=_rule_name(resource), **which)


RULE = ResourceType(
    "AWS::Events::Rule",
    create=_create_rule,
    delete=_delete_rule,
    attributes=lambda resource, properties: {"Arn": _rule_arn(resource, properties)},
    replaces=("Name", "EventBusName"),
    parts=(Part(_RULE, _put_rule, made=True), Part(("Targets",), _put_targets), Part(("Tags",), _put_rule_tags)),
    find=_find_rule,
)


# ------------------------------------------------------------------------------------------------ logs


def _create_group(resource: Resource, properties: Properties) -> str:
    name = resource.name(properties.get("LogGroupName"), 512)
    asked = {"kmsKeyId": properties.get("KmsKeyId"), "logGroupClass": properties.get("LogGroupClass")}
    given_ones = {key: value for key, value in asked.items() if value}
    resource.call("logs", "CreateLogGroup", logGroupName=name, **given_ones)
    return name


def _put_retention(resource: Resource, new: Properties, old: Properties) -> None:
    del old
    which = {"logGroupName": resource.physical_id}
    if new.get("RetentionInDays") is None:
        resource.call("logs", "DeleteRetentionPolicy", **which)
    else:
        resource.call("logs", "PutRetentionPolicy", **which, retentionInDays=new["RetentionInDays"])


def _put_group_tags(resource: Resource, new: Properties, old: Properties) -> None:
    arn = resource.arn("logs", f"log-group:{resource.physical_id}")
    wanted, had = tag_map(new), tag_map(old)
    if gone := sorted(had.keys() - wanted.keys()):
        resource.call("logs", "UntagResource", resourceArn=arn, tagKeys=gone)
    if wanted:
        resource.call("logs", "TagResource", resourceArn=arn, tags=wanted)


def _delete_group(resource: Resource, properties: Properties) -> None:
    del properties
    resource.call("logs", "DeleteLogGroup", logGroupName=resource.physical_id)


def _group_attributes(resource: Resource, properties: Properties) -> Mapping[str, Any]:
    del properties
    return {"Arn": resource.arn("logs", f"log-group:{resource.physical_id}:*")}


LOG_GROUP = ResourceType(
    "AWS::Logs::LogGroup",
    create=_create_group,
    delete=_delete_group,
    attributes=_group_attributes,
    replaces=("LogGroupName", "KmsKeyId", "LogGroupClass"),
    parts=(Part(("RetentionInDays",), _put_retention), Part(("Tags",), _put_group_tags)),
)

TYPES = (RULE, LOG_GROUP)
