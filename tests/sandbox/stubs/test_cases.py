"""Wrong answers by name: what a caller of each third party gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.sandbox.stubs.test_door import DOOR_TOKEN, KNOCK, OPTIONS

from tocsin.model.third_party import DOOR, MARK
from tocsin.model.third_party_cases import CASES
from tocsin.sandbox import stubs

KEY = {"Authorization": "Bearer not-a-secret"}
PLACE = {"lat": "52.31", "lon": "4.76", "appid": "not-a-secret"}
ASKED = {"model": "gpt-4", "messages": [{"role": "user", "content": "Which flight is next?"}]}
CALLS: dict[str, Callable[[httpx.AsyncClient], Any]] = {
    "microsoft-graph": lambda client: client.get("/v1.0/users/u-1/events"),
    "openai": lambda client: client.post("/v1/chat/completions", json=ASKED, headers=KEY),
    "openweathermap": lambda client: client.get("/data/2.5/weather", params=PLACE),
    "pagerduty": lambda client: client.post("/v2/enqueue", json={}),
    "slack": lambda client: client.post("/services/T0/B0/not-a-secret", json={"text": "hi"}),
}
"""Kind of a stub -> a call that is answered as usual."""


def answers(stub: str, *told: dict[str, object]) -> list[httpx.Response]:
    """What one caller gets, each time with the door told something else."""

    async def run() -> list[httpx.Response]:
        started = await stubs.start(stub, OPTIONS[stub], DOOR_TOKEN)
        found = []
        try:
            async with httpx.AsyncClient(base_url=started.base_url, headers=KNOCK) as client:
                for one in told:
                    said = await client.put(DOOR, json=one)
                    assert said.status_code == 204, said.text
                    found.append(await CALLS[stub](client))
                    await client.delete(DOOR)
                found.append(await CALLS[stub](client))
        finally:
            await started.close()
        return found

    return asyncio.run(run())


def answer(stub: str, case: str, **more: object) -> httpx.Response:
    wrong, usual = answers(stub, {"case": case, **more})
    assert MARK in wrong.headers
    assert MARK not in usual.headers
    return wrong


ANSWERED = [
    (stub, case)
    for stub in CASES
    for case in CASES[stub]
    # Of these a caller gets no answer, or the usual one too late: test_told.py.
    if CASES[stub][case].mode == "answer" and CASES[stub][case].body is not None
]


@pytest.mark.parametrize(("stub", "case"), ANSWERED)
def test_every_case_is_answered_and_over_when_the_door_is_closed(stub: str, case: str) -> None:
    wrong, usual = answers(stub, {"case": case})
    assert wrong.content != usual.content
    assert wrong.status_code == (CASES[stub][case].status or 200)


@pytest.mark.parametrize(
    ("case", "status", "kind", "code"),
    [
        ("rate_limited", 429, "requests", "rate_limit_exceeded"),
        ("insufficient_quota", 429, "insufficient_quota", "insufficient_quota"),
        ("invalid_key", 401, "invalid_request_error", "invalid_api_key"),
        ("server_error", 500, "server_error", None),
    ],
)
def test_errors_of_openai(case: str, status: int, kind: str, code: str | None) -> None:
    """https://platform.openai.com/docs/guides/error-codes"""
    found = answer("openai", case)
    assert found.status_code == status
    error = found.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == (kind, code)
    # Only a rate is worth asking again for: whoever has no quota left waits in vain.
    assert found.headers.get("retry-after") == ("1" if case == "rate_limited" else None)


def test_completions_of_openai_that_are_none() -> None:
    assert answer("openai", "empty_choices").json()["choices"] == []
    (cut,) = answer("openai", "truncated").json()["choices"]
    assert cut["finish_reason"] == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut["message"]["content"])
    (other,) = answer("openai", "wrong_schema").json()["choices"]
    assert other["finish_reason"] == "stop"
    assert json.loads(other["message"]["content"]) == {"unexpected": True}


def test_a_wrong_completion_leaves_the_list_of_models_alone() -> None:
    async def run() -> None:
        stub = await stubs.start("openai", OPTIONS["openai"], DOOR_TOKEN)
        try:
            async with httpx.AsyncClient(base_url=stub.base_url, headers=KNOCK | KEY) as client:
                await client.put(DOOR, json={"case": "truncated"})
                assert MARK not in (await client.get("/v1/models")).headers
                await client.put(DOOR, json={"case": "server_error"})
                assert (await client.get("/v1/models")).status_code == 500
                await client.put(DOOR, json={"case": "server_error", "path": "/chat/"})
                assert (await client.get("/v1/models")).status_code == 200
        finally:
            await stub.close()

    asyncio.run(run())


@pytest.mark.parametrize(("case", "status"), [("rate_limited", 429), ("invalid_key", 401), ("server_error", 500)])
def test_errors_of_openweathermap(case: str, status: int) -> None:
    """https://openweathermap.org/faq"""
    found = answer("openweathermap", case)
    assert (found.status_code, found.json()["cod"]) == (status, status)
    assert found.json()["message"]
    assert "retry-after" not in found.headers


def test_weather_that_is_none() -> None:
    found = answer("openweathermap", "wrong_schema")
    assert found.status_code == 200
    assert (found.json()["weather"], found.json()["main"]["temp"]) == ([], None)
    assert found.json()["list"][0]["weather"] == []


@pytest.mark.parametrize("stub", CASES)
def test_a_page_of_html_with_a_status_of_success(stub: str) -> None:
    found = answer(stub, "html")
    assert found.status_code == 200
    assert found.headers["content-type"].startswith("text/html")
    with pytest.raises(json.JSONDecodeError):
        found.json()


def test_what_is_given_beside_the_name_comes_on_top() -> None:
    found = answer("openai", "rate_limited", headers={"retry-after": "7"}, delay_s=0.2)
    assert found.headers.get_list("retry-after") == ["7"]
    assert found.headers["x-ratelimit-reset-requests"] == "1s"
    assert found.elapsed.total_seconds() >= 0.2
    two, again = answers("openai", {"case": "rate_limited", "count": 1})
    assert (two.status_code, again.status_code) == (429, 200)


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        ({"case": "insuficient_quota"}, "Did you mean 'insufficient_quota'?"),
        ({"case": "html", "status": 503}, "expected no `status` with the case html"),
        ({"case": "html", "body": ""}, "expected no `body` with the case html"),
        ({"case": "html", "mode": "drop"}, "expected no `mode` with the case html"),
    ],
)
def test_what_the_door_does_not_understand(told: dict[str, object], complaint: str) -> None:
    async def run() -> None:
        stub = await stubs.start("openai", OPTIONS["openai"], DOOR_TOKEN)
        try:
            async with httpx.AsyncClient(base_url=stub.base_url, headers=KNOCK | KEY) as client:
                said = await client.put(DOOR, json=told)
                assert said.status_code == 400
                assert complaint in said.json()["error"]
                assert (await client.get(DOOR)).json()["fault"] is None
        finally:
            await stub.close()

    asyncio.run(run())


def test_every_stub_has_the_common_ones() -> None:
    assert set(CASES) == set(stubs.STUBS)
    assert all("html" in cases for cases in CASES.values())
