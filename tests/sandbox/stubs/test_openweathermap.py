"""The stub of OpenWeatherMap, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import httpx
import pytest
from tests.sandbox.stubs.test_door import DOOR_TOKEN, KNOCK

from tocsin.errors import SandboxError
from tocsin.model.third_party import DOOR
from tocsin.sandbox import stubs

NOW, FORECAST = "/data/2.5/weather", "/data/2.5/forecast"
STORM = {"id": 211, "temp_k": 283.15, "wind_ms": 20.0, "visibility_m": 800}
OPTIONS = {"api_key": "not-a-secret", "places": json.dumps({"52.31, 4.76": STORM})}
AMSTERDAM = {"lat": "52.308", "lon": "4.764", "appid": "not-a-secret"}
LISBON = {"lat": "38.77", "lon": "-9.13", "appid": "not-a-secret"}


def with_stub(scenario: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        stub = await stubs.start("openweathermap", OPTIONS, DOOR_TOKEN)
        try:
            async with httpx.AsyncClient(base_url=stub.base_url, headers=KNOCK) as client:
                await scenario(client)
        finally:
            await stub.close()

    asyncio.run(run())


def test_the_weather_is_what_it_was_told_to_be_and_clear_elsewhere() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        before = int(time.time())
        storm = (await client.get(NOW, params=AMSTERDAM)).json()
        assert storm["coord"] == {"lat": 52.308, "lon": 4.764}
        assert storm["weather"] == [{"id": 211, "main": "Thunderstorm", "description": "thunderstorm", "icon": "11d"}]
        assert (storm["main"]["temp"], storm["wind"]["speed"], storm["visibility"]) == (283.15, 20.0, 800)
        assert before <= storm["dt"] <= time.time()
        assert storm["cod"] == 200
        clear = (await client.get(NOW, params=LISBON)).json()
        assert [one["main"] for one in clear["weather"]] == ["Clear"]
        assert clear["visibility"] == 10_000

    with_stub(scenario)


@pytest.mark.parametrize(
    ("units", "degrees", "wind"),
    [("standard", 283.15, 20.0), ("metric", 10.0, 20.0), ("imperial", 50.0, 44.74), ("other", 283.15, 20.0)],
)
def test_units(units: str, degrees: float, wind: float) -> None:
    """https://openweathermap.org/current#data"""

    async def scenario(client: httpx.AsyncClient) -> None:
        for path in (NOW, FORECAST):
            answer = (await client.get(path, params={**AMSTERDAM, "units": units})).json()
            one = answer if path == NOW else answer["list"][0]
            assert (one["main"]["temp"], one["wind"]["speed"]) == (degrees, wind)

    with_stub(scenario)


def test_a_forecast_of_five_days_every_three_hours() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        before = time.time()
        answer = (await client.get(FORECAST, params=AMSTERDAM)).json()
        assert (answer["cod"], answer["cnt"], len(answer["list"])) == ("200", 40, 40)
        times = [one["dt"] for one in answer["list"]]
        assert times == [times[0] + 10_800 * number for number in range(40)]
        assert times[0] % 10_800 == 0
        assert before < times[0] <= time.time() + 10_800
        assert {one["weather"][0]["id"] for one in answer["list"]} == {211}
        assert answer["city"]["coord"] == {"lat": 52.308, "lon": 4.764}
        assert (await client.get(FORECAST, params={**AMSTERDAM, "cnt": "3"})).json()["cnt"] == 3
        for odd in ("0", "-1", "many", "41", "²"):
            assert (await client.get(FORECAST, params={**AMSTERDAM, "cnt": odd})).json()["cnt"] == 40

    with_stub(scenario)


@pytest.mark.parametrize(
    ("changed", "status", "cod", "message"),
    [
        ({"appid": "wrong"}, 401, 401, "Invalid API key."),
        ({"appid": ""}, 401, 401, "Invalid API key."),
        ({"lat": ""}, 400, "400", "Nothing to geocode"),
        ({"lat": "91"}, 400, "400", "wrong latitude"),
        ({"lat": "nan"}, 400, "400", "wrong latitude"),
        ({"lon": "east"}, 400, "400", "wrong longitude"),
    ],
)
def test_what_is_refused(changed: dict[str, str], status: int, cod: object, message: str) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for path in (NOW, FORECAST):
            answer = await client.get(path, params=AMSTERDAM | changed)
            assert answer.status_code == status
            assert answer.json()["cod"] == cod
            assert message in answer.json()["message"]
            assert answer.headers["content-type"].startswith("application/json")

    with_stub(scenario)


def test_what_it_has_not_is_not_there() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for path in ("/data/3.0/onecall", "/geo/1.0/direct", "/"):
            assert (await client.get(path, params=AMSTERDAM)).status_code == 404
        assert (await client.post(NOW, params=AMSTERDAM)).status_code == 405

    with_stub(scenario)


def test_behind_the_door_it_speaks_its_own_errors() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        for status, said in ((429, "Your account is temporary blocked"), (502, "The fault door is open.")):
            await client.put(DOOR, json={"status": status})
            answer = await client.get(NOW, params=AMSTERDAM)
            assert (answer.status_code, answer.json()["cod"]) == (status, status)
            assert said in answer.json()["message"]

    with_stub(scenario)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "expects the option api_key"),
        ({"api_key": "k", "weather": '{"id": 400}'}, "expected a code of"),
        ({"api_key": "k", "weather": '{"id": 799}'}, "expected a code of"),
        ({"api_key": "k", "weather": '{"wind": 3}'}, "wind"),
        ({"api_key": "k", "weather": "stormy"}, "expects weather"),
        ({"api_key": "k", "places": '{"Amsterdam": {}}'}, "expects places as '52.31,4.76', found 'Amsterdam'"),
        ({"api_key": "k", "places": '{"52": {}}'}, "expects places as"),
        ({"api_key": "k", "places": "[]"}, "expects weather"),
    ],
)
def test_options_are_checked(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(SandboxError, match=complaint):
        asyncio.run(stubs.start("openweathermap", options, DOOR_TOKEN))
