"""The stubs of those who are told of alarms, spoken to over HTTP as SNS and callers do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest
from tests.sandbox.stubs.test_door import DOOR_TOKEN, KNOCK, OPTIONS

from tocsin.errors import SandboxError
from tocsin.model.doors import TOKEN_HEADER
from tocsin.model.third_party import DOOR, RECEIVED
from tocsin.sandbox import stubs

TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
KEY = OPTIONS["pagerduty"]["routing_key"]
WEBHOOK = f"/services/{OPTIONS['slack']['webhook']}"
SUBSCRIBED = {"slack": "/chatbot", "pagerduty": f"/integration/{KEY}/enqueue"}
ALARM = {"AlarmName": "shop-errors", "NewStateValue": "ALARM", "NewStateReason": "Threshold Crossed"}
EVENT = {
    "routing_key": KEY,
    "event_action": "trigger",
    "dedup_key": "shop/1",
    "payload": {"summary": "orders fail", "source": "shop", "severity": "critical"},
}
Scenario = Callable[[httpx.AsyncClient, stubs.Stub], Awaitable[None]]


def with_stub(kind: str, scenario: Scenario) -> None:
    async def run() -> None:
        stub = await stubs.start(kind, OPTIONS[kind], DOOR_TOKEN)
        try:
            async with httpx.AsyncClient(base_url=stub.base_url, headers=KNOCK) as client:
                await scenario(client, stub)
        finally:
            await stub.close()

    asyncio.run(run())


def of_sns(kind: str, **more: object) -> dict[str, Any]:
    """A request as SNS makes it: the type in a header, and the JSON as text."""
    headers = {"x-amz-sns-message-type": kind, "content-type": "text/plain; charset=UTF-8"}
    body = {"Type": kind, "MessageId": "m-1", "TopicArn": TOPIC, **more}
    return {"headers": headers, "content": json.dumps(body)}


def notification(message: object) -> dict[str, Any]:
    return of_sns("Notification", Message=message if isinstance(message, str) else json.dumps(message))


def told(stub: stubs.Stub) -> list[Mapping[str, object]]:
    return [{name: one[name] for name in one if name != "at"} for one in stub.received()]


@pytest.mark.parametrize("kind", SUBSCRIBED)
def test_the_change_of_an_alarm_is_kept(kind: str) -> None:
    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        for state in ("ALARM", "OK"):
            answer = await client.post(SUBSCRIBED[kind], **notification({**ALARM, "NewStateValue": state}))
            assert answer.status_code == 200
        first, second = told(stub)
        assert first == {
            "stub": kind,
            "text": "ALARM: shop-errors: Threshold Crossed",
            "alarm": "shop-errors",
            "state": "ALARM",
            "topic": TOPIC,
            "message_id": "m-1",
        }
        assert second["state"] == "OK"
        by_hand = await client.get(RECEIVED)
        assert by_hand.json()["value"] == [{k: one[k] for k in one if k != "stub"} for one in stub.received()]
        assert (await client.get(RECEIVED, headers={TOKEN_HEADER: "another"})).status_code == 403

    with_stub(kind, scenario)


def test_what_is_no_alarm_is_told_to_pagerduty_and_not_written_into_the_channel() -> None:
    async def kept(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        for message in ("disk full", '{"AlarmName": "x"}', "[1]"):
            assert (await client.post(SUBSCRIBED["pagerduty"], **notification(message))).status_code == 200
        assert [(one["text"], one["alarm"]) for one in told(stub)] == [
            ("disk full", None),
            ('{"AlarmName": "x"}', None),
            ("[1]", None),
        ]

    async def left_out(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        assert (await client.post("/chatbot", **notification("disk full"))).status_code == 200
        assert told(stub) == []

    with_stub("pagerduty", kept)
    with_stub("slack", left_out)


@pytest.mark.parametrize("kind", SUBSCRIBED)
def test_a_subscription_is_confirmed_by_a_visit(kind: str) -> None:
    visited: list[str] = []

    async def sns(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visited.append((await reader.readline()).decode().split()[1])
        status = "200 OK" if visited[-1] == "/well" else "403 Forbidden"
        writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        server = await asyncio.start_server(sns, "127.0.0.1", 0)
        async with server:
            here = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            for path, status in (("/well", 200), ("/refused", 400)):
                asked = of_sns("SubscriptionConfirmation", SubscribeURL=here + path, Token="t")
                assert (await client.post(SUBSCRIBED[kind], **asked)).status_code == status
        assert visited == ["/well", "/refused"]
        assert (await client.post(SUBSCRIBED[kind], **of_sns("UnsubscribeConfirmation"))).status_code == 200
        assert told(stub) == []

    with_stub(kind, scenario)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/x", "http://evil.test/x", "http://[::1", "file:///etc/passwd", "", None, 7]
)
def test_nobody_elsewhere_is_visited(url: object) -> None:
    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        answer = await client.post("/chatbot", **of_sns("SubscriptionConfirmation", SubscribeURL=url))
        assert answer.status_code == 400
        assert "on this machine, found another, which was not visited" in answer.text

    with_stub("slack", scenario)


@pytest.mark.parametrize(
    "asked",
    [
        {"content": "hello"},
        {"content": json.dumps(ALARM), "headers": {"x-amz-sns-rawdelivery": "true"}},
        {"content": "{}", "headers": {"x-amz-sns-message-type": "Notification"}},
        {"content": "{", "headers": {"x-amz-sns-message-type": "SubscriptionConfirmation"}},
        {"content": "{}", "headers": {"x-amz-sns-message-type": "SubscriptionConfirmation"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", SUBSCRIBED)
def test_what_is_no_message_of_sns_is_refused_and_not_kept(kind: str, asked: dict[str, Any]) -> None:
    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        assert (await client.post(SUBSCRIBED[kind], **asked)).status_code == 400
        assert told(stub) == []

    with_stub(kind, scenario)


# --- Slack --------------------------------------------------------------------------------------------------


def test_a_webhook_takes_messages() -> None:
    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        for asked in ({"json": {"text": "hi"}}, {"data": {"payload": '{"text": "form"}'}}, {"json": {"blocks": [{}]}}):
            answer = await client.post(WEBHOOK, **asked)
            assert (answer.status_code, answer.text) == (200, "ok")
        assert [one["text"] for one in told(stub)] == ["hi", "form", '{"blocks": [{}]}']
        assert {one["topic"] for one in told(stub)} == {None}
        assert "not-a-secret" not in str(told(stub))

    with_stub("slack", scenario)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (WEBHOOK + "x", '{"text": "hi"}', 404, "no_service"),
        (WEBHOOK, "hi", 400, "invalid_payload"),
        (WEBHOOK, b"\xff", 400, "invalid_payload"),
        (WEBHOOK, "[]", 400, "invalid_payload"),
        (WEBHOOK, "{}", 400, "no_text"),
        (WEBHOOK, '{"text": ""}', 400, "no_text"),
    ],
)
def test_what_a_webhook_refuses(path: str, body: str | bytes, status: int, code: str) -> None:
    """https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks"""

    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        answer = await client.post(path, content=body)
        assert (answer.status_code, answer.text) == (status, code)
        assert answer.headers["content-type"].startswith("text/plain")
        assert told(stub) == []

    with_stub("slack", scenario)


def test_a_webhook_understands_nothing_of_sns() -> None:
    """Who subscribes one to a topic is told nothing, and SNS that it was refused."""

    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        for asked in (of_sns("SubscriptionConfirmation", SubscribeURL="http://127.0.0.1:1/"), notification(ALARM)):
            answer = await client.post(WEBHOOK, **asked)
            assert (answer.status_code, answer.text) == (400, "no_text")
        assert told(stub) == []

    with_stub("slack", scenario)


# --- PagerDuty ----------------------------------------------------------------------------------------------


def test_an_event_is_accepted_with_its_key() -> None:
    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        answer = await client.post("/v2/enqueue", json=EVENT)
        assert answer.status_code == 202
        assert answer.json() == {"status": "success", "message": "Event processed", "dedup_key": "shop/1"}
        new = (await client.post("/v2/enqueue", json={**EVENT, "dedup_key": None})).json()["dedup_key"]
        resolved = {name: EVENT[name] for name in ("routing_key", "dedup_key")} | {"event_action": "resolve"}
        assert (await client.post("/v2/enqueue", json=resolved)).status_code == 202
        found = [(one["alarm"], one["state"], one["text"]) for one in told(stub)]
        assert found == [
            ("shop/1", "trigger", "orders fail"),
            (new, "trigger", "orders fail"),
            ("shop/1", "resolve", ""),
        ]
        assert KEY not in str(told(stub))

    with_stub("pagerduty", scenario)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"routing_key": "short"}, "Length of 'routing_key' is incorrect (should be 32 characters)"),
        ({"routing_key": "x" * 32}, "'routing_key' is invalid"),
        ({"event_action": "shout"}, "event_action"),
        ({"payload": None}, "'payload' is missing or blank"),
        ({"payload": {"summary": "s", "source": "s", "severity": "bad"}}, "payload.severity"),
        ({"event_action": "resolve", "dedup_key": None}, "'dedup_key' is missing or blank"),
    ],
)
def test_an_event_that_is_none(changed: dict[str, object], error: str) -> None:
    """https://developer.pagerduty.com/docs/send-alert-event"""

    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        answer = await client.post("/v2/enqueue", json=EVENT | changed)
        assert (answer.status_code, answer.json()["status"]) == (400, "invalid event")
        assert error in str(answer.json()["errors"])
        assert told(stub) == []

    with_stub("pagerduty", scenario)


def test_an_integration_of_somebody_else() -> None:
    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        answer = await client.post(f"/integration/{'x' * 32}/enqueue", **notification(ALARM))
        assert answer.status_code == 400
        assert told(stub) == []

    with_stub("pagerduty", scenario)


# --- both ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "status"), [("slack", 403), ("pagerduty", 400)])
def test_one_that_is_down_or_refuses_keeps_nothing_and_a_slow_one_late(kind: str, status: int) -> None:
    async def scenario(client: httpx.AsyncClient, stub: stubs.Stub) -> None:
        await client.put(DOOR, json={"case": "down"})
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(SUBSCRIBED[kind], **notification(ALARM))
        await client.put(DOOR, json={"case": "refuses"})
        assert (await client.post(SUBSCRIBED[kind], **notification(ALARM))).status_code == status
        await client.put(DOOR, json={"case": "slow"})
        with pytest.raises(httpx.ReadTimeout):
            await client.post(SUBSCRIBED[kind], **notification(ALARM), timeout=httpx.Timeout(60, read=0.2))
        assert told(stub) == []
        # Who gave up may have been heard all the same: a text is told at least once, not exactly once.
        await client.put(DOOR, json={"case": "slow", "delay_s": 0.2})
        answer = await client.post(SUBSCRIBED[kind], **notification(ALARM))
        assert answer.elapsed.total_seconds() >= 0.2
        assert {one["message_id"] for one in told(stub)} == {"m-1"}

    with_stub(kind, scenario)


@pytest.mark.parametrize(
    ("kind", "options", "complaint"),
    [
        ("slack", {}, "expects the option webhook, found none"),
        ("pagerduty", {}, "expects the option routing_key of 32 characters, found 0"),
        ("pagerduty", {"routing_key": "short"}, "found 5"),
    ],
)
def test_options_are_checked(kind: str, options: dict[str, str], complaint: str) -> None:
    with pytest.raises(SandboxError, match=complaint):
        asyncio.run(stubs.start(kind, options, DOOR_TOKEN))
