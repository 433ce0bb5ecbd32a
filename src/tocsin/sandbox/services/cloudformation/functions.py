"""Types of AWS Lambda.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_Lambda.html
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from tocsin.sandbox.services.cloudformation.requests import ResourceFailed
from tocsin.sandbox.services.cloudformation.resources import (
    Part,
    Properties,
    Resource,
    ResourceType,
    changed,
    given,
)

_CONFIGURATION: Mapping[str, Any] = {
    "DeadLetterConfig": {"TargetArn": ""},
    "Description": "",
    "Environment": {"Variables": {}},
    "EphemeralStorage": {"Size": 512},
    "FileSystemConfigs": [],
    "Handler": None,
    "ImageConfig": {},
    "KmsKeyArn": "",
    "Layers": [],
    "LoggingConfig": {"LogFormat": "Text"},
    "MemorySize": 128,
    "Role": None,
    "Runtime": None,
    "SnapStart": {"ApplyOn": "None"},
    "Timeout": 3,
    "TracingConfig": {"Mode": "PassThrough"},
    "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []},
}
"""Property -> what it is in a template that has it no more.
https://docs.aws.amazon.com/lambda/latest/api/API_UpdateFunctionConfiguration.html
"""

_MAPPING: Mapping[str, Any] = {
    "BatchSize": 10,
    "BisectBatchOnFunctionError": False,
    "DestinationConfig": {},
    "Enabled": True,
    "FilterCriteria": {"Filters": []},
    "FunctionName": None,
    "FunctionResponseTypes": [],
    "MaximumBatchingWindowInSeconds": 0,
    "MaximumRecordAgeInSeconds": -1,
    "MaximumRetryAttempts": -1,
    "ParallelizationFactor": 1,
    "ScalingConfig": {},
    "TumblingWindowInSeconds": 0,
}


def named(reference: Any) -> tuple[str, str | None]:
    """Name and qualifier of a function that a template names by its name, ARN, or that of a version or alias."""
    text = str(reference)
    name, _, qualifier = (text.split(":function:", 1)[1] if ":function:" in text else text).partition(":")
    return name, qualifier or None


def settled(resource: Resource, function: str) -> None:
    """Wait until a function that was made or changed can be called and changed.

    Raises:
        ResourceFailed: Lambda could not make or change it.
    """

    def done() -> bool:
        found = resource.call("lambda", "GetFunctionConfiguration", FunctionName=function)
        if "Failed" in (found.get("State"), found.get("LastUpdateStatus")):
            raise ResourceFailed(str(found.get("StateReason") or found.get("LastUpdateStatusReason")), "NotStabilized")
        return found.get("State") != "Pending" and found.get("LastUpdateStatus") != "InProgress"

    resource.until(done, f"The change of function {function}")


def _code(properties: Properties) -> dict[str, Any]:
    """`Code` as the API takes it: code that stands in the template becomes a package with one file.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-lambda-function-code.html
    """
    code = dict(properties.get("Code") or {})
    if isinstance(code.get("ZipFile"), str):
        suffix = ".js" if str(properties.get("Runtime", "")).startswith("nodejs") else ".py"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(f"index{suffix}"), code["ZipFile"])
        code["ZipFile"] = packed.getvalue()
    return code


def _create_function(resource: Resource, properties: Properties) -> str:
    name = resource.name(properties.get("FunctionName"), 64)
    configuration = _as_asked(given(properties, (*_CONFIGURATION, "Architectures", "PackageType")))
    resource.call("lambda", "CreateFunction", FunctionName=name, Code=_code(properties), **configuration)
    return name


def _put_code(resource: Resource, new: Properties, old: Properties) -> None:
    del old
    architectures = {"Architectures": new.get("Architectures") or ["x86_64"]}
    resource.call("lambda", "UpdateFunctionCode", FunctionName=resource.physical_id, **_code(new), **architectures)
    settled(resource, resource.physical_id)


def _put_configuration(resource: Resource, new: Properties, old: Properties) -> None:
    asked = _as_asked(changed(new, old, _CONFIGURATION))
    resource.call("lambda", "UpdateFunctionConfiguration", FunctionName=resource.physical_id, **asked)
    settled(resource, resource.physical_id)


def _as_asked(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Properties under the names that the API has for them."""
    return {"KMSKeyArn" if name == "KmsKeyArn" else name: value for name, value in configuration.items()}


def _put_concurrency(resource: Resource, new: Properties, old: Properties) -> None:
    del old
    reserved = new.get("ReservedConcurrentExecutions")
    if reserved is None:
        resource.call("lambda", "DeleteFunctionConcurrency", FunctionName=resource.physical_id)
        return
    resource.call(
        "lambda",
        "PutFunctionConcurrency",
        FunctionName=resource.physical_id,
        ReservedConcurrentExecutions=reserved,
    )


def _put_function_tags(resource: Resource, new: Properties, old: Properties) -> None:
    arn, wanted, had = _function_arn(resource), tag_map(new), tag_map(old)
    if gone := sorted(had.keys() - wanted.keys()):
        resource.call("lambda", "UntagResource", Resource=arn, TagKeys=gone)
    if wanted:
        resource.call("lambda", "TagResource", Resource=arn, Tags=wanted)


def tag_map(properties: Properties) -> dict[str, str]:
    """The tags of a resource by their keys."""
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in properties.get("Tags") or []}


def _function_arn(resource: Resource) -> str:
    return resource.arn("lambda", f"function:{resource.physical_id}")


def _delete_function(resource: Resource, properties: Properties) -> None:
    del properties
    resource.call("lambda", "DeleteFunction", FunctionName=resource.physical_id)


FUNCTION = ResourceType(
    "AWS::Lambda::Function",
    create=_create_function,
    delete=_delete_function,
    attributes=lambda resource, _: {"Arn": _function_arn(resource)},
    required=("Code", "Role"),
    replaces=("FunctionName", "PackageType"),
    parts=(
        Part(("Code", "Architectures"), _put_code, made=True),
        Part(tuple(_CONFIGURATION), _put_configuration, made=True),
        Part(("ReservedConcurrentExecutions",), _put_concurrency),
        Part(("Tags",), _put_function_tags),
    ),
    settle=lambda resource: settled(resource, resource.physical_id),
)


# ------------------------------------------------------------------------------------------------ versions, aliases


def _create_version(resource: Resource, properties: Properties) -> str:
    name, _ = named(properties["FunctionName"])
    settled(resource, name)
    asked = given(properties, ("CodeSha256", "Description"))
    version = resource.call("lambda", "PublishVersion", FunctionName=name, **asked)["Version"]
    return resource.arn("lambda", f"function:{name}:{version}")


def _delete_version(resource: Resource, properties: Properties) -> None:
    del properties
    name, version = named(resource.physical_id)
    resource.call("lambda", "DeleteFunction", FunctionName=name, Qualifier=version)


def _put_provisioned(resource: Resource, new: Properties, old: Properties) -> None:
    """Provisioned concurrency of a version or an alias, which are named by their ARN; ready when it is."""
    del old
    name, qualifier = named(resource.physical_id)
    which = {"FunctionName": name, "Qualifier": qualifier}
    wanted = new.get("ProvisionedConcurrencyConfig")
    if not wanted:
        resource.call("lambda", "DeleteProvisionedConcurrencyConfig", **which)
        return
    resource.call("lambda", "PutProvisionedConcurrencyConfig", **which, **wanted)

    def done() -> bool:
        found = resource.call("lambda", "GetProvisionedConcurrencyConfig", **which)
        if found["Status"] == "FAILED":
            raise ResourceFailed(str(found.get("StatusReason")), "NotStabilized")
        return bool(found["Status"] == "READY")

    resource.until(done, f"Provisioned concurrency of {resource.physical_id}")


_PROVISIONED = Part(("ProvisionedConcurrencyConfig",), _put_provisioned)

VERSION = ResourceType(
    "AWS::Lambda::Version",
    create=_create_version,
    delete=_delete_version,
    attributes=lambda resource, _: {
        "FunctionArn": resource.physical_id,
        "Version": named(resource.physical_id)[1],
    },
    required=("FunctionName",),
    replaces=("FunctionName", "CodeSha256", "Description"),
    parts=(_PROVISIONED,),
)


def _alias(properties: Properties) -> dict[str, Any]:
    weights = (properties.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or []
    return {
        "Name": properties["Name"],
        "FunctionName": named(properties["FunctionName"])[0],
        "FunctionVersion": properties["FunctionVersion"],
        "Description": properties.get("Description") or "",
        "RoutingConfig": {
            "AdditionalVersionWeights": {str(one["FunctionVersion"]): float(one["FunctionWeight"]) for one in weights}
        },
    }


def _create_alias(resource: Resource, properties: Properties) -> str:
    return str(resource.call("lambda", "CreateAlias", **_alias(properties))["AliasArn"])


def _put_alias(resource: Resource, new: Properties, old: Properties) -> None:
    del old
    resource.call("lambda", "UpdateAlias", **_alias(new))


def _delete_alias(resource: Resource, properties: Properties) -> None:
    del properties
    name, alias = named(resource.physical_id)
    resource.call("lambda", "DeleteAlias", FunctionName=name, Name=alias)


ALIAS = ResourceType(
    "AWS::Lambda::Alias",
    create=_create_alias,
    delete=_delete_alias,
    attributes=lambda resource, _: {"AliasArn": resource.physical_id},
    required=("FunctionName", "FunctionVersion", "Name"),
    replaces=("FunctionName", "Name"),
    parts=(Part(("FunctionVersion", "Description", "RoutingConfig"), _put_alias, made=True), _PROVISIONED),
)


# ------------------------------------------------------------------------------------------------ who may, what calls


def _create_permission(resource: Resource, properties: Properties) -> str:
    name, qualifier = named(properties["FunctionName"])
    statement = resource.generated(100)
    asked = given(properties, (*_PERMISSION, *_PERMITTED)) | ({"Qualifier": qualifier} if qualifier else {})
    resource.call("lambda", "AddPermission", FunctionName=name, StatementId=statement, **asked)
    return statement


def _delete_permission(resource: Resource, properties: Properties) -> None:
    name, qualifier = named(properties["FunctionName"])
    which = {"Qualifier": qualifier} if qualifier else {}
    resource.call("lambda", "RemovePermission", FunctionName=name, StatementId=resource.physical_id, **which)


_PERMITTED = ("Action", "Principal")
_PERMISSION = (
    "EventSourceToken",
    "FunctionUrlAuthType",
    "InvokedViaFunctionUrl",
    "PrincipalOrgID",
    "SourceAccount",
    "SourceArn",
)

PERMISSION = ResourceType(
    "AWS::Lambda::Permission",
    create=_create_permission,
    delete=_delete_permission,
    attributes=lambda resource, _: {"Id": resource.physical_id},
    required=("FunctionName", *_PERMITTED),
    replaces=("FunctionName", *_PERMITTED, *_PERMISSION),
)

_SOURCE = (
    "EventSourceArn",
    "StartingPosition",
    "StartingPositionTimestamp",
)


def _create_mapping(resource: Resource, properties: Properties) -> str:
    asked = given(properties, (*_MAPPING, *_SOURCE))
    return str(resource.call("lambda", "CreateEventSourceMapping", **asked)["UUID"])


def _put_mapping(resource: Resource, new: Properties, old: Properties) -> None:
    asked = changed(new, old, _MAPPING)
    resource.call("lambda", "UpdateEventSourceMapping", UUID=resource.physical_id, **asked)


def _delete_mapping(resource: Resource, properties: Properties) -> None:
    del properties
    resource.call("lambda", "DeleteEventSourceMapping", UUID=resource.physical_id)


EVENT_SOURCE_MAPPING = ResourceType(
    "AWS::Lambda::EventSourceMapping",
    create=_create_mapping,
    delete=_delete_mapping,
    attributes=lambda resource, _: {
        "Id": resource.physical_id,
        "EventSourceMappingArn": resource.arn("lambda", f"event-source-mapping:{resource.physical_id}"),
    },
    required=("FunctionName",),
    replaces=_SOURCE,
    parts=(Part(tuple(_MAPPING), _put_mapping, made=True),),
)

TYPES = (FUNCTION, VERSION, ALIAS, PERMISSION, EVENT_SOURCE_MAPPING)
