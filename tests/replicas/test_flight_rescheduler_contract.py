"""The contracts of Flight Rescheduler: as wide as what is deployed, and no friend of bad weather data."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tocsin.project.asyncapi import AsyncApiDocument

ROOT = Path(__file__).parents[2]
CODE = ROOT / "replicas" / "flight-rescheduler" / "code"
CONTRACT: dict[str, Any] = yaml.safe_load((ROOT / "contracts/flight-rescheduler.openapi.yaml").read_text())
OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method.upper()} {path}": operation
    for path, item in CONTRACT["paths"].items()
    for method, operation in item.items()
}
ID = "6f1b7a52-3c0e-4f8e-9d55-0a1b2c3d4e5f"
ALERT = {
    "alertId": ID,
    "flightId": ID,
    "airport": "EHAM",
    "severity": "SEVERE",
    "forecast": {"at": 1_700_000_000, "code": 211, "windMs": 22.0, "visibilityM": 800},
}


@pytest.fixture
def app() -> Iterator[Any]:
    sys.path.insert(0, str(CODE))
    yield importlib.import_module("flight_rescheduler.app")
    sys.path.remove(str(CODE))
    for name in [name for name in sys.modules if name.partition(".")[0] == "flight_rescheduler"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def messages() -> AsyncApiDocument:
    return AsyncApiDocument.load(ROOT / "contracts" / "flight-rescheduler.asyncapi.yaml")


def test_it_describes_exactly_the_routes_of_the_server_but_its_stream(app: Any) -> None:
    routes = {f"{method} {path}" for method, path, _ in app.HANDLERS}
    assert set(OPERATIONS) == {*routes, f"POST {app.PROBE}"}


@pytest.mark.parametrize("route", OPERATIONS)
def test_every_operation_says_what_it_answers_on_a_bad_day(route: str) -> None:
    assert {"500", "502", "503", "504"} <= OPERATIONS[route]["responses"].keys()


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("alerts", ALERT),
        (
            "notifications",
            {
                "type": "RESCHEDULE_PROPOSED",
                "proposalId": ID,
                "bookingId": ID,
                "userId": ID,
                "options": [{"flightId": ID, "number": "FR103"}],
            },
        ),
        ("stream", {"proposalId": ID, "bookingId": ID, "options": [{"flightId": ID, "number": "FR103"}]}),
        ("stream", {"probeId": ID}),
    ],
)
def test_a_message_as_it_is_sent_is_one(messages: AsyncApiDocument, channel: str, message: dict[str, Any]) -> None:
    assert messages.channels[channel].judge(json.dumps(message), {}).failures == ()


@pytest.mark.parametrize(
    "forecast", [{"code": None}, {"code": "211"}, {"windMs": "strong"}, {"windMs": None}, {"at": "soon"}]
)
def test_weather_that_is_passed_on_malformed_is_told(messages: AsyncApiDocument, forecast: dict[str, Any]) -> None:
    malformed = {**ALERT, "forecast": {**ALERT["forecast"], **forecast}}
    assert messages.channels["alerts"].judge(json.dumps(malformed), {}).failures != ()
