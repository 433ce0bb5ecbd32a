"""The stub of OpenAI, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from tests.sandbox.stubs.test_door import DOOR_TOKEN, KNOCK

from tocsin.errors import SandboxError
from tocsin.model.third_party import DOOR
from tocsin.sandbox import stubs

COMPLETIONS = "/v1/chat/completions"
ASKED = {"model": "gpt-4", "messages": [{"role": "user", "content": "Which flight is next?"}]}
KEY = {"Authorization": "Bearer not-a-secret"}


def with_stub(scenario: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        stub = await stubs.start("openai", {"api_key": "not-a-secret", "answer": "the  one at noon"}, DOOR_TOKEN)
        try:
            async with httpx.AsyncClient(base_url=stub.base_url, headers=KEY | KNOCK) as client:
                await scenario(client)
        finally:
            await stub.close()

    asyncio.run(run())


def test_a_completion_says_what_it_was_told_to_say() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = (await client.post(COMPLETIONS, json=ASKED)).json()
        assert answer["object"] == "chat.completion"
        assert [choice["message"]["content"] for choice in answer["choices"]] == ["the  one at noon"]
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 4, "total_tokens": 8}
        assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["gpt-4"]

    with_stub(scenario)


def test_a_streamed_completion_is_the_same_in_pieces() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.post(COMPLETIONS, json={**ASKED, "stream": True})
        assert answer.headers["content-type"].startswith("text/event-stream")
        *events, last = (line.removeprefix("data: ") for line in answer.text.split("\n\n") if line)
        chunks = [json.loads(event) for event in events]
        assert last == "[DONE]"
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "the  one at noon"
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"

    with_stub(scenario)


@pytest.mark.parametrize(
    ("changed", "headers", "status", "code"),
    [
        ({}, {"Authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        ({"model": "gpt-5"}, {}, 404, "model_not_found"),
        ({"messages": []}, {}, 400, None),
        ({"messages": "hello"}, {}, 400, None),
    ],
)
def test_what_is_refused(changed: dict[str, Any], headers: dict[str, str], status: int, code: str | None) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        answer = await client.post(COMPLETIONS, json=ASKED | changed, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert "wrong" not in answer.text
        assert (await client.get("/v1/images")).status_code == 404

    with_stub(scenario)


def test_behind_the_door_it_speaks_its_own_errors() -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        await client.put(DOOR, json={"status": 429, "headers": {"Retry-After": "1"}, "path": "/chat/"})
        answer = await client.post(COMPLETIONS, json=ASKED)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert (await client.get("/v1/models")).status_code == 200
        await client.put(DOOR, json={"mode": "malformed"})
        answer = await client.post(COMPLETIONS, json=ASKED)
        with pytest.raises(json.JSONDecodeError):
            answer.json()

    with_stub(scenario)


def test_without_a_key_it_does_not_start() -> None:
    with pytest.raises(SandboxError, match="expects the option api_key"):
        asyncio.run(stubs.start("openai", {}, DOOR_TOKEN))
