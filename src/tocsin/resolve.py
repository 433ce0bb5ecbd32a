"""From the names in a system file to what they are in a target: ids, ARNs and URLs, read through the AWS API."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, assert_never

from tocsin.errors import InvalidInput, NotFound, near_match
from tocsin.iam import Arns, Grant
from tocsin.model.system import (
    Endpoint,
    HttpApiLookup,
    LoadBalancerLookup,
    Lookup,
    ParameterLookup,
    System,
    TargetGroupLookup,
    TopicLookup,
    UserPoolClientLookup,
    UserPoolLookup,
)
from tocsin.target import Target, aws_errors

_PLACEHOLDER = re.compile(r"\$\{([a-z_]+)\}")
_RESOLVED = ("alarms", "prometheus")
"""Parts of a system file that may hold placeholders."""


def resolve_system(system: System, target: Target) -> System:
    """The system with every `${name}` replaced by what it is in this target.

    Raises:
        InvalidInput: a placeholder that no lookup defines.
        NotFound: a lookup finds nothing.
        TargetError: AWS did not answer.
    """
    values = {name: _look_up(lookup, target) for name, lookup in system.lookups.items()}
    values |= {"account": target.account or "", "region": target.region}
    document = system.model_dump(mode="json", by_alias=True)
    return System.model_validate(document | {part: _substitute(document[part], values) for part in _RESOLVED})


def check_placeholders(system: System) -> None:
    """Whether every `${name}` is defined, without asking a target.

    Raises:
        InvalidInput: one is not.
    """
    known = dict.fromkeys([*system.lookups, "account", "region"], "")
    document = system.model_dump(mode="json", by_alias=True)
    for part in _RESOLVED:
        _substitute(document[part], known)


def resolve_base_url(endpoint: Endpoint, target: Target) -> str:
    """The URL that callers of the system use, without a slash at its end.

    Raises:
        NotFound: no HTTP API, or load balancer, of that name.
    """
    if endpoint.url is not None:
        return endpoint.url.rstrip("/")
    if endpoint.load_balancer is not None:
        return f"http://{_load_balancer(endpoint.load_balancer, target)['DNSName']}"
    return str(_http_api(endpoint.http_api or "", target)["ApiEndpoint"]).rstrip("/")


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What resolving this system needs of IAM."""
    for lookup in system.lookups.values():
        yield from _lookup_grants(lookup, arns)
    if system.endpoint.load_balancer is not None:
        yield Grant(sid="ResolveNames", actions=("elasticloadbalancing:DescribeLoadBalancers",))
    elif system.endpoint.url is None:
        yield http_api_grant(arns)


def http_api_grant(arns: Arns) -> Grant:
    """Finding an HTTP API by its name."""
    return Grant(
        sid="ResolveNames", actions=("apigateway:GET",), resources=(arns.of_no_account("apigateway", "/apis"),)
    )


def user_pool_client_grants(arns: Arns) -> Iterator[Grant]:
    """Finding an app client of a user pool, both by name."""
    yield Grant(sid="ResolveNames", actions=("cognito-idp:ListUserPools",))
    pools = (arns("cognito-idp", "userpool/*"),)
    yield Grant(sid="ResolveNames", actions=("cognito-idp:ListUserPoolClients",), resources=pools)


def _lookup_grants(lookup: Lookup, arns: Arns) -> Iterator[Grant]:
    match lookup:
        case HttpApiLookup():
            yield http_api_grant(arns)
        case UserPoolLookup():
            yield Grant(sid="ResolveNames", actions=("cognito-idp:ListUserPools",))
        case UserPoolClientLookup():
            yield from user_pool_client_grants(arns)
        case TopicLookup():
            yield Grant(sid="ResolveNames", actions=("sns:ListTopics",))
        case ParameterLookup(parameter=name):
            resource = arns("ssm", f"parameter/{name.removeprefix('/')}")
            yield Grant(sid="ResolveNames", actions=("ssm:GetParameter",), resources=(resource,))
        case LoadBalancerLookup():
            yield Grant(sid="ResolveNames", actions=("elasticloadbalancing:DescribeLoadBalancers",))
        case TargetGroupLookup():
            yield Grant(sid="ResolveNames", actions=("elasticloadbalancing:DescribeTargetGroups",))
        case _:
            assert_never(lookup)


def _look_up(lookup: Lookup, target: Target) -> str:
    match lookup:
        case HttpApiLookup(http_api=name):
            return str(_http_api(name, target)["ApiId"])
        case UserPoolLookup(user_pool=name):
            return user_pool_id(name, target)
        case UserPoolClientLookup(user_pool=pool, client=client):
            return user_pool_client_id(user_pool_id(pool, target), client, target)
        case TopicLookup(topic=name):
            return _topic_arn(name, target)
        case ParameterLookup(parameter=name):
            return _parameter(name, target)
        case LoadBalancerLookup(load_balancer=name):
            return str(_load_balancer(name, target)["LoadBalancerArn"]).split("loadbalancer/")[-1]
        case TargetGroupLookup(target_group=name):
            return _target_group_arn(name, target).rsplit(":", 1)[-1]
        case _:
            assert_never(lookup)


def _http_api(name: str, target: Target) -> Mapping[str, Any]:
    apis = _listed("HTTP APIs", target, "apigatewayv2", "get_apis", "Items")
    found: Mapping[str, Any] = _only("HTTP API", name, {api["Name"]: api for api in apis})
    return found


def user_pool_id(name: str, target: Target) -> str:
    """Id of the Cognito user pool of that name.

    Raises:
        NotFound: there is none.
    """
    pools = _listed("user pools", target, "cognito-idp", "list_user_pools", "UserPools", MaxResults=60)
    return str(_only("Cognito user pool", name, {pool["Name"]: pool["Id"] for pool in pools}))


def user_pool_client_id(pool_id: str, name: str, target: Target) -> str:
    """Id of the app client of that name.

    Raises:
        NotFound: there is none.
    """
    of = {"UserPoolId": pool_id}
    clients = _listed("app clients", target, "cognito-idp", "list_user_pool_clients", "UserPoolClients", **of)
    return str(_only("app client", name, {client["ClientName"]: client["ClientId"] for client in clients}))


def _topic_arn(name: str, target: Target) -> str:
    arns = [topic["TopicArn"] for topic in _listed("SNS topics", target, "sns", "list_topics", "Topics")]
    return str(_only("SNS topic", name, {arn.rsplit(":", 1)[1]: arn for arn in arns}))


def _parameter(name: str, target: Target) -> str:
    with aws_errors(f"reading the SSM parameter {name}"):
        return str(target.client("ssm").get_parameter(Name=name)["Parameter"]["Value"])


def _load_balancer(name: str, target: Target) -> Mapping[str, Any]:
    balancers = _listed("load balancers", target, "elbv2", "describe_load_balancers", "LoadBalancers")
    found: Mapping[str, Any] = _only("load balancer", name, {one["LoadBalancerName"]: one for one in balancers})
    return found


def _target_group_arn(name: str, target: Target) -> str:
    groups = _listed("target groups", target, "elbv2", "describe_target_groups", "TargetGroups")
    return str(_only("target group", name, {one["TargetGroupName"]: one["TargetGroupArn"] for one in groups}))


def _listed(
    what: str, target: Target, service: str, operation: str, part: str, **request: Any
) -> list[Mapping[str, Any]]:
    """Everything that an operation lists: `part` of each of its pages."""
    with aws_errors(f"listing {what}"):
        pages = target.client(service).get_paginator(operation).paginate(**request)
        return [one for page in pages for one in page[part]]


def _only(what: str, name: str, found: Mapping[str, Any]) -> Any:
    if name not in found:
        raise NotFound(f"expected the {what} '{name}', found none of that name. {near_match(name, found)}")
    return found[name]


def _substitute(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _substitute(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_substitute(item, values) for item in value]
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: _value(match[1], values), value)
    return value


def _value(name: str, values: Mapping[str, str]) -> str:
    if name not in values:
        raise InvalidInput(f"expected '${{{name}}}' to be one of the system's lookups. {near_match(name, values)}")
    return values[name]
