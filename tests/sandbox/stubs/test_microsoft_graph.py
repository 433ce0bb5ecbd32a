"""The stub of Entra and Microsoft Graph, spoken to over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from tests.sandbox.stubs.test_door import DOOR_TOKEN, KNOCK

from tocsin.errors import SandboxError
from tocsin.sandbox import stubs

OPTIONS = {
    "tenant": "contoso",
    "client_id": "calendar-app",
    "client_secret": "not-a-secret",
    "time_scale": "60",
}
TOKEN = "/contoso/oauth2/v2.0/token"
EVENTS = "/v1.0/users/e-1/events"
EVENT = {
    "subject": "Leave",
    "start": {"dateTime": "2025-12-01T00:00:00", "timeZone": "UTC"},
    "end": {"dateTime": "2025-12-02T00:00:00", "timeZone": "UTC"},
    "transactionId": "sync-1",
}


def with_stub(scenario: Callable[[httpx.AsyncClient], Awaitable[None]], options: dict[str, str] | None = None) -> None:
    async def run() -> None:
        stub = await stubs.start("microsoft-graph", options or OPTIONS, DOOR_TOKEN)
        try:
            async with httpx.AsyncClient(base_url=stub.base_url, headers=KNOCK) as client:
                await scenario(client)
        finally:
            await stub.close()
        with pytest.raises(httpx.ConnectError):
            httpx.get(stub.base_url)

    asyncio.run(run())


async def log_in(client: httpx.AsyncClient, **changed: str) -> httpx.Response:
    form = {
        "grant_type": "client_credentials",
        "client_id": "calendar-app",
        "client_secret": "not-a-secret",
        "scope": "https://graph.microsoft.com/.default",
    }
    return await client.post(TOKEN, data=form | changed)


async def bearer(client: httpx.AsyncClient) -> dict[str, str]:
    return {"Authorization": f"Bearer {(await log_in(client)).json()['access_token']}"}


def test_a_token_makes_an_event_once() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        headers = await bearer(client)
        first = await client.post(EVENTS, json=EVENT, headers=headers)
        again = await client.post(EVENTS, json=EVENT, headers=headers)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["id"] == again.json()["id"]
        other = await client.post(EVENTS, json=EVENT | {"subject": "Other"}, headers=headers)
        assert other.status_code == 409
        assert other.json()["error"]["code"] == "ErrorDuplicateTransactionId"
        stored = (await client.get(EVENTS, headers=headers)).json()["value"]
        assert [event["transactionId"] for event in stored] == ["sync-1"]

    with_stub(scenario)


def test_token_lifetime_is_scaled() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        assert (await log_in(client)).json()["expires_in"] == 59

    with_stub(scenario)


def test_an_expired_token_is_refused() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        headers = await bearer(client)
        async with asyncio.timeout(60):
            while (await client.get(EVENTS, headers=headers)).status_code != 401:
                await asyncio.sleep(0.01)

    with_stub(scenario, OPTIONS | {"time_scale": "36000"})


@pytest.mark.parametrize(
    ("changed", "status", "error", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_id": "who"}, 400, "unauthorized_client", 700016),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
    ],
)
def test_wrong_credentials(changed: dict[str, str], status: int, error: str, code: int) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await log_in(client, **changed)
        assert answer.status_code == status
        assert answer.json()["error"] == error
        assert answer.json()["error_codes"] == [code]
        assert f"AADSTS{code}" in answer.json()["error_description"]
        assert "wrong" not in answer.text

    with_stub(scenario)


def test_what_is_refused() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        headers = await bearer(client)
        assert (await client.post(EVENTS, json=EVENT)).status_code == 401
        assert (await client.post(EVENTS, json=EVENT, headers={"Authorization": "Bearer no"})).status_code == 401
        assert (await client.post(EVENTS, json={"subject": "x"}, headers=headers)).status_code == 400
        assert (await client.post(EVENTS, content=b"{", headers=headers)).status_code == 400
        assert (await client.get("/v1.0/users", headers=headers)).status_code == 404
        assert (await client.post("/fabrikam/oauth2/v2.0/token")).status_code == 400

    with_stub(scenario)


def test_the_fault_door() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        headers = await bearer(client)
        await client.post("/_fault", json={"status": 503, "count": 2, "path": "/events"})
        assert (await log_in(client)).status_code == 200
        statuses = [(await client.get(EVENTS, headers=headers)).status_code for _ in range(3)]
        assert statuses == [503, 503, 200]
        await client.post("/_fault", json={"status": 429})
        assert (await log_in(client)).status_code == 429
        assert (await client.delete("/_fault")).status_code == 204
        assert (await log_in(client)).status_code == 200
        assert (await client.post("/_fault", json={"state": 1})).status_code == 400
        calls = (await client.get("/_calls")).json()["value"]
        assert [call["status"] for call in calls] == [200, 200, 503, 503, 200, 429, 200]

    with_stub(scenario)


def test_options_and_kinds_are_checked() -> None:
    with pytest.raises(SandboxError, match="client_secret"):
        asyncio.run(stubs.start("microsoft-graph", {"tenant": "t", "client_id": "c"}, DOOR_TOKEN))
    with pytest.raises(SandboxError, match="Did you mean 'microsoft-graph'"):
        asyncio.run(stubs.start("microsoft-grph", {}, DOOR_TOKEN))
