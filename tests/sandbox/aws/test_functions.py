"""Lambda functions behind an HTTP API, an alias and the Invoke API."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import boto3
import httpx
import psutil
import pytest
from botocore.exceptions import ClientError
from tests.sandbox.aws.shop import FUNCTION, Shop, eventually

from tocsin.sandbox import control

LAMBDA = ("Invocations", "Errors", "Throttles")


def lambda_counts(shop: Shop, function: str) -> dict[str, float]:
    return {name: shop.total("AWS/Lambda", name, FunctionName=function) for name in LAMBDA}


def growth(count: Callable[[], dict[str, float]], act: Callable[[], object]) -> dict[str, float]:
    before = count()
    act()
    return {name: value - before[name] for name, value in count().items()}


@contextmanager
def reserved(shop: Shop, function: str, concurrency: int) -> Iterator[None]:
    client = shop.client("lambda")
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=concurrency)
    try:
        yield
    finally:
        client.delete_function_concurrency(FunctionName=function)


# ------------------------------------------------------------------------------------------------ HTTP API


@pytest.mark.parametrize("by_stage", [False, True])
def test_metrics_of_an_http_api(shop: Shop, by_stage: bool) -> None:
    dimensions = {"ApiId": shop.api_id} | ({"Stage": "$default"} if by_stage else {})

    def count() -> dict[str, float]:
        return {name: shop.total("AWS/ApiGateway", name, **dimensions) for name in ("Count", "4xx", "5xx")}

    def visit() -> None:
        statuses = [shop.get(path).status_code for path in ("/", "/teapot", "/unavailable", "/fail")]
        assert statuses == [200, 418, 503, 500]

    assert growth(count, visit) == {"Count": 4, "4xx": 1, "5xx": 2}
    latency = shop.total("AWS/ApiGateway", "Latency", "Maximum", **dimensions)
    assert latency >= shop.total("AWS/ApiGateway", "IntegrationLatency", "Maximum", **dimensions) > 0
    assert shop.total("AWS/ApiGateway", "Latency", "SampleCount", **dimensions) == count()["Count"]


def test_an_alarm_on_an_api_rings_and_clears(shop: Shop) -> None:
    dimensions = [{"Name": "ApiId", "Value": shop.api_id}, {"Name": "Stage", "Value": "$default"}]
    shop.put_alarm("api-5xx", Namespace="AWS/ApiGateway", MetricName="5xx", Dimensions=dimensions, Threshold=1)
    # As the console of REST APIs calls it: no HTTP API ever publishes this.
    shop.put_alarm("api-5XX", Namespace="AWS/ApiGateway", MetricName="5XXError", Dimensions=dimensions, Threshold=1)
    shop.get("/unavailable")
    shop.wait_for_ring("api-5xx")
    shop.wait_for("api-5xx", "OK")
    assert "ALARM" not in shop.states("api-5XX")


def test_a_failing_function_is_a_500(shop: Shop) -> None:
    for path in ("/fail", "/die"):
        found = growth(lambda: lambda_counts(shop, "shop-api"), lambda path=path: shop.get(path))
        assert found == {"Invocations": 1, "Errors": 1, "Throttles": 0}
        answer = shop.get(path)
        assert (answer.status_code, answer.json()) == (500, {"message": "Internal Server Error"})


def test_a_throttled_function_is_a_503(shop: Shop) -> None:
    with reserved(shop, "shop-api", 0):
        found = growth(lambda: lambda_counts(shop, "shop-api"), lambda: shop.get("/"))
        answer = shop.get("/")
        assert (answer.status_code, answer.json()) == (503, {"message": "Service Unavailable"})
    assert found == {"Invocations": 0, "Errors": 0, "Throttles": 1}
    assert shop.get("/").status_code == 200


def test_a_function_that_takes_too_long_is_a_503(shop: Shop) -> None:
    answer = shop.invoke("shop-worker", {"do": "sleep"})
    assert answer["FunctionError"] == "Unhandled"
    assert "Task timed out after 4.00 seconds" in answer["Payload"]["errorMessage"]
    eventually(lambda: shop.logged("shop-worker", "Task timed out"))
    slow = shop.get("/sleep")
    assert (slow.status_code, slow.json()) == (503, {"message": "Service Unavailable"})


def test_an_unknown_api_is_a_404(shop: Shop) -> None:
    answer = httpx.get(f"{shop.account.endpoint_url}/_aws/execute-api/nobody/path")
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})


# ------------------------------------------------------------------------------------------------ invocations


def test_the_keys_of_a_function_do_not_follow_from_its_name(shop: Shop) -> None:
    shop.invoke("shop-api", {"say": "hello"})
    function = shop.client("lambda").get_function(FunctionName="shop-api")["Configuration"]
    digest = hashlib.sha256(f"{function['FunctionArn']}:{function['Role']}".encode()).hexdigest()
    client = boto3.client(
        "sts",
        endpoint_url=shop.account.endpoint_url,
        region_name=shop.account.region,
        aws_access_key_id=f"ASIA{digest[:16].upper()}",
        aws_secret_access_key=hashlib.sha256(f"secret:{digest}".encode()).hexdigest(),
        aws_session_token=hashlib.sha256(f"token:{digest}".encode()).hexdigest(),
    )
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        client.get_caller_identity()


def test_invoke(shop: Shop) -> None:
    answer = shop.invoke("shop-api", {"say": "hello"}, LogType="Tail")
    assert answer["Payload"] == {"release": "one", "version": "$LATEST", "say": "hello"}
    assert "FunctionError" not in answer
    assert '"said": "hello"' in base64.b64decode(answer["LogResult"]).decode()
    assert shop.total("AWS/Lambda", "Duration", "Maximum", FunctionName="shop-api") > 0


def test_invoke_a_failing_function(shop: Shop) -> None:
    found = growth(
        lambda: lambda_counts(shop, "shop-api"),
        lambda: shop.invoke("shop-api", {"do": "fail"}),
    )
    assert found == {"Invocations": 1, "Errors": 1, "Throttles": 0}
    answer = shop.invoke("shop-api", {"do": "fail"})
    assert answer["FunctionError"] == "Unhandled"
    assert (answer["Payload"]["errorType"], answer["Payload"]["errorMessage"]) == ("RuntimeError", "as asked")


def test_invoke_a_throttled_function(shop: Shop) -> None:
    client = shop.client("lambda")

    def refused() -> None:
        with pytest.raises(ClientError) as caught:
            shop.invoke("shop-api:live", {})
        assert caught.value.response["Error"]["Code"] == "TooManyRequestsException"

    with reserved(shop, "shop-api", 0):
        found = growth(lambda: lambda_counts(shop, "shop-api"), refused)
        assert client.get_function_concurrency(FunctionName="shop-api")["ReservedConcurrentExecutions"] == 0
    # boto3 tries a throttled call again.
    assert found["Invocations"] == 0
    assert found["Throttles"] >= 1
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName="shop-api")


def test_reserved_concurrency_lets_that_many_through(shop: Shop) -> None:
    def six_at_once() -> None:
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(lambda _: shop.get("/sleep"), range(6)))
        # Two were let through and timed out; the rest was refused. Both look alike to the caller.
        assert [answer.status_code for answer in answers] == [503] * 6, [answer.text for answer in answers]

    with reserved(shop, "shop-api", 2):
        found = growth(lambda: lambda_counts(shop, "shop-api"), six_at_once)
    assert (found["Invocations"], found["Throttles"]) == (2, 4)


def test_a_burst_of_slow_invocations_is_not_throttled(shop: Shop) -> None:
    """Environments start one after the other here, which callers may feel as time and never as a refusal."""

    def burst() -> None:
        with ThreadPoolExecutor(24) as threads:
            list(threads.map(lambda _: shop.invoke("shop-worker", {"do": "sleep", "seconds": 0.7}), range(24)))

    found = growth(lambda: lambda_counts(shop, "shop-worker"), burst)
    assert found == {"Invocations": 24, "Errors": 0, "Throttles": 0}


def test_the_log_of_every_invocation_can_be_read(shop: Shop) -> None:
    with ThreadPoolExecutor(30) as threads:
        answers = list(threads.map(lambda n: shop.invoke("shop-api", {"say": f"marker-{n:02}"}), range(30)))
    requests = {answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] for answer in answers}
    assert len(requests) == 30
    said = {json.loads(line)["said"] for line in shop.logged("shop-api", "marker-")}
    assert said >= {f"marker-{n:02}" for n in range(30)}
    ids = {json.loads(line)["requestId"] for line in shop.logged("shop-api", "marker-")}
    reports = "\n".join(shop.logged("shop-api", "REPORT RequestId"))
    assert all(request in reports for request in ids)


# ------------------------------------------------------------------------------------------------ releases


def package(source: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", source)
    return packed.getvalue()


def sha256(code: bytes) -> str:
    return base64.b64encode(hashlib.sha256(code).digest()).decode()


def test_a_release_and_its_rollback(shop: Shop) -> None:
    client = shop.client("lambda")
    good = client.get_alias(FunctionName="shop-api", Name="live")["FunctionVersion"]
    described = client.get_function(FunctionName="shop-api", Qualifier=good)
    old_code = httpx.get(described["Code"]["Location"]).content
    assert sha256(old_code) == described["Configuration"]["CodeSha256"]
    assert shop.get("/").json() == {"release": "one", "version": good}

    new_code = package(FUNCTION.replace('RELEASE = "one"', 'RELEASE = "two"'))
    published = client.update_function_code(FunctionName="shop-api", ZipFile=new_code, Publish=True)
    shop.settle("shop-api")
    assert published["CodeSha256"] == sha256(new_code) != described["Configuration"]["CodeSha256"]
    assert published["FunctionArn"].endswith(f":shop-api:{published['Version']}")
    assert int(published["Version"]) > int(good)

    # The alias has not moved; $LATEST has.
    assert shop.get("/").json() == {"release": "one", "version": good}
    assert shop.invoke("shop-api:live", {})["Payload"]["release"] == "one"
    assert shop.invoke("shop-api", {})["Payload"]["release"] == "two"
    client.update_alias(FunctionName="shop-api", Name="live", FunctionVersion=published["Version"])
    assert shop.get("/").json() == {"release": "two", "version": published["Version"]}
    assert httpx.get(client.get_function(FunctionName="shop-api")["Code"]["Location"]).content == new_code

    client.update_alias(FunctionName="shop-api", Name="live", FunctionVersion=good)
    assert shop.get("/").json() == {"release": "one", "version": good}
    restored = client.update_function_code(FunctionName="shop-api", ZipFile=old_code)
    assert restored["CodeSha256"] == described["Configuration"]["CodeSha256"]
    assert shop.invoke("shop-api", {})["Payload"]["release"] == "one"


def test_a_new_environment_variable_is_never_served_stale(shop: Shop) -> None:
    client = shop.client("lambda")
    client.create_function(
        FunctionName="shop-greeter",
        Runtime="python3.11",
        Role="arn:aws:iam::123456789012:role/shop",
        Handler="app.handler",
        Code={
            "ZipFile": package(
                "import os\ndef handler(event, context):\n    return os.environ.get('GREETING', 'none')\n"
            )
        },
    )
    assert shop.invoke("shop-greeter", {})["Payload"] == "none"
    for greeting in ("hello", "good day"):
        shop.settle("shop-greeter")
        client.update_function_configuration(
            FunctionName="shop-greeter", Environment={"Variables": {"GREETING": greeting}}
        )
        assert shop.invoke("shop-greeter", {})["Payload"] == greeting


def test_provisioned_concurrency_becomes_ready_and_is_listed(shop: Shop) -> None:
    client = shop.client("lambda")
    client.put_provisioned_concurrency_config(
        FunctionName="shop-api", Qualifier="live", ProvisionedConcurrentExecutions=1
    )

    def ready() -> bool:
        config = client.get_provisioned_concurrency_config(FunctionName="shop-api", Qualifier="live")
        return bool(config["Status"] == "READY")

    eventually(ready)
    (listed,) = client.list_provisioned_concurrency_configs(FunctionName="shop-api")["ProvisionedConcurrencyConfigs"]
    assert listed["FunctionArn"].endswith(":shop-api:live")
    client.delete_provisioned_concurrency_config(FunctionName="shop-api", Qualifier="live")


# ------------------------------------------------------------------------------------------------ other services


@pytest.mark.parametrize(("service", "call"), [("synthetics", "describe_canaries"), ("xray", "get_groups")])
def test_a_service_that_is_not_there_says_so_at_once(shop: Shop, service: str, call: str) -> None:
    state = control.status(shop.root)
    assert state is not None
    daemon = psutil.Process(state.pid)
    before_s = sum(daemon.cpu_times()[:2])
    with pytest.raises(ClientError) as caught:
        getattr(shop.account.client(service), call)()
    assert caught.value.response["Error"]["Code"] == "UnsupportedOperation"
    assert service in caught.value.response["Error"]["Message"]
    # Left to itself, ministack reads the models of all services first, for five seconds; of the processor, since on the
    # wall it depends on who else is busy.
    assert sum(daemon.cpu_times()[:2]) - before_s < 4


def test_an_alarm_sees_an_invocation_that_took_long(shop: Shop) -> None:
    # Six real seconds are six production minutes here: twice the range of an alarm on one minute.
    shop.client("lambda").create_function(
        FunctionName="shop-slow",
        Runtime="python3.11",
        Role="arn:aws:iam::123456789012:role/shop",
        Handler="app.handler",
        Code={"ZipFile": package(FUNCTION)},
        Timeout=10,
    )
    shop.put_alarm(
        "slow",
        Namespace="AWS/Lambda",
        MetricName="Duration",
        Dimensions=[{"Name": "FunctionName", "Value": "shop-slow"}],
        Statistic="Maximum",
        Threshold=5000,
    )
    shop.wait_for("slow", "OK")
    shop.invoke("shop-slow", {"do": "sleep", "seconds": 6})
    shop.wait_for_ring("slow")
