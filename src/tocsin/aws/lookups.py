"""From the names in a system file to what they are in a target: ids, ARNs and URLs, read through the AWS API."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, assert_never

from tocsin.aws.iam import Arns, Grant
from tocsin.aws.pages import listed
from tocsin.aws.target import Target, aws_errors
from tocsin.errors import InvalidInput, NotFound, TargetError, near_match, shortened
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

_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")
"""Whatever looks like one: what a template resolved would go to AWS as the text it is."""
_PSEUDO_PARAMETERS = {"AWS::AccountId": "account", "AWS::Region": "region"}
_DEFAULT_STAGE = "$default"
_RESOLVED = ("alarms", "prometheus", "endpoint")
"""Parts of a system file that may hold placeholders."""


def resolve_system(system: System, target: Target) -> System:
    """The system with every `${name}` replaced by what it is in this target.

    Raises:
        InvalidInput: a placeholder that no lookup defines.
        NotFound: a lookup finds nothing.
        TargetError: AWS did not answer.
    """
    values = _values(system, target, system.lookups)
    document = system.model_dump(mode="json", by_alias=True)
    return System.model_validate(document | {part: _substitute(document[part], values) for part in _RESOLVED})


def _values(system: System, target: Target, names: Iterable[str]) -> dict[str, str]:
    found = {name: _look_up(system.lookups[name], target) for name in names if name in system.lookups}
    return {**found, "account": target.account or "", "region": target.region}


def placeholder_problems(system: System) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Every `${name}` that is not defined, with its place in the system file, without asking a target."""
    known = [*system.lookups, "account", "region"]
    document = system.model_dump(mode="json", by_alias=True)
    for part in _RESOLVED:
        for location, text in _texts(document[part], (part,)):
            yield from ((location, _undefined(name, known)) for name in _PLACEHOLDER.findall(text) if name not in known)


def _texts(value: Any, at: tuple[int | str, ...]) -> Iterator[tuple[tuple[int | str, ...], str]]:
    if isinstance(value, str):
        yield at, value
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(item, (*at, key))


def base_url_of(system: System, target: Target) -> str:
    """The URL that callers of a system use, of which nothing else is resolved, without a slash at its end.

    Raises:
        InvalidInput: a placeholder that no lookup defines.
        NotFound: a lookup finds nothing.
        TargetError: AWS did not answer, or there are two of one name.
    """
    document = system.endpoint.model_dump(mode="json")
    used = {name for _, text in _texts(document, ()) for name in _PLACEHOLDER.findall(text)}
    endpoint = _substitute(document, _values(system, target, used))
    return resolve_base_url(Endpoint.model_validate(endpoint), target)


def resolve_base_url(endpoint: Endpoint, target: Target) -> str:
    """The URL that callers of a resolved system use, without a slash at its end.

    Raises:
        NotFound: no HTTP API, or load balancer, of that name; no stage of the API that could be meant.
        TargetError: two HTTP APIs of that name, or one that answers at no URL of AWS's.
    """
    if endpoint.url is not None:
        return endpoint.url.rstrip("/")
    if endpoint.load_balancer is not None:
        return f"http://{_load_balancer(endpoint.load_balancer, target)['DNSName']}"
    assert endpoint.http_api is not None
    return _url_of_api(_http_api(endpoint.http_api, target), endpoint.stage, target)


def _url_of_api(api: Mapping[str, Any], wanted: str | None, target: Target) -> str:
    """Behind the URL of an API stands the name of its stage, but for `$default`.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-stages.html
    """
    name, url = api["Name"], str(api["ApiEndpoint"]).rstrip("/")
    if api.get("DisableExecuteApiEndpoint"):
        raise TargetError(
            f"expected the HTTP API '{name}' to answer at {url}, found that endpoint disabled. Write the domain name "
            "by which callers come as `url` of the endpoint."
        )
    listed = _listed("stages", target, "apigatewayv2", "get_stages", "Items", ApiId=api["ApiId"])
    stages = [str(stage["StageName"]) for stage in listed]
    stage = wanted or _only_stage(name, stages)
    if stage not in stages:
        raise NotFound(f"expected the HTTP API '{name}' to have the stage '{stage}'. {near_match(stage, stages)}")
    return url if stage == _DEFAULT_STAGE else f"{url}/{stage}"


def _only_stage(api: str, stages: Sequence[str]) -> str:
    """The stage that is meant where none is named."""
    if _DEFAULT_STAGE in stages or not stages:
        return _DEFAULT_STAGE
    if len(stages) > 1:
        raise NotFound(
            f"expected the HTTP API '{api}' to have the stage {_DEFAULT_STAGE}, found {', '.join(sorted(stages))}. "
            "Name the `stage` of the endpoint."
        )
    return stages[0]


def grants(system: System, arns: Arns) -> Iterator[Grant]:
    """What resolving this system needs of IAM."""
    for lookup in system.lookups.values():
        yield from _lookup_grants(lookup, arns)
    if system.endpoint.load_balancer is not None:
        yield Grant(sid="ResolveNames", actions=("elasticloadbalancing:DescribeLoadBalancers",))
    elif system.endpoint.url is None:
        yield endpoint_grant(arns)


def http_api_grant(arns: Arns) -> Grant:
    """Finding an HTTP API by its name."""
    return Grant(
        sid="ResolveNames", actions=("apigateway:GET",), resources=(arns.of_no_account("apigateway", "/apis"),)
    )


def endpoint_grant(arns: Arns) -> Grant:
    """Finding an HTTP API by its name, and its stages."""
    resources = tuple(arns.of_no_account("apigateway", path) for path in ("/apis", "/apis/*/stages"))
    return Grant(sid="ResolveNames", actions=("apigateway:GET",), resources=resources)


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
    found: Mapping[str, Any] = _only("HTTP API", name, [(api["Name"], api, api["ApiId"]) for api in apis])
    return found


def user_pool_id(name: str, target: Target) -> str:
    """Id of the Cognito user pool of that name.

    Raises:
        NotFound: there is none.
    """
    pools = _listed("user pools", target, "cognito-idp", "list_user_pools", "UserPools", MaxResults=60)
    return str(_only("Cognito user pool", name, [(pool["Name"], pool["Id"], pool["Id"]) for pool in pools]))


def user_pool_client_id(pool_id: str, name: str, target: Target) -> str:
    """Id of the app client of that name.

    Raises:
        NotFound: there is none.
    """
    of = {"UserPoolId": pool_id}
    clients = _listed("app clients", target, "cognito-idp", "list_user_pool_clients", "UserPoolClients", **of)
    found = [(client["ClientName"], client["ClientId"], client["ClientId"]) for client in clients]
    return str(_only("app client", name, found))


def _topic_arn(name: str, target: Target) -> str:
    arns = [topic["TopicArn"] for topic in _listed("SNS topics", target, "sns", "list_topics", "Topics")]
    return str(_only("SNS topic", name, [(arn.rsplit(":", 1)[1], arn, arn) for arn in arns]))


def _parameter(name: str, target: Target) -> str:
    """The value of a parameter, decrypted: without that a SecureString answers its cipher text as if it were one.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
    """
    needs = "ssm:GetParameter and, of a SecureString, kms:Decrypt with its key"
    with aws_errors(f"reading the SSM parameter {name}, for which {needs} must be allowed"):
        return str(target.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])


def _load_balancer(name: str, target: Target) -> Mapping[str, Any]:
    balancers = _listed("load balancers", target, "elbv2", "describe_load_balancers", "LoadBalancers")
    listed = [(one["LoadBalancerName"], one, one["LoadBalancerArn"]) for one in balancers]
    found: Mapping[str, Any] = _only("load balancer", name, listed)
    return found


def _target_group_arn(name: str, target: Target) -> str:
    groups = _listed("target groups", target, "elbv2", "describe_target_groups", "TargetGroups")
    arns = [(one["TargetGroupName"], one["TargetGroupArn"], one["TargetGroupArn"]) for one in groups]
    return str(_only("target group", name, arns))


def _listed(
    what: str, target: Target, service: str, operation: str, part: str, **request: Any
) -> list[Mapping[str, Any]]:
    """Everything that an operation lists: `part` of each of its pages."""
    with aws_errors(f"listing {what}"):
        return list(listed(target.client(service), operation, part, **request))


def _only(what: str, name: str, listed: Sequence[tuple[str, Any, str]]) -> Any:
    """What is listed under a name; `listed` are names, what they stand for, and how each is told from another.

    Raises:
        NotFound: nothing is.
        TargetError: two are, as AWS lets HTTP APIs, user pools and their clients be: one of them is somebody else's.
    """
    found = [(value, which) for of, value, which in listed if of == name]
    if not found:
        raise NotFound(
            f"expected the {what} '{name}', found none of that name. {near_match(name, [of for of, *_ in listed])}"
        )
    if len(found) > 1:
        told = ", ".join(sorted(which for _, which in found))
        raise TargetError(
            f"expected one {what} '{name}', found {len(found)} of that name: {told}. Rename or remove the others; or "
            "keep the id or the URL of the right one in an SSM parameter, and look that up."
        )
    return found[0][0]


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
        raise InvalidInput(_undefined(name, values))
    return values[name]


def _undefined(name: str, known: Iterable[str]) -> str:
    # As a template writes it: a pseudo parameter, or the name of a resource in camel case.
    ours = _PSEUDO_PARAMETERS.get(name) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return (
        f"expected '${{{shortened(name)}}}' to be account, region or one of the system's lookups. "
        f"{near_match(ours, known)}"
    )
