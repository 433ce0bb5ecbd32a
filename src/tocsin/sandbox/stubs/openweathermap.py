"""OpenWeatherMap's current weather and 5 day forecast, as far as a caller of one needs them: the weather is a setting.

| request | answer |
|---|---|
| `GET /data/2.5/weather?lat=..&lon=..&appid=..` | 200, the weather of now |
| `GET /data/2.5/forecast?lat=..&lon=..&appid=..` | 200, `cnt` of at most 40 times, three hours apart |

`units` is `standard`, `metric` or `imperial`, anything else as `standard`. A key that is none is answered by 401, no
coordinates, or such that are none, by 400. `q`, `zip` and `id` belong to a deprecated geocoder and are answered as if
they were not there; so are `mode` (this is JSON only) and `lang`. One Call is another subscription: 404 here.

Shapes: https://openweathermap.org/current, https://openweathermap.org/forecast5,
https://openweathermap.org/weather-conditions and, of errors, https://openweathermap.org/faq; the `cod` of an error is
a text in some and a number in others, as there.
"""

from __future__ import annotations

import hmac
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tocsin.errors import SandboxError
from tocsin.model.third_party_cases import CASES
from tocsin.sandbox.stubs import ThirdParty

_STEP_S = 3 * 3600
_MOST_TIMES = 40
_ZERO_C_K = 273.15
_MPH = 2.23694
"""miles an hour in a metre a second"""
_EDGES = {"lat": 90.0, "lon": 180.0}

_CLEAR = 800
_GROUPS = {2: "Thunderstorm", 3: "Drizzle", 5: "Rain", 6: "Snow", 8: "Clouds"}
_ATMOSPHERE = {
    701: "Mist",
    711: "Smoke",
    721: "Haze",
    731: "Dust",
    741: "Fog",
    751: "Sand",
    761: "Dust",
    762: "Ash",
    771: "Squall",
    781: "Tornado",
}
_NAMES = {_CLEAR: "Clear", **_ATMOSPHERE}
_ICONS = {2: "11d", 3: "09d", 5: "10d", 6: "13d", 7: "50d", 8: "04d"}


class Weather(BaseModel):
    """What the weather is at a place, in the units that OpenWeatherMap calls standard."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: int = Field(default=_CLEAR, ge=200, le=804, description="its code: 800 is a clear sky, 2xx a thunderstorm")
    temp_k: float = Field(default=288.15, gt=0)
    wind_ms: float = Field(default=3.0, ge=0)
    visibility_m: int = Field(default=10_000, ge=0, le=10_000)

    @field_validator("id")
    @classmethod
    def _has_a_name(cls, code: int) -> int:
        if code not in _NAMES and code // 100 not in _GROUPS:
            raise ValueError(f"expected a code of https://openweathermap.org/weather-conditions, found {code}")
        return code

    def document(self, units: str) -> dict[str, object]:
        """What is the same in a current weather and in each time of a forecast."""
        group = self.id // 100
        named = _NAMES.get(self.id) or _GROUPS[group]
        icon = "01d" if self.id == _CLEAR else _ICONS[group]
        degrees = _degrees(self.temp_k, units)
        wind = round(self.wind_ms * (_MPH if units == "imperial" else 1.0), 2)
        return {
            "weather": [{"id": self.id, "main": named, "description": named.lower(), "icon": icon}],
            "main": {
                **dict.fromkeys(("temp", "feels_like", "temp_min", "temp_max"), degrees),
                "pressure": 1015,
                "humidity": 64,
                "sea_level": 1015,
                "grnd_level": 1010,
            },
            "visibility": self.visibility_m,
            "wind": {"speed": wind, "deg": 240, "gust": wind},
            "clouds": {"all": 0 if self.id == _CLEAR else 100},
        }


_WEATHERS = TypeAdapter(dict[str, Weather])


@dataclass(frozen=True)
class Options:
    """The key that is accepted, and the weather: everywhere, and at some places."""

    api_key: str
    everywhere: Weather
    places: Mapping[tuple[float, float], Weather]
    """by latitude and longitude, rounded as callers round them: to two places"""

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Options:
        """From `api_key`, and as JSON `weather` (a `Weather`) and `places` (`"lat,lon"` -> `Weather`).

        Raises:
            SandboxError: no key, or what is no weather.
        """
        if not options.get("api_key"):
            raise SandboxError("the stub 'openweathermap' expects the option api_key, found none")
        try:
            everywhere = Weather.model_validate_json(options.get("weather", "{}"))
            places = _WEATHERS.validate_json(options.get("places", "{}"))
        except ValidationError as cause:
            raise SandboxError(f"the stub 'openweathermap' expects weather, found none: {cause}") from None
        return cls(options["api_key"], everywhere, {_place(where): weather for where, weather in places.items()})


class OpenWeatherMap:
    """What is behind the stub."""

    def __init__(self, options: Options) -> None:
        self._options = options

    async def current(self, request: Request) -> Response:
        """The weather of now."""
        lat, lon = _coordinates(request)
        now, units = int(time.time()), request.query_params.get("units", "")
        return JSONResponse(
            {
                "coord": {"lon": lon, "lat": lat},
                "base": "stations",
                **self._at(lat, lon).document(units),
                "dt": now,
                "sys": {"country": "", "sunrise": _day(now) + 6 * 3600, "sunset": _day(now) + 18 * 3600},
                "timezone": 0,
                "id": 0,
                "name": "",
                "cod": 200,
            }
        )

    async def forecast(self, request: Request) -> Response:
        """The weather of the next five days: as it is now."""
        lat, lon = _coordinates(request)
        units = request.query_params.get("units", "")
        weather = self._at(lat, lon).document(units)
        first = (int(time.time()) // _STEP_S + 1) * _STEP_S
        times = [first + number * _STEP_S for number in range(_times(request))]
        city = {"id": 0, "name": "", "coord": {"lat": lat, "lon": lon}, "country": "", "population": 0, "timezone": 0}
        sun = {"sunrise": _day(first) + 6 * 3600, "sunset": _day(first) + 18 * 3600}
        listed = [{"dt": at, **weather, "pop": 0, "sys": {"pod": "d"}, "dt_txt": _written(at)} for at in times]
        return JSONResponse({"cod": "200", "message": 0, "cnt": len(listed), "list": listed, "city": {**city, **sun}})

    def guarded(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that asks for the key first."""
        wanted = self._options.api_key.encode()

        async def guarded(request: Request) -> Response:
            if not hmac.compare_digest(request.query_params.get("appid", "").encode(), wanted):
                case = CASES["openweathermap"]["invalid_key"]
                return Response(case.body, 401, media_type="application/json")
            try:
                return await endpoint(request)
            except _NotAPlaceError as error:
                return JSONResponse({"cod": "400", "message": str(error)}, 400)

        return guarded

    def _at(self, lat: float, lon: float) -> Weather:
        return self._options.places.get((round(lat, 2), round(lon, 2)), self._options.everywhere)


class _NotAPlaceError(Exception):
    """What was asked for is nowhere."""


def make(options: Mapping[str, str]) -> ThirdParty:
    """The stub. Options: see `Options.parse`. Raises SandboxError."""
    stub = OpenWeatherMap(Options.parse(options))
    routes = [
        Route("/data/2.5/weather", stub.guarded(stub.current)),
        Route("/data/2.5/forecast", stub.guarded(stub.forecast)),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _not_found})
    return ThirdParty(app, _error)


def _coordinates(request: Request) -> tuple[float, float]:
    """Raises _NotAPlaceError."""
    found = [_coordinate(request.query_params.get(name, ""), name) for name in ("lat", "lon")]
    return found[0], found[1]


def _coordinate(written: str, name: str) -> float:
    if not written:
        raise _NotAPlaceError("Nothing to geocode")
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not abs(value) <= _EDGES[name]:
        raise _NotAPlaceError(f"wrong {'latitude' if name == 'lat' else 'longitude'}")
    return value


def _place(written: str) -> tuple[float, float]:
    """Latitude and longitude of an option. Raises SandboxError."""
    lat, _, lon = written.partition(",")
    try:
        return round(_coordinate(lat.strip(), "lat"), 2), round(_coordinate(lon.strip(), "lon"), 2)
    except _NotAPlaceError:
        raise SandboxError(f"the stub 'openweathermap' expects places as '52.31,4.76', found '{written}'") from None


def _times(request: Request) -> int:
    asked = request.query_params.get("cnt", "")
    return min(int(asked), _MOST_TIMES) if asked.isascii() and asked.isdigit() and int(asked) else _MOST_TIMES


def _degrees(kelvin: float, units: str) -> float:
    celsius = kelvin - _ZERO_C_K
    return round({"metric": celsius, "imperial": celsius * 1.8 + 32}.get(units, kelvin), 2)


def _day(at: int) -> int:
    return at - at % 86_400


def _written(at: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def _not_found(_: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return JSONResponse({"cod": str(status), "message": "Internal error"}, status)


def _error(status: int) -> object:
    """An error of the door, in their words."""
    for case in CASES["openweathermap"].values():
        if case.status == status and case.body is not None:
            document: object = json.loads(case.body)
            return document
    return {"cod": status, "message": "The fault door is open."}
