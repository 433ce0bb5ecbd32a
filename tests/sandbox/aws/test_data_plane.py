"""What was deployed answers at ports of its own: to its own names only, and to pages as it declares.

A page whose name was made to resolve to this machine (DNS rebinding) sends that name as Host.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from tests.sandbox.aws.fleet import Fleet
from tests.sandbox.aws.shop import Shop, eventually

PAGE, EVIL = "https://admin.example.com", "https://evil.test"
FUNCTION = "cors-api"
CODE = """
import json


def handler(event, context):
    method = event["requestContext"]["http"]["method"]
    own = {"Access-Control-Allow-Origin": "*", "X-Total": "3"}
    return {"statusCode": 200, "headers": own, "body": json.dumps({"method": method})}
"""
ASKED = {"origin": PAGE, "access-control-request-method": "POST"}


@pytest.fixture(scope="module")
def function(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A function that says the method, and has an opinion of its own about CORS: its ARN."""
    directory: Path = tmp_path_factory.mktemp("cors")
    (directory / "app.py").write_text(CODE)
    yield shop.client("lambda").create_function(
        FunctionName=FUNCTION,
        Runtime="python3.11",
        Role="arn:aws:iam::123456789012:role/shop",
        Handler="app.handler",
        Code={"ZipFile": shop.account.zip_directory(directory)},
    )["FunctionArn"]
    shop.client("lambda").delete_function(FunctionName=FUNCTION)


def api(shop: Shop, function: str, *routes: str, **options: Any) -> str:
    """The URL of an HTTP API whose routes lead to the function."""
    apis = shop.client("apigatewayv2")
    made = apis.create_api(Name="cors", ProtocolType="HTTP", **options)
    integration = apis.create_integration(
        ApiId=made["ApiId"], IntegrationType="AWS_PROXY", IntegrationUri=function, PayloadFormatVersion="2.0"
    )["IntegrationId"]
    for route in routes:
        apis.create_route(ApiId=made["ApiId"], RouteKey=route, Target=f"integrations/{integration}")
    apis.create_stage(ApiId=made["ApiId"], StageName="$default", AutoDeploy=True)
    return str(made["ApiEndpoint"])


def said_of_cors(answer: httpx.Response) -> dict[str, str]:
    names = ("access-control-", "vary")
    return {name: value for name, value in answer.headers.items() if name.startswith(names)}


def test_an_api_answers_pages_as_its_configuration_declares(shop: Shop, function: str) -> None:
    declared = {"AllowOrigins": [PAGE], "AllowMethods": ["GET", "POST"], "AllowHeaders": ["authorization"]}
    url = api(shop, function, "POST /orders", CorsConfiguration=declared | {"MaxAge": 300})
    echoed = {"access-control-allow-origin": PAGE, "vary": "Origin"}

    preflight = httpx.options(f"{url}/orders", headers=ASKED)
    assert (preflight.status_code, preflight.text) == (204, "")
    assert said_of_cors(preflight) == echoed | {
        "access-control-allow-methods": "GET,POST",
        "access-control-allow-headers": "authorization",
        "access-control-max-age": "300",
    }
    assert said_of_cors(httpx.options(f"{url}/orders", headers=ASKED | {"origin": EVIL})) == {}

    answer = httpx.post(f"{url}/orders", headers={"origin": PAGE})
    assert (answer.json(), answer.headers["x-total"]) == ({"method": "POST"}, "3")
    assert said_of_cors(answer) == echoed, "what the function says of it is dropped"
    for headers in ({"origin": EVIL}, {}):
        assert said_of_cors(httpx.post(f"{url}/orders", headers=headers)) == {}
    assert httpx.options(f"{url}/orders").status_code == 404, "no preflight, and there is no such route"


def test_an_api_without_a_configuration_adds_nothing_and_routes_options(shop: Shop, function: str) -> None:
    url = api(shop, function, "OPTIONS /orders", "POST /orders", "POST /closed")
    asked = httpx.options(f"{url}/orders", headers=ASKED)
    assert (asked.status_code, asked.json()) == (200, {"method": "OPTIONS"})
    assert said_of_cors(asked) == {"access-control-allow-origin": "*"}, "the function's own"
    closed = httpx.options(f"{url}/closed", headers=ASKED)
    assert (closed.status_code, said_of_cors(closed)) == (404, {})


def test_a_name_of_somebody_else_is_refused_at_every_port(shop: Shop, function: str) -> None:
    url = api(shop, function, "$default")
    elb = shop.client("elbv2")
    subnets = [one["SubnetId"] for one in shop.client("ec2").describe_subnets()["Subnets"][:2]]
    (balancer,) = elb.create_load_balancer(Name="names", Subnets=subnets)["LoadBalancers"]
    fixed = {"StatusCode": "200", "ContentType": "text/plain", "MessageBody": "well"}
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": fixed}],
    )
    stub = shop.account.start_stub("openai", {"api_key": "not-a-secret"})
    places = {url: 200, f"http://{balancer['DNSName']}": 200, f"{stub}/v1/models": 401}
    for place, status in places.items():
        port = urlsplit(place).port
        for own in (f"127.0.0.1:{port}", f"localhost:{port}"):
            assert httpx.get(place, headers={"host": own}).status_code == status
        for other in (f"rebinding.test:{port}", "rebinding.test", "127.0.0.1:1"):
            answer = httpx.post(place, headers={"host": other, "origin": f"http://{other}"}, content=json.dumps({}))
            assert (answer.status_code, said_of_cors(answer)) == (421, {}), place
    elb.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])


def test_a_port_of_a_task_looks_at_no_host_and_its_load_balancer_does(fleet: Fleet) -> None:
    """What listens there is the system's own server, as on AWS; in the sandbox's front of it the name is looked at."""
    fleet.balance()
    fleet.create(fleet.define(), desired=1)
    fleet.wait_until_healthy(1)
    (port,) = fleet.health()
    foreign = {"host": "rebinding.test", "origin": "http://rebinding.test"}
    assert httpx.get(f"http://127.0.0.1:{port}/page", headers=foreign).json()["headers"]["host"] == "rebinding.test"
    before = fleet.metric("RequestCount")
    assert httpx.get(f"{fleet.url}/page", headers=foreign).status_code == 421
    assert fleet.get("/page").status_code == 200
    eventually(lambda: fleet.metric("RequestCount") == before + 1)


# --- how long a body may be -----------------------------------------------------------------------------------


def test_an_api_takes_ten_mebibytes_and_one_byte_more_is_413(shop: Shop, function: str) -> None:
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
    url = api(shop, function, "POST /orders", CorsConfiguration={"AllowOrigins": [PAGE]})
    most, headers = 10 * 1024 * 1024, {"origin": PAGE}
    assert httpx.post(f"{url}/orders", content=b"x" * most, timeout=60).status_code != 413
    for content in (b"x" * (most + 1), iter([b"x" * most, b"x"])):
        answer = httpx.post(f"{url}/orders", content=content, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()) == (413, {"message": "Request Entity Too Large"})
        assert said_of_cors(answer)["access-control-allow-origin"] == PAGE
    assert httpx.post(f"{url}/orders", content=b"small").json() == {"method": "POST"}


def test_a_stub_takes_ten_mebibytes_and_one_byte_more_is_413(shop: Shop) -> None:
    stub = shop.account.start_stub("openai", {"api_key": "not-a-secret"})
    asked = {"url": f"{stub}/v1/chat/completions", "headers": {"authorization": "Bearer not-a-secret"}, "timeout": 60}
    most = 10 * 1024 * 1024
    assert httpx.post(content=b"x" * most, **asked).status_code == 400
    for content in (b"x" * (most + 1), iter([b"x" * most, b"x"])):
        assert httpx.post(content=content, **asked).status_code == 413
    assert httpx.post(content=b"{}", **asked).status_code == 400
