"""The fault door of every stub, in front of a third party of two paths."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tocsin.errors import SandboxError
from tocsin.model.doors import TOKEN_HEADER
from tocsin.model.third_party import CALLS, DOOR, LOOKING, MARK
from tocsin.project.documents import load_system, system_names
from tocsin.sandbox import stubs
from tocsin.sandbox.stubs.server import serve

ROOT = Path(__file__).parents[3]
WELL = {"value": "sunny", "days": [1, 2, 3]}
OPTIONS = {
    "microsoft-graph": {"tenant": "t", "client_id": "c", "client_secret": "not-a-secret"},
    "openai": {"api_key": "not-a-secret"},
    "openweathermap": {"api_key": "not-a-secret"},
    "pagerduty": {"routing_key": "not-a-secret-of-thirty-two-chars"},
    "slack": {"webhook": "T0/B0/not-a-secret"},
}
DOOR_TOKEN = "not-a-secret-token"
KNOCK = {TOKEN_HEADER: DOOR_TOKEN}
Scenario = Callable[[httpx.AsyncClient], Awaitable[None]]


async def weather(request: Request) -> JSONResponse:
    await request.body()
    return JSONResponse(WELL)


def third_party() -> stubs.ThirdParty:
    routes = [Route(path, weather, methods=["GET", "POST"]) for path in ("/v1/weather", "/v1/alerts")]
    return stubs.ThirdParty(Starlette(routes=routes), lambda status: {"cod": status, "message": "out of order"})


def with_stub(scenario: Scenario) -> None:
    async def run() -> None:
        stub = serve("weather", third_party(), DOOR_TOKEN)
        try:
            client = httpx.AsyncClient(base_url=stub.base_url, timeout=60, headers=KNOCK)
            async with client, asyncio.timeout(120):
                await scenario(client)
        finally:
            await stub.close()
            await stub.close()

    asyncio.run(run())


async def told(client: httpx.AsyncClient, **fault: object) -> None:
    answer = await client.put(DOOR, json=fault)
    assert answer.status_code == 204, answer.text


async def mended(client: httpx.AsyncClient) -> None:
    await client.delete(DOOR)
    answer = await client.get("/v1/weather")
    assert (answer.status_code, answer.json()) == (200, WELL)
    assert MARK not in answer.headers


def test_a_status_is_an_error_in_the_third_partys_words_or_with_a_body_of_ones_own() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await told(client, status=429, headers={"Retry-After": "7"})
        answer = await client.post("/v1/weather", json={"q": "Hanoi"})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "7"
        assert answer.headers[MARK] == "answer"
        assert answer.json() == {"cod": 429, "message": "out of order"}
        await told(client, status=500, body="<html>oops</html>", headers={"Content-Type": "text/html"})
        answer = await client.get("/v1/weather")
        assert (answer.status_code, answer.text) == (500, "<html>oops</html>")
        assert answer.headers["content-type"] == "text/html"
        await told(client, body='{"choices": []}')
        assert (await client.get("/v1/weather")).json() == {"choices": []}
        await told(client, status=204)
        assert (await client.get("/v1/weather")).content == b""
        await mended(client)

    with_stub(scenario)


def test_a_delay_keeps_the_usual_answer() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await told(client, delay_s=0.2)
        started = time.monotonic()
        answer = await client.get("/v1/weather")
        assert time.monotonic() - started >= 0.2
        assert answer.json() == WELL
        await mended(client)

    with_stub(scenario)


def test_a_broken_body_is_whole_and_does_not_parse() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await told(client, mode="malformed")
        answer = await client.get("/v1/weather")
        assert answer.status_code == 200
        with pytest.raises(json.JSONDecodeError):
            answer.json()
        await told(client, mode="malformed", status=503)
        assert (await client.get("/v1/weather")).status_code == 503
        await mended(client)

    with_stub(scenario)


def test_a_cut_body_is_shorter_than_it_said() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await told(client, mode="cut")
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            await client.get("/v1/weather")
        await mended(client)

    with_stub(scenario)


def test_a_stream_comes_in_pieces() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await told(client, mode="stream", delay_s=0.4)
        started = time.monotonic()
        async with client.stream("GET", "/v1/weather") as answer:
            pieces = [piece async for piece in answer.aiter_raw()]
        assert time.monotonic() - started >= 0.4
        assert len(pieces) > 1
        assert json.loads(b"".join(pieces)) == WELL
        await mended(client)

    with_stub(scenario)


def test_a_dropped_connection_has_no_answer() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await told(client, mode="drop")
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await client.get("/v1/weather")
        calls = (await client.get(CALLS)).json()["value"]
        assert [call["status"] for call in calls] == [None]
        await mended(client)

    with_stub(scenario)


def test_whoever_hangs_gives_up_or_loses_the_connection_when_the_door_is_closed() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await told(client, mode="hang")
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/v1/weather", timeout=httpx.Timeout(60, read=0.2))
        hanging = asyncio.create_task(client.get("/v1/weather"))
        while len((await client.get(CALLS)).json()["value"]) < 2:
            await asyncio.sleep(0.01)
        assert not hanging.done()
        await client.delete(DOOR)
        with pytest.raises(httpx.RemoteProtocolError):
            await hanging
        await mended(client)

    with_stub(scenario)


def test_a_stub_that_hangs_can_be_closed() -> None:
    async def run() -> None:
        stub = serve("weather", third_party(), DOOR_TOKEN)
        async with httpx.AsyncClient(base_url=stub.base_url, headers=KNOCK) as client, asyncio.timeout(60):
            await told(client, mode="hang")
            hanging = asyncio.create_task(client.get("/v1/weather", timeout=None))
            while not (await client.get(CALLS)).json()["value"]:
                await asyncio.sleep(0.01)
            await stub.close()
            with pytest.raises(httpx.TransportError):
                await hanging

    asyncio.run(run())


def test_only_the_requests_it_is_about() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await told(client, status=503, path="/v*/alerts", method="POST")
        assert (await client.post("/v1/alerts")).status_code == 503
        assert (await client.get("/v1/alerts")).status_code == 200
        assert (await client.post("/v1/weather")).status_code == 200

    with_stub(scenario)


def test_a_per_cent_of_the_requests() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await told(client, status=503, percent=50)
        found = [(await client.get("/v1/weather")).status_code for _ in range(200)]
        # Fewer than 50 or more than 150 heads in 200 throws: once in 10^12 runs.
        assert 50 < found.count(503) < 150
        assert found.count(503) + found.count(200) == 200

    with_stub(scenario)


def test_so_many_requests_and_then_none() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await told(client, status=503, count=2)
        assert (await client.get(DOOR)).json() == {"stub": "weather", "fault": {"status": 503, "count": 2}}
        found = [(await client.get("/v1/weather")).status_code for _ in range(3)]
        assert found == [503, 503, 200]
        assert (await client.get(DOOR)).json()["fault"] is None

    with_stub(scenario)


def test_calls_are_kept_and_nothing_of_them_that_may_be_secret() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        before = time.time()
        await client.post(
            "/v1/weather?appid=sEcReT", headers={"Authorization": "Bearer sEcReT"}, json={"password": "sEcReT"}
        )
        await client.get("/v1/weather", headers={"User-Agent": LOOKING})
        answer = await client.get(CALLS)
        assert "sEcReT" not in answer.text
        (call,) = answer.json()["value"]
        assert before <= call.pop("at") <= time.time()
        assert call == {"method": "POST", "path": "/v1/weather", "status": 200}

    with_stub(scenario)


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ({}, "expected what is wrong"),
        ({"state": 503}, "state"),
        ({"status": 99}, "greater than or equal to 200"),
        ({"mode": "hang", "status": 503}, "expected no `status` with the mode hang"),
        ({"mode": "stream"}, "expected `delay_s`"),
        ({"mode": "malformed", "body": "{"}, "expected no `body`"),
        ({"headers": {"a b": "c"}}, "printable ASCII"),
        ({"headers": {"a": "b\r\nc: d"}}, "printable ASCII"),
        ({"status": 503, "percent": 0}, "percent"),
        ({"status": 503, "method": "get"}, "method"),
    ],
)
def test_what_the_door_does_not_understand_is_refused_and_changes_nothing(
    fault: dict[str, object], complaint: str
) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.put(DOOR, json=fault)
        assert answer.status_code == 400
        assert complaint in answer.json()["error"]
        await mended(client)

    with_stub(scenario)


@pytest.mark.parametrize(
    "headers",
    [
        {TOKEN_HEADER: ""},
        {TOKEN_HEADER: DOOR_TOKEN + "x"},
        {"origin": "https://evil.test"},
        {"sec-fetch-site": "same-origin"},
        {"origin": "null", "sec-fetch-site": "cross-site"},
    ],
)
def test_the_door_opens_to_nobody_without_the_token_and_to_no_page(headers: dict[str, str]) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        fault = {"status": 503}
        for method, path in (("GET", DOOR), ("PUT", DOOR), ("DELETE", DOOR), ("GET", CALLS), ("POST", "/_fault")):
            answer = await client.request(method, path, json=fault, headers=headers)
            assert answer.status_code == 403, (method, path)
            assert set(answer.json()) == {"error"}
        assert (await client.get("/v1/weather", headers=headers)).json() == WELL, "the third party is there for all"
        await told(client, **fault)
        assert (await client.delete(DOOR, headers=headers)).status_code == 403
        assert (await client.get("/v1/weather")).status_code == 503
        await mended(client)

    with_stub(scenario)


@pytest.mark.parametrize("kind", stubs.STUBS)
def test_every_stub_has_the_door(kind: str) -> None:
    async def run() -> None:
        stub = await stubs.start(kind, OPTIONS[kind], DOOR_TOKEN)
        try:
            async with httpx.AsyncClient(base_url=stub.base_url, headers=KNOCK) as client:
                assert (await client.get(DOOR)).json() == {"stub": kind, "fault": None}
                await told(client, status=503)
                assert (await client.get("/")).status_code == 503
        finally:
            await stub.close()

    asyncio.run(run())


def test_a_kind_that_does_not_exist() -> None:
    with pytest.raises(SandboxError, match="Did you mean 'microsoft-graph'"):
        asyncio.run(stubs.start("microsoft-grph", {}, DOOR_TOKEN))


def test_every_stub_that_a_system_file_names_exists() -> None:
    named = {one.stub for name in system_names(ROOT) for one in load_system(ROOT, name).third_parties.values()}
    assert named
    assert named <= stubs.STUBS.keys()
