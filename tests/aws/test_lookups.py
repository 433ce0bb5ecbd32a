"""From names to what they are: every page is read, and of two of one name neither is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.stubbed import Request, Stubbed

from tocsin.aws.lookups import base_url_of, placeholder_problems, resolve_base_url, resolve_system
from tocsin.aws.target import Target
from tocsin.errors import NotFound, TargetError
from tocsin.model.system import Endpoint, System

POOLS = [{"Id": "eu-west-1_a", "Name": "staff"}, {"Id": "eu-west-1_b", "Name": "staff"}]


def api_of(number: int, name: str, **more: Any) -> dict[str, Any]:
    url = f"https://api{number:03}.execute-api.eu-west-1.amazonaws.com"
    fixed = {"ProtocolType": "HTTP", "RouteSelectionExpression": "$request.method $request.path"}
    return {"ApiId": f"api{number:03}", "Name": name, "ApiEndpoint": url, **fixed, **more}


def pages(items: list[dict[str, Any]], asked: Request, size: int = 25) -> Mapping[str, Any]:
    """As API Gateway: a page of some, and where the next one begins."""
    first = int(asked.get("NextToken", 0))
    more = {"NextToken": str(first + size)} if first + size < len(items) else {}
    return {"Items": items[first : first + size], **more}


@pytest.fixture
def api(target: Target) -> Stubbed:
    """Ninety HTTP APIs, the 88th of which is the shop."""
    api = Stubbed(target)
    apis = [api_of(number, f"other-{number}") for number in range(90)]
    apis[87] = api_of(87, "shop")
    api.answers("apigatewayv2", "GetApis", lambda asked: pages(apis, asked))
    has_stages(api, "$default")
    return api


def has_apis(api: Stubbed, *apis: dict[str, Any]) -> None:
    api.answers("apigatewayv2", "GetApis", {"Items": list(apis)})


def has_stages(api: Stubbed, *names: str) -> None:
    stages = [{"StageName": name} for name in names]
    api.answers("apigatewayv2", "GetStages", lambda asked: pages(stages, asked, size=1))


def url(target: Target, **endpoint: str) -> str:
    return resolve_base_url(Endpoint(**endpoint), target)


def system(endpoint: Mapping[str, str], **lookups: Mapping[str, str]) -> System:
    return System.model_validate({"system": "shop", "title": "Shop", "endpoint": endpoint, "lookups": lookups})


def test_one_of_ninety_is_found(target: Target, api: Stubbed) -> None:
    assert url(target, http_api="shop") == "https://api087.execute-api.eu-west-1.amazonaws.com"
    with pytest.raises(NotFound, match="Did you mean 'shop'"):
        url(target, http_api="shopp")


def test_two_http_apis_of_one_name_are_refused(target: Target, api: Stubbed) -> None:
    has_apis(api, api_of(1, "shop"), api_of(2, "shop"))
    with pytest.raises(TargetError, match="expected one HTTP API 'shop', found 2 of that name: api001, api002"):
        url(target, http_api="shop")
    with pytest.raises(TargetError, match="found 2 of that name"):
        resolve_system(system({"url": "https://shop.test"}, api_id={"http_api": "shop"}), target)


def test_two_user_pools_of_one_name_are_refused(target: Target, api: Stubbed) -> None:
    api.answers("cognito-idp", "ListUserPools", {"UserPools": POOLS})
    with pytest.raises(TargetError, match="user pool 'staff', found 2 of that name: eu-west-1_a, eu-west-1_b"):
        resolve_system(system({"url": "https://shop.test"}, pool={"user_pool": "staff"}), target)


def test_two_app_clients_of_one_name_are_refused(target: Target, api: Stubbed) -> None:
    api.answers("cognito-idp", "ListUserPools", {"UserPools": POOLS[:1]})
    clients = [{"ClientId": number, "ClientName": "web", "UserPoolId": "eu-west-1_a"} for number in ("c1", "c2")]
    api.answers("cognito-idp", "ListUserPoolClients", {"UserPoolClients": clients})
    with pytest.raises(TargetError, match="one app client 'web', found 2 of that name: c1, c2"):
        resolve_system(system({"url": "https://shop.test"}, web={"user_pool": "staff", "client": "web"}), target)


# ------------------------------------------------------------------------------------------------------- stages


@pytest.mark.parametrize(
    ("stages", "named", "path"),
    [
        (["$default"], {}, ""),
        (["dev", "$default"], {}, ""),
        (["prod"], {}, "/prod"),
        (["dev", "prod"], {"stage": "prod"}, "/prod"),
        (["dev", "$default"], {"stage": "$default"}, ""),
    ],
)
def test_callers_come_by_a_stage(
    target: Target, api: Stubbed, stages: list[str], named: Mapping[str, str], path: str
) -> None:
    has_stages(api, *stages)
    assert url(target, http_api="shop", **named) == f"https://api087.execute-api.eu-west-1.amazonaws.com{path}"


@pytest.mark.parametrize(
    ("stages", "named", "words"),
    [
        (["dev", "prod"], {}, "the stage \\$default, found dev, prod. Name the `stage`"),
        (["dev", "prod"], {"stage": "prd"}, "the stage 'prd'. Did you mean 'prod'"),
        ([], {}, "the stage '\\$default'. None is known"),
    ],
)
def test_a_stage_that_is_not_there_is_named(
    target: Target, api: Stubbed, stages: list[str], named: Mapping[str, str], words: str
) -> None:
    has_stages(api, *stages)
    with pytest.raises(NotFound, match=words):
        url(target, http_api="shop", **named)


def test_an_api_that_answers_only_at_its_own_domain_is_named(target: Target, api: Stubbed) -> None:
    has_apis(api, api_of(1, "shop", DisableExecuteApiEndpoint=True))
    with pytest.raises(TargetError, match="found that endpoint disabled"):
        url(target, http_api="shop")


# ---------------------------------------------------------------------------------------------- names in the URL


BY_ID = system({"url": "https://${api_id}.execute-api.${region}.amazonaws.com/prod/"}, api_id={"http_api": "shop"})
WANTED = "https://api087.execute-api.eu-west-1.amazonaws.com/prod"


def test_the_url_of_an_endpoint_may_hold_names(target: Target, api: Stubbed) -> None:
    resolved = resolve_system(BY_ID, target)
    assert resolve_base_url(resolved.endpoint, target) == WANTED
    assert base_url_of(BY_ID, target) == WANTED


def test_for_the_url_alone_nothing_else_is_looked_up(target: Target, api: Stubbed) -> None:
    beside = BY_ID.model_copy(update={"lookups": {**BY_ID.lookups, **system({"url": "x"}, t={"topic": "t"}).lookups}})
    assert base_url_of(beside, target) == WANTED


def test_a_name_that_nobody_defines_is_found_in_the_url() -> None:
    (found,) = placeholder_problems(system({"url": "https://${aip_id}.test"}, api_id={"http_api": "shop"}))
    assert found[0] == ("endpoint", "url")
    assert "Did you mean 'api_id'" in found[1]
